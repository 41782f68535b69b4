"""The process that compares live trials: `python -P -m harness.app.compare_worker RUN_SOCKET OWN_SOCKET NUMBER`.

It takes trials from any number of ingress workers and hands results to the supervisor before it says that a trial is
done, so that what a worker's death may cost is known at both ends. It waits where the supervisor is slower, and has the
lowest claim on the processor. It ends when the supervisor does.
"""

import logging
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from comparators.plan import Plan, build_plan
from comparators.registry import load_comparators
from comparators.trial import compare_trial
from harness.app.builds import build_in
from harness.app.effects_desk import EffectsDesk, Held, with_effects
from harness.app.memory import collect_rarely
from harness.app.run_folder import remove_as_orphan
from harness.app.signals import FOR_THE_SUPERVISOR
from harness.bus.frames import Frame, FrameSplitter, framed
from harness.bus.messages import (
    ENCODER,
    Alive,
    Applied,
    CompareOrders,
    Done,
    Failed,
    Hello,
    Message,
    Result,
    SeenEffects,
    Stop,
    StreamOver,
    decode_message,
)
from harness.bus.packing import decode_trial, encode_trial
from harness.core.attributes import AttributeReader
from harness.core.canon import Rule
from harness.core.errors import ShadowdiffError
from harness.core.labels import EffectsSeen, Role
from harness.core.limits import ATTRIBUTES_READ_FIRST, ATTRIBUTES_SAMPLED_EVERY, BUS_RESULTS_BYTES_MAX, BUS_RESULTS_PER_FRAME_MAX
from harness.core.plain import AnyTrial, PlainTrial, opened, outlined
from harness.core.redact import RedactionRules, Redactor
from harness.core.values import Comparison, Effect, Trial
from harness.counters import TrialCounts
from harness.evidence.attributed import attributed
from harness.evidence.bets import bets_of, encode_bets
from harness.evidence.expected import NO_CHANGES, ExpectedChange, ExpectedChanges, set_apart

NICE: Final = 10
"""How much less of the processor it may claim than those whom a client waits for."""
COUNTERS_SECONDS: Final = 0.25
"""How often the metrics so far are handed on, where they have changed."""
ALIVE_SECONDS: Final = 5.0
"""After how long it says that it does not hang, where it has nothing else to say."""
LINGER_SECONDS: Final = 0.015
"""How long results wait for others to go with: each wake-up of supervisor and ingress worker costs more than a result."""
NOBODY: Final = -1
"""Stands for the stream's number of a connection that has not said it yet."""
_READ_BYTES: Final = 256 * 1024
_LOG: Final = logging.getLogger(__name__)
_Read = TypeVar("_Read")


class _NonsenseError(Exception):
    """What a connection says is nothing that an ingress worker says.

    A stranger's connection is ended by that, and nothing else is. One that has greeted is an ingress worker's, which would be
    left without this process for as long as it lives: so the process ends, and is replaced.
    """


def _understood(read: Callable[..., _Read], *arguments: object) -> _Read:
    """What a reader of bytes makes of them. Raises _NonsenseError where it makes nothing of them."""
    try:
        return read(*arguments)
    except (ShadowdiffError, msgspec.MsgspecError, ValueError) as error:  # text that is no UTF-8 is a ValueError
        raise _NonsenseError from error


def _changes(encoded: bytes) -> ExpectedChanges:
    return ExpectedChanges(msgspec.msgpack.decode(encoded, type=tuple[ExpectedChange, ...])) if encoded else NO_CHANGES


class _Stream:
    """One ingress worker's connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.splitter = FrameSplitter()
        self.number = NOBODY
        """The stream's number, once it has said so."""
        self.undone = 0
        """Trials compared of which it has not been told."""


