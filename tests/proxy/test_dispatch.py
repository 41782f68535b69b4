"""What is mirrored, skipped and shed; the coin; what a trial says; warm-up and sessions."""

import asyncio
import random
from typing import Any

import pytest

from harness.core.labels import Control, Design, Role, ShedReason
from harness.core.limits import ENDPOINTS_MAX
from harness.core.values import Request, Trial
from harness.proxy.address import HostRule
from harness.proxy.dispatch import DispatchOptions, FaultLog, SessionKeys, WarmUp
from tests.proxy.rig import ManualClock, Seen, Upstream, answers, get, hang, ok, rig, run, until

POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"


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
    async def main() -> None:
        async with rig(
            secondary=answers(ok()), candidate=hang, dispatch=DispatchOptions(trials_in_flight_max=2), shadow_timeout_s=0.5
        ) as r:
            for i in range(5):
                await r.talk(get(f"/{i}"))
            assert r.tally.totals().shed == {"in_flight": 3}
            await r.settled()
            assert len(r.candidate.seen) == len(r.secondary.seen) == 2
            assert sorted(trial.in_flight for trial in r.trials) == [1, 2]

    run(main())


def test_trials_are_shed_by_the_bytes_they_may_hold() -> None:
    async def main() -> None:
        async with rig(
            answers(ok(b"x" * 500)),
            secondary=hang,
            candidate=hang,
            dispatch=DispatchOptions(bytes_in_flight_max=2000),
            shadow_timeout_s=0.3,
        ) as r:
            await r.talk(get("/1"), get("/2"))
            assert r.tally.totals().shed == {"in_flight": 1}
            await r.settled()
            await r.talk(get("/3"))
            assert r.tally.totals().shed == {"in_flight": 1}, "what was held is given back"

    run(main())


def test_a_full_queue_sheds_before_sending() -> None:
    async def main() -> None:
        async with rig(secondary=answers(ok()), candidate=answers(ok()), has_room=lambda: False) as r:
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


def test_warm_up_ends_by_count_or_by_time_and_is_bounded() -> None:
    clock = ManualClock()
    warm = WarmUp(clock, requests=3, seconds=60)
    assert [warm.note("a") for _ in range(6)] == [True, True, True, False, False, False]
    assert warm.note("b")
    clock.now_ns = int(60e9)
    assert not warm.note("b")
    assert warm.note("c")
    for i in range(ENDPOINTS_MAX + 100):
        warm.note(f"e{i}")
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
