"""Effects of live traffic: found by their trace, compared in the compare workers, counted where they are nobody's."""

import asyncio
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.app import parts
from harness.app import proxy as module
from harness.app.effects_desk import EffectsDesk
from harness.app.live_effects import Attributed, LiveEffects
from harness.app.proxy import LiveRun
from harness.app.results import WatchedTrials
from harness.app.signals import Stop
from harness.bus.messages import SeenEffects
from harness.core.errors import UsageError
from harness.core.labels import Aspect, EffectsSeen, Kind, ReasonCode, Role, ShedReason, VerdictState
from harness.core.redact import Redactor
from harness.core.values import Totals
from harness.core.watched import EffectsFacts
from harness.effects.api import Observed
from harness.effects.egress.collector import EgressCollector
from harness.evidence.bets import EffectCount
from harness.evidence.gate import judge
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.evidence.snapshot import Verdict
from harness.settings.effects import EffectsSettings
from tests.app.effects_support import (
    HOST,
    Calls,
    Outside,
    Plugged,
    addresses,
    ask,
    callers,
    calling,
    charge,
    charge_twice,
    held_drain,
    plug_in,
    watched,
)
from tests.app.support import Heard, report_in, serving
from tests.app.test_effects_desk import trial
from tests.app.test_proxy import live, served, until
from tests.evidence.test_gate import stream
from tests.evidence.test_ledger import ENDPOINT
from tests.sim.world import fold_all

PATH = "$['http POST pay.test/charges']"
TRACEPARENT = "00-{:032x}-00f067aa0ba902b7-01"
CLOCK = parts.SystemClock()
IDENTITY = parts.identity(CLOCK, 1)
During = Callable[[LiveRun, int, Outside], Awaitable[None]]


def ran(
    out: Path,
    candidate: Calls,
    *,
    requests: int,
    headers: bool = False,
    outside: Outside | None = None,
    waits: bool = True,
    mode: str = "observe",
    effects: dict[str, Any] | None = None,
    during: During | None = None,
    **options: Any,
) -> Heard:
    """A live run with so many requests, one after the other, and what comes `during` it before the trials are waited for.

    `headers`: with tracing of the client's own; `effects`: further keys of the section; `options`: of the section `proxy`.
    """
    ui = Heard()

    async def body() -> None:
        listen, beyond = addresses(), outside or Outside()
        async with asyncio.timeout(100), serving(beyond.answer) as url, callers(candidate, listen, waits=waits) as urls:
            sections = {"effects": msgspec.structs.replace(watched(url, listen, mode), **(effects or {}))}
            run = LiveRun(live(out, urls, sections=sections, **options), ui)
            async with served(run) as end:
                for number in range(requests):
                    own = {"traceparent": TRACEPARENT.format(number + 1)} if headers else None
                    assert await ask(f"http://{run.address}/items/{number}", own) in {200, 202}
                await (during or all_compared)(run, requests, beyond)
                await end()

    asyncio.run(body())
    return ui


async def all_compared(run: LiveRun, requests: int, outside: Outside) -> None:
    del outside
    await until(lambda: run.state().requests == requests)


def lapses(out: Path) -> dict[str, int]:
    """What the collector could not see, and how often."""
    (collector,) = report_in(out).effects.watched
    return {lapse.what: lapse.count for lapse in collector.lapses}


