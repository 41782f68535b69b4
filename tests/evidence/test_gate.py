import random
from collections.abc import Callable, Iterable

import msgspec
import pytest

from harness.core.labels import NEXT_STEP, Control, Design, EffectsSeen, FindingClass, ReasonCode, VerdictState
from harness.core.values import Totals
from harness.core.watched import EffectsFacts, LapseFact, TableDifference, Unattributed, Watched
from harness.evidence.bets import EffectCount, TrialBets, decode_bets, encode_bets
from harness.evidence.gate import completed_share, judge
from harness.evidence.ledger import Ledger
from harness.evidence.policy import EffectRule, Policy
from harness.evidence.snapshot import Verdict
from tests.evidence.test_ledger import ENDPOINT, RIGHT, WRONG, passes
from tests.sim.world import Answer, Three, bets, fold_all

ROLLOUT = Policy(preset="rollout")


def judged(answers: list[Answer], policy: Policy | None = None, *, totals: Totals | None = None, **options: object) -> Verdict:
    chosen = policy or Policy()
    ledger = Ledger(chosen, endpoints=(ENDPOINT,))
    fold_all(ledger, answers)
    replayable = options.pop("replayable", len({answer.entry for answer in answers}) if answers and answers[0].entry is not None else None)
    counted = totals or Totals(requests=len(answers), compared=len(answers))
    return judge(ledger.snapshot(), counted, chosen, replayable=replayable, **options)  # type: ignore[arg-type]  # of a test's choice


def codes(verdict: Verdict) -> list[ReasonCode]:
    return [reason.code for reason in verdict.reasons]


def stream(count: int, values: Callable[[int], Three] = lambda _: RIGHT, **changes: object) -> list[Answer]:
    return [Answer(entity=f"/{i}", values={"$.x": values(i)}, design=Design.TWO_ARM, **changes) for i in range(count)]  # type: ignore[arg-type]  # of a test's choice


def test_a_clean_capture_passes_with_its_bound() -> None:
    verdict = judged(passes(2, size=300, wrong=()))
    assert verdict.state is VerdictState.PASS
    assert codes(verdict) == [ReasonCode.CLAIM_REACHED]
    assert verdict.bound is not None
    assert verdict.bound.sentence == "300 requests without a difference: with 95 % confidence fewer than 1 % of such requests differ."
    assert (verdict.bound.requests, verdict.bound.level) == (300, 0.95)
    assert verdict.bound.rate < 0.01


def test_the_bound_is_by_distinct_requests_however_many_passes() -> None:
    few, many = judged(passes(2, size=40, wrong=())), judged(passes(12, size=40, wrong=()))
    assert few.bound == many.bound


def test_differences_put_down_to_noise_widen_the_bound() -> None:
    answers = passes(1, size=60) + passes(12, size=60, wrong=(), first=1)
    answers[70] = Answer(entity="/10", entry=10, values={"$.x": ("1", "2", "1")}, pass_index=1, fresh=True)
    verdict = judged(answers)
    assert verdict.state is VerdictState.PASS
    assert verdict.bound is not None
    assert "60 requests, 1 with a difference that did not come back" in verdict.bound.sentence
    assert verdict.bound.rate > judged(passes(2, size=60, wrong=())).bound.rate  # type: ignore[union-attr]  # both have a bound


def test_noisy_fields_are_named_as_left_out() -> None:
    rng = random.Random(1)
    answers = [
        Answer(entity=f"/{e}", entry=e, values={"$.id": (rng.random(), rng.random(), rng.random())}, pass_index=p, fresh=True)
        for p in range(2)
        for e in range(48)
    ]
    verdict = judged(answers)
    assert verdict.state is VerdictState.PASS
    assert verdict.bound is not None
    assert verdict.bound.sentence.endswith("(1 noisy field left out).")


def test_a_divergence_fails_with_the_finding_first() -> None:
    verdict = judged(passes(9))
    assert verdict.state is VerdictState.FAIL
    assert verdict.reasons[0].code is ReasonCode.DIVERGENCE
    assert verdict.reasons[0].finding
    assert "came back in" in verdict.reasons[0].message
    assert "control never differs" in verdict.reasons[0].message


