"""The compare worker over real sockets: results first, then word that they are done, and an end in every case."""

import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.trial import compare_trial
from harness.app import compare_worker as module
from harness.app.compare_worker import compare_until_told
from harness.bus.frames import Frame, FrameSplitter, framed
from harness.bus.messages import (
    ENCODER,
    Alive,
    Applied,
    CompareOrders,
    Done,
    Failed,
    Hello,
    IngressOrders,
    Message,
    Result,
    Stop,
    StreamOver,
    decode_message,
    decode_results,
)
from harness.bus.packing import decode_trial, encode_trial
from harness.core.canon import Rule, RuleAction
from harness.core.errors import SetupError
from harness.core.labels import Aspect, Control, Design, Kind, Role
from harness.core.limits import ATTRIBUTES_READ_FIRST, ATTRIBUTES_SAMPLED_EVERY, BUS_RESULTS_PER_FRAME_MAX
from harness.core.plain import PlainArm, PlainTrial
from harness.core.redact import RedactionRules
from harness.core.values import Trial
from harness.counters import Counters
from harness.evidence.bets import decode_bets
from harness.evidence.expected import ExpectedChange
from harness.evidence.findings import finding_id
from harness.evidence.seen import Relation, Seen
from tests.app.support import trial

WAIT_S = 60.0
ORDERS = CompareOrders(ENCODER.encode(()), b"secret", False)


