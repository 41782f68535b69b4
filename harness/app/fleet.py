"""The worker processes of a live run: started, told what to do, watched, replaced when they die, and ended in order.

What a death costs is counted: requests that an ingress worker had in hand, and trials whose results never came. A trial
is given up only when it is certain that no result of it is still under way.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from harness.app import breakers
from harness.app.launching import RESTART_SECONDS, START_SECONDS_MAX, Launcher
from harness.app.members import Members, Place, Worker
from harness.app.outage import Outage
from harness.app.results import Results, hanging
from harness.app.run_folder import RunFolder
from harness.app.streams import Streams
from harness.app.watching import Watch
from harness.bus.frames import Frame
from harness.bus.link import Link
from harness.bus.messages import (
    Applied,
    CompareOrders,
    Comparers,
    Connected,
    Failed,
    Hello,
    IngressOrders,
    Lost,
    Message,
    Mirror,
    Recorded,
    Reload,
    SeenEffects,
    Serving,
    Stop,
    StreamOver,
    decode_message,
    decode_recorded,
)
from harness.core.errors import SetupError, ShadowdiffError, UsageError
from harness.core.labels import ShedReason
from harness.core.limits import COMPARE_STALL_SECONDS_MAX
from harness.core.outcomes import Tally
from harness.counters import Counters, TargetBreakers
from harness.proxy.backlog import begin_no_more

END_SECONDS_MAX: Final = 5.0
"""How long a worker that was told to end, and has nothing under way, may take until it is killed."""
WATCH_SECONDS: Final = 1.0
"""How often it is looked whether a worker hangs, and whether stable can be reached."""
_KNOWN_ERRORS: Final = {SetupError.exit_code: SetupError, UsageError.exit_code: UsageError}


class FleetOrders(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers are told."""

    ingress: IngressOrders
    compare: CompareOrders
    compare_workers: int