def test_a_pooled_divergence_says_that_no_place_is_proven() -> None:
    verdict = judged([Answer(entity=f"/{i}", entry=i, values={f"$.x{i}": WRONG}) for i in range(14)])
    assert codes(verdict)[0] is ReasonCode.POOLED_DIVERGENCE
    assert "body_values" in verdict.reasons[0].message


def test_a_slower_candidate_fails_as_latency() -> None:
    answers = [Answer(entity=f"/{i}", entry=i, latency_ms=(10.0, 10.0, 15.0), at_s=i * 0.06, fresh=True) for i in range(900)]
    verdict = judged(answers)
    assert verdict.state is VerdictState.FAIL
    assert codes(verdict)[0] is ReasonCode.LATENCY
    assert "50 %" in verdict.reasons[0].message


def test_a_failure_beats_what_was_not_reproduced_and_says_both() -> None:
    verdict = judged(passes(9, status=(404, 404, 404), recorded=200))
    assert verdict.state is VerdictState.FAIL
    assert ReasonCode.VACUOUS_DATA in codes(verdict)
    assert ReasonCode.TRAFFIC_NOT_REPRODUCED in codes(verdict)


def test_an_undecided_difference_keeps_it_from_passing_and_comes_with_what_it_needs() -> None:
    verdict = judged(passes(3))
    assert verdict.state is VerdictState.INCONCLUSIVE
    assert codes(verdict) == [ReasonCode.UNDECIDED]
    assert "came back in 2 of 2 repeats" in verdict.reasons[0].message
    assert verdict.blocking[0].more_requests is not None


def test_without_fresh_state_it_says_that_repeats_did_not_count() -> None:
    assert codes(judged(passes(3, fresh=False))) == [ReasonCode.UNDECIDED, ReasonCode.NOT_FRESH]
    clean = judged(passes(2, size=30, wrong=(), fresh=False))
    assert clean.state is VerdictState.PASS
    assert codes(clean) == [ReasonCode.CLAIM_REACHED, ReasonCode.NOT_FRESH]


def test_followers_are_named_with_their_root() -> None:
    lost = Answer(endpoint="POST /items", entity="/items", entry=0, status=(201, 201, 500), session="s", fresh=True)
    follower = Answer(entity="/1", entry=1, values={"$.x": WRONG}, session="s", tainted=True, fresh=True)
    assert any("following from finding" in reason.message for reason in judged([lost, follower]).reasons)


def test_no_candidate_and_no_data_never_pass() -> None:
    assert codes(judged(passes(2, wrong=()), has_candidate=False))[0] is ReasonCode.NO_CANDIDATE
    verdict = judged([], totals=Totals(requests=4))
    assert verdict.state is VerdictState.INCONCLUSIVE
    assert codes(verdict) == [ReasonCode.NO_DATA]
    assert "4 requests seen" in verdict.reasons[0].message
    assert codes(judged([], replayable=0)) == [ReasonCode.NO_DATA]


def test_one_pass_is_not_enough() -> None:
    assert codes(judged(passes(1, size=40, wrong=()))) == [ReasonCode.TOO_LITTLE_DATA]


def test_passes_that_left_requests_out_do_not_count() -> None:
    assert codes(judged(passes(2, size=40, wrong=()), replayable=41)) == [ReasonCode.TOO_LITTLE_DATA]


def test_preset_capture_does_not_speak_of_a_stream() -> None:
    assert codes(judged(stream(100))) == [ReasonCode.TOO_LITTLE_DATA]


def test_an_interrupted_run_does_not_pass() -> None:
    assert codes(judged(passes(2, size=40, wrong=()), interrupted=True)) == [ReasonCode.INTERRUPTED]


def test_a_run_interrupted_before_anything_was_compared_says_both() -> None:
    verdict = judge(Ledger(Policy()).snapshot(), Totals(requests=3, skipped={"interrupted": 3}), Policy(), interrupted=True, replayable=3)
    assert verdict.state is VerdictState.INCONCLUSIVE
    assert [reason.code for reason in verdict.reasons[:2]] == [ReasonCode.INTERRUPTED, ReasonCode.NO_DATA]
    assert verdict.reasons[0].message == "The run was interrupted before any request was compared."