class Line:
    """A blocking end of a connection that reads and writes frames."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(WAIT_S)
        self.sock = sock
        self._splitter = FrameSplitter()
        self._frames: list[tuple[Frame, bytes]] = []

    def send(self, message: Message) -> None:
        self.sock.sendall(framed(Frame.MESSAGE, ENCODER.encode(message)))

    def trial(self, one: Trial) -> None:
        self.sock.sendall(framed(Frame.TRIAL, encode_trial(one)))

    def frame(self) -> tuple[Frame, bytes] | None:
        """The next frame; None at the end."""
        while not self._frames:
            try:
                data = self.sock.recv(65536)
            except ConnectionError:
                return None
            if not data:
                return None
            self._frames += self._splitter.feed(data)
        return self._frames.pop(0)

    def message(self) -> Message | None:
        """The next message that is no sign of life; None at the end."""
        while (found := self.frame()) is not None:
            if found[0] is Frame.MESSAGE:
                message: Message = decode_message(found[1])
                if message != Alive():
                    return message
        return None

    def results(self, count: int) -> list[Result]:
        """So many results, however they were packed."""
        out: list[Result] = []
        while len(out) < count:
            found = self.frame()
            assert found is not None
            if found[0] is Frame.RESULTS:
                out += decode_results(found[1])
        return out


class Rig:
    """A compare worker in a thread, and its supervisor's end."""

    def __init__(self, folder: Path, upward: Line, worker: threading.Thread, codes: list[int]) -> None:
        self.folder = folder
        self.upward = upward
        self.worker = worker
        self.codes = codes

    @contextmanager
    def stream(self, number: int) -> Iterator[Line]:
        """An ingress worker's connection."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.folder / "own"))
            line = Line(sock)
            line.send(Hello(number, ingress=True))
            yield line

    def ended(self) -> int:
        """The exit code."""
        self.worker.join(WAIT_S)
        assert not self.worker.is_alive()
        return self.codes[0]


@contextmanager
def running(*, orders: CompareOrders | None = ORDERS, monotonic_s: Callable[[], float] = time.monotonic) -> Iterator[Rig]:
    """A worker that was given its orders, and is ended in the end."""
    with tempfile.TemporaryDirectory(prefix="sd") as name, socket.socket(socket.AF_UNIX) as listener:
        folder, codes = Path(name), list[int]()
        listener.bind(str(folder / "run.sock"))
        listener.listen()
        work = (str(folder / "run.sock"), str(folder / "own"), 5, monotonic_s, -1)
        worker = threading.Thread(target=lambda: codes.append(compare_until_told(*work)))
        worker.start()
        listener.settimeout(WAIT_S)
        with listener.accept()[0] as accepted:
            upward = Line(accepted)
            assert upward.message() == Hello(5, ingress=False)
            if orders is not None:
                upward.send(orders)
            try:
                yield Rig(folder, upward, worker, codes)
            finally:
                with suppress(OSError):
                    upward.send(Stop(0.0))
                accepted.close()
                worker.join(WAIT_S)
                assert not worker.is_alive()


def test_results_come_before_word_that_they_are_done_and_after_the_stream_its_end() -> None:
    with running() as rig, rig.stream(7) as stream:
        differing = trial(1, candidate=b'{"price":11}')
        stream.trial(trial(0))
        stream.trial(differing)
        results = rig.upward.results(2)
        done = 0
        while done < 2:
            message = stream.message()
            assert isinstance(message, Done)
            done += message.count
        assert [result.stream for result in results] == [7, 7]
        assert [decode_bets(result.bets).seq for result in results] == [0, 1]
        assert [bool(result.comparison.stable_candidate) for result in results] == [False, True]
        assert decode_trial(results[1].trial) == differing
        stream.sock.close()
        found = rig.upward.frame()
        while found is not None and found[0] is not Frame.COUNTERS:
            found = rig.upward.frame()
        assert found is not None
        counters = msgspec.msgpack.decode(found[1], type=Counters)
        assert counters.requests["GET /items/{int}", "candidate", "2xx"] == 2
        assert rig.upward.message() == StreamOver(7)


def test_results_are_packed_together_up_to_the_bound() -> None:
    with running() as rig, rig.stream(7) as stream:
        payload = b"".join(framed(Frame.TRIAL, encode_trial(trial(seq))) for seq in range(3 * BUS_RESULTS_PER_FRAME_MAX))
        threading.Thread(target=stream.sock.sendall, args=(payload,), daemon=True).start()
        seqs: list[int] = []
        while len(seqs) < 3 * BUS_RESULTS_PER_FRAME_MAX:
            found = rig.upward.frame()
            assert found is not None
            if found[0] is Frame.RESULTS:
                results = decode_results(found[1])
                assert len(results) <= BUS_RESULTS_PER_FRAME_MAX
                seqs += [decode_bets(result.bets).seq for result in results]
        assert seqs == list(range(3 * BUS_RESULTS_PER_FRAME_MAX))


def test_streams_do_not_wait_for_each_other_and_one_that_dies_costs_nothing() -> None:
    with running() as rig, rig.stream(1) as one, rig.stream(2) as two:
        one.trial(trial(0))
        one.sock.sendall(framed(Frame.TRIAL, encode_trial(trial(1)))[:50])
        two.trial(trial(0))
        assert sorted(result.stream for result in rig.upward.results(2)) == [1, 2]
        one.sock.close()  # with word unread that its trial is done, and half a trial sent
        assert rig.upward.message() == StreamOver(1)
        two.trial(trial(1))
        assert [result.stream for result in rig.upward.results(1)] == [2]
        assert isinstance(two.message(), Done)


def test_one_that_does_not_read_is_told_later_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its receive buffer is full with what it has not read: as many words as the kernel takes, and no more."""
    monkeypatch.setattr(module, "LINGER_SECONDS", 0.001)  # each trial is waited for, and shall be a word of its own
    with running() as rig, rig.stream(1) as deaf, rig.stream(2) as other:
        count = 2000
        for seq in range(count):
            deaf.trial(trial(seq))
            rig.upward.results(1)
        other.trial(trial(0))
        assert [result.stream for result in rig.upward.results(1)] == [2]
        assert other.message() == Done(1)
        done = 0
        while done < count:
            message = deaf.message()
            assert isinstance(message, Done)
            done += message.count
        assert done == count


@pytest.mark.parametrize("forward_all", [False, True])
def test_trials_in_which_nothing_differs_go_on_only_where_they_are_wanted(forward_all: bool) -> None:
    with running(orders=CompareOrders(ENCODER.encode(()), b"", forward_all)) as rig, rig.stream(1) as stream:
        stream.trial(trial(0))
        stream.trial(trial(1, candidate=b'{"price":11}'))
        equal, differing = rig.upward.results(2)
        assert bool(equal.trial) is forward_all
        assert differing.trial
        assert decode_bets(equal.bets).at_hand is forward_all, "a finding on its latency must not name what nobody can keep"
        assert decode_bets(differing.bets).at_hand


