"""The breaker as a machine: against a model that keeps everything, and case by case."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from harness.core.labels import ErrorKind
from harness.core.limits import BREAKER_EXCHANGES_MIN, BREAKER_PROBES
from harness.core.values import Exchange, Request, Response, TransportError
from harness.proxy.breaker import FAILURES, Breaker, BreakerOptions, BreakerState

REQUEST = Request(method="GET", target="/")
SECOND = 10**9


def exchange(now_ns: int, kind: ErrorKind | None = None, *, took_ms: float = 1.0, status: int = 200) -> Exchange:
    return Exchange(
        request=REQUEST,
        response=Response(status=status) if kind is None else None,
        error=None if kind is None else TransportError(kind),
        started_ns=now_ns - int(took_ms * 1e6),
        ended_ns=now_ns,
    )


class Machine(RuleBasedStateMachine):
    """Trials begin and end in any order; the model keeps every outcome since the last change and counts anew each time."""

    OPTIONS = BreakerOptions(error_share=0.5, latency_ms=100.0, open_s=10.0, window=8, exchanges_min=4, probes=3)

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[BreakerState] = []
        self.breaker = Breaker(self.OPTIONS, self.heard.append)
        self.now_ns = SECOND
        self.state = BreakerState.CLOSED
        self.opened_ns = 0
        self.epoch = 0
        self.outcomes: list[tuple[bool, bool]] = []
        self.probes = 0
        self.under_way: list[tuple[int, int]] = []
        """The ticket and the model's epoch of each trial that was sent."""

    def model_allows(self) -> bool:
        if self.state is BreakerState.OPEN:
            return self.now_ns >= self.opened_ns + 10 * SECOND
        return self.state is BreakerState.CLOSED or self.probes < 3

    def change(self, state: BreakerState) -> None:
        self.state, self.outcomes, self.probes = state, [], 0
        self.epoch += 1

    @rule(ms=st.integers(1, 6000))
    def time_passes(self, ms: int) -> None:
        self.now_ns += ms * 1_000_000

    @precondition(lambda self: self.model_allows())
    @rule()
    def a_trial_is_sent(self) -> None:
        if self.state is BreakerState.OPEN:
            self.change(BreakerState.PROBING)
        self.probes += self.state is BreakerState.PROBING
        self.under_way.append((self.breaker.begin(), self.epoch))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), kind=st.sampled_from([None, None, *ErrorKind]), took_ms=st.sampled_from([1.0, 100.0, 101.0]))
    def a_trial_ends(self, data: st.DataObject, kind: ErrorKind | None, took_ms: float) -> None:
        ticket, epoch = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.breaker.end(ticket, exchange(self.now_ns, kind, took_ms=took_ms))
        if epoch != self.epoch:
            return
        self.outcomes.append((kind in FAILURES, took_ms > 100))
        last = self.outcomes[-8:]
        of = 3 if self.state is BreakerState.PROBING else len(last)
        too_many = 2 * sum(failed for failed, _ in last) >= of or 2 * sum(slow for _, slow in last) > of
        if too_many and (self.state is BreakerState.PROBING or len(last) >= 4):
            self.change(BreakerState.OPEN)
            self.opened_ns = self.now_ns
        elif self.state is BreakerState.PROBING and len(last) >= 3:
            self.change(BreakerState.CLOSED)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def a_trial_is_given_up(self, data: st.DataObject) -> None:
        ticket, epoch = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.breaker.give_up(ticket)
        self.probes -= epoch == self.epoch and self.state is BreakerState.PROBING

    @invariant()
    def it_stands_where_the_model_does(self) -> None:
        assert self.breaker.state is self.state
        assert self.breaker.allows(self.now_ns) is self.model_allows()
        assert len(self.heard) == self.epoch
        assert (self.heard or [BreakerState.CLOSED])[-1] is self.state
        last = self.outcomes[-8:]
        found = (self.breaker.seen, self.breaker.errors, self.breaker.slow)
        assert found == (len(last), sum(failed for failed, _ in last), sum(slow for _, slow in last))

    @invariant()
    def it_cannot_stay_shut_for_ever(self) -> None:
        waited_for = [epoch for _, epoch in self.under_way if epoch == self.epoch]
        assert waited_for or self.breaker.allows(self.now_ns + 10 * SECOND)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


