"""What is mirrored, skipped and shed; the coin; what a trial says; warm-up and sessions."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import pytest

from harness.core.errors import UsageError
from harness.core.labels import Control, Design, ErrorKind, Role, ShedReason
from harness.core.limits import ENDPOINT_CACHE_CHARS_MAX, ENDPOINTS_MAX, NAMES_CACHE_MAX, OTHER_ENDPOINT
from harness.core.outcomes import Tally
from harness.core.plain import AnyTrial
from harness.core.values import Exchange, Request, TransportError, Trial, body_of
from harness.proxy import allowance
from harness.proxy.address import HostRule
from harness.proxy.breaker import BreakerOptions, BreakerState
from harness.proxy.dispatch import Dispatcher, DispatchOptions, FaultLog, Names, Naming, SessionKeys, Sink, WarmUp
from harness.proxy.upstream import UpstreamPool
from tests.proxy.rig import SHORT_S, Behaviour, CountingIds, ManualClock, Seen, Upstream, answers, get, hang, ok, rig, run, until

POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"


def held_until(release: asyncio.Event) -> Behaviour:
    """Answers once the test says so."""

    async def behave(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await release.wait()
        writer.write(ok())

    return behave


def test_unsafe_methods_are_mirrored_only_when_allowed() -> None:
    async def main() -> None:
        for allowed in (False, True):
            async with rig(secondary=answers(ok()), candidate=answers(ok()), allow_writes=allowed) as r:
                await r.talk(
                    POST, get("/").replace(b"GET", b"DELETE"), get("/").replace(b"GET", b"TRACE"), get("/").replace(b"GET", b"OPTIONS")
                )
                await r.settled()
                assert r.tally.totals().skipped == ({"write": 1} if allowed else {"write": 3})
                assert len(r.candidate.seen) == len(r.secondary.seen) == (3 if allowed else 1)

    run(main())


def test_a_mirrored_request_is_never_mirrored_again() -> None:
    async def main() -> None:
        async with rig(secondary=answers(ok()), candidate=answers(ok())) as r:
            await r.talk(get("/", "X-Shadowdiff-Shadow: 1", "Connection: x-shadowdiff-shadow"))
            assert r.tally.totals().skipped == {"loop": 1}
            assert (b"X-Shadowdiff-Shadow", b"1") in r.stable.seen[0].headers
            assert not r.candidate.seen

    run(main())


def test_a_shadow_that_answers_much_more_than_stable_is_given_up_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.proxy.shadow.SHADOW_ANSWER_BYTES_MAX", 1000)

    async def main() -> None:
        body = ok(b"x" * 500)
        async with rig(answers(body), secondary=answers(ok(b"x" * 2000)), candidate=answers(ok(b"x" * 2_000_001))) as r:
            await r.talk(get("/"))
            await r.settled()
            (trial,) = r.trials
            assert trial.secondary is not None
            assert trial.secondary.exchange.response is not None
            assert trial.candidate is not None
            assert trial.candidate.exchange.error is not None
            assert trial.candidate.exchange.error.kind is ErrorKind.TOO_LARGE
            assert r.tally.totals().compared == 1

    run(main())


def test_without_shadows_nothing_is_compared() -> None:
    async def main() -> None:
        async with rig(mirror=False) as r:
            await r.talk(get("/"))
            assert r.tally.totals().skipped == {"no_shadow": 1}
            assert len(r.recorded) == 1

    run(main())


def test_both_arms_get_the_same_bytes_and_the_mark() -> None:
    async def main() -> None:
        async with rig(secondary=answers(ok()), candidate=answers(ok())) as r:
            await r.talk(get("/x?y=1", "X-A: 1", "x-a: 2"))
            await r.settled()
            (seen,) = r.candidate.seen
            assert seen.head == r.secondary.seen[0].head == get("/x?y=1", "X-A: 1", "x-a: 2", "x-shadowdiff-shadow: 1")
            assert b"x-shadowdiff" not in r.stable.seen[0].head

    run(main())


def test_hosts_can_be_rewritten_per_side() -> None:
    async def main() -> None:
        async with rig(secondary=answers(ok()), candidate=answers(ok()), stable_host=HostRule.REWRITE, shadow_host=HostRule.REWRITE) as r:
            await r.talk(get("/"))
            await r.settled()
            for target in (r.stable, r.secondary, r.candidate):
                assert target.seen[0].headers[0] == (b"Host", f"127.0.0.1:{target.port}".encode())

    run(main())


def test_the_coin_orders_the_shadows_and_is_in_the_trial() -> None:
    async def main() -> None:
        async with rig(secondary=answers(ok()), candidate=answers(ok())) as r:
            await r.talk(*[get(f"/{i}") for i in range(60)])
            await r.settled()
            firsts = [trial.order[1] for trial in r.trials]
            assert {trial.order[0] for trial in r.trials} == {Role.STABLE}
            assert 15 <= firsts.count(Role.CANDIDATE) <= 45
            rng = random.Random(7)
            expected = [Role.CANDIDATE if rng.random() < 0.5 else Role.SECONDARY for _ in range(60)]
            assert [trial.order[1] for trial in sorted(r.trials, key=lambda trial: int(trial.id[1:]))] == expected
            for trial in r.trials:
                arms = {arm.role: arm for arm in trial.arms()}
                assert arms[trial.order[1]].intended_ns <= arms[trial.order[2]].intended_ns
                assert arms[trial.order[1]].intended_ns >= trial.stable.exchange.ended_ns

    run(main())


@pytest.mark.parametrize(
    ("options", "control", "design", "roles"),
    [
        ({}, Control.SECONDARY, Design.TWO_ARM, {"stable", "secondary", "candidate"}),
        ({"without": "secondary"}, Control.NONE, Design.NO_CONTROL, {"stable", "candidate"}),
        ({"control": Control.NONE}, Control.NONE, Design.NO_CONTROL, {"stable", "candidate"}),
        ({"control": Control.SELF}, Control.SELF, Design.TWO_ARM, {"stable", "secondary", "candidate"}),
        ({"without": "candidate"}, Control.SECONDARY, Design.TWO_ARM, {"stable", "secondary"}),
    ],
)
def test_control_and_design_follow_the_configuration(options: dict[str, Any], control: Control, design: Design, roles: set[str]) -> None:
    async def main() -> None:
        async with rig(secondary=answers(ok()), candidate=answers(ok()), **options) as r:
            await r.talk(get("/a", "Authorization: Bearer x"))
            await r.settled()
            (trial,) = r.trials
            assert (trial.control, trial.design, {arm.role.value for arm in trial.arms()}) == (control, design, roles)
            assert (trial.seq, trial.in_flight, trial.warm_up, trial.endpoint, trial.entity) == (0, 1, True, "GET /a", "/a")
            assert len(r.stable.seen) == (2 if control is Control.SELF else 1)

    run(main())


def test_trials_are_shed_before_sending_when_too_many_are_under_way() -> None:
    release = asyncio.Event()

    async def main() -> None:
        async with rig(secondary=answers(ok()), candidate=held_until(release), dispatch=DispatchOptions(trials_in_flight_max=2)) as r:
            for i in range(5):
                await r.talk(get(f"/{i}"))
            assert r.tally.totals().shed == {"in_flight": 3}
            release.set()
            await r.settled()
            assert len(r.candidate.seen) == len(r.secondary.seen) == 2
            assert sorted(trial.in_flight for trial in r.trials) == [1, 2]

    run(main())


def test_trials_are_shed_by_the_bytes_they_may_hold() -> None:
    release = asyncio.Event()

    async def main() -> None:
        async with rig(
            answers(ok(b"x" * 500)),
            secondary=held_until(release),
            candidate=held_until(release),
            dispatch=DispatchOptions(bytes_in_flight_max=2000),
        ) as r:
            await r.talk(get("/1"), get("/2"))
            assert r.tally.totals().shed == {"in_flight": 1}
            release.set()
            await r.settled()
            await r.talk(get("/3"))
            assert r.tally.totals().shed == {"in_flight": 1}, "what was held is given back"

    run(main())


def test_room_is_asked_for_once_when_all_else_is_settled() -> None:
    asked: list[tuple[str, int]] = []

    def has_room(endpoint: str, body_bytes: int) -> bool:
        asked.append((endpoint, body_bytes))
        return endpoint != "GET /full"

    async def main() -> None:
        dispatch = DispatchOptions(exclude=("/out",))
        async with rig(
            answers(ok(b"x" * 100)), secondary=answers(ok()), candidate=answers(ok()), has_room=has_room, dispatch=dispatch
        ) as r:
            await r.talk(get("/a"), get("/full"), get("/out"), POST)
            await r.settled()
            assert asked == [("GET /a", 300), ("GET /full", 300)]
            assert r.tally.totals().shed == {"queue_full": 1}
            assert [seen.line.split()[1] for seen in r.candidate.seen] == [b"/a"]

    run(main())


def test_a_full_queue_sheds_before_sending() -> None:
    async def main() -> None:
        async with rig(secondary=answers(ok()), candidate=answers(ok()), has_room=lambda _endpoint, _body_bytes: False) as r:
            await r.talk(get("/1"))
            assert r.tally.totals().shed == {"queue_full": 1}
            assert not r.candidate.seen

    run(main())


def test_sequence_numbers_are_dense_in_the_order_of_completion() -> None:
    async def candidate(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        if seen.line.split()[1] == b"/slow":
            await until(lambda: len(done) == 2)
        writer.write(ok())

    done: list[str] = []

    async def main() -> None:
        async with rig(secondary=answers(ok()), candidate=candidate) as r:
            await r.talk(get("/slow"), get("/1"), get("/2"))
            await until(lambda: len(r.trials) == 2)
            done.extend(["1", "2"])
            await r.settled()
            assert [trial.seq for trial in r.trials] == [0, 1, 2]
            assert r.trials[-1].entity == "/slow"

    run(main())


def test_a_sink_that_fails_once_leaves_no_gap() -> None:
    kept: list[Trial] = []

    def put(trial: Trial) -> None:
        if trial.entity == "/1":
            raise RuntimeError
        kept.append(trial)

    async def main() -> None:
        async with rig(secondary=answers(ok()), candidate=answers(ok()), put=put) as r:
            for i in range(3):
                await r.talk(get(f"/{i}"))
                await until(lambda: r.proxy.in_flight == 0)
            assert [(trial.seq, trial.entity) for trial in kept] == [(0, "/0"), (1, "/2")]
            assert r.tally.under_way == 2
            r.tally.shed(ShedReason.FAULT, 2)  # this sink does not count what it keeps

    run(main())


def test_excluded_paths_are_sent_to_nobody_but_stable() -> None:
    async def main() -> None:
        async with rig(secondary=answers(ok()), candidate=answers(ok()), dispatch=DispatchOptions(exclude=("/admin/**",))) as r:
            await r.talk(get("/logout"), get("/admin/x"), get("/verify?token=1"), get("/orders"))
            await r.settled()
            assert r.tally.totals().skipped == {"excluded": 3}
            assert [seen.line.split()[1] for seen in r.candidate.seen] == [b"/orders"]
            assert len(r.stable.seen) == 4
        async with rig(secondary=answers(ok()), candidate=answers(ok()), dispatch=DispatchOptions(default_exclusions=False)) as r:
            await r.talk(get("/logout"))
            await r.settled()
            assert r.tally.totals().compared == 1

    run(main())


def test_a_sample_by_key_takes_all_of_a_session_or_nothing() -> None:
    async def main() -> None:
        dispatch = DispatchOptions(sample=50.0, sample_key="cookie:sid")
        async with rig(secondary=answers(ok()), candidate=answers(ok()), dispatch=dispatch) as r:
            for _ in range(2):
                await r.talk(*[get(f"/{session}", f"Cookie: sid={session}") for session in range(30)])
            await r.settled()
            seen = Counter(trial.entity for trial in r.trials)
            assert set(seen.values()) == {2}
            assert 5 <= len(seen) <= 25
            assert r.tally.totals().skipped == {"sampled_out": 60 - 2 * len(seen)}

    run(main())


def test_mirroring_is_switched_off_on_and_to_a_part_at_once() -> None:
    async def main() -> None:
        async with rig(secondary=answers(ok()), candidate=answers(ok()), dispatch=DispatchOptions(sample=50.0)) as r:
            r.proxy.mirror(0)
            await r.talk(*[get(f"/{i}") for i in range(20)])
            assert r.tally.totals().skipped == {"switched_off": 20}
            assert not r.candidate.seen
            r.proxy.mirror(100)
            await r.talk(*[get(f"/{i}") for i in range(40)])
            await r.settled()
            half = r.tally.totals().compared
            assert 8 <= half <= 32, "all of the sample"
            r.proxy.mirror(20)
            await r.talk(*[get(f"/{i}") for i in range(100)])
            await r.settled()
            assert 1 <= r.tally.totals().compared - half <= 30, "a fifth of the sample"
            for percent in (-1, 100.5, float("nan")):
                with pytest.raises(ValueError, match="from 0 to 100"):
                    r.proxy.mirror(percent)

    run(main())


def test_the_cap_on_requests_sheds_whole_trials() -> None:
    async def main() -> None:
        async with rig(secondary=answers(ok()), candidate=answers(ok()), dispatch=DispatchOptions(shadow_rps_max=0.01)) as r:
            await r.talk(get("/1"), get("/2"), get("/3"))
            await r.settled()
            assert r.tally.totals().shed == {"rate": 2}
            assert len(r.candidate.seen) == len(r.secondary.seen) == 1

    run(main())


@pytest.mark.parametrize("caps", [{"self_rps_max": 0.01}, {"self_rps_max": 1000.0, "self_daily_max": 1}])
def test_stable_is_asked_twice_within_a_cap_and_nothing_is_compared_beyond_it(caps: dict[str, Any]) -> None:
    """`secondary: self` has the same cap as asking again; a change of options gives no new one."""

    async def main() -> None:
        async with rig(secondary=answers(ok()), candidate=answers(ok()), control=Control.SELF, dispatch=DispatchOptions(**caps)) as r:
            await r.talk(get("/1"), get("/2"))
            r.proxy.reload(r.proxy._options)
            await r.talk(get("/3"))
            await r.settled()
            assert r.tally.totals().shed == {"rate": 2}, "never compared without a control"
            assert len(r.candidate.seen) == len(r.trials) == 1
            assert len(r.stable.seen) == 3 + 1

    run(main())


def test_stable_in_distress_is_asked_twice_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowance, "BACK_OFF_SPELL_SECONDS", 0.0)
    monkeypatch.setattr(allowance, "BACK_OFF_EXCHANGES_MIN", 1)
    broken = b"HTTP/1.1 503 Out Of Order\r\nContent-Length: 0\r\n\r\n"
    ill: list[bool] = []

    async def falters(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await answers(broken if ill else ok())(upstream, reader, writer, seen)

    async def main() -> None:
        dispatch = DispatchOptions(self_rps_max=1e6)
        async with rig(stable=falters, secondary=answers(ok()), candidate=answers(ok()), control=Control.SELF, dispatch=dispatch) as r:
            await r.talk(*(get(f"/{number}") for number in range(8)))
            second = r.proxy._dispatcher._second  # type: ignore[union-attr]  # it serves
            assert second is not None
            before = second.back_off.factor
            ill.append(True)
            await r.talk(get("/a"), get("/b"), get("/c"))
            await r.settled()
            assert second.back_off.factor > before

    run(main())


def test_what_changes_something_is_never_sent_to_stable_twice() -> None:
    async def main() -> None:
        async with rig(secondary=answers(ok()), candidate=answers(ok()), control=Control.SELF, allow_writes=True) as r:
            await r.talk(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
            await r.settled()
            assert r.tally.totals().skipped == {"write": 1}
            assert len(r.stable.seen) == 1

    run(main())


@pytest.mark.parametrize("failing", ["secondary", "candidate"])
def test_a_breaker_stops_whole_trials_tries_again_and_recovers(failing: str) -> None:
    well: list[bool] = []

    async def falters(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        if well:
            writer.write(ok())
        else:
            writer.transport.abort()

    arms: dict[str, Any] = {"secondary": answers(ok()), "candidate": answers(ok()), failing: falters}
    breaker = BreakerOptions(exchanges_min=6, window=6, probes=2, open_s=1.0)
    clock = ManualClock()

    async def main() -> None:
        async with rig(**arms, dispatch=DispatchOptions(breaker=breaker), clock=clock) as r:

            async def ask() -> tuple[int, int]:
                """One request more; all that were compared and shed by the breaker after it."""
                before = r.tally.totals()
                await r.talk(get("/"))
                await r.settled()
                after = r.tally.totals()
                assert after.requests - before.requests == 1
                assert after.compared + after.shed.get("breaker", 0) == after.requests
                return after.compared, after.shed.get("breaker", 0)

            for _ in range(6):
                await ask()
            assert r.tally.totals().errors == {failing: 6}, "what was sent was compared"
            well.append(True)
            for shed in (1, 2):
                assert await ask() == (6, shed)
                clock.now_ns += 400_000_000
            clock.now_ns += 200_000_000
            for _ in range(6):
                await ask()
            totals = r.tally.totals()
            assert (totals.compared, totals.errors) == (12, {failing: 6}), "the first probe, and all after it"
            assert totals.shed == {"breaker": 2}
            # Whole trials: the other target got one request for each that was compared, and none for one that was shed.
            other = r.secondary if failing == "candidate" else r.candidate
            assert len(other.seen) == totals.compared

    run(main())


def test_a_candidate_that_hangs_is_compared_as_often_as_a_breaker_lets_it() -> None:
    async def main() -> None:
        breaker = BreakerOptions(exchanges_min=4, window=8, open_s=600)
        async with rig(secondary=answers(ok()), candidate=hang, dispatch=DispatchOptions(breaker=breaker), shadow_timeout_s=SHORT_S) as r:
            await r.talk(*[get(f"/{i}") for i in range(3)])
            await r.settled()
            assert r.tally.totals().errors == {"candidate": 3}
            await r.talk(get("/4"))
            await r.settled()
            assert r.tally.totals().errors == {"candidate": 4}, "time-outs are compared"
            await r.talk(get("/late"))
            assert r.tally.totals().shed == {"breaker": 1}

    run(main())


class FakePool:
    """Keeps what it is to answer, or cannot send at all."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[Exchange], None]] = []
        self.aborted = 0
        self.broken = False

    def submit(self, request: Request, done: Callable[[Exchange], None], **_: object) -> "FakePool":
        if self.broken:
            raise RuntimeError
        self.waiting.append(done)
        return self

    def abort(self) -> None:
        self.aborted += 1
        self.waiting.pop()