@pytest.mark.parametrize("headers", [False, True], ids=["ours", "the client's own trace"])
def test_a_call_that_is_made_twice_is_found_though_every_answer_is_the_same(
    tmp_path: Path, headers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_SECONDS", 0.02)
    ui = ran(tmp_path / "run", charge_twice, requests=40, headers=headers)
    report = report_in(tmp_path / "run")
    assert report.verdict is VerdictState.FAIL
    assert [(f.aspect, f.kind, f.path) for f in report.findings] == [(Aspect.EFFECTS, Kind.DUPLICATED, PATH)]
    (collector,) = report.effects.watched
    assert collector.seen == {"stable": 40, "secondary": 40, "candidate": 80}
    assert collector.unattributed == {}
    assert (report.effects.complete, report.effects.timed_out) == (40, 0)
    assert report.findings[0].exemplars[0].effects is not None
    assert any(said.startswith("effects of candidate: ") and "egress http://127.0.0.1:" in said for said in ui.infos)


def test_builds_that_do_the_same_have_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_SECONDS", 0.02)
    outside = Outside()
    ran(tmp_path / "run", charge, requests=20, outside=outside, compare_workers=2)
    report = report_in(tmp_path / "run")
    assert report.findings == ()
    assert outside.seen["/charges"] == 60
    assert report.effects.watched[0].seen == {"stable": 20, "secondary": 20, "candidate": 20}


def test_what_names_no_trace_is_nobodys_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_SECONDS", 0.02)
    listen = addresses()

    async def body() -> None:
        async with asyncio.timeout(100), serving(Outside().answer) as url, callers(charge, listen) as urls:
            run = LiveRun(live(tmp_path / "run", urls, sections={"effects": watched(url, listen)}), Heard())
            async with served(run) as end, calling(charge, listen["candidate"]) as stray:
                assert await ask(f"{stray}/by/itself") == 200
                assert await ask(f"http://{run.address}/items/1") == 200
                await until(lambda: run.state().requests == 1)
                await end()

    asyncio.run(body())
    report = report_in(tmp_path / "run")
    assert [(one.operation, one.counts) for one in report.effects.unattributed] == [(f"POST {HOST}/charges", {"candidate": 1})]


@pytest.mark.parametrize("headers", [False, True], ids=["ours", "the client's own trace"])
def test_only_stables_calls_reach_the_outside_where_it_is_virtual(tmp_path: Path, headers: bool) -> None:
    outside = Outside()
    ran(tmp_path / "run", charge, requests=20, headers=headers, outside=outside, mode="virtualise")
    report = report_in(tmp_path / "run")
    assert outside.seen["/charges"] == 20
    assert report.effects.watched[0].seen == {"stable": 20, "secondary": 20, "candidate": 20}
    assert report.findings == ()
    by_content = "a call was answered from the same one of stable's that named another trace or none"
    assert lapses(tmp_path / "run") == ({by_content: 40} if headers else {})


def test_copies_have_their_effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_SECONDS", 0.02)
    outside = Outside()
    ran(tmp_path / "run", charge_twice, requests=40, outside=outside, ingress="copies", mode="virtualise")
    report = report_in(tmp_path / "run")
    assert outside.seen["/charges"] == 40
    assert report.effects.watched[0].seen == {"stable": 40, "secondary": 40, "candidate": 80}
    assert [(f.aspect, f.kind) for f in report.findings] == [(Aspect.EFFECTS, Kind.DUPLICATED)]


@pytest.mark.parametrize("mode", ["observe", "virtualise"])
def test_an_outside_that_hangs_holds_up_no_client_and_no_comparison(tmp_path: Path, mode: str) -> None:
    outside = Outside(hangs=True)

    async def during(run: LiveRun, requests: int, outside: Outside) -> None:
        await all_compared(run, requests, outside)
        assert not outside.free.is_set(), "it hangs still"
        assert await ask(f"http://{run.address}/items/last") == 200

    ran(tmp_path / "run", charge, requests=5, outside=outside, waits=False, mode=mode, during=during)
    facts = report_in(tmp_path / "run").effects
    assert facts.complete + facts.timed_out >= 5
    assert sum(facts.watched[0].seen.values()) + sum(facts.watched[0].unattributed.values()) >= 15


def test_a_collector_that_raises_is_a_lapse_and_clients_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(collector: EgressCollector) -> list[Observed]:
        raise RuntimeError(collector.name)

    monkeypatch.setattr(EgressCollector, "drain", fails)
    ran(tmp_path / "run", charge, requests=5, effects={"wait_s": 0.1})
    assert lapses(tmp_path / "run")["`drain` failed: RuntimeError"] > 0
    facts = report_in(tmp_path / "run").effects
    assert facts.watched[0].seen == {"stable": 0, "secondary": 0, "candidate": 0}
    assert (facts.complete, facts.timed_out) == (0, 5), "nothing is taken for complete that nobody could see"


class Deaf(Plugged):
    """Fails whenever it is asked what it saw, while it is told to."""

    failing = True

    async def drain(self) -> list[Observed]:
        if self.failing:
            raise RuntimeError(self.name)
        return []


def test_what_others_saw_is_compared_though_one_fails_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, Deaf)
    ran(tmp_path / "run", charge_twice, requests=20, effects={"wait_s": 3.0, "collect": ("http", "plugged")})
    report = report_in(tmp_path / "run")
    http, plugged = report.effects.watched
    assert http.seen == {"stable": 20, "secondary": 20, "candidate": 40}
    assert [(lapse.what, lapse.blind) for lapse in plugged.lapses] == [("`drain` failed: RuntimeError", True)]
    assert (report.effects.complete, report.effects.timed_out) == (0, 20)
    assert ReasonCode.EFFECTS_NOT_OBSERVED in [reason.code for reason in report.reasons]


