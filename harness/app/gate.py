"""Gate and replay: a capture, pass after pass from fresh state, until every open question is decided."""

import asyncio
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from harness.app import audit, finish, parts, retention
from harness.app.alone import AlonePasses
from harness.app.captures import load
from harness.app.context import Context, StoredFacts
from harness.app.early import EarlyStop, failed_within_pass
from harness.app.effects import IDLE, Effects, idle_sections
from harness.app.pools import Pools
from harness.app.signals import Stop, StoppedError, with_stop
from harness.app.traffic import chosen_sessions, with_variants
from harness.core.endpoint import EndpointMapper, entity_of
from harness.core.errors import ShadowdiffError, UsageError
from harness.core.http import SAFE_METHODS
from harness.core.labels import Aspect, Control, ReasonCode, Role, RunMode, SkipReason, VerdictState
from harness.core.values import Request, Totals, Trial
from harness.evidence.gate import judge
from harness.evidence.observed import failures
from harness.evidence.policy import Policy
from harness.evidence.snapshot import Snapshot, Verdict
from harness.report.model import Blind, CaptureFacts, Report, TargetFacts
from harness.report.text import count_of
from harness.settings.load import DEFAULT, Loaded
from harness.settings.schema import Settings
from harness.targets.supervisor import TargetSet
from harness.ui import Ui
from replay.capture import Capture
from replay.runner import PassJob, PassResult, RunnerIO, run_pass
from replay.schedule import plan as schedule

STOPPED_EARLY: Final = "it was to stop as soon as a failure is proven, and it is (replay.stop_early)"
"""Why a run ended before the end of the traffic."""


async def run_gate(loaded: Loaded, captures: Sequence[Path], ui: Ui, *, verdict: bool) -> int:
    """Replay captures and judge (or, without `verdict`, only report). Returns the exit code."""

    async def body(stop: Stop) -> int:
        _, code = await replay_and_judge(loaded, captures, ui, stop, mode=RunMode.GATE if verdict else RunMode.REPLAY)
        return code

    return await with_stop(body, notice=ui.warn)


async def replay_and_judge(loaded: Loaded, captures: Sequence[Path], ui: Ui, stop: Stop, *, mode: RunMode) -> tuple[Report, int]:
    """One gate run from capture files to report; the report and the exit code."""
    replay = loaded.settings.replay
    # In a thread, so that a signal is heard while a large capture is read.
    capture = await asyncio.to_thread(load, captures, skip_broken=replay.skip_broken, hosts=replay.hosts)
    return await _GateRun(loaded, capture, ui, stop, mode).run()


def is_open(snapshot: Snapshot, policy: Policy) -> bool:
    """Whether another pass from fresh state may decide something: a difference, or an endpoint that looks slower.

    Speed is told by the block, and a pass has few of them: without the second part a candidate many times slower would
    pass after two passes, long before its slowness can be proven.
    """
    proven = {finding.endpoint for finding in snapshot.findings if finding.aspect is Aspect.LATENCY}
    slower = any(
        state.latency_gates and state.ratio is not None and state.ratio > 1.0 + policy.latency_tolerance and state.endpoint not in proven
        for state in snapshot.endpoints
    )
    return snapshot.open_questions > 0 or slower


