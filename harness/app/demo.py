"""The demo: live traffic through the proxy over three builds, a recording of it, and a gate that replays the recording."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import msgspec
from rich.table import Table

from harness.app import parts
from harness.app.gate import replay_and_judge
from harness.app.proxy import LiveRun
from harness.app.signals import Stop, with_stop
from harness.core.errors import SetupError
from harness.core.labels import FindingClass, ReasonCode, Role, RunMode, VerdictState
from harness.core.watched import Watched
from harness.report.model import FindingView, Report
from harness.settings.effects import EffectsSettings, EgressHostSettings, EgressSettings
from harness.settings.load import Loaded, Origin
from harness.settings.schema import (
    DemoOptions,
    ProxySettings,
    ReplaySettings,
    Settings,
    StoreSettings,
    TargetSettings,
    TargetsSettings,
)
from harness.targets.spec import TargetSpec
from harness.targets.supervisor import TargetSet
from harness.ui import Ui
from scenarios.demo import traffic
from scenarios.demo.faults import FAULTS, PlantedFault
from scenarios.demo.outside import IDEMPOTENCY_KEY, URL_VARIABLES, Outside

FAILED_EXIT: Final = 5
_SERVICE: Final = "{{python}} -P -m scenarios.demo.service --port {{port}} --build {build} --seed {seed}-{run}-{{role}}-{{start}}"
"""Each instance of either run draws its own chances (ids, order of tags, jitter), as separate processes do; the seed repeats
them. Were they the same in both runs, the replayed stable would give out the recorded order numbers again, by itself."""
_RECORDING: Final = "traffic.gor"
_CALLING: Final = {variable: f"http://{name}" for name, variable in URL_VARIABLES.items()} | {"no_proxy": "", "NO_PROXY": ""}
"""Environment in which the builds call the outside, by the proxy that they are given: its names are known to nobody else."""
_CONCURRENCY: Final = 8
"""The builds hand on trace context, so what they do can be told apart with many requests under way."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo compares with what it planted."""

    found: tuple[PlantedFault, ...]
    missed: tuple[PlantedFault, ...]
    unexplained: tuple[FindingView, ...]
    """Divergences that no planted fault accounts for."""


async def run_demo(options: DemoOptions, ui: Ui) -> int:
    """Run it. 0 when the run did what was planted, else 5."""

    async def body(stop: Stop) -> int:
        return await _Demo(options, ui, stop).run()

    return await with_stop(body, notice=ui.warn)


class _Demo:
    """One demo: three builds, two runs (live and gate), one answer."""

    def __init__(self, options: DemoOptions, ui: Ui, stop: Stop) -> None:
        self._options = options
        self._ui = ui
        self._stop = stop
        self._clock = parts.SystemClock()
        name = parts.identity(self._clock, options.seed).id
        self._folder = options.out or Path(StoreSettings().dir) / f"demo-{name}"

    def _command(self, role: Role, run: str) -> str:
        build = "candidate" if role is Role.CANDIDATE and not self._options.candidate_is_stable else "stable"
        return _SERVICE.format(build=build, seed=self._options.seed, run=run)

    async def run(self) -> int:
        ui, options = self._ui, self._options
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(f"cannot be made: {error.strerror}", where=str(self._folder), fix="give another --out") from error
        built = "the stable build again" if options.candidate_is_stable else f'"written by an assistant", with {len(FAULTS)} planted faults'
        ui.info(f"An order service in three processes: stable, secondary, and a candidate that is {built}. Seed {options.seed}.")
        live = await self._live()
        if interrupted := self._stop.exit_code:
            return interrupted
        ui.info("Live traffic done. Now the gate: the recording is replayed against freshly started builds, pass after pass.")
        ui.info("The builds may now call a payment service and a mail service; what they do there is compared as well.")
        async with Outside(Random(f"outside {options.seed}")) as outside:
            recording = self._folder / _RECORDING
            gate, _ = await replay_and_judge(self._gate_settings(outside.addresses), [recording], ui, self._stop, mode=RunMode.DEMO)
        return self._stop.exit_code or self._conclude([live, gate], gate, outside)

    async def _live(self) -> Report:
        """Start the builds, drive the traffic through the proxy, stop all."""
        specs = {role: TargetSpec(command=self._command(role, "live"), ready="/health") for role in Role}
        sessions = traffic.plan(self._options.seed)
        total = sum(len(session.steps) for session in sessions)
        done = 0

        def answered(_status: int) -> None:
            nonlocal done
            done += 1
            self._ui.progress("live requests", done, total)

        async with TargetSet(specs, self._clock) as targets:
            urls = await targets.start()
            run = LiveRun(self._live_settings(urls), self._ui)
            ended = Stop()
            serving = asyncio.create_task(run.serve(ended))
            driving = asyncio.create_task(self._drive(run, sessions, answered))
            interrupted = asyncio.create_task(self._stop.wait())
            try:
                await asyncio.wait({serving, driving, interrupted}, return_when=asyncio.FIRST_COMPLETED)
                if driving.done():
                    driving.result()
            finally:
                driving.cancel()
                interrupted.cancel()
                await asyncio.gather(driving, interrupted, return_exceptions=True)
                ended.request()
                report = await serving
        return report

    async def _drive(self, run: LiveRun, sessions: tuple[traffic.Session, ...], answered: Callable[[int], None]) -> None:
        await run.serving()
        await traffic.drive(f"http://{run.address}", sessions, seed=self._options.seed, on_answer=answered)

    def _live_settings(self, urls: dict[Role, str]) -> Loaded:
        settings = Settings(
            targets=TargetsSettings(**{role.value: TargetSettings(url=url) for role, url in urls.items()}),
            replay=ReplaySettings(seed=self._options.seed),
            proxy=ProxySettings(listen="127.0.0.1:0", admin="127.0.0.1:0", record=str(self._folder / _RECORDING)),
            store=StoreSettings(run_dir=str(self._folder / "live")),
        )
        return Loaded(settings, {})

    def _gate_settings(self, outside: dict[str, str]) -> Loaded:
        """`outside` has the address of each service by the name under which the builds call it."""
        chosen = {
            role.value: TargetSettings(command=self._command(role, "gate"), env=_CALLING, ready="/health")
            for role in (Role.STABLE, Role.CANDIDATE)
        }
        hosts = {name: EgressHostSettings(upstream=address) for name, address in outside.items()}
        settings = Settings(
            targets=TargetsSettings(**chosen),
            replay=ReplaySettings(seed=self._options.seed, allow_writes=True, concurrency=_CONCURRENCY),
            effects=EffectsSettings(
                collect=("http",), http=EgressSettings(mode="virtualise", hosts=hosts, headers=(IDEMPOTENCY_KEY.lower(),))
            ),
            store=StoreSettings(run_dir=str(self._folder / "gate")),
        )
        return Loaded(settings, {"replay.concurrency": Origin("option", "the demo")})

    def _conclude(self, reports: list[Report], gate: Report, outside: Outside) -> int:
        """Tick off what was planted, and say whether the demo did what it should."""
        contained, calls = calls_words(gate, outside)
        self._ui.info(calls)
        self._ui.info(f"Reports: {self._folder / 'gate' / 'report.html'} (gate), {self._folder / 'live' / 'report.html'} (live)")
        outcome = compare_with_planted(reports)
        if self._options.candidate_is_stable:
            worked, words = stable_worked(outcome, gate)
        else:
            self._ui.result(_planted_table(outcome))
            worked = not outcome.missed and not outcome.unexplained and gate.verdict is VerdictState.FAIL
            words = f"{len(outcome.found)} of {len(FAULTS)} planted faults found"
        worked = worked and contained
        self._ui.result(f"Demo {'worked' if worked else 'FAILED'}: {words}")
        if outcome.unexplained:
            self._ui.warn(
                "called divergence without having been planted: "
                + "; ".join(f"{f.endpoint} {f.aspect} {f.path} {f.kind}" for f in outcome.unexplained)
            )
        return 0 if worked else FAILED_EXIT


