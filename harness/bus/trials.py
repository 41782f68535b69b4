"""The ingress worker's end of comparison: hands trials to the compare workers there are, and knows which are not done yet.

A trial goes to the worker that has the fewest. What was handed to one that dies is reported as lost, never sent again:
it may have been the trial that killed it.
"""

import asyncio
import errno
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from harness.bus.frames import Frame
from harness.bus.link import Link
from harness.bus.messages import Connected, Done, Hello, Lost, decode_message
from harness.bus.packing import encode_trial
from harness.bus.room import FairRoom
from harness.core.errors import ShadowdiffError
from harness.core.limits import BUS_FRAME_BYTES_MAX, SEQUENCER_WINDOW_MAX, SHADOW_TRIALS_IN_FLIGHT_MAX
from harness.core.outcomes import Tally
from harness.core.plain import AnyTrial

BURST_SECONDS: Final = 0.003
"""Trials are handed over in bursts: comparison is in no hurry, and each wake-up of its process costs the live path."""
NOBODY: Final = -1
"""Stands for the compare worker of a trial for which there was none."""
CONNECT_AGAIN_SECONDS: Final = 0.5
"""Wait before a compare worker is tried again that is there but cannot be reached now (no descriptor is free, say)."""
CLOSE_SECONDS: Final = 1.0
"""How long a compare worker may take to read what it was sent, when this end closes."""
_AHEAD_MAX: Final = SEQUENCER_WINDOW_MAX - SHADOW_TRIALS_IN_FLIGHT_MAX
_GONE: Final = (errno.ENOENT, errno.ECONNREFUSED)


_Handed = tuple[int, str, int]
"""A trial that is not done: its number, endpoint and size."""


class _Comparer:
    """A compare worker as this process sees it, and the connection to it."""

    def __init__(self, number: int, received: Callable[["_Comparer", bytes], None], lost: Callable[["_Comparer"], None]) -> None:
        self.number = number
        self.link = Link(lambda _link, _kind, payload: received(self, payload), lambda _: lost(self))
        self.undone: deque[_Handed] = deque()


class TrialBus:
    """Hands on the trials of one stream. Belongs to the running event loop.

    `tell` sends word to the supervisor. `seq` of a trial is given here: dense, from 0, in the order of `put`.
    """

    def __init__(self, stream: int, tally: Tally, tell: Callable[[Connected | Lost], None], room: FairRoom | None = None) -> None:
        self._stream = stream
        self._tally = tally
        self._tell = tell
        self._room = room or FairRoom()
        self._comparers: list[_Comparer] = []
        """Those that can be handed trials now."""
        self._oldest = 0
        """No trial with a smaller number is undone."""
        self._tried: set[int] = set()
        """Compare workers connected to once; what broke is not mended, the supervisor starts another."""
        self._connecting: set[asyncio.Task[None]] = set()
        self._next_seq = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False

    @property
    def waiting(self) -> int:
        """Trials not done yet."""
        return self._room.trials

    @property
    def connected(self) -> int:
        """Compare workers that can be handed trials now."""
        return len(self._comparers)

    def use(self, sockets: Iterable[tuple[int, str]]) -> None:
        """Connect to the compare workers that are new. One that is gone is noticed by its connection.

        One that comes while this end stops is not connected to: nothing would close that connection in order.
        """
        if self._stopping:
            return
        there = dict(sockets)
        self._tried &= there.keys()
        for number, path in there.items():
            if number not in self._tried:
                self._tried.add(number)
                task = asyncio.get_running_loop().create_task(self._connect(number, path))
                self._connecting.add(task)
                task.add_done_callback(self._connecting.discard)

    async def settled(self) -> None:
        """Returns once no connection is being made."""
        while self._connecting:
            await asyncio.wait(set(self._connecting))

    def has_room(self, endpoint: str, size: int) -> bool:
        """Whether a trial may begin; see `FairRoom`. It may not where results would have to wait too long for an earlier one."""
        if not self._comparers or (self._next_seq - self._oldest >= _AHEAD_MAX and self._ahead() >= _AHEAD_MAX):
            return False
        return self._room.admits(endpoint, size)

    def _ahead(self) -> int:
        """How many trials have been handed on since the oldest that is not done."""
        self._oldest = min((comparer.undone[0][0] for comparer in self._comparers if comparer.undone), default=self._next_seq)
        return self._next_seq - self._oldest

    def put(self, trial: AnyTrial) -> None:
        """Hand a trial on; its number is its `seq`, which must be the next one. What this raises leaves everything as it was."""
        assert trial.seq == self._next_seq, "trials are numbered as they end"
        payload = encode_trial(trial)
        if len(payload) > BUS_FRAME_BYTES_MAX:
            raise ShadowdiffError(f"a trial of {len(payload)} bytes is beyond the bound", where="bus", fix="report this")
        self._next_seq += 1
        self._tally.handed_on()
        able = self._comparers
        if not able:
            self._tell(Lost(NOBODY, (trial.seq,)))
            return
        comparer = able[0] if len(able) == 1 else min(able, key=lambda one: len(one.undone))
        comparer.link.send_frame(Frame.TRIAL, payload, within_s=BURST_SECONDS)
        size = len(payload)
        comparer.undone.append((trial.seq, trial.endpoint, size))
        if not self._room.trials:
            self._idle.clear()
        self._room.enter(trial.endpoint, size)

    async def stop(self, grace_s: float) -> None:
        """Wait until all is done, for at most `grace_s` seconds; what is left is lost, and the connections are closed."""
        self._stopping = True
        for task in list(self._connecting):
            task.cancel()
        links = [comparer.link for comparer in self._comparers]
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        except TimeoutError:
            pass
        for link in links:
            link.close()
        await asyncio.gather(*(link.wait_over(CLOSE_SECONDS) for link in links))

    async def _connect(self, number: int, path: str) -> None:
        loop = asyncio.get_running_loop()

        def link() -> Link:
            return comparer.link

        while True:
            comparer = _Comparer(number, self._received, self._lost)
            try:
                await loop.create_unix_connection(link, path)
            except OSError as error:
                if error.errno in _GONE:
                    return  # it ended meanwhile; the supervisor starts another
            else:
                if comparer.link.open:  # else it is over already, and `_lost` has been called
                    break
            await asyncio.sleep(CONNECT_AGAIN_SECONDS)
        self._tell(Connected(number))
        comparer.link.send(Hello(self._stream, ingress=True))
        self._comparers.append(comparer)

    def _received(self, comparer: _Comparer, payload: bytes) -> None:
        done = decode_message(payload)
        if not isinstance(done, Done) or not 0 < done.count <= len(comparer.undone):
            raise ShadowdiffError("word of trials that were never handed on", where="bus", fix="report this")
        self._done(comparer, done.count)

    def _done(self, comparer: _Comparer, count: int) -> None:
        for _ in range(count):
            _, endpoint, size = comparer.undone.popleft()
            self._room.leave(endpoint, size)
        if not self._room.trials:
            self._idle.set()

    def _lost(self, comparer: _Comparer) -> None:
        if comparer in self._comparers:  # else it was over before it was of use
            self._comparers.remove(comparer)
        if comparer.undone:
            self._tell(Lost(comparer.number, tuple(seq for seq, _, _ in comparer.undone)))
            self._done(comparer, len(comparer.undone))