def test_a_probe_that_cannot_be_sent_is_given_up_and_the_breaker_does_not_wait_for_it() -> None:
    async def main() -> None:
        pools = (FakePool(), FakePool())
        tally, kept, clock = Tally(), list[AnyTrial](), ManualClock()
        dispatcher = Dispatcher(
            DispatchOptions(breaker=BreakerOptions(exchanges_min=1, window=4, probes=1, open_s=1)),
            secondary=cast("UpstreamPool", pools[0]),
            candidate=cast("UpstreamPool", pools[1]),
            clock=clock,
            rng=random.Random(1),
            tally=tally,
            naming=Naming(endpoint_of=lambda _: "e", entity_of=lambda _: "", ids=CountingIds()),
            sink=Sink(put=kept.append, has_room=lambda _endpoint, _body_bytes: True),
            faults=FaultLog(),
        )
        request = Request(method="GET", target="/")

        def offer(error: TransportError | None = None) -> None:
            dispatcher.offer(request, Exchange(request=request), starved=False)
            for pool in pools:
                if pool.waiting:
                    pool.waiting.pop()(Exchange(request=request, error=error))

        offer(TransportError(ErrorKind.RESET))
        assert set(dispatcher.breakers.values()) == {BreakerState.OPEN}
        clock.now_ns = 2 * 10**9
        for _ in range(5):
            for broken in pools:
                broken.broken = True
                offer()
                broken.broken = False
        assert tally.totals().shed == {"fault": 10}
        assert dispatcher.in_flight == 0
        assert pools[0].aborted + pools[1].aborted > 0, "the other arm, where it came first, was given up"
        offer()
        assert set(dispatcher.breakers.values()) == {BreakerState.CLOSED}
        assert [trial.seq for trial in kept] == [0, 1]

    run(main())