def compare_with_planted(reports: list[Report]) -> Outcome:
    """Which planted faults are among the divergences of any report, and which divergences nothing planted explains."""
    divergences = [f for report in reports for f in report.findings if f.finding_class is FindingClass.DIVERGENCE]
    keys = [(f.endpoint, f.aspect, f.path, f.kind) for f in divergences]
    found = tuple(fault for fault in FAULTS if any(fault.shown_by(*key) for key in keys))
    return Outcome(
        found=found,
        missed=tuple(fault for fault in FAULTS if fault not in found),
        unexplained=tuple(f for f, key in zip(divergences, keys, strict=True) if not any(fault.explains(*key) for fault in FAULTS)),
    )


def calls_words(gate: Report, outside: Outside) -> tuple[bool, str]:
    """Whether no call but stable's reached the outside, and how that is said: what was seen leaving, and what came."""
    watched = next((one for one in gate.effects.watched if one.collector == "http"), Watched(collector="http", version=""))
    made = ", ".join(f"{role} {watched.seen.get(role, 0) + watched.unattributed.get(role, 0):,}" for role in Role)
    came, others = outside.came(Role.STABLE), outside.came(Role.SECONDARY, Role.CANDIDATE, None)
    whose = f"{others:,} of them NOT stable's" if others else "all of them stable's; those of the others went no further than the harness"
    return not others, f"Outbound calls made: {made}. The payment and mail services got {came + others:,}, {whose}."


def stable_worked(outcome: Outcome, gate: Report) -> tuple[bool, str]:
    """Whether the stable build against itself came out as it should, and how that is said.

    It may end undecided over a difference that is too rare, and in no other way without a pass.
    """
    headline = gate.reasons[0].code if gate.reasons else None
    undecided = gate.verdict is VerdictState.INCONCLUSIVE and headline is ReasonCode.UNDECIDED
    noise = len(outcome.unexplained) + len(outcome.found)
    worked = (gate.verdict is VerdictState.PASS or undecided) and not noise
    shown = gate.verdict.value.upper() if gate.verdict else "none"
    said = "noise called divergence" if noise else "no noise called divergence"
    return worked, f"the stable build against itself, verdict {shown}, {said}"


def _planted_table(outcome: Outcome) -> Table:
    table = Table(title="What was planted", title_justify="left", show_lines=False)
    for column in ("fault", "what the assistant broke", "found"):
        table.add_column(column)
    for fault in FAULTS:
        table.add_row(fault.name, fault.what, "yes" if fault in outcome.found else "NO")
    return table
