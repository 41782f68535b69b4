"""Live traffic through the proxy: clients get stable's answer, the run gets its trials, others can look on."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Final

from harness.app import audit, finish, ingress, parts, resuming, retention
from harness.app.asking import Asking, asked_roles
from harness.app.checkpoint import Checkpoints, session_key
from harness.app.context import Context
from harness.app.effects import IDLE, idle_sections
from harness.app.epochs import Closed, EpochGate, Epochs, build_rules
from harness.app.fleet import Fleet, FleetOrders
from harness.app.history import ClosedBy, HistoryEntry
from harness.app.listening import freed_sockets
from harness.app.live_effects import LiveEffects
from harness.app.recorder import Recorder
from harness.app.reloading import change
from harness.app.results import Results
from harness.app.signals import Stop, StoppedError, with_stop
from harness.app.version_path import poll
from harness.bus.messages import ENCODER, CompareOrders, IngressOrders, Recorded
from harness.core.errors import SetupError, ShadowdiffError
from harness.core.labels import NEXT_STEP, Control, Design, ReasonCode, Role, RunMode, SkipReason, VerdictState
from harness.core.limits import COMPARE_STALL_SECONDS_MAX
from harness.counters import TargetBreakers
from harness.evidence.snapshot import Reason, Snapshot, Verdict
from harness.fold import Fold
from harness.proxy.address import tls_context
from harness.proxy.tls import server_context
from harness.report.history import history_view
from harness.report.model import Blind, Report
from harness.settings.forms import parse_address
from harness.settings.load import Loaded
from harness.store import Flushed, Keep
from harness.ui import Ui
from harness.web.admin import AdminServer
from harness.web.answer import AdminState
from harness.worker import Worker

SNAPSHOT_SECONDS: Final = 2.0
"""How often the verdict and the metrics' gauges are brought up to date."""
KILLED_GRACE_SECONDS: Final = 15.0
"""How long a run that goes on waits for the workers of the killed one to let go of their port."""
STOP_GRACE_SECONDS: Final = 10.0
"""For requests and shadows under way when the proxy stops."""


async def run_proxy(loaded: Loaded, ui: Ui, reload: Callable[[], Loaded] | None = None) -> int:
    """Serve until stopped or the time is up. Returns 0 on a clean stop, with `proxy.gate` the verdict's code; not 0 where a verdict
    is not in the audit file and has to be.

    `reload` reads the configuration again, on SIGHUP; it raises what is wrong with it. SIGUSR1 switches mirroring off.
    """

    async def body(stop: Stop) -> int:
        proxy = LiveRun(loaded, ui)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, proxy.set_mirroring, 0.0)
        if reload is not None:
            loop.add_signal_handler(signal.SIGHUP, proxy.reload, reload)
        try:
            report = await proxy.serve(stop)
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)
            loop.remove_signal_handler(signal.SIGHUP)
        code = finish.EXIT_CODE[proxy.gate_verdict(report)] if loaded.settings.proxy.gate else 0
        return audit.audited_code(code, loaded.settings.audit, audited=proxy.audited)

    return await with_stop(body, notice=ui.warn)


def encoded_changes(context: Context) -> bytes:
    """The accepted changes that are applied, as compare workers are told them; empty for none."""
    return ENCODER.encode(context.expected.applied) if context.expected.applied else b""