def test_rules_of_the_orders_are_used() -> None:
    rules = (Rule(action=RuleAction.IGNORE, path="$.price"),)
    with running(orders=CompareOrders(ENCODER.encode(rules), b"", False)) as rig, rig.stream(1) as stream:
        stream.trial(trial(0, candidate=b'{"price":11}'))
        (result,) = rig.upward.results(1)
        assert not result.comparison.stable_candidate
        assert result.comparison.rules_used == (0,)


def from_region(seq: int, region: str, price: bytes = b"10") -> PlainTrial:
    """A plain trial of a request from there; stable says 10."""
    head = b"GET /items/1?currency=JPY HTTP/1.1\r\nHost: h\r\nX-Region: " + region.encode() + b"\r\nX-Api-Key: hunter2hunter2\r\n\r\n"
    answer = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"price":%b}'
    at = answer.index(b"{")
    alike = price == b"10"
    stable = PlainArm(head, answer[:at] if alike else answer % b"10", at, alike, 0, 0, 1, 2)
    sent = b"" if alike else head
    candidate = PlainArm(sent, b"" if alike else answer % price, at, alike, 0, 0, 1, 2)
    same = PlainArm(sent, b"", at, True, 0, 0, 1, 2)
    order = (Role.STABLE, Role.SECONDARY, Role.CANDIDATE)
    return PlainTrial(
        f"t{seq}", seq, "GET /items/{}", head, "h", b"", stable, same, candidate, Control.SECONDARY, Design.TWO_ARM, order, "", "", 5, False
    )


def test_accepted_changes_of_the_orders_are_set_apart() -> None:
    place = (trial(0).endpoint, Aspect.BODY, "$.price", Kind.VALUE)
    seen = Seen(relation=Relation.VALUES, values=((10, 11),))
    change = ExpectedChange(
        id=finding_id(*place), endpoint=place[0], aspect=place[1], path=place[2], kind=place[3], reason="", by="", expires="", seen=seen
    )
    with running(orders=CompareOrders(ENCODER.encode(()), b"", False, expected=ENCODER.encode((change,)))) as rig, rig.stream(1) as stream:
        stream.trial(trial(0, candidate=b'{"price":11}'))
        stream.trial(trial(1, candidate=b'{"price":12}'))
        inside, outside = (decode_bets(result.bets) for result in rig.upward.results(2))
        assert (len(inside.bets), len(inside.expected)) == (0, 1)
        assert (len(outside.bets), len(outside.expected)) == (1, 0)


def test_attributes_of_those_that_differ_and_of_a_sample_of_the_others_go_on_redacted() -> None:
    redaction = ENCODER.encode(RedactionRules())
    orders = CompareOrders(ENCODER.encode(()), b"secret", False, redaction=redaction, redaction_key=b"key")
    far = ATTRIBUTES_READ_FIRST * ATTRIBUTES_SAMPLED_EVERY
    trials = [
        from_region(0, "EU"),
        from_region(far + 1, "EU"),
        from_region(far + 2, "JP", b"11"),
        from_region(far, "BR", b"11"),
        from_region(2 * far, "US"),
    ]
    with running(orders=orders) as rig, rig.stream(1) as stream:
        for one in trials:
            stream.sock.sendall(framed(Frame.TRIAL, encode_trial(one)))
        results = rig.upward.results(len(trials))
    said = [decode_bets(result.bets) for result in results]
    assert [one.sampled for one in said] == [1, 0, 0, ATTRIBUTES_SAMPLED_EVERY, ATTRIBUTES_SAMPLED_EVERY]
    assert [dict(one.attributes).get("header.x-region") for one in said] == ["EU", None, "JP", "BR", "US"]
    assert [name for name, _ in said[0].attributes] == [name for name, _ in said[2].attributes], "alike or not, the same is read"
    assert (dict(said[0].attributes)["in_flight"], dict(said[0].attributes)["answer.content-type"]) == ("4", "application/json")
    assert not any(b"hunter2" in result.bets for result in results)