class Fleet:
    """All workers of a run. One event loop owns it."""

    def __init__(
        self,
        orders: FleetOrders,
        results: Results,
        tally: Tally,
        *,
        on_record: Callable[[Recorded], None] | None = None,
        notice: Callable[[str], None],
        keep_counts_in: Path | None = None,
    ) -> None:
        """`tally` is the run's: the workers' counts are included in it. `notice` tells people of workers that died, and of stable.

        Should this process be killed, the counts are put into the folder `keep_counts_in`.
        """
        self._keep_counts_in = keep_counts_in
        self._orders = orders
        self._results = results
        self._tally = tally
        self._on_record = on_record
        self._notice = notice
        self._percent = 100.0
        self._loop = asyncio.get_running_loop()
        self._made_folder: RunFolder | None = None
        """Made by `start`; see `_folder`."""
        self._launcher: Launcher | None = None
        self._server: asyncio.Server | None = None
        self._places: list[Place] = []
        self._members = Members()
        self._links: set[Link] = set()
        self._streams = Streams(results)
        self._outage = Outage(self._loop.time(), notice)
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = False
        self._stopping = False
        self._grace_s = 0.0
        self._changed = asyncio.Event()

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name, for people and tests."""
        return self._members.pids

    @property
    def counts(self) -> Path | None:
        """The folder with the counts of ingress workers, once it was started."""
        return None if self._made_folder is None else self._made_folder.path

    @property
    def shadows(self) -> int:
        """Trials whose shadows are under way."""
        return sum(place.slots.shadows for place in self._places)

    @property
    def uncompared(self) -> int:
        """Trials that wait for comparison, or are being compared."""
        return sum(place.slots.uncompared for place in self._places)

    def tell_effects(self, seen: SeenEffects) -> int:
        """Tell all compare workers what collectors saw. Returns how many could not be told."""
        return self._members.tell_comparers(seen)

    def tell_expected(self, expected: bytes) -> None:
        """Other accepted changes are applied from now on (encoded): compare workers are told, and those that are started later.

        What a worker compares until it hears of it, and what it sets apart as before, is put back where it is folded
        (`ExpectedChanges.restored`).
        """
        self._orders = msgspec.structs.replace(self._orders, compare=msgspec.structs.replace(self._orders.compare, expected=expected))
        self._members.tell_comparers(Applied(expected))

    def counters(self) -> Counters:
        """What all compare workers, also those that are gone, have counted for the metrics."""
        return self._members.counters()

    def breakers(self) -> dict[str, TargetBreakers]:
        """How the breakers of each shadow target stand."""
        return breakers.together(self._places)

    async def start(self, listening: list[socket.socket]) -> str:
        """Start everything; one ingress worker for each socket, which is the fleet's from now on. Returns the address served.

        Raises what a worker could not be started for; nothing is left then.
        """
        try:
            self._made_folder = RunFolder.create()
            if self._keep_counts_in is not None:
                self._made_folder.keep_counts_in(self._keep_counts_in)
            self._launcher = Launcher(self._made_folder)
            # In two steps: cancelled in the first, asyncio would forget that it listens.
            self._server = await self._loop.create_unix_server(self._linked, self._folder.run_socket, start_serving=False)
            await self._server.start_serving()
            for number in range(self._orders.compare_workers):
                await self._launch(number, ingress=False)
            await self._all_ready()
            for number, sock in enumerate(listening):
                place = Place(sock, self._folder.counts(number))
                self._tally.include(place.slots.tally)
                self._places.append(place)
                await self._launch(number, ingress=True)
            address = await self._all_ready()
        except BaseException:  # a cancellation too: no worker outlives a start that failed
            await self._abandon(listening)
            raise
        self._started = True
        self._background(self._watch())
        return address

    def set_mirroring(self, percent: float) -> None:
        """How many of a hundred requests are mirrored, from now on."""
        self._percent = percent
        self._members.tell_ingress(Mirror(percent))

    def reload(self, settings: bytes) -> None:
        """New settings (encoded) for the ingress workers, and certificates to be read again."""
        self._orders = msgspec.structs.replace(self._orders, ingress=msgspec.structs.replace(self._orders.ingress, settings=settings))
        self._members.tell_ingress(Reload(settings))

    def mirroring(self) -> float:
        """How many of a hundred requests are mirrored."""
        return self._percent

    async def stop(self, grace_s: float, stall_s: float = COMPARE_STALL_SECONDS_MAX) -> None:
        """Serve what was accepted, wait for shadows and comparison, and end every process.

        Comparison that makes no progress for `stall_s` seconds is given up as an error, told to the results.
        """
        self._stopping = True
        self._grace_s = grace_s
        try:
            for place in self._places:
                begin_no_more(place.listening)  # its worker accepts whoever is connected by now
                place.listening.close()
            self._members.tell_ingress(Stop(grace_s))
            await self._until(lambda: not self._members.ingress, grace_s + END_SECONDS_MAX, kill=True)
            self._look_at_stable()
            self._outage.end()
            await self._all_compared(stall_s)
            for worker in self._members:
                if worker.link is None:
                    worker.kill()  # it has not come up yet, and is not needed any more
                else:
                    worker.link.send(Stop(0.0))
                    worker.link.close()
            await self._until(lambda: not self._members, END_SECONDS_MAX, kill=True)
        finally:
            await self._abandon([])

    async def _all_compared(self, stall_s: float) -> None:
        """Wait until every stream is over; comparison that makes no progress for too long is given up."""
        while self._streams.open and await self._progress(stall_s):
            pass
        if self._streams.open:
            self._results.fail(hanging("comparison hangs", f"{self.uncompared} trials wait"))
            self._members.kill(ingress=False)
            await self._until(lambda: not self._streams.open, END_SECONDS_MAX)

    async def _progress(self, stall_s: float) -> bool:
        """Wait until something was folded, or every stream is over; False when nothing moved for too long."""
        before = self._results.folded
        await self._until(lambda: not self._streams.open or self._results.folded != before, stall_s)
        return not self._streams.open or self._results.folded != before

    @property
    def _folder(self) -> RunFolder:
        assert self._made_folder is not None, "the fleet was started"
        return self._made_folder

    async def _launch(self, place: int, *, ingress: bool) -> None:
        """Start a process. Raises OSError where the system has no room for one."""
        assert self._launcher is not None, "the fleet was started"
        worker = await self._launcher.start(place, self._places[place] if ingress else None)
        self._members.add(worker)
        if ingress:
            self._streams.begin(worker.number)
        self._background(self._wait_for(worker))

    async def _all_ready(self) -> str:
        """The address served, where one is by now. Raises what a worker failed with."""
        answer = ""
        if waited := [worker.ready for worker in self._members]:
            done, late = await asyncio.wait(waited, timeout=START_SECONDS_MAX, return_when=asyncio.FIRST_EXCEPTION)
            for ready in done:
                answer = ready.result() or answer
            if late:
                what = f"a worker process did not start within {START_SECONDS_MAX:g} s"
                raise SetupError(what, fix="look at the machine's load; run it again")
        return answer

    async def _wait_for(self, worker: Worker) -> None:
        await worker.process.wait()
        worker.exited = True
        self._ended_if_read(worker)

    def _linked(self) -> Link:
        link = Link(self._received, self._link_lost)
        self._links.add(link)
        return link

    def _received(self, link: Link, kind: Frame, payload: bytes) -> None:
        worker = self._members.of(link)
        if worker is None:
            self._greet(link, decode_message(payload))
            return
        worker.heard_s = self._loop.time()
        if kind is Frame.RESULTS:
            self._results.take(link, payload)
        elif kind is Frame.COUNTERS:
            worker.counters = msgspec.msgpack.decode(payload, type=Counters)
        elif kind is Frame.RECORD:
            if self._on_record is not None:
                self._on_record(decode_recorded(payload))
        else:
            self._message(worker, decode_message(payload))

    def _message(self, worker: Worker, message: Message) -> None:
        if isinstance(message, Serving):
            if not worker.ready.done():
                worker.ready.set_result(message.address)
        elif isinstance(message, Connected):
            self._streams.connected(worker.number, message.comparer)
        elif isinstance(message, Lost):
            self._streams.lost(worker.number, message.comparer, message.seqs)
        elif isinstance(message, StreamOver):
            self._streams.part_over(message.stream, worker.number)
            self._changed.set()
        elif isinstance(message, Failed):
            self._failed(worker, message)

    def _greet(self, link: Link, hello: Message) -> None:
        number = hello.number if isinstance(hello, Hello) else None
        worker = self._members.awaited(number)
        if worker is None:
            raise ShadowdiffError("a process that nobody waits for", where="bus", fix="report this")
        self._members.linked(worker, link)
        worker.heard_s = self._loop.time()
        comparers = Comparers(tuple((one.number, self._folder.compare_socket(one.number)) for one in self._members.comparers))
        if worker.ingress:
            link.send(comparers)
            if self._percent != 100.0:
                link.send(Mirror(self._percent))
            link.send(self._orders.ingress)
            if self._stopping:
                link.send(Stop(self._grace_s))
        else:
            self._streams.comparer_begins(worker.number)
            link.send(self._orders.compare)
            worker.ready.set_result("")
            self._members.tell_ingress(comparers)

    def _failed(self, worker: Worker, message: Failed) -> None:
        kind = _KNOWN_ERRORS.get(message.exit_code, ShadowdiffError)
        worker.failure = kind(message.what, where=message.where, fix=message.fix)
        if not worker.ingress:
            self._results.fail(worker.failure)

    def _link_lost(self, link: Link) -> None:
        self._links.discard(link)
        worker = self._members.unlinked(link)
        if worker is None:
            return
        worker.over = True
        if not worker.ingress:
            if not self._stopping:
                worker.kill()  # one that hangs does not see that its link broke, and nothing can come of it any more
            self._comparer_over(worker)
        self._ended_if_read(worker)

    def _ended_if_read(self, worker: Worker) -> None:
        if worker.exited and (worker.over or worker.link is None):
            self._ended(worker)

    def _ended(self, worker: Worker) -> None:
        """The process is gone and all that it sent was read."""
        if worker not in self._members:
            return
        self._members.remove(worker)
        self._changed.set()
        was_ready = worker.ready.done()
        if not was_ready:
            worker.ready.set_exception(worker.failure or SetupError(f"a worker process ended at once ({worker.process.returncode})"))
            worker.ready.exception()
        if worker.ingress:
            self._ingress_over(worker)
        elif not worker.over:
            self._comparer_over(worker)
        # One that never got ready fails the start; after that it is tried again. A comparer that failed would fail again.
        if not self._stopping and (was_ready or self._started) and (worker.ingress or worker.failure is None):
            self._background(self._replace(worker))

    def _ingress_over(self, worker: Worker) -> None:
        in_hand, handed_on = self._places[worker.place].vacated()
        self._tally.shed(ShedReason.WORKER_LOST, in_hand)
        self._streams.sender_over(worker.number, handed_on)

    def _comparer_over(self, worker: Worker) -> None:
        """No result of it is under way any more."""
        worker.over = True
        self._members.retire(worker)
        self._streams.comparer_over(worker.number)
        self._changed.set()

    async def _replace(self, worker: Worker) -> None:
        assert self._launcher is not None, "the fleet was started"
        wait_s = self._launcher.wait_before_next_s(worker)
        kind = "serves clients" if worker.ingress else "compares"
        why = f": {worker.failure.what}" if worker.failure is not None else ""
        self._notice(f"a process that {kind} ended ({worker.process.returncode}){why}; it is replaced, and what it had in hand is counted")
        await asyncio.sleep(wait_s)
        while not self._stopping:
            try:
                await self._launch(worker.place, ingress=worker.ingress)
                return
            except OSError as error:
                self._notice(f"a process could not be started: {error.strerror or error}; it is tried again")
                await asyncio.sleep(RESTART_SECONDS[-1])

    async def _watch(self) -> None:
        """End what hangs, so that it is replaced, and see whether stable can be reached.

        While the run ends, whoever hangs has a time limit anyway, and comparison that hangs is an error: see `stop`.
        """
        watch = Watch(self._loop.time(), self._places, holds=self._results.holds, notice=self._notice)
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._stopping:
                return
            watch.look(self._loop.time(), self._members)
            self._look_at_stable()

    def _look_at_stable(self) -> None:
        refused: Counter[str] = Counter()
        for place in self._places:
            refused.update(place.slots.tally.totals().refused)
        self._outage.look(self._loop.time(), sum(place.answered for place in self._places), refused)

    async def _until(self, condition: Callable[[], bool], seconds: float, *, kill: bool = False) -> None:
        """Wait for something; with `kill`, end every process that stands in its way."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await self._changed.wait()
        if kill and not condition():
            # Those who serve come first: while there are any, what they hand on may still be compared.
            self._members.kill(ingress=bool(self._members.ingress))
            await self._until(condition, END_SECONDS_MAX)

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _abandon(self, listening: list[socket.socket]) -> None:
        """Leave nothing: no process, no socket, no file. What was never told is counted as lost."""
        self._stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for sock in listening:
            sock.close()
        for worker in self._members:
            worker.kill()
        try:
            # First those who might start another worker.
            await asyncio.gather(*tasks, return_exceptions=True)
            for worker in self._members:
                worker.kill()
                await worker.process.wait()
                worker.exited = True
                self._ended(worker)
        finally:
            for link in list(self._links):
                link.close()
            if self._server is not None:
                self._server.close()
            if self._made_folder is not None:
                self._made_folder.remove()