class LiveRun:
    """One run of the proxy, from listening to report."""

    def __init__(self, loaded: Loaded, ui: Ui) -> None:
        settings = loaded.settings
        self._settings = settings
        self._ui = ui
        self._snapshot: Snapshot | None = None
        self._verdict: Verdict | None = None
        self._as_of = 0.0
        self._serving = asyncio.Event()
        # All that may be wrong with options comes before anything is made on disk.
        self._urls = ingress.target_urls(settings)
        control = ingress.proxy_options(settings).control
        asked_roles(settings)
        parts.mapper_of(settings.endpoints)
        self._admin = self._admin_server()
        self._recorder = None if settings.proxy.record is None else Recorder(Path(settings.proxy.record), parts.SystemClock())
        make = partial(
            Context,
            loaded,
            mode=RunMode.PROXY,
            control=control,
            design=Design.NO_CONTROL if control is Control.NONE else Design.TWO_ARM,
            endpoints={},
            live=True,
        )
        try:
            resumption = resuming.find(loaded, parts.SystemClock().time())
            first, context = resumption.contexts(make) if resumption is not None else (make(),) * 2
        except BaseException:  # a cancellation too: nothing half-recorded stays
            if self._recorder is not None:
                self._recorder.discard()
            raise
        gate = EpochGate(parts.build_label(settings), context.clock) if resumption is None else resumption.gate(context)
        self._epochs = Epochs(first, gate, urls=self._urls, period_s=settings.epochs.period_s)
        self._resumption = resumption
        self._writer = Worker("epochs")
        self._switching = asyncio.Lock()
        self._switches: set[asyncio.Task[None]] = set()
        self._ending = False
        self._effects = LiveEffects(settings.effects, identity=context.identity, clock=context.clock, redactor=context.redactor)
        recall = None
        if resumption is not None:
            resumption.begin(self._epochs, context)
            recall = resumption.recall(context, self._effects)
        on_watched = self._effects.attributed.fold if self._effects.on else None
        self._results = Results(context.fold, context.tally, on_watched, gate, recall)
        self._asking = Asking(settings, self._results, self._epochs)
        if recall is not None:
            recall.on_repeat = self._asking.recalled
        resumes = 0 if resumption is None else resumption.resumes
        self._checkpoints = Checkpoints(first, self._epochs, self._results, self._effects, ui.warn, resumes=resumes)
        self._fleet: Fleet | None = None
        self._address = ""
        self.audited = True
        """Whether the verdict is in the audit file, once it has served."""

    @property
    def _context(self) -> Context:
        """Of the epoch that is on."""
        return self._epochs.context

    async def serve(self, stop: Stop) -> Report:
        """Listen, wait for the end, and write the report."""
        context = self._context
        self._ui.use_folder(context.folder)
        await retention.enforce(context, self._ui)
        with self._epochs:
            # Undone in reverse, each whatever the others raise: what feeds a part ends before it.
            async with AsyncExitStack() as ending:
                ending.enter_context(suppress(StoppedError))  # before it served: the report says that nothing was compared
                if self._recorder is not None:
                    self._recorder.start(context.redactor)
                    ending.push_async_callback(asyncio.to_thread, self._recorder.stop, STOP_GRACE_SECONDS)
                if self._admin is not None:
                    ending.push_async_callback(self._admin.stop)
                self._results.start()
                ending.push_async_callback(self._results.stop, COMPARE_STALL_SECONDS_MAX)
                self._fleet = Fleet(
                    self._orders(),
                    self._results,
                    context.tally,
                    on_record=self._on_record(),
                    notice=self._ui.warn,
                    keep_counts_in=self._epochs.folder,
                )
                ending.push_async_callback(self._effects.stop)  # after the fleet: what it still compares waits for what is seen
                await stop.heeded(self._effects.start(tuple(self._urls)))
                self._effects.watch(self._fleet.tell_effects)
                host, port = parse_address(self._settings.proxy.listen or "")
                ending.push_async_callback(self._fleet.stop, STOP_GRACE_SECONDS)
                patience_s = 0.0 if self._resumption is None else KILLED_GRACE_SECONDS
                sockets = await stop.heeded(freed_sockets(host, port, self._settings.proxy.workers, patience_s))
                self._address = await self._fleet.start(sockets)
                ending.callback(self._forget_address)
                if self._admin is not None:
                    await self._admin.start()
                ending.push_async_callback(self._checkpoints.stop)
                await self._checkpoints.start(self._fleet, lambda: self._settings)
                if self._resumption is not None:
                    self._resumption.tidy()
                ending.push_async_callback(self._asking.stop)
                self._asking.start(self._fleet)
                self._announce()
                self._serving.set()
                ending.callback(self._serving.clear)
                await self._wait_for_the_end(stop)
            report = self._finish()
            self._checkpoints.remove()
        finish.show(self._ui, self._context, report)
        if self._epochs.now.number > 1:
            self._ui.result(history_view(self._epochs.history.entries))
        await asyncio.to_thread(self._audit, self._context, report)
        await retention.enforce(context, self._ui)
        return report

    def _orders(self) -> FleetOrders:
        """What the workers need to know of this run."""
        context, settings = self._context, self._settings
        everything = Keep(settings.store.keep) is Keep.ALL
        return FleetOrders(
            ingress=IngressOrders(
                settings=ENCODER.encode(settings),
                session_key=session_key(context.secret),
                seed=context.identity.seed,
                record=self._recorder is not None,
                whole=everything,
                resumes=0 if self._resumption is None else self._resumption.resumes,
            ),
            compare=CompareOrders(
                rules=ENCODER.encode((*settings.rules, *build_rules(settings.epochs.build_header))),
                build_header=(settings.epochs.build_header or "").lower(),
                secret=context.secret,
                forward_all=everything,
                effects=self._effects.orders(),
                redaction=ENCODER.encode(parts.redaction_rules(settings.redact)),
                redaction_key=context.redaction_key,
                expected=encoded_changes(context),
            ),
            compare_workers=settings.proxy.compare_workers,
        )

    def _on_record(self) -> Callable[[Recorded], None] | None:
        recorder = self._recorder
        return None if recorder is None else lambda recorded: recorder.take(recorded.request, recorded.exchange)

    def _forget_address(self) -> None:
        self._address = ""

    async def _wait_for_the_end(self, stop: Stop) -> None:
        """Until stopped, or the time is up."""
        watcher = asyncio.create_task(self._watch(), name="snapshots")
        poller = asyncio.create_task(self._poll(), name="version")
        try:
            async with asyncio.timeout(self._settings.proxy.duration_s):
                await stop.wait()
        except TimeoutError:
            pass
        finally:
            self._ending = True
            watcher.cancel()
            poller.cancel()
            await asyncio.gather(watcher, poller, return_exceptions=True)
            try:
                async with asyncio.timeout(COMPARE_STALL_SECONDS_MAX), self._switching:
                    pass  # an epoch that is being closed is closed first
            except TimeoutError:
                self._ui.warn("the epoch before could not be closed in time: its report is missing")
            await self._writer.stop(STOP_GRACE_SECONDS)

    async def _watch(self) -> None:
        """Keep verdict and gauges fresh.

        Where comparison has failed there is no verdict any more, but clients are served on: they come before it. The
        failure ends the run as an error all the same, when the results are.
        """
        while True:
            await asyncio.sleep(SNAPSHOT_SECONDS)
            try:
                self._results.check()
                epoch = self._epochs.now
                snapshot = await self._results.snapshot()
                if epoch is self._epochs.now:
                    self._note(snapshot)
                    self._end_epoch_if_due()
            except Exception as error:  # noqa: BLE001 - raised again at the end; until then clients are served
                self._give_up(error)
                return
            self._ui.progress("requests compared", self._epochs.now.totals().compared, None)

    async def _poll(self) -> None:
        """Ask the candidate which build it is, where it has a path for that."""
        path = self._settings.epochs.version_path
        if path is not None and Role.CANDIDATE in self._urls:
            address, _ = ingress.target_addresses(self._settings)[Role.CANDIDATE]
            await poll(address, path, lambda label: self._results.in_thread(lambda: self._epochs.gate.polled(label)))

    def _end_epoch_if_due(self) -> None:
        if self._switches or self._ending:
            return
        if build := self._epochs.gate.settled:
            self._switch_in_background(build, ClosedBy.BUILD)
        elif self._epochs.period_over:
            self._switch_in_background(None, ClosedBy.PERIOD)
        elif self._epochs.acceptance_over:
            self._switch_in_background(None, ClosedBy.ACCEPTANCE)

    def _switch_in_background(self, build: str | None, why: ClosedBy) -> asyncio.Task[None]:
        task = asyncio.create_task(self._switch(build, why), name="epoch")
        self._switches.add(task)
        task.add_done_callback(self._switched)
        return task

    def _switched(self, task: asyncio.Task[None]) -> None:
        self._switches.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._ui.warn(f"the epoch could not be closed: {error}")

    async def new_epoch(self, build: str | None) -> None:
        """See `harness.web.admin.StateProvider`."""
        await asyncio.shield(self._switch_in_background(build, ClosedBy.REQUEST))

    async def _switch(self, build: str | None, why: ClosedBy) -> None:
        """Close the epoch that is on, and begin the next: of `build`, or of the same build. Raises ShadowdiffError."""
        epochs = self._epochs
        async with self._switching:
            if self._ending or not self._serving.is_set():
                raise SetupError("the run takes no traffic", fix="ask while it serves")
            following = await self._writer.call(epochs.following)
            ended: list[tuple[str, Snapshot, int, Mapping[SkipReason, int]]] = []

            def make(fold: Fold) -> Fold:
                was, strays = epochs.gate.build, epochs.gate.drained()
                fresh, snapshot, announced = epochs.switch(following, build or was, fold)
                ended.append((was, snapshot, announced, strays))
                return fresh

            try:
                await self._results.exchange(make)
            except BaseException:
                following.store.discard()
                raise
            # Nothing may be awaited from here until the next epoch counts: what is counted belongs to either.
            was, snapshot, announced, strays = ended[0]
            effects, tally = self._effects.facts(), self._context.tally
            for reason, count in strays.items():
                tally.skipped(reason, count)
            closed = epochs.closed(was, why, snapshot, effects)
            epochs.begin(following, effects)
            tally.skipped(SkipReason.EARLIER_EPOCH, announced)
            self._snapshot = self._verdict = None
            following.metrics.begin(following.run_id, epochs.gate.build)
            if self._fleet is not None and following.expected != closed.context.expected:
                self._fleet.tell_expected(encoded_changes(following))
            if self._fleet is not None:
                await self._checkpoints.save(self._fleet, self._settings, Flushed())
            await self._writer.call(self._write, closed)

    def _write(self, closed: Closed) -> None:
        """In a thread of its own: a closed epoch's report."""
        try:
            report = self._epochs.write(closed, self._blind())
        finally:
            self._epochs.end(closed)
        self._audit(closed.context, report)
        verdict = report.verdict or VerdictState.INCONCLUSIVE
        self._ui.info(f"epoch {closed.number} is over ({closed.why}): {verdict}, build {closed.build or 'without a label'}")

    def _audit(self, context: Context, report: Report) -> None:
        file = audit.audit_file(self._settings.audit, self._epochs.folder.parent)
        done = audit.write_verdict(context.store.record, report, file, self._ui, mode=str(report.run.mode), at_s=context.clock.time())
        self.audited = self.audited and done

    def history(self) -> list[HistoryEntry]:
        """See `harness.web.admin.StateProvider`."""
        return self._epochs.told(self._verdict)

    def gate_verdict(self, report: Report) -> VerdictState:
        """What decides the exit code: the last epoch's verdict, unless an earlier one of the same build has failed."""
        failed = self._epochs.gate.build in self._epochs.history.failed
        return VerdictState.FAIL if failed else report.verdict or VerdictState.INCONCLUSIVE

    def _give_up(self, error: Exception) -> None:
        """Comparison has failed: whoever asks for the verdict must hear it at once."""
        message = f"Comparison has failed ({type(error).__name__}); clients are served on, and nothing is judged any more."
        code = ReasonCode.UNCOMPARABLE
        reason = Reason(code=code, message=message, next_step=NEXT_STEP[code])
        self._verdict = Verdict(state=VerdictState.INCONCLUSIVE, reasons=(reason,))
        self._as_of = self._context.clock.time()
        if self._snapshot is not None:
            self._context.metrics.set_snapshot(self._snapshot, self._verdict, self._context.tally.totals())
        self._ui.warn(message)

    def _note(self, snapshot: Snapshot) -> None:
        totals = self._context.tally.totals()
        self._snapshot = snapshot
        self._verdict = self._epochs.judged(snapshot, self._epochs.now.totals(), self._effects.facts())
        self._as_of = self._context.clock.time()
        self._context.metrics.set_snapshot(snapshot, self._verdict, totals)
        if self._fleet is not None:
            self._context.metrics.set_queues({"compare": self._fleet.uncompared, "shadow": self._fleet.shadows, **self._asking.waiting()})

    def _admin_server(self) -> AdminServer | None:
        settings = self._settings.proxy
        if not settings.admin:
            return None
        host, port = parse_address(settings.admin)
        return AdminServer(self, host=host, port=port, token=os.environ.get(settings.admin_token_env), clock=parts.SystemClock())

    def state(self) -> AdminState:
        """See `harness.web.admin.StateProvider`."""
        blocking = self._verdict.blocking if self._verdict is not None else ()
        return AdminState(
            run=self._context.run_id,
            build=self._epochs.gate.build,
            ready=self._serving.is_set(),
            verdict=self._verdict,
            requests=self._epochs.now.totals().compared,
            needed=max((b.more_requests for b in blocking if b.more_requests is not None), default=None),
            as_of=self._as_of,
        )

    def metrics(self) -> bytes:
        """See `harness.web.admin.StateProvider`."""
        if self._snapshot is not None:
            self._context.metrics.set_snapshot(self._snapshot, None, self._context.tally.totals())
        if self._fleet is not None:
            self._context.metrics.set_other_processes((self._fleet.counters(),))
            self._context.metrics.set_breakers(self._fleet.breakers())
            self._context.metrics.set_repeats(self._asking.repeats())
        return self._context.metrics.render()

    def mirroring(self) -> float:
        """See `harness.web.admin.StateProvider`."""
        return self._fleet.mirroring() if self._fleet is not None else 0.0

    def breakers(self) -> dict[str, TargetBreakers]:
        """See `harness.web.admin.StateProvider`."""
        return self._fleet.breakers() if self._fleet is not None else {}

    def set_mirroring(self, percent: float) -> None:
        """See `harness.web.admin.StateProvider`."""
        if self._fleet is not None:
            self._fleet.set_mirroring(percent)
            self._ui.warn(f"mirroring {percent:g} % of what is sampled" if percent else "mirroring is switched off; clients are served on")

    def reload(self, read: Callable[[], Loaded]) -> None:
        """Take over what may change in a configuration that is read again, and the certificates; refused whole where it is wrong."""
        try:
            new = change(self._settings, read().settings)
            options = ingress.proxy_options(new.settings)
            if options.tls_cert:
                server_context(options.tls_cert, options.tls_key or options.tls_cert)
            for address, _ in ingress.target_addresses(new.settings).values():
                tls_context(address)
        except ShadowdiffError as error:
            self._ui.warn(f"reload refused, everything stays as it was: {error}")
            return
        before, self._settings = parts.build_label(self._settings), new.settings
        if (build := parts.build_label(new.settings)) != before and build and self._serving.is_set():
            self._switch_in_background(build, ClosedBy.BUILD)
        if self._fleet is not None:
            self._fleet.reload(ENCODER.encode(new.settings))
        self._asking.use(new.settings)
        said = ", ".join(new.changed) or "no key has changed"
        self._ui.info(f"reloaded: {said}" + ("; certificates read again" if options.tls_cert else ""))
        if new.kept:
            self._ui.warn(f"changed in the file, but only a restart takes it over: {', '.join(new.kept)}")

    async def serving(self) -> None:
        """Returns once it takes traffic."""
        await self._serving.wait()

    @property
    def address(self) -> str:
        """Where clients connect, while it serves."""
        if not self._address:
            raise SetupError("the proxy is not listening", fix="start it first")
        return self._address

    def _announce(self) -> None:
        shadows = ", ".join(f"{role} {url}" for role, url in self._urls.items() if role is not Role.STABLE) or "nobody"
        scheme = "https" if self._settings.proxy.tls_cert else "http"
        if self._resumption is not None:
            self._ui.warn(self._resumption.words())
        self._ui.info(f"serving on {scheme}://{self._address} from stable {self._urls[Role.STABLE]}, mirroring to {shadows}")
        if self._admin is not None:
            self._ui.info(f"admin on {self._admin.address}: /metrics, /api/v1/verdict, /healthz, /readyz")
        if words := self._asking.words():
            self._ui.info(words)
        for name in idle_sections(self._settings.effects):
            self._ui.warn(IDLE.format(name=name))
        for place in self._effects.places():
            self._ui.info(f"effects of {place}")
        if Role.CANDIDATE not in self._urls:
            self._ui.warn("no candidate: traffic is served" + (" and recorded" if self._recorder else "") + ", nothing is under test")

    def _finish(self) -> Report:
        for reason, count in self._epochs.gate.rest().items():
            self._context.tally.skipped(reason, count)
        snapshot = self._context.ledger.snapshot()
        self._note(snapshot)
        closed = self._epochs.closed(self._epochs.gate.build, ClosedBy.END, snapshot, self._effects.facts())
        return self._epochs.write(closed, self._blind())

    def _blind(self) -> list[Blind]:
        if self._recorder is None:
            return []
        lost = self._recorder.lost + self._context.tally.exchanges_unrecorded
        return [Blind(what="live exchanges that could not be recorded", count=lost)] if lost else []
