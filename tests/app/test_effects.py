"""Effects in a gate run: builds that really call outside through the egress proxy, from settings to report."""

import asyncio
import os
import signal
import sys
import tempfile
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from harness.app import effects as module
from harness.app import parts
from harness.app.effects import Effects, idle_sections, request_key
from harness.app.gate import run_gate
from harness.app.stored import judge_run
from harness.core.errors import SetupError, UsageError
from harness.core.labels import Aspect, Design, Kind, ReasonCode, Role, VerdictState
from harness.core.redact import Redactor
from harness.effects.egress.collector import EgressCollector
from harness.report.model import Report
from harness.settings.effects import EffectsSettings, EgressSettings
from harness.settings.load import Loaded
from harness.settings.schema import ReplaySettings, Settings, StoreSettings, TargetSettings, TargetsSettings
from tests.app.effects_support import Calls, Outside, Plugged, addresses, callers, charge, charge_twice, empty_folder, plug_in, watched
from tests.app.support import Heard, builds, capture, get, items, report_in, serving, settings, shop

SERVICE = f"{sys.executable} -P -m scenarios.demo.service --port {{port}} --build stable"
PATH = "$['http POST pay.test/charges']"


def made(chosen: EffectsSettings) -> Effects:
    clock = parts.SystemClock()
    return Effects(chosen, identity=parts.identity(clock, 1), clock=clock, redactor=Redactor(b"key"))


def gate(
    out: Path,
    candidate: Calls,
    outside: Outside,
    *,
    mode: str = "observe",
    count: int = 30,
    policy: str | None = None,
    tape: Path | None = None,
) -> int:
    async def body() -> int:
        listen = addresses()
        async with asyncio.timeout(100), serving(outside.answer) as url, callers(candidate, listen) as urls:
            loaded = settings(out, urls, effects=watched(url, listen, mode, tape), policy=policy)
            return await run_gate(loaded, [capture(out.parent / "shop.gor", items(count))], Heard(), verdict=True)

    return asyncio.run(body())


def test_a_build_that_does_the_same_passes_and_its_effects_were_seen(tmp_path: Path) -> None:
    outside = Outside()
    assert gate(tmp_path / "run", charge, outside, mode="virtualise") == 0
    report = report_in(tmp_path / "run")
    (collector,) = report.effects.watched
    assert (collector.collector, collector.mode) == ("http", "virtualise")
    assert collector.seen == {"stable": 60, "secondary": 60, "candidate": 60}
    assert outside.seen["/charges"] == 60, "nothing of secondary and candidate has reached the outside"
    assert report.bound is not None
    assert "effects compared: http" in report.bound.sentence
    assert (report.effects.complete, report.effects.timed_out) == (60, 0)


def but_for_speed(report: Report) -> list[tuple[Aspect, Kind, str]]:
    """What was found: a candidate that makes two calls where stable makes one is slower, too, which a busy machine may show."""
    return [(found.aspect, found.kind, found.path) for found in report.findings if found.aspect is not Aspect.LATENCY]


def test_a_call_that_is_made_twice_fails_though_every_answer_is_the_same(tmp_path: Path) -> None:
    outside = Outside()
    assert gate(tmp_path / "run", charge_twice, outside) == 1
    report = report_in(tmp_path / "run")
    assert but_for_speed(report) == [(Aspect.EFFECTS, Kind.DUPLICATED, PATH)]
    assert outside.seen["/charges"] == 4 * report.totals.compared
    assert judge_run(tmp_path / "run", None, Heard()) == 1, "judged again, from what was stored"


def test_what_was_recorded_answers_a_later_run_that_has_no_outside(tmp_path: Path) -> None:
    outside, tape = Outside(), tmp_path / "shop.tape"
    assert gate(tmp_path / "recorded", charge, outside, mode="record", tape=tape) == 0
    assert outside.seen["/charges"] > 0
    gone = Outside()
    assert gate(tmp_path / "run", charge, gone, mode="tape", tape=tape) == 0
    assert report_in(tmp_path / "run").effects.watched[0].seen == {"stable": 60, "secondary": 60, "candidate": 60}
    assert gate(tmp_path / "faulty", charge_twice, gone, mode="tape", tape=tape) == 1
    assert but_for_speed(report_in(tmp_path / "faulty")) == [(Aspect.EFFECTS, Kind.DUPLICATED, PATH)]
    assert gone.seen.total() == 0, "no target has called outside"


def test_a_rule_of_the_policy_fails_at_once(tmp_path: Path) -> None:
    policy = tmp_path / "strict.yaml"
    policy.write_text("effects:\n  - {effect: POST pay.test/charges, at_most: 1}\nrequire_effects: [http]\n")
    assert gate(tmp_path / "run", charge_twice, Outside(), count=3, policy=str(policy)) == 1
    report = report_in(tmp_path / "run")
    assert report.passes == 1
    assert report.reasons[0].code is ReasonCode.HARD_RULE