def test_without_a_key_to_redact_with_no_attributes_go_on() -> None:
    with running() as rig, rig.stream(1) as stream:
        stream.sock.sendall(framed(Frame.TRIAL, encode_trial(from_region(0, "JP", b"11"))))
        (result,) = rig.upward.results(1)
    assert decode_bets(result.bets).attributes == ()


def next_frame(rig: Rig, kind: Frame) -> bytes:
    """The next frame of this kind."""
    while (found := rig.upward.frame()) is not None:
        if found[0] is kind:
            return found[1]
    raise AssertionError("it ended")


def test_metrics_come_where_they_have_changed_and_else_a_sign_of_life_now_and_then() -> None:
    now = [0.0]
    with running(monotonic_s=lambda: now[0]) as rig, rig.stream(1) as stream:
        stream.trial(trial(0))
        rig.upward.results(1)  # it has looked at the clock
        now[0] += module.COUNTERS_SECONDS
        counters = msgspec.msgpack.decode(next_frame(rig, Frame.COUNTERS), type=Counters)
        assert counters.requests["GET /items/{int}", "stable", "2xx"] == 1
        for _ in range(2):
            now[0] += module.ALIVE_SECONDS
            assert decode_message(next_frame(rig, Frame.MESSAGE)) == Alive()


def test_it_ends_when_it_is_told_before_and_after_its_orders() -> None:
    for orders in (ORDERS, None):
        with running(orders=orders) as rig:
            rig.upward.send(Stop(0.0))
            assert rig.ended() == 0
            assert (rig.folder / "run.sock").exists(), "who was told leaves the folder to its supervisor"


@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_with_its_supervisor_and_takes_the_folder_away(busy: bool) -> None:
    with running() as rig, rig.stream(1) as stream:
        if busy:  # more than the connections hold: it waits for a supervisor that does not read, and dies

            def send() -> None:
                with suppress(OSError):
                    for seq in range(1000):
                        stream.trial(trial(seq))

            threading.Thread(target=send, daemon=True).start()
            rig.upward.results(1)
        rig.upward.sock.close()
        assert rig.ended() == 0
        assert not (rig.folder / "run.sock").exists()


def broken(error: BaseException) -> Callable[..., object]:
    def raising(*_: object) -> object:
        raise error

    return raising