def test_trials_of_the_time_in_which_a_collector_failed_are_not_complete_and_later_ones_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sometimes(Deaf):
        failing = False

    async def during(run: LiveRun, requests: int, outside: Outside) -> None:
        await all_compared(run, 3, outside)
        assert run._effects.attributed.complete == 3
        Sometimes.failing = True
        await until(lambda: bool(run._effects.facts().watched[1].lapses))
        for number in range(4):
            assert await ask(f"http://{run.address}/deaf/{number}") == 200
        fleet = run._fleet
        assert fleet is not None
        await until(lambda: fleet.uncompared == 4)
        failures = run._effects.facts().watched[1].lapses[0].count
        await until(lambda: run._effects.facts().watched[1].lapses[0].count > failures + 2)
        Sometimes.failing = False  # it answers again long before these are judged, and does not say what it lost
        await all_compared(run, 7, outside)
        assert (run._effects.attributed.complete, run._effects.attributed.timed_out) == (3, 4)
        while run._effects.attributed.complete == 3:
            assert await ask(f"http://{run.address}/items/later") == 200

    plug_in(monkeypatch, Sometimes)
    ran(tmp_path / "run", charge, requests=3, effects={"wait_s": 3.0, "collect": ("http", "plugged")}, during=during)


def judged(effects: EffectsFacts, policy: Policy) -> Verdict:
    """A rollout in which every answer was alike."""
    ledger = Ledger(policy, endpoints=(ENDPOINT,))
    fold_all(ledger, stream(1100))
    return judge(ledger.snapshot(), Totals(requests=1100, compared=1100), policy, effects=effects)