def test_without_a_control_it_does_not_pass() -> None:
    answers = passes(2, size=40, wrong=(), control=Control.NONE, design=Design.NO_CONTROL)
    verdict = judged(answers)
    assert codes(verdict) == [ReasonCode.NO_CONTROL]
    assert "more than 1 %" in verdict.reasons[0].message


@pytest.mark.parametrize(
    ("totals", "share"),
    [
        (Totals(requests=100, compared=98, shed={"in_flight": 2}), 0.98),
        (Totals(requests=100, compared=50, skipped={"write": 50}), 1.0),
        (Totals(requests=100, compared=90, skipped={"interrupted": 10}), 0.9),
        (Totals(requests=100, compared=90, skipped={"truncated_request": 5, "write": 5}), 0.95),
        (Totals(requests=100, compared=90, refused={"bad_request": 10}), 1.0),
        (Totals(requests=100, compared=90, refused={"upstream_timeout": 10}), 0.9),
        (Totals(), 0.0),
    ],
)
def test_what_counts_as_completed(totals: Totals, share: float) -> None:
    assert completed_share(totals) == pytest.approx(share)


def test_a_small_sample_does_not_hide_what_was_lost_of_it() -> None:
    skipped = {"sampled_out": 9_700, "excluded": 100, "switched_off": 50}
    totals = Totals(requests=10_000, compared=100, shed={"queue_full": 50}, skipped=skipped)
    assert completed_share(totals) == pytest.approx(2 / 3)


def test_a_low_completed_share_does_not_pass() -> None:
    verdict = judged(passes(2, size=40, wrong=()), totals=Totals(requests=82, compared=80, shed={"queue_full": 2}))
    assert codes(verdict) == [ReasonCode.LOW_COMPLETION]
    assert "Only 97 %" in verdict.reasons[0].message
    assert "queue_full 2" in verdict.reasons[0].message


def test_uncomparable_parts_do_not_pass() -> None:
    ledger = Ledger(Policy())
    fold_all(ledger, passes(2, size=40, wrong=()))
    ledger.uncomparable = 1
    verdict = judge(ledger.snapshot(), Totals(requests=80, compared=80), Policy(), replayable=40)
    assert codes(verdict)[0] is ReasonCode.UNCOMPARABLE


def test_differences_beyond_the_bound_do_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.evidence.ledger.HYPOTHESES_MAX", 0)
    verdict = judged(passes(2, size=40))
    assert codes(verdict) == [ReasonCode.UNDECIDED]
    assert "only pooled" in verdict.reasons[0].message


def test_notes_say_what_was_left_out() -> None:
    totals = Totals(requests=96, compared=80, skipped={"write": 9, "other_host": 5, "broken_entry": 2})
    verdict = judged(passes(2, size=40, wrong=()), totals=totals, unused_rules=("ignore $.a", "ignore $.b"))
    assert verdict.state is VerdictState.PASS
    assert codes(verdict) == [
        ReasonCode.CLAIM_REACHED,
        ReasonCode.WRITES_SKIPPED,
        ReasonCode.HOSTS_SKIPPED,
        ReasonCode.BROKEN_ENTRIES,
        ReasonCode.UNUSED_RULES,
    ]
    assert all(reason.next_step == NEXT_STEP[reason.code] for reason in verdict.reasons)


def test_thin_endpoints_are_named() -> None:
    verdict = judged([*passes(2, size=40, wrong=()), *passes(2, size=7, wrong=(), endpoint="GET /rare")], replayable=47)
    assert codes(verdict) == [ReasonCode.CLAIM_REACHED, ReasonCode.THIN_ENDPOINTS]
    assert "GET /rare" in verdict.reasons[1].message


def test_a_few_vacuous_endpoints_are_a_note() -> None:
    nothing = passes(2, size=30, wrong=(), endpoint="GET /gone", status=(404, 404, 404), recorded=404)
    nothing = [*nothing, *passes(2, size=3, wrong=(), endpoint="GET /lost", status=(404, 404, 404))]
    verdict = judged([*passes(2, size=40, wrong=(), recorded=200), *nothing], replayable=73)
    assert verdict.state is VerdictState.PASS
    assert ReasonCode.VACUOUS_DATA in codes(verdict)
    assert verdict.bound is not None
    assert verdict.bound.requests == 70