def test_what_the_policy_requires_to_be_watched_and_was_not_never_passes(tmp_path: Path) -> None:
    policy = tmp_path / "strict.yaml"
    policy.write_text("require_effects: [http, postgres]\n")
    assert gate(tmp_path / "run", charge, Outside(), policy=str(policy)) == 3
    report = report_in(tmp_path / "run")
    assert report.verdict is VerdictState.INCONCLUSIVE
    assert ReasonCode.EFFECTS_NOT_OBSERVED in [reason.code for reason in report.reasons]


def test_nothing_is_left_behind_and_the_folder_was_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def main() -> None:
        one = made(EffectsSettings(collect=("http",)))
        await one.open((Role.STABLE, Role.CANDIDATE))
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert set(one.names(Role.STABLE)) >= {"egress", "ca"}
        assert one.env(Role.CANDIDATE)["HTTP_PROXY"] == one.names(Role.CANDIDATE)["egress"]
        await one.close()
        assert empty_folder(tmp_path)

    asyncio.run(main())


def test_a_folder_that_cannot_be_made_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    one = made(EffectsSettings(collect=("http",)))
    with pytest.raises(SetupError, match="cannot be made"):
        asyncio.run(one.open((Role.STABLE,)))


def test_without_collectors_everything_does_nothing() -> None:
    async def main() -> None:
        one = made(EffectsSettings())
        assert not one.on
        await one.open(tuple(Role))
        await one.prepare()
        await one.attach()
        await one.end_pass()
        await one.close()
        assert (one.names(Role.STABLE), one.env(Role.STABLE), one.facts().watched, one.versions()) == ({}, {}, (), {})
        assert one.design(Design.THREE_ARM) is Design.THREE_ARM

    asyncio.run(main())


def test_where_stable_is_favoured_three_arms_are_not_alike() -> None:
    virtual = made(EffectsSettings(collect=("http",), http=EgressSettings(mode="virtualise")))
    assert virtual.design(Design.THREE_ARM) is Design.TWO_ARM
    assert virtual.design(Design.NO_CONTROL) is Design.NO_CONTROL
    assert made(EffectsSettings(collect=("http",))).design(Design.THREE_ARM) is Design.THREE_ARM
    assert virtual.versions() == {"http": "1"}


def test_a_collector_that_nobody_has_is_named() -> None:
    with pytest.raises(UsageError, match="no collector is called ftp") as error:
        made(EffectsSettings(collect=("http", "ftp")))
    assert "http, otlp, postgres, redis, sqlite" in error.value.fix


@pytest.mark.parametrize(("value", "said"), [("json:dumps", "is no collector"), ("no.such.module:X", "cannot be loaded")])
def test_a_broken_plug_in_is_named(value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "entry_points", lambda group: [EntryPoint("mine", value, group)])
    with pytest.raises(UsageError, match=said):
        made(EffectsSettings(collect=("mine",)))


def test_a_plug_in_that_calls_itself_otherwise_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    value = f"{EgressCollector.__module__}:EgressCollector"
    monkeypatch.setattr(module, "entry_points", lambda group: [EntryPoint("mine", value, group)])
    with pytest.raises(UsageError, match="`mine` calls itself `http`"):
        made(EffectsSettings(collect=("mine",)))


def test_a_collector_that_is_configured_and_not_named_is_told(tmp_path: Path) -> None:
    chosen = EffectsSettings(http=EgressSettings(mode="virtualise"), plugins={"mine": {"key": "x"}})
    assert idle_sections(chosen) == ["http", "mine"]
    assert idle_sections(EffectsSettings(collect=("http",), http=EgressSettings(mode="virtualise"))) == []
    assert idle_sections(EffectsSettings()) == []

    async def main() -> str:
        heard = Heard()
        async with asyncio.timeout(100), builds(shop()) as urls:
            await run_gate(
                settings(tmp_path / "run", urls, effects=chosen), [capture(tmp_path / "shop.gor", items(1))], heard, verdict=True
            )
        return " ".join(heard.warnings)

    assert "effects.http is set, but effects.collect does not name http" in asyncio.run(main())


def test_options_of_a_collector_are_checked_where_they_are_given() -> None:
    with pytest.raises(UsageError) as error:
        made(EffectsSettings(collect=("http",), http=EgressSettings(mode="tape")))
    assert "effects.http" in error.value.where
    assert isinstance(made(EffectsSettings(collect=("http",))).hub.collectors[0], EgressCollector)  # type: ignore[union-attr]  # it is on


def test_effects_need_a_secondary_of_its_own(tmp_path: Path) -> None:
    target = TargetSettings(url="http://127.0.0.1:9")
    chosen = Settings(
        targets=TargetsSettings(stable=target, candidate=target),
        effects=EffectsSettings(collect=("http",)),
        replay=ReplaySettings(seed=1),
    )
    loaded = settings(tmp_path / "run", {})
    loaded = type(loaded)(chosen, {})
    with pytest.raises(UsageError, match="without a secondary"):
        asyncio.run(run_gate(loaded, [capture(tmp_path / "shop.gor", items(1))], Heard(), verdict=True))


def test_the_key_of_a_request_is_that_of_its_method_target_and_body() -> None:
    assert request_key(get("/a")) == request_key(get("/a", (("X", "1"),)))
    others = (get("/a"), get("/b"), get("/a", method="POST"), get("/a", body=b"1"))
    assert len({request_key(request) for request in others}) == 4