@pytest.mark.parametrize("failing", [False, True], ids=["sound", "failing"])
@pytest.mark.parametrize("required", [False, True], ids=["not required", "required"])
def test_no_verdict_passes_on_effects_that_a_collector_failed_to_see(
    failing: bool, required: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the collector by way of the desk of a compare worker to the judge."""

    class Once(Deaf):
        pass

    Once.failing = failing
    settings = msgspec.structs.replace(plug_in(monkeypatch, Once), wait_s=0.2)
    redactor = Redactor(b"key")

    async def main() -> EffectsFacts:
        live = LiveEffects(settings, identity=IDENTITY, clock=CLOCK, redactor=redactor)
        orders = live.orders()
        assert orders is not None
        await live.start(tuple(Role))
        desk: EffectsDesk[str] = EffectsDesk(orders)

        def tell(seen: SeenEffects) -> int:
            desk.tell(seen)
            return 0

        live.watch(tell)
        now_ns = CLOCK.monotonic_ns()
        desk.hold("me", b"", trial("a", ended_ns=now_ns), now_ns)
        states: list[EffectsSeen] = []
        async with asyncio.timeout(60):
            while not states:
                await asyncio.sleep(0.01)
                states += [state for _, state in desk.ready(CLOCK.monotonic_ns())]
        live.attributed.complete += states[0] is EffectsSeen.COMPLETE
        live.attributed.timed_out += states[0] is EffectsSeen.TIMED_OUT
        await live.stop()
        return live.facts()

    facts = asyncio.run(main())
    assert (facts.complete, facts.timed_out) == ((0, 1) if failing else (1, 0))
    policy = Policy(preset="rollout", require_effects=("plugged",) if required else (), effects_seen_share_min=0.0005)
    seen = msgspec.structs.replace(facts.watched[0], seen={"stable": 9, "secondary": 9, "candidate": 9})
    verdict = judged(msgspec.structs.replace(facts, watched=(seen,)), policy)
    assert verdict.state is (VerdictState.INCONCLUSIVE if failing else VerdictState.PASS)
    assert ({ReasonCode.EFFECTS_NOT_OBSERVED} <= {reason.code for reason in verdict.reasons}) == failing


def test_a_collector_that_gives_out_nonsense_is_said_and_nothing_is_taken_for_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def strange(collector: EgressCollector) -> list[object]:
        return [collector.name]

    monkeypatch.setattr(EgressCollector, "drain", strange)
    ran(tmp_path / "run", charge, requests=5, effects={"wait_s": 0.1})
    facts = report_in(tmp_path / "run").effects
    assert (facts.complete, facts.timed_out) == (0, 5)
    assert lapses(tmp_path / "run")["`drain` gave out what is no observation"] > 0


def test_a_trial_is_judged_when_the_wait_is_over_and_what_comes_later_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = held_drain(monkeypatch)

    async def during(run: LiveRun, requests: int, outside: Outside) -> None:
        free.clear()
        for number in range(5):
            assert await ask(f"http://{run.address}/items/{number}") == 200
        await all_compared(run, 5 + requests, outside)
        free.set()

    ran(tmp_path / "run", charge, requests=0, effects={"wait_s": 0.1}, during=during)
    facts = report_in(tmp_path / "run").effects
    assert (facts.complete, facts.timed_out) == (0, 5)
    assert facts.watched[0].seen == {"stable": 0, "secondary": 0, "candidate": 0}
    assert facts.watched[0].unattributed == {"candidate": 5, "secondary": 5, "stable": 5}


def test_trials_that_wait_are_counted_as_lost_when_their_compare_worker_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = held_drain(monkeypatch)

    async def during(run: LiveRun, requests: int, outside: Outside) -> None:
        del requests, outside
        fleet = run._fleet
        assert fleet is not None
        free.clear()
        for number in range(5):
            assert await ask(f"http://{run.address}/items/{number}") == 200
        await until(lambda: fleet.uncompared == 5)
        victim = fleet.pids["compare 0"]
        os.kill(victim, signal.SIGKILL)
        await until(lambda: fleet.uncompared == 0 and fleet.pids.get("compare 0", victim) != victim)
        free.set()
        while run.state().requests < 3:  # until its successor has connected, requests are shed
            assert await ask(f"http://{run.address}/items/after") == 200

    ran(tmp_path / "run", charge, requests=0, effects={"wait_s": 30.0}, during=during)
    report = report_in(tmp_path / "run")
    assert report.totals.shed[ShedReason.WORKER_LOST] == 5
    (collector,) = report.effects.watched
    asked = report.totals.compared + sum(report.totals.shed.values())
    seen = sum((collector.seen["stable"], collector.unattributed.get("stable", 0)))
    assert seen == asked, "what stable did is known of every request"
    assert collector.unattributed["candidate"] >= 5


def test_copies_of_databases_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be watched by sqlite"):
        LiveEffects(EffectsSettings(collect=("http", "sqlite")), identity=IDENTITY, clock=CLOCK, redactor=Redactor(b"key"))


def test_effects_behind_mitmproxy_are_refused(tmp_path: Path) -> None:
    urls = {Role.STABLE: "http://127.0.0.1:9", Role.CANDIDATE: "http://127.0.0.1:10"}
    with pytest.raises(UsageError, match="not watched behind the ingress mitmproxy"):
        LiveRun(live(tmp_path / "run", urls, sections={"effects": EffectsSettings(collect=("http",))}, ingress="mitmproxy"), Heard())


def test_what_was_attributed_is_added_up() -> None:
    found = Attributed()
    for complete, timed_out in ((1, 0), (0, 1)):
        found.fold(WatchedTrials(complete, timed_out, (EffectCount("http", "POST a", 1, 1, 2),)))
    assert (found.complete, found.timed_out) == (1, 1)
    assert found.counts == {("http", "POST a"): Counter({"stable": 2, "secondary": 2, "candidate": 4})}


def test_without_collectors_nothing_is_started() -> None:
    effects = LiveEffects(EffectsSettings(), identity=IDENTITY, clock=CLOCK, redactor=Redactor(b"key"))

    async def main() -> None:
        await effects.start((Role.STABLE,))
        effects.watch(lambda _seen: 0)
        await effects.stop()

    asyncio.run(main())
    assert (effects.orders(), effects.places(), effects.facts().watched) == (None, [], ())


@pytest.mark.parametrize("what", ["open", "attach"])
def test_a_stop_is_heard_while_a_collector_opens_or_attaches(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Waiting(Plugged):
        pass

    stop = Stop()

    async def waits(self: Waiting, *_: object) -> None:
        self.log.append(f"{what} begun")
        stop.request(signal.SIGINT)
        await asyncio.sleep(3600)

    setattr(Waiting, what, waits)
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    effects = plug_in(monkeypatch, Waiting)

    async def main() -> None:
        async with asyncio.timeout(100), callers(charge, addresses()) as urls:
            run = LiveRun(live(tmp_path / "run", urls, sections={"effects": effects}), Heard())
            report = await run.serve(stop)
            assert report.verdict is VerdictState.INCONCLUSIVE
            assert ReasonCode.NO_DATA in [reason.code for reason in report.reasons]

    asyncio.run(main())
    assert Waiting.log[-1] == "close"
    assert f"{what} begun" in Waiting.log
    assert not [path for path in temporary.iterdir() if "effects" in path.name]
