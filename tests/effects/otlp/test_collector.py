"""The collector of spans: whose a span is, when a trial's are complete, what is late, and that nothing sent to it can hurt."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import limits
from harness.core.errors import UsageError
from harness.core.labels import Role
from harness.core.redact import Redactor
from harness.core.trace import span_of, trace_id
from harness.effects.api import Lapse, Observed, Workplace
from harness.effects.otlp.collector import SpanCollector
from harness.effects.otlp.spans import CLIENT, INTERNAL, PRODUCER, SERVER
from tests.effects.otlp.spanning import ROLES, TRACE, Made, SystemClock, call, export, incoming, server, span_id, trial, workplace

CLOCK = SystemClock()
LONG_NS = 90_000_000_000
FOLDER = Path("never-written")


class SteppedClock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def monotonic_ns(self) -> int:
        return self.now_ns

    def time(self) -> float:
        return self.now_ns / 1e9


def made(clock: Any = None, **options: object) -> SpanCollector:
    place = workplace(FOLDER) if clock is None else Workplace(folder=FOLDER, clock=clock, rng=Random(1), redactor=Redactor(b"key"))
    return SpanCollector.make({"quiet_ms": 0, "wait_ms": 20, **options}, place)


def run(use: Callable[[], Awaitable[Any]]) -> Any:
    async def go() -> Any:
        async with asyncio.timeout(100):
            return await use()

    return asyncio.run(go())


def operations(observed: list[Observed]) -> list[tuple[str, str]]:
    return [(str(one.role), one.effect.operation) for one in observed]


def lapse(collector: SpanCollector, part: str) -> list[Lapse]:
    return [one for one in collector.lapses() if part in one.what]


CHARGE = "CLIENT http POST payments.test/charges/{int}"


def test_by_path() -> None:
    async def use() -> None:
        spans = made()
        one = trial(roles=(Role.STABLE, Role.CANDIDATE))
        spans.begin(one)
        assert spans.take(Role.STABLE, incoming(server(Role.STABLE), call(2, 1))) == 0
        assert spans.take(Role.CANDIDATE, incoming(call(2, 1), call(3, 1, error=True), server(Role.CANDIDATE))) == 0
        assert await spans.drain() == [], "nothing before it is known what belongs together"
        assert await spans.settle(one, CLOCK.monotonic_ns() + LONG_NS)
        observed = await spans.drain()
        assert operations(observed) == [("stable", CHARGE), ("candidate", CHARGE), ("candidate", CHARGE)]
        assert [orjson.loads(each.effect.document)["error"] for each in observed] == [False, False, True]
        assert all(each.trace == TRACE and each.effect.collector == "otlp" and each.effect.writes for each in observed)
        assert await spans.drain() == []
        assert spans.lapses() == ()

    run(use)


def test_by_the_chain_of_parents() -> None:
    async def use() -> None:
        spans = made()
        one = trial()
        spans.begin(one)
        for number, role in enumerate(ROLES):
            base = 10 * number
            chain = [
                call(base + 3, base + 2, url=f"http://{role}.test/"),
                Made(span=span_id(base + 2), parent=span_id(base + 1), kind=INTERNAL),
            ]
            spans.take(None, incoming(*chain, server(role, base + 1)))
        assert await spans.settle(one, CLOCK.monotonic_ns() + LONG_NS)
        assert operations(await spans.drain()) == [(str(role), f"CLIENT http POST {role}.test/") for role in ROLES]

    run(use)


def test_only_the_kinds_that_are_asked_for() -> None:
    attributes = {"messaging.system": "kafka", "messaging.destination.name": "orders"}
    inner = [
        Made(span=span_id(number), parent=span_id(1), kind=kind, attributes=attributes) for number, kind in enumerate(range(6), start=2)
    ]

    async def use(**options: object) -> list[str]:
        spans = made(**options)
        one = trial(roles=(Role.STABLE,))
        spans.begin(one)
        spans.take(Role.STABLE, incoming(server(Role.STABLE), *inner))
        assert await spans.settle(one, CLOCK.monotonic_ns() + LONG_NS)
        return [each.effect.operation for each in await spans.drain()]

    assert run(use) == ["CLIENT kafka orders", "PRODUCER kafka orders"]
    assert run(lambda: use(kinds=["producer"])) == ["PRODUCER kafka orders"]
    assert {CLIENT, PRODUCER, SERVER} == {3, 4, 2}


def test_settling_waits_for_the_last_parent() -> None:
    async def use() -> None:
        spans = made(wait_ms=60_000)
        one = trial(roles=(Role.STABLE,))
        spans.begin(one)
        waiting = asyncio.create_task(spans.settle(one, CLOCK.monotonic_ns() + LONG_NS))
        for part in ([call(3, 2)], [server(Role.STABLE)], [Made(span=span_id(2), parent=span_id(1), kind=INTERNAL)]):
            for _ in range(20):
                await asyncio.sleep(0)
            assert not waiting.done()
            spans.take(Role.STABLE, incoming(*part))
        assert await waiting
        assert len(await spans.drain()) == 1

    run(use)


def test_settling_waits_until_it_is_quiet() -> None:
    async def use() -> None:
        clock = SteppedClock()
        spans = made(clock, quiet_ms=200, wait_ms=2000)
        one = trial(roles=(Role.STABLE,))
        spans.begin(one)
        spans.take(Role.STABLE, incoming(server(Role.STABLE)))
        waiting = asyncio.create_task(spans.settle(one, clock.now_ns + LONG_NS))
        for number in range(2, 5):
            clock.now_ns += 150_000_000
            spans.take(Role.STABLE, incoming(call(number, 1)))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not waiting.done(), "something came less than 200 ms ago"
        clock.now_ns += 200_000_000
        assert await waiting
        assert len(await spans.drain()) == 3

    run(use)


@pytest.mark.parametrize(("deadline_ms", "wait_ms"), [(10, 60_000), (90_000, 10)])
def test_what_is_not_complete_in_time_is_given_out_and_said(deadline_ms: int, wait_ms: int) -> None:
    async def use() -> None:
        spans = made(wait_ms=wait_ms)
        one = trial(roles=(Role.STABLE, Role.CANDIDATE))
        spans.begin(one)
        spans.take(Role.STABLE, incoming(server(Role.STABLE)))
        spans.take(Role.CANDIDATE, incoming(server(Role.CANDIDATE), call(3, 2)))
        assert not await spans.settle(one, CLOCK.monotonic_ns() + deadline_ms * 1_000_000)
        assert operations(await spans.drain()) == [("candidate", CHARGE)]
        assert spans.lapses() == (Lapse("requests whose spans were not complete in time", 1, Role.CANDIDATE),)

    run(use)


def test_late_spans_say_so_and_name_their_trial() -> None:
    async def use() -> None:
        spans = made()
        one = trial(roles=(Role.STABLE,))
        spans.begin(one)
        spans.take(Role.STABLE, incoming(server(Role.STABLE)))
        assert await spans.settle(one, CLOCK.monotonic_ns() + LONG_NS)
        spans.take(Role.STABLE, incoming(call(2, 1)))
        (between,) = await spans.drain()
        assert not between.effect.late, "the trial has not been judged yet"
        spans.end(one)
        spans.take(Role.STABLE, incoming(call(3, 1)))
        spans.take(None, incoming(call(4, 3, url="http://b.test/")))
        late = await spans.drain()
        assert [(each.trace, each.effect.late) for each in late] == [(TRACE, True), (TRACE, True)]

    run(use)


def test_an_abandoned_trial_still_gives_out_what_was_done() -> None:
    async def use() -> None:
        spans = made()
        one = trial(roles=(Role.STABLE,))
        spans.begin(one)
        spans.take(Role.STABLE, incoming(call(2, 1)))
        spans.end(one)
        spans.end(one)
        assert operations(await spans.drain()) == [("stable", CHARGE)]
        assert not await spans.settle(one, CLOCK.monotonic_ns() + LONG_NS)

    run(use)


def test_an_export_that_was_sent_twice_counts_once() -> None:
    async def use() -> None:
        spans = made()
        one = trial(roles=(Role.STABLE,))
        spans.begin(one)
        for _ in range(2):
            spans.take(Role.STABLE, incoming(server(Role.STABLE), call(2, 1)))
        assert await spans.settle(one, CLOCK.monotonic_ns() + LONG_NS)
        spans.take(Role.STABLE, incoming(server(Role.STABLE), call(2, 1)))
        assert len(await spans.drain()) == 1
        assert spans.lapses() == ()

    run(use)


def test_a_silent_role_is_waited_for_a_few_times_only_until_it_speaks() -> None:
    async def use() -> None:
        spans = made(wait_ms=5)
        tries = limits.SPAN_TRIALS_SILENT_MAX + 3

        async def one(number: int, *parts: Made) -> bool:
            trace = trace_id(number)
            now = trial(trace, (Role.STABLE, Role.CANDIDATE))
            spans.begin(now)
            spans.take(Role.STABLE, incoming(server(Role.STABLE, trace=trace)))
            if parts:
                spans.take(Role.CANDIDATE, incoming(*parts))
            settled = await spans.settle(now, CLOCK.monotonic_ns() + LONG_NS)
            spans.end(now)
            return settled

        assert [await one(number) for number in range(1, tries + 1)] == [False] * tries
        assert lapse(spans, "no span came from candidate; is it instrumented?") == [
            Lapse("no span came from candidate; is it instrumented?", 3, Role.CANDIDATE)
        ]
        assert lapse(spans, "not complete in time") == [
            Lapse("requests whose spans were not complete in time", limits.SPAN_TRIALS_SILENT_MAX, Role.CANDIDATE)
        ]
        assert await one(100, server(Role.CANDIDATE, trace=trace_id(100)))
        assert not await one(101), "it has spoken: it is waited for again"
        assert lapse(spans, "not complete in time")[0].count == limits.SPAN_TRIALS_SILENT_MAX + 1

    run(use)


def test_a_role_that_does_not_take_up_the_trace_is_told_from_one_that_is_silent() -> None:
    async def use() -> None:
        spans = made(wait_ms=1)
        for number in range(1, limits.SPAN_TRIALS_SILENT_MAX + 2):
            now = trial(trace_id(number), (Role.STABLE,))
            spans.begin(now)
            spans.take(Role.STABLE, incoming(Made(trace=b"x" * 16, span=span_id(1), kind=SERVER)))
            assert not await spans.settle(now, CLOCK.monotonic_ns() + LONG_NS)
        (found,) = lapse(spans, "traceparent")
        assert (found.role, found.count, found.blind) == (Role.STABLE, 1, True)
        (strange,) = lapse(spans, "of no request")
        assert (strange.count, strange.blind) == (limits.SPAN_TRIALS_SILENT_MAX + 1, False)

    run(use)


BROKEN = [
    Made(span=span_id(1), trace=bytes(16)),
    Made(span=bytes(8)),
    Made(span=b"short"),
    Made(span=span_id(1), trace=b"short"),
    Made(span=span_id(1), parent=b"x" * 9),
    Made(span=b""),
]


def test_broken_ids_are_counted_and_told() -> None:
    async def use() -> None:
        spans = made()
        one = trial(roles=(Role.STABLE,))
        spans.begin(one)
        assert spans.take(Role.STABLE, incoming(*BROKEN)) == len(BROKEN)
        assert spans.take(Role.STABLE, incoming(server(Role.STABLE), call(5, 5))) == 0
        loop = [Made(span=span_id(7), parent=span_id(8), kind=INTERNAL), Made(span=span_id(8), parent=span_id(7), kind=INTERNAL)]
        assert spans.take(Role.STABLE, incoming(*loop)) == 0
        assert await spans.settle(one, CLOCK.monotonic_ns() + LONG_NS)
        assert spans.lapses() == (Lapse("spans with broken ids", len(BROKEN) + 1 + 2, Role.STABLE),)
        assert len(await spans.drain()) == 1

    run(use)


def test_spans_that_hang_below_nothing() -> None:
    async def use() -> None:
        spans = made(wait_ms=1)
        one = trial(roles=(Role.STABLE,))
        spans.begin(one)
        spans.take(None, incoming(server(Role.STABLE), call(5, 6), call(6, 5)))
        assert not await spans.settle(one, CLOCK.monotonic_ns() + LONG_NS)
        spans.end(one)
        assert lapse(spans, "below no target") == [Lapse("spans that hang below no target's request", 2)]

    run(use)


def test_more_spans_than_can_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EFFECTS_UNDRAINED_MAX", 20)

    async def use() -> None:
        spans = made(wait_ms=1)
        old, one = trial(trace_id(1), (Role.STABLE,)), trial(roles=(Role.STABLE,))
        spans.begin(old)
        spans.take(Role.STABLE, incoming(server(Role.STABLE, trace=old.trace)))
        assert await spans.settle(old, CLOCK.monotonic_ns() + LONG_NS)
        spans.end(old)
        spans.begin(one)
        rejected = spans.take(Role.STABLE, incoming(server(Role.STABLE), *(call(number, 1) for number in range(2, 100))))
        assert rejected == 99 - 20, "the old trial made room"
        assert not await spans.settle(one, CLOCK.monotonic_ns() + LONG_NS)
        assert len(await spans.drain()) == 19
        assert lapse(spans, "left out") == [Lapse("spans left out, more than can be held", 79, Role.STABLE)]
        spans.end(one)
        spans.begin(later := trial(trace_id(3), (Role.STABLE,)))
        spans.take(Role.STABLE, incoming(server(Role.STABLE, trace=later.trace)))
        assert await spans.settle(later, CLOCK.monotonic_ns() + LONG_NS), "the next trial has room again"

    run(use)


def test_long_statements_weigh_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EFFECTS_UNDRAINED_MAX", 40)
    text = "SELECT " + "a, " * 10_000

    async def use() -> None:
        spans = made(wait_ms=1)
        spans.begin(trial(roles=(Role.STABLE,)))
        long = [Made(span=span_id(n), parent=span_id(1), attributes={"db.system": "x", "db.statement": text}) for n in range(2, 5)]
        assert spans.take(Role.STABLE, incoming(*long)) == 2

    run(use)


def test_effects_that_nobody_fetches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EFFECTS_UNDRAINED_MAX", 10)

    async def use() -> None:
        spans = made()
        for number in range(1, 6):
            one = trial(trace_id(number), (Role.STABLE,))
            spans.begin(one)
            trace = bytes.fromhex(one.trace)
            calls = [Made(trace=trace, span=span_id(n), parent=span_id(1), attributes={"http.method": "PUT"}) for n in range(2, 5)]
            spans.take(Role.STABLE, incoming(server(Role.STABLE, trace=one.trace), *calls))
            await spans.settle(one, CLOCK.monotonic_ns() + LONG_NS)
            spans.end(one)
        assert len(await spans.drain()) == 10
        assert lapse(spans, "effects left out") == [Lapse("effects left out, more than can be held", 5, Role.STABLE)]

    run(use)


def test_judged_trials_are_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPAN_TRIALS_ENDED_MAX", 2)

    async def use() -> None:
        spans = made()
        trials = [trial(trace_id(number), (Role.STABLE,)) for number in range(1, 5)]
        for one in trials:
            spans.begin(one)
            spans.end(one)
        for one in trials:
            spans.take(Role.STABLE, incoming(Made(trace=bytes.fromhex(one.trace), span=span_id(2), attributes={"http.method": "PUT"})))
        assert [each.trace for each in await spans.drain()] == [trials[2].trace, trials[3].trace]
        assert lapse(spans, "of no request") == [Lapse("spans of no request of this run", 2, Role.STABLE, blind=False)]

    run(use)


def test_a_role_that_is_not_in_the_trial() -> None:
    async def use() -> None:
        spans = made()
        spans.begin(trial(roles=(Role.STABLE,)))
        spans.take(Role.CANDIDATE, incoming(call(2, 1)))
        assert lapse(spans, "of no request") == [Lapse("spans of no request of this run", 1, Role.CANDIDATE, blind=False)]

    run(use)


ids = st.sampled_from([b"", bytes(8), b"x", *(span_id(n) for n in range(1, 6)), *(bytes.fromhex(span_of(TRACE, role)) for role in ROLES)])
traces = st.sampled_from([bytes.fromhex(TRACE), b"y" * 16, bytes(16), b""])
some_spans = st.builds(
    Made,
    trace=traces,
    span=ids,
    parent=ids,
    kind=st.integers(0, 7),
    attributes=st.sampled_from(
        [{}, {"http.method": "PUT", "http.url": "http://a.test/"}, {"db.system": "x", "db.statement": "DELETE FROM t"}]
    ),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([None, *ROLES]), st.lists(some_spans, max_size=6)),
        st.sampled_from(["begin", "settle", "drain", "end"]),
    ),
    max_size=25,
)


@given(steps)
def test_nothing_that_is_sent_in_any_order_raises(todo: list[Any]) -> None:
    async def use() -> None:
        spans = made(wait_ms=0)
        one = trial()
        seen: list[Observed] = []
        for step in todo:
            if step == "begin":
                spans.begin(one)
            elif step == "settle":
                await spans.settle(one, CLOCK.monotonic_ns())
            elif step == "drain":
                seen += await spans.drain()
            elif step == "end":
                spans.end(one)
            else:
                role, sent = step
                assert 0 <= spans.take(role, incoming(*sent)) <= len(sent)
        seen += await spans.drain()
        assert all(each.trace == TRACE for each in seen)
        assert all(each.count > 0 for each in spans.lapses())
        if "begin" not in todo:
            assert not seen

    run(use)


@asynccontextmanager
async def opened(**options: object) -> AsyncIterator[SpanCollector]:
    spans = made(**options)
    await spans.open(ROLES)
    yield spans
    await spans.close()


def test_over_the_wire() -> None:
    """Names and environment lead to the receiver, and what it refuses is a lapse."""

    async def use() -> None:
        async with opened() as spans, aiohttp.ClientSession() as session:
            url = spans.names(Role.STABLE)["otlp"]
            env = spans.env(Role.STABLE)
            assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == url
            assert env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == f"{url}/v1/traces"
            assert url.endswith("/stable")
            assert spans.env(Role.CANDIDATE) != env
            one = trial(roles=(Role.STABLE,))
            spans.begin(one)
            headers = {"Content-Type": "application/x-protobuf"}
            async with session.post(f"{url}/v1/traces", data=export([server(Role.STABLE), call(2, 1)]), headers=headers) as answer:
                assert answer.status == 200
            assert await spans.settle(one, CLOCK.monotonic_ns() + LONG_NS)
            assert operations(await spans.drain()) == [("stable", CHARGE)]
            async with session.post(f"{url}/v1/traces", data=b"\xff", headers=headers) as answer:
                assert answer.status == 400
            assert spans.lapses() == (Lapse("exports that are not OTLP were refused", 1, Role.STABLE),)

    run(use)


def test_live_traffic_is_settled_by_its_traces() -> None:
    """Nobody announces trials: a trace is given out when it is whole and quiet, or after the wait; what comes then is late."""

    async def use() -> None:
        clock = SteppedClock()
        place = Workplace(folder=FOLDER, clock=clock, rng=Random(1), redactor=Redactor(b"key"), live=True)
        spans = SpanCollector.make({"quiet_ms": 200, "wait_ms": 2000}, place)
        await spans.open(ROLES)
        try:
            other = trace_id(9)
            lost = Made(trace=bytes.fromhex(other), span=span_id(4), parent=span_id(3), attributes={"http.method": "PUT"})
            spans.take(Role.STABLE, incoming(server(Role.STABLE), call(2, 1), lost))
            spans.take(Role.CANDIDATE, incoming(call(2, 1), server(Role.CANDIDATE)))
            assert await spans.drain() == []
            clock.now_ns += 200_000_000
            assert operations(await spans.drain()) == [("stable", CHARGE), ("candidate", CHARGE)]
            clock.now_ns += 1_800_000_000
            assert [(each.trace, each.effect.late) for each in await spans.drain()] == [(other, False)]
            spans.take(Role.STABLE, incoming(call(5, 1)))
            assert [each.effect.late for each in await spans.drain()] == [True]
            assert spans.lapses() == (Lapse("no span came from secondary; is it instrumented?", 1, Role.SECONDARY),)
        finally:
            await spans.close()

    run(use)


def test_live_arms_are_given_out_one_by_one_also_below_a_clients_own_span() -> None:
    async def use() -> None:
        clock = SteppedClock()
        place = Workplace(folder=FOLDER, clock=clock, rng=Random(1), redactor=Redactor(b"key"), live=True)
        spans = SpanCollector.make({"quiet_ms": 200, "wait_ms": 2000}, place)
        await spans.open(ROLES)
        try:
            assert 0.4 < spans.delay_s < 1.0
            spans.take(Role.STABLE, incoming(Made(span=span_id(1), parent=span_id(77), kind=SERVER), call(2, 1)))
            assert await spans.drain() == []
            clock.now_ns += 200_000_000
            assert operations(await spans.drain()) == [("stable", CHARGE)]
            spans.take(Role.CANDIDATE, incoming(call(12, 11), server(Role.CANDIDATE, 11)))
            assert await spans.drain() == []
            clock.now_ns += 200_000_000
            given = await spans.drain()
            assert operations(given) == [("candidate", CHARGE)]
            assert not given[0].effect.late
        finally:
            await spans.close()

    run(use)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_both_protocols_are_listened_for_and_builds_are_told_one(protocol: str) -> None:
    async def use() -> None:
        spans = made(protocol=protocol)
        await spans.open(ROLES)
        try:
            names, env = spans.names(Role.CANDIDATE), spans.env(Role.CANDIDATE)
            told = {name.rpartition("_")[2]: text for name, text in env.items() if name.startswith("OTEL_EXPORTER_OTLP_T")}
            if protocol == "grpc":
                assert told == {"ENDPOINT": names["otlp_grpc"], "PROTOCOL": "grpc"}
                assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == names["otlp_grpc"]
            else:
                assert told == {"ENDPOINT": f"{names['otlp']}/v1/traces", "PROTOCOL": "http/protobuf"}
                assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == names["otlp"]
            assert env["OTEL_EXPORTER_OTLP_PROTOCOL"] == protocol
            urls = {spans.names(role)[name] for role in ROLES for name in ("otlp", "otlp_grpc")}
            ports = {urlsplit(url).port for url in urls}
            assert (len(urls), len(ports)) == (6, 4), "one port for HTTP, one for gRPC of each role"
            for port in ports:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
        finally:
            await spans.close()

    run(use)


def test_builds_export_after_half_of_the_quiet_time() -> None:
    assert SpanCollector.make({}, workplace(FOLDER)).env(Role.STABLE)["OTEL_BSP_SCHEDULE_DELAY"] == "100"
    assert made().env(Role.STABLE)["OTEL_BSP_SCHEDULE_DELAY"] == "1"


def test_wrong_options() -> None:
    with pytest.raises(UsageError, match=r"effects\.otlp\.wait_ms"):
        made(wait_ms="long")