class _GateRun:
    """The state of one gate or replay run."""

    def __init__(self, loaded: Loaded, capture: Capture, ui: Ui, stop: Stop, mode: RunMode) -> None:
        self._settings: Settings = loaded.settings
        self._capture = capture
        self._ui = ui
        self._stop = stop
        self._mode = mode
        self._chosen = parts.replay_targets(loaded.settings)
        self._mapper: EndpointMapper = parts.mapper_of(loaded.settings.endpoints, capture.hosts)
        replay = loaded.settings.replay
        identity = parts.identity(parts.SystemClock(), replay.seed)
        entries = with_variants(capture.entries, replay.vary, identity.seed, endpoint_of=self._mapper.endpoint, is_sent=self._is_sent)
        self._sessions = chosen_sessions(entries, replay.sessions)
        self._entries = [entry for session in self._sessions for entry in session.entries]
        sent = [entry.request for entry in self._entries if self._is_sent(entry.request)]
        self._replayable = len(sent)
        if loaded.settings.effects.collect and self._chosen.control is Control.SELF:
            raise UsageError(
                "effects cannot be watched without a secondary: what stable does when it is asked twice cannot be told apart",
                where="effects.collect",
                fix="give --secondary, or stable as a command",
            )
        self._effects = Effects(
            loaded.settings.effects,
            identity=identity,
            clock=parts.SystemClock(),
            redactor=parts.redactor_of(loaded.settings.redact),
            started=[role for role, spec in self._chosen.specs.items() if spec.command is not None],
            stop=stop,
        )
        self._design = self._effects.design(self._chosen.design)
        self._context = Context(
            loaded,
            mode=mode,
            control=self._chosen.control,
            design=self._design,
            endpoints=dict(Counter(self._mapper.endpoint(request) for request in sent)),
            live=False,
            identity=identity,
        )
        self._pipeline = self._context.pipeline()
        self._pools = Pools(self._context, shadow_timeout_s=self._settings.replay.timeout_s)
        self._targets = TargetSet(self._chosen.specs, self._context.clock, self._effects)
        self._fresh = self._state_is_fresh()
        self._seq = 0
        self._passes: list[PassResult] = []
        self._alone = AlonePasses(on=self._fresh)
        self._last: Snapshot | None = None
        """After the pass sent last."""
        self._addresses: dict[Role, str] = {}
        """Of the last start, which the report names."""
        self._early = EarlyStop(stop, self._has_failed, on=loaded.settings.replay.stop_early and mode is not RunMode.REPLAY)
        self._failure: ShadowdiffError | None = None
        """Why a further pass could not begin."""

    def _is_sent(self, request: Request) -> bool:
        return request.method in SAFE_METHODS or (self._settings.replay.allow_writes and request.method != "TRACE")

    def _state_is_fresh(self) -> bool:
        """Whether a further pass gives independent answers."""
        state = self._settings.replay.state
        return self._targets.can_reset if state == "auto" else state in {"fresh", "stateless"}

    async def run(self) -> tuple[Report, int]:
        """Start, send, stop, judge."""
        context = self._context
        self._ui.use_folder(context.folder)
        await retention.enforce(context, self._ui)
        self._ui.info(self._opening())
        for name in idle_sections(self._settings.effects):
            self._ui.warn(IDLE.format(name=name))
        with context:
            try:
                await self._effects.open(self._roles())
                async with self._targets:
                    await self._replay()
            except StoppedError:  # before a pass began: all of it counts as interrupted
                await self._send_pass()
            finally:
                await self._effects.close()
            report, verdict = self._finish()
        finish.show(self._ui, context, report)
        audited = await audit.write_run(context, report, self._ui)
        await retention.enforce(context, self._ui)
        self._effects.check()
        return report, self._stop.exit_code or audit.audited_code(self._exit_code(verdict), self._settings.audit, audited=audited)

    def _exit_code(self, verdict: Verdict | None) -> int:
        """The verdict's; where there is none, that of what ended the run."""
        return self._failure.exit_code if verdict is None and self._failure is not None else finish.exit_code(verdict)

    async def _replay(self) -> None:
        """The builds started, all passes sent and compared."""
        if commands := [str(role) for role, spec in self._chosen.specs.items() if spec.command is not None]:
            self._ui.info(f"starting {', '.join(commands)}")
        self._addresses = await self._targets.start()
        self._pipeline.start()
        try:
            await self._send_passes()
        finally:
            try:
                await self._pools.close()
            finally:
                await self._pipeline.stop()

    async def _send_passes(self) -> None:
        """Send until all is decided, or a further pass cannot begin: what was sent until then is judged, and never passes."""
        for index in range(self._passes_max()):
            await self._pools.close()  # first: a build that ends in order waits for the connections it serves
            try:
                if index and self._fresh and self._settings.replay.state != "stateless":
                    self._addresses = await self._targets.restart()
                await self._effects.attach()
            except ShadowdiffError as error:
                if not index:
                    raise
                self._fail(error)
                break
            self._pools.open({role: self._addresses.get(role, self._addresses[Role.STABLE]) for role in self._roles()})
            await self._send_pass()
            await self._effects.end_pass(whole=not (self._stop.requested or self._early.reached))
            await self._pipeline.drain()
            self._last = await self._pipeline.snapshot()
            if self._is_enough(self._last):
                break

    async def _send_pass(self) -> None:
        """Send every request once; where somebody has asked to stop, count them."""
        index = len(self._passes)
        async with self._early.watching() as ending:
            self._passes.append(await run_pass(self._job(index), self._io(index, ending)))
        self._seq = self._passes[-1].seq_next

    def _fail(self, error: ShadowdiffError) -> None:
        """A further pass cannot begin. The error may quote a build's output, which is for people and not for the report."""
        self._failure = error
        self._ui.warn(self._context.redactor.text(f"pass {len(self._passes) + 1} could not begin: {error}"))

    def _ended(self) -> str:
        """Why the run ended before its time, in a line; empty where it did not."""
        if self._failure is None:
            return STOPPED_EARLY if self._early.reached else ""
        what = self._failure.what.partition("\n")[0].removesuffix("; last output:")
        return self._context.redactor.text(f"pass {len(self._passes) + 1} could not begin: {what}")

    def _passes_max(self) -> int:
        passes = self._settings.replay.passes
        return self._context.policy.policy.passes_max if passes == "auto" else passes

    def _is_decided(self, snapshot: Snapshot) -> bool:
        """With `--passes auto`: enough passes, and nothing that another one could decide."""
        done = len(self._passes)
        compared = f"{self._passes[-1].emitted} compared{', one at a time' if self._passes[-1].alone > self._passes[0].alone else ''}"
        self._ui.info(f"pass {done}: {compared}, {count_of(snapshot.open_questions, 'open question')}")
        if self._settings.replay.passes == "auto" and failures(snapshot, self._effects.facts()):
            return True  # a hard rule is broken: no further pass can change the verdict
        if self._settings.replay.passes != "auto" or done < self._context.policy.policy.passes_min:
            return False
        return not self._fresh or not is_open(snapshot, self._context.policy.policy)

    def _roles(self) -> tuple[Role, ...]:
        return tuple(
            role for role in Role if role in self._chosen.specs or (role is Role.SECONDARY and self._chosen.control is Control.SELF)
        )

    def _concurrency(self) -> int:
        """One request at a time where effects are watched and nothing else was asked for: each is whole between two looks then."""
        one_by_one = self._effects.on and self._context.loaded.origin("replay.concurrency") is DEFAULT
        return 1 if one_by_one else self._settings.replay.concurrency

    def _job(self, index: int) -> PassJob:
        speed = self._settings.replay.speed
        return PassJob(
            sessions=schedule(self._sessions, None if speed == "max" else speed),
            roles=self._roles(),
            control=self._chosen.control,
            design=self._design,
            pass_index=index,
            fresh=self._fresh,
            concurrency=1 if self._alone.next(self._passes, self._last) else self._concurrency(),
            timed=speed != "max",
            allow_writes=self._settings.replay.allow_writes,
            secondary_safe_only=self._chosen.control is Control.SELF,
            seq_start=self._seq,
        )

    def _io(self, index: int, ending: asyncio.Event) -> RunnerIO:
        context = self._context
        label = f"pass {index + 1}"
        return RunnerIO(
            send=self._pools.send,
            emit=self._pipeline.put,
            clock=context.clock,
            rng=parts.rng_of(context.identity, f"pass{index}"),
            ids=context.ids,
            tally=context.tally,
            endpoint_of=self._mapper.endpoint,
            entity_of=entity_of,
            stop=ending,
            progress=lambda done, total: self._ui.progress(label, done, total),
            watch=self._effects if self._effects.on else None,
        )

    def _finish(self) -> tuple[Report, Verdict | None]:
        """Judge, and write what the run leaves behind; no verdict for a replay."""
        context = self._context
        self._count_left_out()
        snapshot = context.ledger.snapshot()
        totals = context.tally.totals()
        verdict = None
        if self._mode is not RunMode.REPLAY:
            verdict = self._judged(snapshot, totals)
        stored = StoredFacts(
            run=context.facts(self._target_facts(), self._capture_facts()),
            policy=context.policy.policy,
            control=self._chosen.control,
            design=self._design,
            endpoints=context.endpoints,
            replayable=self._replayable,
            interrupted=self._stop.requested,
            ended=self._ended(),
            totals=totals,
            unused_rules=context.unused_rules(),
            effects=self._effects.facts(),
            expected=context.expected,
        )
        seen = {self._mapper.endpoint(entry.request) for entry in self._capture.entries}
        report = finish.write_report(
            context, stored, snapshot, verdict, totals, blind=self._blind(), seen_endpoints=seen, history=self._history()
        )
        return report, verdict

    def _judged(self, snapshot: Snapshot, totals: Totals) -> Verdict:
        """The verdict if the run ended now."""
        return judge(
            snapshot,
            totals,
            self._context.policy.policy,
            interrupted=self._stop.requested,
            ended=self._ended(),
            replayable=self._replayable,
            unused_rules=self._context.unused_rules(),
            effects=self._effects.facts(),
            expected=self._context.expected,
        )

    async def _has_failed(self) -> bool:
        """Whether the pass under way has failed the run for good."""
        snapshot = await self._pipeline.snapshot()
        verdict = self._judged(snapshot, self._context.tally.totals())
        # A wanted change that has not come yet may come with what is still to be sent.
        fails = verdict.state is VerdictState.FAIL and verdict.reasons[0].code is not ReasonCode.MUST_CHANGE
        return failed_within_pass(snapshot, self._effects.facts(), fails=fails)

    def _is_enough(self, snapshot: Snapshot) -> bool:
        """Whether no further pass is sent: somebody asked to stop, all is decided, or the failure is proven and that is enough."""
        if self._stop.requested or self._early.reached or self._is_decided(snapshot):
            return True
        more = len(self._passes) < self._passes_max()
        if more and self._early.on and self._judged(snapshot, self._context.tally.totals()).state is VerdictState.FAIL:
            self._early.reached = True
        return self._early.reached

    def _count_left_out(self) -> None:
        """What the capture's loading left out: by rule once; a request whose body was cut is missing from every pass."""
        for reason, count in self._capture.skipped.items():
            times = max(1, len(self._passes)) if reason is SkipReason.TRUNCATED_REQUEST else 1
            self._context.tally.entered(count * times)
            self._context.tally.skipped(reason, count * times)

    def _opening(self) -> str:
        capture = self._capture
        hosts = ", ".join(capture.hosts)
        return (
            f"{len(self._entries)} requests to {hosts} in {len(self._sessions)} sessions, {self._replayable} of them to be sent; "
            f"seed {self._context.identity.seed}"
        )

    def _target_facts(self) -> dict[Role, TargetFacts]:
        specs = {role: self._chosen.specs[role] for role in Role if role in self._chosen.specs}
        return {role: TargetFacts(address=self._addresses.get(role, spec.url or ""), command=spec.command) for role, spec in specs.items()}

    def _capture_facts(self) -> list[CaptureFacts]:
        files = self._capture.files
        return [
            CaptureFacts(
                file=file,
                format=Path(file).suffix.lstrip("."),
                entries=self._entries_of(file),
                digest=digest,
            )
            for file, digest in zip(files, self._capture.digests, strict=True)
        ]

    def _entries_of(self, file: str) -> int:
        return sum(entry.file == file for entry in self._capture.entries)

    def _blind(self) -> list[Blind]:
        found = [Blind(what=ended)] if (ended := self._ended()) else []
        found += [Blind(what=untold)] if (untold := self._alone.blind()) else []
        if self._capture.other_hosts:
            shown = ", ".join(sorted(self._capture.other_hosts)[:5])
            found.append(Blind(what=f"requests to hosts that are not mapped ({shown})", count=sum(self._capture.other_hosts.values())))
        if mapped := sum(done.mapped_ids for done in self._passes):
            found.append(
                Blind(what="identifiers taken as equal, being new in each answer (a wrong one of the same form is not seen)", count=mapped)
            )
        found += [Blind(what=f"broken entry {entry.index} of {entry.file}: {entry.what}") for entry in self._capture.broken[:20]]
        return found

    def _history(self) -> finish.HistoryOf:
        """The session's requests before a trial's, redacted, and how to replay it, for the reproducing command."""
        places = {(entry.file, entry.index): (session, at) for session in self._sessions for at, entry in enumerate(session.entries)}

        def history(trial: Trial) -> finish.History:
            if trial.capture is None or (place := places.get((trial.capture.file, trial.capture.entry))) is None:
                return finish.History()
            session, at = place
            before = [entry.request for entry in session.entries[:at] if self._is_sent(entry.request)]
            return finish.History([self._context.redactor.request(request) for request in before], self._replay_command(session.key))

        return history

    def _replay_command(self, session: str) -> str:
        """The command line that sends one session again, against builds that are started anew where the harness starts them."""
        replay = self._settings.replay
        words = ["shadowdiff", "replay", *self._capture.files, "--session", session, "--passes", "1"]
        for role, spec in self._chosen.specs.items():
            if role is not Role.SECONDARY or self._settings.targets.secondary is not None:
                words += [f"--{role}", spec.describe()]
        words += ["--allow-writes"] if replay.allow_writes else []
        words += ["--skip-broken"] if replay.skip_broken else []
        if self._context.loaded.origin("effects.collect").layer == "option":
            words += ["--effects", ",".join(self._settings.effects.collect)]
        words += ["--vary", str(replay.vary), "--seed", str(self._context.identity.seed)] if replay.vary else []
        words += ["--config", str(self._context.loaded.file)] if self._context.loaded.file is not None else []
        return self._context.redactor.text(shlex.join(words))