def fed(breaker: Breaker, exchanges: list[Exchange]) -> None:
    for one in exchanges:
        breaker.end(breaker.begin(), one)


def test_a_target_that_fails_leaves_enough_evidence_before_it_is_left_alone() -> None:
    breaker = Breaker(BreakerOptions())
    sent = 0
    while breaker.allows(SECOND):
        fed(breaker, [exchange(SECOND, ErrorKind.TIMEOUT)])
        sent += 1
    assert sent == BREAKER_EXCHANGES_MIN


def test_and_goes_on_leaving_some_each_time_it_is_tried() -> None:
    breaker = Breaker(BreakerOptions(open_s=10, error_share=1.0))
    fed(breaker, [exchange(SECOND, ErrorKind.TIMEOUT)] * BREAKER_EXCHANGES_MIN)
    for round_ in range(1, 4):
        now_ns = SECOND + round_ * 10 * SECOND
        assert not breaker.allows(now_ns - 1)
        tickets = []
        while breaker.allows(now_ns):
            tickets.append(breaker.begin())
        assert len(tickets) == BREAKER_PROBES
        for ticket in tickets:
            assert breaker.state is BreakerState.PROBING
            breaker.end(ticket, exchange(now_ns, ErrorKind.TIMEOUT))
        assert breaker.state is BreakerState.OPEN


@pytest.mark.parametrize("kind", ErrorKind)
def test_only_a_target_in_distress_or_one_that_costs_too_much_is_left_alone(kind: ErrorKind) -> None:
    breaker = Breaker(BreakerOptions())
    fed(breaker, [exchange(SECOND, kind)] * BREAKER_EXCHANGES_MIN)
    expected = BreakerState.CLOSED if kind is ErrorKind.GARBAGE else BreakerState.OPEN
    assert breaker.state is expected


def test_a_5xx_is_a_finding_and_no_reason_to_stop_asking() -> None:
    breaker = Breaker(BreakerOptions())
    fed(breaker, [exchange(SECOND, status=503)] * 300)
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize(("slow", "state"), [(100, BreakerState.CLOSED), (101, BreakerState.OPEN)])
def test_a_median_above_the_bound_opens_it(slow: int, state: BreakerState) -> None:
    breaker = Breaker(BreakerOptions(error_share=None, latency_ms=250.0, exchanges_min=200))
    fed(breaker, [exchange(SECOND, took_ms=250.0)] * (200 - slow))
    fed(breaker, [exchange(SECOND, took_ms=251.0)] * slow)
    assert breaker.state is state


def test_without_a_bound_it_never_opens() -> None:
    breaker = Breaker(BreakerOptions(error_share=None))
    fed(breaker, [exchange(SECOND, ErrorKind.REFUSED, took_ms=1e6)] * 500)
    assert breaker.state is BreakerState.CLOSED


def test_what_began_before_it_opened_has_no_say_after() -> None:
    breaker = Breaker(BreakerOptions(probes=2))
    stragglers = [breaker.begin() for _ in range(50)]
    fed(breaker, [exchange(SECOND, ErrorKind.TIMEOUT)] * BREAKER_EXCHANGES_MIN)
    states = [breaker.state]
    probe = breaker.begin()
    for ticket in stragglers:
        breaker.end(ticket, exchange(SECOND, ErrorKind.TIMEOUT))
        breaker.give_up(ticket)
    states.append(breaker.state)
    breaker.end(probe, exchange(SECOND))
    breaker.end(breaker.begin(), exchange(SECOND))
    states.append(breaker.state)
    assert states == [BreakerState.OPEN, BreakerState.PROBING, BreakerState.CLOSED]
