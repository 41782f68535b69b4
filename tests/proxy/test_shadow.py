"""A trial whose shadows are under way: what it becomes, whichever of its exchanges were plain."""

from collections.abc import Callable
from itertools import product
from random import Random
from typing import Any, cast

import pytest

from harness.core.labels import Control, Design, ErrorKind, Role
from harness.core.plain import AnyExchange, PlainExchange, PlainTrial, opened, opened_exchange
from harness.core.trace import span_of
from harness.core.values import Exchange, Request, TransportError, Trial
from harness.proxy.breaker import Breaker, BreakerOptions, BreakerState
from harness.proxy.plain import PlainRequest, field_lines, plain_answer, plain_request
from harness.proxy.shadow import Lane, ShadowTrial, answered_bytes
from harness.proxy.tracing import Tracing
from harness.proxy.upstream import UpstreamPool

RAW = b"GET /a HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nA: b\r\n\r\n%b"
REQUEST = Request("GET", "/a", (("Host", "h"), ("X", "y")), host="h")
GONE = Exchange(request=REQUEST, error=TransportError(ErrorKind.RESET), started_ns=5, ended_ns=6)


class Pool:
    """Takes requests, and answers when it is told to."""

    def __init__(self) -> None:
        self.done: Callable[[AnyExchange], None] = lambda _: None
        self.aborted = 0
        self.request = REQUEST
        self.how: dict[str, Any] = {}

    def submit(self, request: Request, done: Callable[[AnyExchange], None], **how: Any) -> "Pool":
        self.done = done
        self.request, self.how = request, how
        return self

    def abort(self) -> None:
        self.aborted += 1


def plain(at_ns: int, body: bytes = b"{}") -> PlainExchange:
    answer = plain_answer(ANSWER % (len(body), body))
    assert answer is not None
    return PlainExchange(RAW, answer, at_ns, at_ns + 1, at_ns + 2)


def read(exchange: PlainExchange) -> Exchange:
    return opened_exchange(exchange, REQUEST)


def shadow_trial(
    request: PlainRequest | None,
    stable: AnyExchange,
    done: Callable[[ShadowTrial], None],
    *,
    tracing: Tracing | None = None,
    asked: Request = REQUEST,
) -> ShadowTrial:
    return ShadowTrial(
        asked,
        request,
        stable,
        trial_id="t1",
        endpoint="GET /a",
        entity="GET /a",
        session="s",
        order=(Role.STABLE, Role.CANDIDATE, Role.SECONDARY),
        in_flight=4,
        warm_up=False,
        held_bytes=9,
        done=done,
        tracing=tracing,
    )


def lane(role: Role, pool: Pool, breaker: Breaker | None = None) -> Lane:
    return Lane(role, cast("UpstreamPool", pool), breaker)