def test_latency_that_is_invalid_is_a_note() -> None:
    answers = [
        Answer(entity=f"/{i}", entry=i, latency_ms=(15.0, 10.0, 15.0), at_s=(i + 900 * p) * 0.06, fresh=True, pass_index=p)
        for p in range(2)
        for i in range(900)
    ]
    verdict = judged(answers)
    assert verdict.state is VerdictState.PASS
    assert ReasonCode.LATENCY_INVALID in codes(verdict)


def test_a_single_request_bounds_nothing_worth_saying() -> None:
    verdict = judged(passes(2, size=1, wrong=()))
    assert verdict.bound is not None
    assert "95 % of such requests differ" in verdict.bound.sentence


def test_a_bound_of_one_is_said_in_words() -> None:
    answers = [Answer(entity="/1", entry=1, values={"$.x": WRONG}, fresh=True)]
    answers += [Answer(entity="/1", entry=1, values={"$.x": RIGHT}, pass_index=p, fresh=True) for p in range(1, 9)]
    answers += [Answer(entity="/1", entry=1, values={"$.x": ("1", "2", "1")}, pass_index=9, fresh=True)]
    verdict = judged(answers + [Answer(entity="/1", entry=1, pass_index=p, fresh=True) for p in range(10, 14)])
    assert verdict.state is VerdictState.PASS
    assert verdict.bound is not None
    assert "nothing is claimed about other such requests" in verdict.bound.sentence


def test_a_rollout_passes_when_every_claim_is_reached() -> None:
    early, late = judged(stream(500), ROLLOUT), judged(stream(1100), ROLLOUT)
    assert early.state is VerdictState.INCONCLUSIVE
    assert codes(early) == [ReasonCode.TOO_LITTLE_DATA]
    needs = {blocking.hypothesis: blocking.more_requests for blocking in early.blocking}
    assert needs["status of all endpoints"] == pytest.approx(1069 - 500, abs=2)
    assert needs[f"{ENDPOINT}: any one field"] == pytest.approx(533 - 500, abs=2)
    assert late.state is VerdictState.PASS
    assert late.bound is not None
    assert "0.5 % of the requests, and any one field in fewer than 1 %" in late.bound.sentence


def test_a_rollout_needs_more_where_something_differs_now_and_then() -> None:
    verdict = judged(stream(1100, lambda i: WRONG if i == 50 else RIGHT), ROLLOUT)
    assert codes(verdict)[0] is ReasonCode.UNDECIDED or verdict.state is VerdictState.PASS
    later = judged(stream(2500, lambda i: WRONG if i == 50 else RIGHT), ROLLOUT)
    assert later.state is VerdictState.PASS


def test_a_rollout_does_not_claim_what_the_rates_seen_forbid() -> None:
    verdict = judged(stream(400, lambda i: WRONG if i % 90 == 0 else RIGHT), ROLLOUT)
    assert verdict.state is VerdictState.INCONCLUSIVE
    assert codes(verdict) == [ReasonCode.UNDECIDED, ReasonCode.TOO_LITTLE_DATA]
    assert any(blocking.more_requests is None for blocking in verdict.blocking)
    assert "will not be reached at the rates seen" in verdict.reasons[1].message


def test_a_rollout_leaves_noisy_fields_out() -> None:
    rng = random.Random(3)

    def values(_: int) -> Three:
        return rng.choice("ab"), rng.choice("ab"), rng.choice("ab")

    verdict = judged(stream(1200, values), ROLLOUT)
    assert verdict.state is VerdictState.PASS
    assert verdict.bound is not None
    assert "1 noisy field left out" in verdict.bound.sentence