def test_what_cannot_be_read_is_refused_at_the_start() -> None:
    async def main() -> None:
        for wrong in (DispatchOptions(sample_key="tenant"), DispatchOptions(exclude=("admin",))):
            with pytest.raises(UsageError):
                async with rig(dispatch=wrong):
                    pass

    run(main())


def test_warm_up_ends_by_count_or_by_time_and_is_bounded() -> None:
    warm = WarmUp(requests=3, seconds=60)
    assert [warm.note("a", 0) for _ in range(6)] == [True, True, True, False, False, False]
    assert warm.note("b", 0)
    now_ns = int(60e9)
    assert not warm.note("b", now_ns)
    assert warm.note("c", now_ns)
    for i in range(ENDPOINTS_MAX + 100):
        warm.note(f"e{i}", now_ns)
    assert len(warm._seen) <= ENDPOINTS_MAX + 1


def test_session_keys_follow_the_credentials_and_hide_them() -> None:
    keys = SessionKeys(b"k")

    def key(*headers: tuple[str, str]) -> str:
        return keys.key_of(Request(method="GET", target="/", headers=headers))

    assert key() == key(("X-A", "b")) == ""
    assert key(("Cookie", "s=1")) == key(("cookie", "s=1")) != key(("Cookie", "s=2"))
    assert key(("Authorization", "Bearer x"), ("Cookie", "s=1")) == key(("authorization", "Bearer x"), ("Cookie", "s=2"))
    assert SessionKeys(b"other").key_of(Request(method="GET", target="/", headers=(("Cookie", "s=1"),))) != key(("Cookie", "s=1"))
    assert len(key(("Cookie", "s=1"))) == 16


