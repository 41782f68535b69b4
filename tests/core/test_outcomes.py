"""The tally: each request that entered is compared, shed, skipped or refused, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Aspect, ErrorKind, Kind, RefusedReason, Role, ShedReason, SkipReason
from harness.core.outcomes import Tally
from harness.core.values import Arm, Comparison, Difference, Exchange, Request, Response, TransportError, Trial

REQUEST = Request("GET", "/")


def arm(role: Role, failed: bool) -> Arm:
    error = TransportError(ErrorKind.TIMEOUT) if failed else None
    return Arm(role=role, exchange=Exchange(request=REQUEST, response=None if failed else Response(200), error=error))


def trial(failed: tuple[bool, bool, bool] = (False, False, False)) -> Trial:
    stable, secondary, candidate = (arm(role, bad) for role, bad in zip(Role, failed, strict=True))
    return Trial(id="t", seq=0, endpoint="GET /", request=REQUEST, stable=stable, secondary=secondary, candidate=candidate)


def comparison(diverged: bool) -> Comparison:
    differences = (Difference(Aspect.STATUS, "$", Kind.CODE),) if diverged else ()
    return Comparison(trial="t", seq=0, stable_candidate=differences)


OUTCOME = st.one_of(
    st.sampled_from(list(ShedReason)),
    st.sampled_from(list(SkipReason)),
    st.sampled_from(list(RefusedReason)),
    st.tuples(st.booleans(), st.tuples(st.booleans(), st.booleans(), st.booleans())),
)


@given(outcomes=st.lists(OUTCOME, max_size=60), open_requests=st.integers(0, 5))
def test_conservation(outcomes: list[object], open_requests: int) -> None:
    tally = Tally()
    tally.entered(open_requests)
    for outcome in outcomes:
        tally.entered()
        if isinstance(outcome, ShedReason):
            tally.shed(outcome)
        elif isinstance(outcome, SkipReason):
            tally.skipped(outcome)
        elif isinstance(outcome, RefusedReason):
            tally.refused(outcome)
        elif isinstance(outcome, tuple):
            tally.compared(trial(outcome[1]), comparison(outcome[0]))
        totals = tally.totals()
        done = totals.compared + sum(totals.shed.values()) + sum(totals.skipped.values()) + sum(totals.refused.values())
        assert totals.requests == done + tally.under_way
        assert tally.under_way == open_requests
    compared = [outcome for outcome in outcomes if isinstance(outcome, tuple)]
    assert totals_of(tally) == (len(compared), sum(diverged for diverged, _ in compared))
    failures = {role: sum(failed[index] for _, failed in compared) for index, role in enumerate(Role)}
    assert tally.totals().errors == {str(role): count for role, count in failures.items() if count}


def totals_of(tally: Tally) -> tuple[int, int]:
    totals = tally.totals()
    return totals.compared, totals.diverged


def test_counts_and_reasons_are_by_name() -> None:
    tally = Tally()
    tally.entered(7)
    tally.skipped(SkipReason.WRITE, 3)
    tally.shed(ShedReason.IN_FLIGHT, 2)
    tally.refused(RefusedReason.BAD_REQUEST, 2)
    totals = tally.totals()
    assert totals.skipped == {"write": 3}
    assert totals.shed == {"in_flight": 2}
    assert totals.refused == {"bad_request": 2}
    assert tally.under_way == 0


def test_a_trial_without_secondary_counts_its_own_arms() -> None:
    tally = Tally()
    tally.entered()
    alone = Trial(id="t", seq=0, endpoint="GET /", request=REQUEST, stable=arm(Role.STABLE, True))
    tally.compared(alone, comparison(False))
    assert tally.totals().errors == {"stable": 1}


def test_a_tally_goes_on_from_what_another_process_counted() -> None:
    before, worker = Tally(), Tally()
    before.include(worker)
    worker.entered(5)
    worker.skipped(SkipReason.WRITE)
    worker.refused(RefusedReason.BAD_REQUEST)
    before.shed(ShedReason.WORKER_LOST)
    for one in (trial((False, False, True)), trial()):
        before.compared(one, comparison(diverged=True))
    after = Tally()
    after.carry(before.totals())
    assert after.totals() == before.totals()
    after.carry(before.own())
    assert after.totals().requests == 5, "a worker's counts are not the supervisor's own"
    assert (after.totals().compared, after.totals().shed) == (4, {"worker_lost": 2})