class Comparer:
    """Reads, compares, hands on. One thread; `run` returns when the supervisor is gone."""

    def __init__(self, upward: socket.socket, listener: socket.socket, monotonic_s: Callable[[], float]) -> None:
        self._upward = upward
        self._listener = listener
        self._monotonic_s = monotonic_s
        self._selector = selectors.DefaultSelector()
        self._plan: Plan | None = None
        self._secret = b""
        self._forward_all = False
        self._build_header = ""
        self._attributes: AttributeReader | None = None
        self._expected = NO_CHANGES
        self._desk: EffectsDesk[_Stream] | None = None
        """Where trials wait, where effects are watched."""
        self._counts = TrialCounts()
        self._told_s = monotonic_s()
        self._uncounted = False
        self._results: list[Result] = []
        self._first_s = 0.0
        """When the first of them was found."""
        self._bytes = 0
        self._undone: list[_Stream] = []
        self.told_to_stop = False
        """Whether the supervisor has said that it ends; else it was lost."""
        self._orders = FrameSplitter()
        self._numbers: set[int] = set()
        """Streams that are connected."""

    def run(self) -> None:
        """Until the supervisor closes its end."""
        try:
            self._serve()
        finally:
            for key in list(self._selector.get_map().values()):
                if isinstance(key.data, _Stream):
                    key.data.connection.close()
            self._selector.close()

    def _serve(self) -> None:
        selector = self._selector
        selector.register(self._upward, selectors.EVENT_READ)
        while self._plan is None:
            if not self._take_orders():
                return
        selector.register(self._listener, selectors.EVENT_READ)
        while True:
            events = selector.select(LINGER_SECONDS if self._results or self._desk else COUNTERS_SECONDS)
            for key, _ in events:
                if key.fileobj is self._upward:
                    if not self._take_orders():
                        return
                elif key.fileobj is self._listener:
                    self._accept()
                elif key.data.connection.fileno() >= 0:  # not over since these events were asked for
                    self._read(key.data)
            self._release()
            if not events or (self._results and self._monotonic_s() - self._first_s >= LINGER_SECONDS):
                self._hand_on()
            if not self._results:
                self._tell_done()
            self._tell_counters()

    def _take_orders(self) -> bool:
        """False when the supervisor is gone."""
        data = self._upward.recv(_READ_BYTES)
        for _, payload in self._orders.feed(data):
            orders = decode_message(payload)
            if isinstance(orders, Stop):
                self.told_to_stop = True
                return False
            if isinstance(orders, SeenEffects):
                if self._desk is not None:
                    self._desk.tell(orders)
                continue
            if isinstance(orders, Applied):
                self._expected = _changes(orders.expected)
                continue
            assert isinstance(orders, CompareOrders)
            self._expected = _changes(orders.expected)
            rules = msgspec.msgpack.decode(orders.rules, type=tuple[Rule, ...])
            ordered = () if orders.effects is None else orders.effects.ordered
            self._plan = build_plan(rules, load_comparators(), ordered, self._expected.places())
            self._secret = orders.secret
            if orders.effects is not None:
                self._desk = EffectsDesk(orders.effects, since_ns=int(self._monotonic_s() * 1e9))
            self._forward_all = orders.forward_all
            self._build_header = orders.build_header
            if orders.redaction_key:
                redaction = msgspec.msgpack.decode(orders.redaction, type=RedactionRules)
                self._attributes = AttributeReader(
                    Redactor(orders.redaction_key, redaction), first=ATTRIBUTES_READ_FIRST, every=ATTRIBUTES_SAMPLED_EVERY, bodies=False
                )
        return bool(data)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # no descriptor is free, say: who has not said who he is makes room
            for key in list(self._selector.get_map().values()):
                if isinstance(key.data, _Stream) and key.data.number == NOBODY:
                    self._over(key.data)
        else:
            self._selector.register(connection, selectors.EVENT_READ, _Stream(connection))

    def _read(self, stream: _Stream) -> None:
        try:
            data = stream.connection.recv(_READ_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            self._over(stream)
            return
        frames = stream.splitter.feed(data)
        try:
            while (frame := _understood(next, frames, None)) is not None:
                self._take(stream, *frame)
        except _NonsenseError:
            self._over(stream)
            if stream.number != NOBODY:
                raise
            _LOG.warning("a connection that is no ingress worker's is closed")

    def _take(self, stream: _Stream, kind: Frame, payload: bytes) -> None:
        """A frame of an ingress worker, which greets once and then sends trials. Raises _NonsenseError for anything else."""
        if kind is Frame.TRIAL and stream.number != NOBODY:
            self._came(stream, payload)
            return
        hello = _understood(decode_message, payload)
        if stream.number != NOBODY or not isinstance(hello, Hello) or hello.number in {NOBODY, *self._numbers}:
            raise _NonsenseError
        stream.number = hello.number
        self._numbers.add(hello.number)

    def _over(self, stream: _Stream) -> None:
        """A connection's end. What was compared of it goes first, so that nothing of it is under way afterwards."""
        self._hand_on()
        if self._desk is not None:
            self._desk.forget(stream)
        self._undone = [one for one in self._undone if one is not stream]
        self._selector.unregister(stream.connection)
        stream.connection.close()
        if stream.number != NOBODY:
            self._numbers.discard(stream.number)
            self._say(StreamOver(stream.number))

    def _came(self, stream: _Stream, payload: bytes) -> None:
        """A trial: it is compared now, or waits for what its arms did."""
        read = _understood(decode_trial, payload)
        if self._desk is None:
            self._compare(stream, payload, read)
        else:
            self._desk.hold(stream, payload, read, int(self._monotonic_s() * 1e9))

    def _release(self) -> None:
        """Compare those that have waited long enough."""
        if self._desk is not None:
            for held, seen in self._desk.ready(int(self._monotonic_s() * 1e9)):
                self._compare_with(held, self._desk.effects_of(held.trial), seen)

    def _compare_with(self, held: Held[_Stream], effects: dict[Role, tuple[Effect, ...]], seen: EffectsSeen) -> None:
        stream, payload, read = held.owner, held.payload, held.trial
        if not effects and isinstance(read, PlainTrial) and read.alike:
            trial = _understood(outlined, read, seen)
            self._found(stream, payload, trial, Comparison(trial=read.id, seq=read.seq), read)
            return
        assert self._plan is not None
        # Where all arms answered alike, and the body was left out for it, only what they did is compared.
        left_out = isinstance(read, PlainTrial) and read.alike and read.stable.same_body
        trial = with_effects(_understood(outlined if left_out else opened, read), effects, seen)
        self._found(stream, None if effects else payload, trial, compare_trial(trial, self._plan), read if left_out else None)

    def _compare(self, stream: _Stream, payload: bytes, read: AnyTrial) -> None:
        assert self._plan is not None
        if isinstance(read, PlainTrial) and read.alike:
            # What comparison would find in equal bytes, and all that is counted of such a trial.
            self._found(stream, payload, _understood(outlined, read), Comparison(trial=read.id, seq=read.seq), read)
        else:
            trial = _understood(opened, read)
            self._found(stream, payload, trial, compare_trial(trial, self._plan))

    def _found(
        self, stream: _Stream, payload: bytes | None, trial: Trial, comparison: Comparison, outline_of: AnyTrial | None = None
    ) -> None:
        """A trial was compared: hand that on with others. Without `payload` it is no longer what came, and written anew if it is
        kept. `outline_of` is what came, where `trial` has only its outline."""
        self._counts.observe_trial(trial, comparison)
        self._uncounted = True
        differs = comparison.stable_candidate or comparison.stable_secondary or comparison.secondary_candidate
        kept = b""
        if differs or self._forward_all:
            kept = encode_trial(trial) if payload is None else payload
        if not self._results:
            self._first_s = self._monotonic_s()
        said = bets_of(trial, comparison, self._secret)
        if not kept:
            said = msgspec.structs.replace(said, at_hand=False)
        reader, seq = self._attributes, trial.seq
        # What `reader.weight` says, without asking it: mostly nobody wants attributes, and every trial comes this way.
        if reader is not None and (not seq % ATTRIBUTES_SAMPLED_EVERY or said.bets or seq < ATTRIBUTES_READ_FIRST):
            said = _understood(attributed, said, outline_of or trial, reader)
        bets = encode_bets(set_apart(said, comparison, self._expected))
        build = build_in(trial if outline_of is None else outline_of, self._build_header) if self._build_header else ""
        self._results.append(Result(stream.number, bets, comparison, kept, build))
        self._bytes += len(bets) + len(kept)
        if not stream.undone:
            self._undone.append(stream)
        stream.undone += 1
        if len(self._results) >= BUS_RESULTS_PER_FRAME_MAX or self._bytes >= BUS_RESULTS_BYTES_MAX:
            self._hand_on()

    def _hand_on(self) -> None:
        """Results first, then word to the senders that their trials are done."""
        if self._results:
            self._upward.sendall(framed(Frame.RESULTS, ENCODER.encode(self._results)))
            self._results, self._bytes = [], 0
            self._tell_done()

    def _tell_done(self) -> None:
        """Tell those who take it. One that does not read must not hold up the others: it is told more, later."""
        undone, self._undone = self._undone, []
        for stream in undone:
            try:
                # So small a frame is taken whole or not at all.
                stream.connection.send(framed(Frame.MESSAGE, ENCODER.encode(Done(stream.undone))), socket.MSG_DONTWAIT)
                stream.undone = 0
            except BlockingIOError:
                self._undone.append(stream)
            except ConnectionError:
                stream.undone = 0  # the ingress worker is gone; its end of input is read next

    def _tell_counters(self) -> None:
        waited_s = self._monotonic_s() - self._told_s
        if self._uncounted and waited_s >= COUNTERS_SECONDS:
            self.tell_counters()
        elif waited_s >= ALIVE_SECONDS:
            self._upward.sendall(framed(Frame.MESSAGE, ENCODER.encode(Alive())))
        else:
            return
        self._told_s += waited_s

    def tell_counters(self) -> None:
        """Hand on the metrics so far."""
        self._upward.sendall(framed(Frame.COUNTERS, ENCODER.encode(self._counts.counters)))
        self._uncounted = False

    def _say(self, message: Message) -> None:
        self.tell_counters()
        self._upward.sendall(framed(Frame.MESSAGE, ENCODER.encode(message)))


def compare_until_told(run_socket: str, own_socket: str, number: int, monotonic_s: Callable[[], float], supervisor: int) -> int:
    """Connect, serve, and return the process's exit code. `supervisor` is the process that started this one.

    Where that code is not 0, the supervisor was told why, or may start another.
    """
    with socket.socket(socket.AF_UNIX) as upward, socket.socket(socket.AF_UNIX) as listener:
        upward.connect(run_socket)
        listener.bind(own_socket)
        listener.listen()
        upward.sendall(framed(Frame.MESSAGE, ENCODER.encode(Hello(number, ingress=False))))
        comparer = Comparer(upward, listener, monotonic_s)
        try:
            comparer.run()
        except ConnectionError:
            pass  # the supervisor is gone
        except _NonsenseError:
            _LOG.warning("an ingress worker talks nonsense: this process ends, to be replaced")
            return 1
        except SystemExit:
            # A comparator of another package that calls sys.exit() would choose the exit code, 0 say.
            return _failed(upward, Failed("a comparator tried to end the program", "comparison", "update or remove its package"))
        except ShadowdiffError as error:
            return _failed(upward, Failed(error.what, error.where or "comparison", error.fix, error.exit_code))
        except Exception as error:  # noqa: BLE001 - the supervisor says it, in its own words
            return _failed(upward, Failed(f"{type(error).__name__} in a comparator", "comparison", "update or remove its package"))
    if not comparer.told_to_stop:
        remove_as_orphan(run_socket, supervisor)
    return 0


def _failed(upward: socket.socket, failure: Failed) -> int:
    try:
        upward.sendall(framed(Frame.MESSAGE, ENCODER.encode(failure)))
    except ConnectionError:
        return 0
    return failure.exit_code


def main() -> int:
    """See the module."""
    import time  # noqa: PLC0415 - only the process's own

    supervisor = os.getppid()
    for number in (*FOR_THE_SUPERVISOR, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICE)
    collect_rarely()
    run_socket, own_socket, own_number = sys.argv[1:]
    try:
        return compare_until_told(run_socket, own_socket, int(own_number), time.monotonic, supervisor)
    except (FileNotFoundError, ConnectionRefusedError):
        return 0  # the supervisor was gone before this process came up


if __name__ == "__main__":
    sys.exit(main())