def test_a_thin_endpoint_does_not_hold_up_a_rollout_unless_something_was_seen_there() -> None:
    thin = stream(5, endpoint="GET /rare")
    assert judged([*stream(1200), *thin], ROLLOUT).state is VerdictState.PASS
    odd = stream(5, lambda i: WRONG if i == 2 else RIGHT, endpoint="GET /rare")
    assert judged([*stream(1200), *odd], ROLLOUT).state is VerdictState.INCONCLUSIVE
    evened = stream(6, lambda i: WRONG if i == 2 else ("1", "2", "1") if i == 4 else RIGHT, endpoint="GET /rare")
    assert judged([*stream(1200), *evened], ROLLOUT).state is VerdictState.PASS


def test_passes_of_a_capture_are_no_further_traffic_for_a_rollout() -> None:
    assert judged(passes(20, size=60, wrong=()), ROLLOUT).state is VerdictState.INCONCLUSIVE


def test_a_rollout_without_control_claims_nothing() -> None:
    verdict = judged(stream(1200, control=Control.NONE), ROLLOUT)
    assert codes(verdict) == [ReasonCode.NO_CONTROL]


def test_every_undecided_finding_is_a_reason_of_its_own() -> None:
    answers = [Answer(entity="/1", entry=1, values={f"$.x{i}": WRONG for i in range(3)}, fresh=True)]
    verdict = judged(answers * 1, Policy(passes_min=1))
    assert codes(verdict).count(ReasonCode.UNDECIDED) == 3
    assert FindingClass.UNDECIDED


SEEN = {"stable": 80, "secondary": 80, "candidate": 80}
WATCHED = EffectsFacts(watched=(Watched(collector="http", version="1", seen=SEEN),), complete=80)
CHARGED_ONCE = EffectRule(effect="http POST pay.example/charge", at_most=1, at_least=1)


def effectful(answers: Iterable[Answer], charges: Callable[[int], tuple[int, int, int]] = lambda _: (1, 1, 1)) -> list[TrialBets]:
    """The stored bets of a run in which the arms charged so often."""
    return [
        msgspec.structs.replace(
            bets(seq, answer), effects_seen=EffectsSeen.COMPLETE, effects=(EffectCount("http", "POST pay.example/charge", *charges(seq)),)
        )
        for seq, answer in enumerate(answers)
    ]


def judged_with(trials: list[TrialBets], policy: Policy, effects: EffectsFacts = WATCHED, **options: object) -> Verdict:
    ledger = Ledger(policy, endpoints=(ENDPOINT,))
    for trial in trials:
        ledger.fold(decode_bets(encode_bets(trial)))
    totals = Totals(requests=len(trials), compared=len(trials))
    return judge(ledger.snapshot(), totals, policy, **{"replayable": 40, "effects": effects, **options})  # type: ignore[arg-type]  # of a test's choice


def test_one_broken_rule_fails_a_run_in_which_nothing_is_proven() -> None:
    trials = effectful(passes(2, size=40, wrong=()), lambda seq: (1, 1, 2 if seq == 17 else 1))
    verdict = judged_with(trials, Policy(effects=(CHARGED_ONCE,)))
    assert verdict.state is VerdictState.FAIL
    assert codes(verdict) == [ReasonCode.HARD_RULE]
    assert "did up to 2 (in 1 of 80 requests, first in trial t17), stable 1 in the same requests" in verdict.reasons[0].message
    missing = effectful(passes(2, size=40, wrong=()), lambda seq: (1, 1, 0 if seq == 79 else 1))
    assert codes(judged_with(missing, Policy(effects=(CHARGED_ONCE,)))) == [ReasonCode.HARD_RULE]


def test_stored_bets_are_judged_by_another_policys_rules() -> None:
    trials = effectful(passes(2, size=40, wrong=()), lambda seq: (1, 1, 2 if seq == 17 else 1))
    assert judged_with(trials, Policy()).state is VerdictState.PASS
    assert judged_with(trials, Policy(effects=(EffectRule(effect="POST *", at_most=2),))).state is VerdictState.PASS
    assert judged_with(trials, Policy(effects=(EffectRule(effect="POST *", endpoint="PUT *", at_most=0),))).state is VerdictState.PASS
    assert judged_with(trials, Policy(effects=(EffectRule(effect="POST *", at_most=1),))).state is VerdictState.FAIL