def test_faults_are_logged_ever_more_rarely_and_without_values(caplog: pytest.LogCaptureFixture) -> None:
    faults = FaultLog()
    for _ in range(9):
        faults.add("here", ValueError("secret"))
    assert [record.message for record in caplog.records] == [f"here failed with ValueError (occurrence {n})" for n in (1, 2, 4, 8)]


def test_names_are_remembered_where_that_changes_nothing() -> None:
    asked: list[Request] = []

    def endpoint_of(request: Request) -> str:
        asked.append(request)
        return OTHER_ENDPOINT if request.target == "/other" else f"{request.method} {request.target}"

    names = Names(Naming(endpoint_of=endpoint_of, entity_of=lambda request: request.target, ids=CountingIds()))
    once = [Request("GET", "/a"), Request("HEAD", "/a"), Request("GET", "/a", host="h")]
    always = [Request("POST", "/a", body=body_of(b"x")), Request("GET", "/other"), Request("GET", "/" + "a" * ENDPOINT_CACHE_CHARS_MAX)]
    always.append(Request("GET", "/a", host="h" * ENDPOINT_CACHE_CHARS_MAX))
    for request in (*once, *always):
        assert names.of(request) == names.of(request) == (endpoint_of(request), request.target)
        assert asked.count(request) == (2 if request in once else 3)
    for number in range(NAMES_CACHE_MAX + 10):
        names.of(Request("GET", f"/{number}"))
    assert len(names._known) <= NAMES_CACHE_MAX