@pytest.mark.parametrize(("request_plain", "stable_plain", "secondary_plain", "candidate_plain"), list(product([True, False], repeat=4)))
def test_it_is_the_same_trial_whatever_was_plain(
    request_plain: bool, stable_plain: bool, secondary_plain: bool, candidate_plain: bool
) -> None:
    exchanges = [plain(10), plain(20), plain(30, b"[]")]
    given: list[AnyExchange] = [
        exchange if is_plain else read(exchange)
        for exchange, is_plain in zip(exchanges, (stable_plain, secondary_plain, candidate_plain), strict=True)
    ]
    done: list[ShadowTrial] = []
    pools = {Role.SECONDARY: Pool(), Role.CANDIDATE: Pool()}
    shadow = shadow_trial(plain_request(RAW) if request_plain else None, given[0], done.append)
    for number, (role, pool) in enumerate(pools.items()):
        shadow.send(lane(role, pool), 100 + number)
    pools[Role.CANDIDATE].done(given[2])
    assert done == [], "one arm has not answered yet"
    pools[Role.SECONDARY].done(given[1])
    assert done == [shadow]
    trial = shadow.trial(7, Control.SECONDARY, Design.TWO_ARM)
    assert isinstance(trial, PlainTrial) is (request_plain and stable_plain and secondary_plain and candidate_plain)
    whole = opened(trial)
    assert isinstance(whole, Trial)
    assert [arm.exchange for arm in whole.arms()] == [read(exchange) for exchange in exchanges]
    assert [arm.intended_ns for arm in whole.arms()] == [10, 100, 101]
    assert (whole.id, whole.seq, whole.endpoint, whole.request, whole.session) == ("t1", 7, "GET /a", REQUEST, "s")
    assert (whole.entity, whole.in_flight, whole.warm_up, whole.order[1]) == ("GET /a", 4, False, Role.CANDIDATE)
    assert (whole.control, whole.design) == (Control.SECONDARY, Design.TWO_ARM)


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_request_with_tracing_of_its_own_is_one_trial_under_a_trace_of_ours(is_plain: bool) -> None:
    theirs = "4bf92f3577b34da6a3ce929d0e0e4736"
    raw = RAW[:-2] + f"traceparent: 00-{theirs}-00f067aa0ba902b7-01\r\nBaggage: tenant=7\r\n\r\n".encode()
    came = plain_request(raw)
    assert came is not None
    stable = PlainExchange(raw, plain(10).answer, 10, 11, 12)
    asked = Request("GET", "/a", came.head.headers, host="h")
    pools = {Role.SECONDARY: Pool(), Role.CANDIDATE: Pool()}
    shadow = shadow_trial(came if is_plain else None, stable, lambda _: None, tracing=Tracing(Random(1)), asked=asked)
    for role, pool in pools.items():
        shadow.send(lane(role, pool), 100)
        if is_plain:
            sent = pool.how["plain"].raw[:-2] + field_lines(pool.how["extra"]) + pool.how["plain_extra"] + b"\r\n"
        else:
            sent = field_lines((*pool.request.headers, *pool.how["extra"]))
        assert theirs.encode() not in sent
        assert b",tenant=7\r\n" in sent
        pool.done(PlainExchange(sent, plain(20).answer, 20, 21, 22) if is_plain else read(plain(20)))
    trial = shadow.trial(7, Control.SECONDARY, Design.TWO_ARM)
    assert isinstance(trial, PlainTrial) is is_plain
    whole = opened(trial)
    assert (whole.stable_trace, len(whole.trace), whole.request) == (theirs, 32, asked)
    assert span_of(whole.trace, Role.CANDIDATE).encode() in sent


@pytest.mark.parametrize(("whole", "body"), [(True, b"{}"), (False, b"{}"), (True, b"[]"), (False, b"[]")])
def test_a_body_that_nobody_asks_for_is_left_out_where_all_are_alike(whole: bool, body: bytes) -> None:
    pools = [Pool(), Pool()]
    shadow = shadow_trial(plain_request(RAW), plain(10), lambda _: None)
    for role, pool, answer in zip((Role.SECONDARY, Role.CANDIDATE), pools, (b"{}", body), strict=True):
        shadow.send(lane(role, pool), 0)
        pool.done(plain(20, answer))
    trial = shadow.trial(0, Control.SECONDARY, Design.TWO_ARM, whole=whole)
    assert isinstance(trial, PlainTrial)
    assert trial.alike is (body == b"{}")
    left_out = trial.alike and not whole
    assert trial.stable.same_body is left_out
    assert trial.stable.answer.endswith(b"\r\n\r\n" if left_out else b"{}")


def test_an_arm_that_failed_is_part_of_the_trial() -> None:
    pools = [Pool(), Pool()]
    shadow = shadow_trial(plain_request(RAW), plain(10), lambda _: None)
    for role, pool in zip((Role.SECONDARY, Role.CANDIDATE), pools, strict=True):
        shadow.send(lane(role, pool), 0)
    pools[0].done(plain(20))
    pools[1].done(GONE)
    trial = opened(shadow.trial(0, Control.SECONDARY, Design.TWO_ARM))
    assert trial.candidate is not None
    assert trial.candidate.exchange == GONE


def test_what_is_given_up_is_heard_of_no_more_and_its_probe_is_given_back() -> None:
    breaker = Breaker(BreakerOptions(exchanges_min=1, window=2, probes=1, open_s=1))
    breaker.end(breaker.begin(), GONE)
    assert breaker.state is BreakerState.OPEN
    pool = Pool()
    shadow = shadow_trial(None, plain(0), lambda _: None)
    shadow.send(lane(Role.CANDIDATE, pool, breaker), 0)
    assert not breaker.allows(0), "the probe is under way"
    shadow.abort()
    assert pool.aborted == 1
    assert breaker.allows(0)


def test_length_of_an_answer() -> None:
    assert [answered_bytes(exchange) for exchange in (plain(0, b"abc"), read(plain(0, b"abc")), GONE)] == [3, 3, 0]