def test_a_hard_failure_does_not_wait_for_whole_passes_and_beats_doubts() -> None:
    trials = effectful(passes(1, size=3, wrong=()), lambda _: (1, 1, 2))
    tables = (TableDifference(collector="postgres", table="orders", values={"stable": "1", "secondary": "1", "candidate": "2"}),)
    verdict = judged_with(trials, Policy(effects=(CHARGED_ONCE,)), msgspec.structs.replace(WATCHED, tables=tables), interrupted=True)
    assert verdict.state is VerdictState.FAIL
    assert codes(verdict)[0] is ReasonCode.HARD_RULE
    assert {ReasonCode.INTERRUPTED, ReasonCode.TOO_LITTLE_DATA, ReasonCode.FINAL_STATE} < set(codes(verdict))


def test_a_proven_divergence_beside_a_broken_rule_is_named_too() -> None:
    verdict = judged_with(effectful(passes(9, size=40), lambda _: (1, 1, 2)), Policy(effects=(CHARGED_ONCE,)))
    assert verdict.state is VerdictState.FAIL
    assert codes(verdict)[:2] == [ReasonCode.HARD_RULE, ReasonCode.DIVERGENCE]
    assert ReasonCode.POOLED_DIVERGENCE not in codes(verdict)


def test_rules_that_are_kept_pass_and_the_bound_says_what_was_compared() -> None:
    verdict = judged_with(effectful(passes(2, size=40, wrong=())), Policy(effects=(CHARGED_ONCE,), require_effects=("http",)))
    assert verdict.state is VerdictState.PASS
    assert codes(verdict) == [ReasonCode.CLAIM_REACHED]
    assert verdict.bound is not None
    assert verdict.bound.sentence.endswith("of such requests differ (effects compared: http).")


def test_a_rollout_says_what_was_compared_as_well() -> None:
    ledger = Ledger(ROLLOUT, endpoints=(ENDPOINT,))
    fold_all(ledger, stream(1100))
    verdict = judge(ledger.snapshot(), Totals(requests=1100, compared=1100), ROLLOUT, effects=WATCHED)
    assert verdict.bound is not None
    assert "(effects compared: http)" in verdict.bound.sentence


@pytest.mark.parametrize(
    "effects",
    [
        EffectsFacts(),
        msgspec.structs.replace(WATCHED, watched=(Watched(collector="redis", version="1", seen=SEEN),)),
        msgspec.structs.replace(WATCHED, watched=(Watched(collector="http", version="1"),)),
        msgspec.structs.replace(WATCHED, watched=(Watched(collector="http", version="1", seen=SEEN, unattributed={"candidate": 9}),)),
        msgspec.structs.replace(
            WATCHED, watched=(Watched(collector="http", version="1", seen=SEEN, lapses=(LapseFact(what="x", count=1),)),)
        ),
        msgspec.structs.replace(WATCHED, complete=70, timed_out=10),
    ],
)
def test_nothing_passes_without_the_effects_that_are_required(effects: EffectsFacts) -> None:
    trials = effectful(passes(2, size=40, wrong=()))
    verdict = judged_with(trials, Policy(require_effects=("http",)), effects)
    assert verdict.state is VerdictState.INCONCLUSIVE
    assert set(codes(verdict)) == {ReasonCode.EFFECTS_NOT_OBSERVED}
    assert judged_with(trials, Policy(), effects).state is VerdictState.PASS
    assert judged_with(effectful(passes(9, size=40)), Policy(require_effects=("http",)), effects).state is VerdictState.FAIL


def test_a_missing_effect_that_may_have_come_unseen_is_neither_pass_nor_failure() -> None:
    trials = effectful(passes(2, size=40, wrong=()), lambda seq: (1, 1, int(seq != 5)))
    blind = Watched(collector="http", version="1", seen=SEEN, lapses=(LapseFact(what="x", count=1, role="candidate"),))
    verdict = judged_with(trials, Policy(effects=(CHARGED_ONCE,)), msgspec.structs.replace(WATCHED, watched=(blind,)))
    assert (verdict.state, codes(verdict)) == (VerdictState.INCONCLUSIVE, [ReasonCode.EFFECTS_NOT_OBSERVED])
    trials[5] = msgspec.structs.replace(trials[5], effects_seen=EffectsSeen.TIMED_OUT)
    facts = msgspec.structs.replace(WATCHED, complete=79, timed_out=1)
    verdict = judged_with(trials, Policy(effects=(CHARGED_ONCE,)), facts)
    assert (verdict.state, codes(verdict)) == (VerdictState.INCONCLUSIVE, [ReasonCode.EFFECTS_NOT_OBSERVED])