TROUBLE = {
    "it ends the program": (
        SystemExit(0),
        Failed("a comparator tried to end the program", "comparison", "update or remove its package", 5),
    ),
    "an error of ours": (SetupError("no room", fix="make some"), Failed("no room", "comparison", "make some", SetupError.exit_code)),
    "any other": (ValueError("secret"), Failed("ValueError in a comparator", "comparison", "update or remove its package", 5)),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_what_comparison_fails_with_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error, told = TROUBLE[name]
    monkeypatch.setattr(module, "compare_trial", broken(error))
    with running() as rig, rig.stream(1) as stream:
        stream.trial(trial(0))
        assert rig.upward.message() == told
        assert rig.ended() == told.exit_code
    monkeypatch.setattr(module, "compare_trial", compare_trial)


def test_what_it_failed_with_is_told_to_nobody_where_the_supervisor_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def late(*_: object) -> object:
        reached.set()
        assert go_on.wait(WAIT_S)
        raise ValueError

    monkeypatch.setattr(module, "compare_trial", late)
    with running() as rig, rig.stream(1) as stream:
        stream.trial(trial(0))
        assert reached.wait(WAIT_S)
        rig.upward.sock.close()
        go_on.set()
        assert rig.ended() == 0


HELLO = framed(Frame.MESSAGE, ENCODER.encode(Hello(7, ingress=True)))
TRIAL = framed(Frame.TRIAL, encode_trial(trial(0)))
ARM = PlainArm(b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 two hundred\r\n\r\n", 24, False, 0, 0, 0, 0)
PLAIN = PlainTrial(
    "t0", 0, "GET /", ARM.sent, "h", b"", ARM, None, ARM, Control.NONE, Design.NO_CONTROL, (Role.STABLE, Role.CANDIDATE), "", "", 1, False
)
ALIKE = msgspec.structs.replace(PLAIN, head=b"", candidate=None)
NONSENSE: dict[str, tuple[bytes, int | None]] = {
    "no frame": (b"\xff" * 100, None),
    "a browser": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", None),
    "no message": (framed(Frame.MESSAGE, b"\xc1"), None),
    "text that is none": (framed(Frame.MESSAGE, b"\x91\xa2\xff\xff"), None),
    "a trial of nobody": (TRIAL, None),
    "no greeting": (framed(Frame.MESSAGE, ENCODER.encode(Done(1))), None),
    "a stream without a number": (framed(Frame.MESSAGE, ENCODER.encode(Hello(-1, ingress=True))), None),
    "a stream that is there": (framed(Frame.MESSAGE, ENCODER.encode(Hello(1, ingress=True))) + TRIAL, None),
    "one that greets twice": (HELLO + HELLO, 7),
    "one that knows no end": (HELLO + TRIAL + b"\xff" * 100, 7),
    "one whose trials are none": (HELLO + TRIAL + framed(Frame.TRIAL, b"\xc1"), 7),
    "one whose plain trials are none": (HELLO + TRIAL + framed(Frame.TRIAL, encode_trial(PLAIN)), 7),
    "one whose plain trials without a difference are none": (HELLO + TRIAL + framed(Frame.TRIAL, encode_trial(ALIKE)), 7),
    "one that sends results": (HELLO + framed(Frame.RESULTS, b"\x90"), 7),
}
"""What is said, and the stream that is over by it, where it is known which it was."""


@pytest.mark.parametrize("name", [name for name, (_, over) in NONSENSE.items() if over is None])
def test_a_stranger_who_talks_nonsense_is_turned_away_and_nobody_else_notices(name: str) -> None:
    with running() as rig, rig.stream(1) as other, socket.socket(socket.AF_UNIX) as stranger:
        other.trial(trial(0))
        assert [result.stream for result in rig.upward.results(1)] == [1]
        talk_to_the_end(rig, stranger, NONSENSE[name][0])
        other.trial(trial(1))
        (result,) = rig.upward.results(1)
        assert (result.stream, decode_bets(result.bets).seq) == (1, 1)
        other.sock.close()
        assert rig.upward.message() == StreamOver(1), "and of nobody else was anything said"


@pytest.mark.parametrize("name", [name for name, (_, over) in NONSENSE.items() if over is not None])
def test_an_ingress_worker_that_talks_nonsense_is_not_left_without_comparison(name: str) -> None:
    """Nobody connects to the same compare worker twice, so this one ends, and its supervisor starts another."""
    said, over = NONSENSE[name]
    with running() as rig, rig.stream(1) as other, socket.socket(socket.AF_UNIX) as ingress:
        other.trial(trial(0))
        assert [result.stream for result in rig.upward.results(1)] == [1]
        talk_to_the_end(rig, ingress, said)
        if TRIAL in said:
            assert [result.stream for result in rig.upward.results(1)] == [over], "what was compared before is handed on"
        assert over is not None
        assert rig.upward.message() == StreamOver(over)
        assert rig.ended() == 1
        assert rig.upward.message() is None, "it did not fail, so it is replaced"


def talk_to_the_end(rig: Rig, sock: socket.socket, said: bytes) -> None:
    """Say this to a compare worker, which ends the connection."""
    sock.connect(str(rig.folder / "own"))
    with suppress(OSError):  # it is closed before everything was said
        sock.sendall(said)
    sock.settimeout(WAIT_S)
    with suppress(ConnectionError):
        while sock.recv(1000):
            pass


@given(said=st.binary(max_size=200), greets=st.booleans())
def test_no_bytes_at_all_end_it_as_failed(said: bytes, greets: bool) -> None:
    with running() as rig, rig.stream(1) as other:
        other.trial(trial(0))
        assert [result.stream for result in rig.upward.results(1)] == [1]
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(rig.folder / "own"))
            with suppress(OSError):
                stranger.sendall(HELLO * greets + said)
        if greets:
            assert rig.upward.message() == StreamOver(7)
        other.sock.close()
        assert rig.upward.message() in {StreamOver(1), None if greets else StreamOver(1)}


def test_strangers_who_take_every_descriptor_make_room() -> None:
    few = f"ulimit -n 24; exec {sys.executable} -P -m harness.app.compare_worker"
    with tempfile.TemporaryDirectory(prefix="sd") as name, socket.socket(socket.AF_UNIX) as listener, ExitStack() as strangers:
        folder = Path(name)
        listener.bind(str(folder / "run.sock"))
        listener.listen()
        listener.settimeout(WAIT_S)
        process = subprocess.Popen(["/bin/sh", "-c", f"{few} {folder}/run.sock {folder}/own 3"])
        try:
            with listener.accept()[0] as accepted:
                upward = Line(accepted)
                assert upward.message() == Hello(3, ingress=False)
                upward.send(ORDERS)
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(str(folder / "own"))
                    stream = Line(sock)
                    stream.send(Hello(1, ingress=True))
                    stream.trial(trial(0))
                    assert len(upward.results(1)) == 1
                    for _ in range(60):
                        stranger = strangers.enter_context(socket.socket(socket.AF_UNIX))
                        stranger.connect(str(folder / "own"))
                    stream.trial(trial(1))
                    assert len(upward.results(1)) == 1
            assert process.wait(WAIT_S) == 0
        finally:
            process.kill()
            process.wait()


def test_garbage_of_its_supervisor_is_told_as_an_error() -> None:
    with running(orders=None) as rig:
        rig.upward.send(IngressOrders(b"", b"", 0, False))
        assert isinstance(rig.upward.message(), Failed)


def test_the_process_leaves_signals_to_its_supervisor_and_ends_with_it() -> None:
    with tempfile.TemporaryDirectory(prefix="sd") as name, socket.socket(socket.AF_UNIX) as listener:
        folder = Path(name)
        listener.bind(str(folder / "run.sock"))
        listener.listen()
        listener.settimeout(WAIT_S)
        command = [sys.executable, "-P", "-m", "harness.app.compare_worker", str(folder / "run.sock"), str(folder / "own"), "3"]
        process = subprocess.Popen(command)
        try:
            with listener.accept()[0] as accepted:
                upward = Line(accepted)
                assert upward.message() == Hello(3, ingress=False)
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
                    process.send_signal(number)
                assert os.getpriority(os.PRIO_PROCESS, process.pid) == os.getpriority(os.PRIO_PROCESS, 0) + module.NICE
                upward.send(ORDERS)
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(str(folder / "own"))
                    stream = Line(sock)
                    stream.send(Hello(1, ingress=True))
                    stream.trial(trial(0))
                    assert len(upward.results(1)) == 1
            assert process.wait(WAIT_S) == 0
        finally:
            process.kill()
            process.wait()
        assert (folder / "run.sock").exists(), "this process, its parent, lives"


def test_the_process_ends_quietly_where_its_supervisor_was_gone_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ignored: list[int] = []
    monkeypatch.setattr(signal, "signal", lambda number, _: ignored.append(number))
    monkeypatch.setattr(os, "nice", lambda _: 0)
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "none"), str(tmp_path / "own"), "0"])
    thresholds = gc.get_threshold()
    try:
        assert module.main() == 0
    finally:
        gc.set_threshold(*thresholds)
    assert signal.SIGTERM in ignored


def test_other_accepted_changes_are_applied_once_the_supervisor_tells_them() -> None:
    place = (trial(0).endpoint, Aspect.BODY, "$.price", Kind.VALUE)
    change = ExpectedChange(
        id=finding_id(*place), endpoint=place[0], aspect=place[1], path=place[2], kind=place[3], reason="", by="", expires="", seen=Seen()
    )
    with running(orders=CompareOrders(ENCODER.encode(()), b"", False, expected=ENCODER.encode((change,)))) as rig, rig.stream(1) as stream:
        stream.trial(trial(0, candidate=b'{"price":11}'))
        (before,) = rig.upward.results(1)
        rig.upward.send(Applied(b""))
        number, after = 0, before
        while decode_bets(after.bets).expected:  # it reads what it was told before long
            number += 1
            stream.trial(trial(number, candidate=b'{"price":11}'))
            (after,) = rig.upward.results(1)
        assert [len(decode_bets(result.bets).expected) for result in (before, after)] == [1, 0]
        assert len(decode_bets(after.bets).bets) == 1