def started(out: Path, effects: EffectsSettings, **targets: str) -> Loaded:
    """Builds that the harness starts; `targets` are commands other than that of the demo's service."""
    commands = {"stable": SERVICE, "candidate": SERVICE, **targets}
    chosen = TargetsSettings(**{role: TargetSettings(command=command, ready="/health") for role, command in commands.items()})
    replay = ReplaySettings(seed=1, passes=3)
    return Loaded(Settings(targets=chosen, store=StoreSettings(run_dir=str(out)), replay=replay, effects=effects), {})


def ran(loaded: Loaded, file: Path, ui: Heard, *, verdict: bool = True) -> int:
    async def body() -> int:
        async with asyncio.timeout(100):
            return await run_gate(loaded, [file], ui, verdict=verdict)

    return asyncio.run(body())


def children() -> list[str]:
    """Processes that this one has started and that have not ended."""
    return [child for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text(encoding="ascii").split()]


@pytest.mark.parametrize(("what", "number"), [("open", signal.SIGINT), ("prepare", signal.SIGTERM), ("attach", signal.SIGINT)])
def test_the_first_signal_is_heard_while_a_collector_opens_prepares_or_attaches_and_leaves_nothing(
    what: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Waiting(Plugged):
        pass

    async def waits(self: Waiting, *_: object) -> None:
        self.log.append(f"{what} begun")
        os.kill(os.getpid(), number)
        try:
            await asyncio.sleep(3600)
        finally:
            self.log.append(f"{what} ended")

    setattr(Waiting, what, waits)
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    before, ui = children(), Heard()
    effects = plug_in(monkeypatch, Waiting)
    assert ran(started(tmp_path / "run", effects), capture(tmp_path / "shop.gor", items(5)), ui) == 128 + number
    assert Waiting.log[Waiting.log.index(f"{what} begun") :] == [
        f"{what} begun",
        f"{what} ended",
        *(["detach"] if what == "attach" else []),
        "close",
    ]
    assert empty_folder(temporary)
    assert children() == before
    report = report_in(tmp_path / "run")
    assert report.verdict is VerdictState.INCONCLUSIVE
    assert [reason.code for reason in report.reasons] == [ReasonCode.INTERRUPTED, ReasonCode.NO_DATA]
    assert report.totals.skipped == {"interrupted": 5}


def test_a_signal_between_passes_keeps_what_the_first_one_showed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(Plugged):
        async def prepare(self, role: Role) -> None:
            await super().prepare(role)
            if self.log.count(f"prepare {role}") == 2:
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.sleep(3600)

    effects = plug_in(monkeypatch, Interrupted)
    assert ran(started(tmp_path / "run", effects), capture(tmp_path / "shop.gor", items(5)), Heard()) == 130
    report = report_in(tmp_path / "run")
    assert report.verdict is VerdictState.INCONCLUSIVE
    assert ReasonCode.INTERRUPTED in [reason.code for reason in report.reasons]
    assert (report.totals.compared, report.totals.skipped) == (5, {"interrupted": 5})


class Failing(Plugged):
    """Cannot attach a third time."""

    async def attach(self) -> None:
        await super().attach()
        if self.log.count("attach") == 3:
            raise SetupError("the database of candidate cannot be reached: password=hunter2", where="effects.plugged", fix="start it")


@pytest.mark.parametrize("verdict", [True, False], ids=["gate", "replay"])
def test_an_attach_that_fails_before_a_later_pass_ends_the_run_with_a_report_of_the_earlier_ones(
    verdict: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ui, out = Heard(), tmp_path / "run"
    code = ran(started(out, plug_in(monkeypatch, Failing)), capture(tmp_path / "shop.gor", items(40)), ui, verdict=verdict)
    report = report_in(out)
    assert report.totals.compared == 80
    why = "pass 3 could not begin: the database of candidate cannot be reached: password="
    assert why in report.blind[0].what
    assert "hunter2" not in ui.text + report.blind[0].what + "".join(ui.warnings)
    assert any("pass 3 could not begin: effects.plugged: the database" in said and "start it" in said for said in ui.warnings)
    assert Failing.log[-3:] == ["attach", "detach", "close"]
    if verdict:
        assert (code, report.verdict) == (3, VerdictState.INCONCLUSIVE)
        (said,) = [reason.message for reason in report.reasons if reason.code is ReasonCode.INTERRUPTED]
        assert said.startswith(f"The run ended after 80 compared requests: {why}")
        assert judge_run(out, None, Heard()) == 3, "judged again, from what was stored"
    else:
        assert (code, report.verdict) == (4, None)


def test_an_attach_that_fails_before_the_first_pass_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Never(Plugged):
        async def attach(self) -> None:
            raise KeyError("a defect of its own")

    with pytest.raises(SetupError, match="`plugged` failed: `attach` raised KeyError"):
        ran(started(tmp_path / "run", plug_in(monkeypatch, Never)), capture(tmp_path / "shop.gor", items(5)), Heard())
    assert not (tmp_path / "run").exists()