@pytest.mark.parametrize(
    ("found", "state", "code"),
    [
        ({"tables": (TableDifference(collector="postgres", table="orders"),)}, VerdictState.INCONCLUSIVE, ReasonCode.FINAL_STATE),
        ({"tables": (TableDifference(collector="postgres", table="orders", noisy=True),)}, VerdictState.PASS, ReasonCode.CLAIM_REACHED),
        (
            {"unattributed": (Unattributed(collector="http", operation="GET a/", counts={"candidate": 12}),)},
            VerdictState.INCONCLUSIVE,
            ReasonCode.EFFECTS_UNATTRIBUTED,
        ),
    ],
)
def test_what_lies_outside_the_trials_keeps_from_passing_without_any_policy(
    found: dict[str, object], state: VerdictState, code: ReasonCode
) -> None:
    verdict = judged_with(effectful(passes(2, size=40, wrong=())), Policy(), msgspec.structs.replace(WATCHED, **found))
    assert (verdict.state, codes(verdict)) == (state, [code])


def test_background_effects_are_a_note_of_a_pass() -> None:
    even = Unattributed(collector="http", operation="GET a/", counts={"stable": 2, "secondary": 3, "candidate": 3})
    verdict = judged_with(effectful(passes(2, size=40, wrong=())), Policy(), msgspec.structs.replace(WATCHED, unattributed=(even,)))
    assert (verdict.state, codes(verdict)) == (VerdictState.PASS, [ReasonCode.CLAIM_REACHED, ReasonCode.EFFECTS_UNATTRIBUTED])


def test_without_requests_the_facts_change_nothing() -> None:
    assert codes(judged_with([], Policy(effects=(CHARGED_ONCE,)))) == [ReasonCode.NO_DATA, ReasonCode.UNUSED_RULES]


def test_a_run_that_ended_before_its_time_says_why_and_never_passes() -> None:
    why = "pass 3 could not begin: the database of candidate cannot be reached"
    verdict = judged(passes(2, size=300, wrong=()), ended=why)
    assert (verdict.state, codes(verdict)) == (VerdictState.INCONCLUSIVE, [ReasonCode.INTERRUPTED])
    assert verdict.reasons[0].message == f"The run ended after 600 compared requests: {why}."
    assert judged(passes(9), ended=why).state is VerdictState.FAIL, "what was proven before is proven"


def test_effects_that_were_asked_for_and_observed_in_no_request_do_not_pass_though_no_policy_requires_them() -> None:
    trials = effectful(passes(2, size=40, wrong=()))
    unseen = msgspec.structs.replace(WATCHED, complete=0, timed_out=80)
    verdict = judged_with(trials, Policy(), unseen)
    assert (verdict.state, codes(verdict)) == (VerdictState.INCONCLUSIVE, [ReasonCode.EFFECTS_NOT_OBSERVED])
    assert judged_with(trials, Policy(), msgspec.structs.replace(WATCHED, complete=1, timed_out=79)).state is VerdictState.PASS


def test_two_builds_under_the_candidates_address_do_not_pass() -> None:
    good = passes(2, size=40, wrong=())
    some = judged(good, totals=Totals(requests=90, compared=80, skipped={"other_build": 10}))
    assert (some.state, codes(some)) == (VerdictState.INCONCLUSIVE, [ReasonCode.MIXED_BUILDS])
    few = judged(good, totals=Totals(requests=2011, compared=2000, skipped={"other_build": 10, "earlier_epoch": 1}))
    assert few.state is VerdictState.PASS, "while one takes the other's place, both answer"


def test_what_belongs_to_another_epoch_is_no_loss() -> None:
    assert completed_share(Totals(requests=20, compared=10, skipped={"earlier_epoch": 5, "other_build": 5})) == 1.0
