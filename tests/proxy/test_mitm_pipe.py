"""A pipe is a transport: what it says to its protocol, and what it keeps for the front."""

import asyncio
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from harness.proxy.mitm_pipe import Pipe
from tests.proxy.rig import run


class Told(asyncio.Protocol):
    """Writes down what it is told."""

    def __init__(self, *, keeps: bool = False) -> None:
        self.news: list[str] = []
        self._keeps = keeps

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.news.append("made")

    def data_received(self, data: bytes) -> None:
        self.news.append(f"data {data!r}")

    def eof_received(self) -> bool:
        self.news.append("eof")
        return self._keeps

    def connection_lost(self, exc: Exception | None) -> None:
        self.news.append("lost" if exc is None else f"lost {exc}")

    def pause_writing(self) -> None:
        self.news.append("pause")

    def resume_writing(self) -> None:
        self.news.append("resume")


def with_pipe(test: Callable[[Pipe, Told, list[Pipe]], None], *, keeps: bool = False, half_close: bool = False, after: str = "") -> None:
    """Run the test in a loop, let the loop go round, and see what the protocol was told last."""

    async def main() -> None:
        woken: list[Pipe] = []
        pipe, told = Pipe(woken.append, half_close=half_close, extra={"peername": ("192.0.2.1", 5)}), Told(keeps=keeps)
        pipe.connect(told)
        test(pipe, told, woken)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not after or told.news[-1] == after

    run(main())


def test_bytes_both_ways() -> None:
    def test(pipe: Pipe, told: Told, woken: list[Pipe]) -> None:
        assert pipe.get_extra_info("peername") == ("192.0.2.1", 5)
        pipe.feed(b"x")
        pipe.write(b"ab")
        pipe.write(b"")
        pipe.write(bytearray(b"cd"))
        assert woken == [pipe, pipe]
        assert (pipe.take(3), pipe.get_write_buffer_size()) == (b"ab", 2)
        assert (pipe.take(1), pipe.take(1)) == (b"cd", b"")
        assert told.news == ["made", "data b'x'"]
        assert not pipe.is_closing()

    with_pipe(test)


def test_a_full_pipe_pauses_its_protocol_until_it_is_nearly_empty() -> None:
    def test(pipe: Pipe, told: Told, woken: list[Pipe]) -> None:
        pipe.set_write_buffer_limits(high=100)
        for _ in range(3):
            pipe.write(b"x" * 60)
        assert told.news == ["made", "pause"]
        pipe.take(60)
        pipe.take(60)
        assert told.news == ["made", "pause"]
        pipe.take(60)
        assert told.news == ["made", "pause", "resume"]
        pipe.set_write_buffer_limits()
        pipe.write(b"x" * 1000)
        assert told.news[-1] == "resume"

    with_pipe(test)


def test_closing_waits_for_what_was_written() -> None:
    def test(pipe: Pipe, told: Told, woken: list[Pipe]) -> None:
        pipe.write(b"last")
        pipe.close()
        pipe.close()
        pipe.write(b"too late")
        pipe.feed(b"not taken")
        assert (pipe.is_closing(), pipe.over) == (True, False)
        assert pipe.take(99) == b"last"
        assert pipe.over
        assert told.news == ["made"]

    with_pipe(test, after="lost")


def test_closing_an_empty_pipe_ends_it() -> None:
    with_pipe(lambda pipe, told, woken: pipe.close(), after="lost")


def test_aborting_loses_what_was_written() -> None:
    def test(pipe: Pipe, told: Told, woken: list[Pipe]) -> None:
        pipe.write(b"last")
        pipe.abort()
        pipe.abort()
        assert (pipe.aborted, pipe.over, pipe.take(99)) == (True, True, b"")

    with_pipe(test, after="lost")


def test_a_lost_client_is_told_once() -> None:
    def test(pipe: Pipe, told: Told, woken: list[Pipe]) -> None:
        pipe.write(b"unsent")
        pipe.lost(ConnectionResetError("gone"))
        pipe.lost(None)
        pipe.feed_eof()
        assert pipe.over
        assert told.news == ["made", "lost gone"]

    with_pipe(test)


def test_the_end_of_input_closes_unless_the_protocol_goes_on() -> None:
    def closes(pipe: Pipe, told: Told, woken: list[Pipe]) -> None:
        pipe.feed_eof()
        assert pipe.is_closing()

    def goes_on(pipe: Pipe, told: Told, woken: list[Pipe]) -> None:
        pipe.feed_eof()
        assert not pipe.is_closing()

    with_pipe(closes, after="lost")
    with_pipe(goes_on, keeps=True, after="eof")


def test_one_direction_alone() -> None:
    def test(pipe: Pipe, told: Told, woken: list[Pipe]) -> None:
        assert pipe.can_write_eof()
        pipe.write(b"last")
        pipe.write_eof()
        pipe.write(b"too late")
        assert not pipe.eof
        assert (pipe.take(99), pipe.eof, pipe.over) == (b"last", True, False)
        pipe.feed(b"more")
        assert told.news[-1] == "data b'more'"

    with_pipe(test, half_close=True)
    with_pipe(lambda pipe, told, woken: None if not pipe.can_write_eof() else told.news.append("wrong"), after="made")


def test_a_protocol_that_reads_no_more_wakes_the_front() -> None:
    def test(pipe: Pipe, told: Told, woken: list[Pipe]) -> None:
        pipe.pause_reading()
        assert (pipe.is_reading(), woken) == (False, [pipe])
        pipe.resume_reading()
        assert (pipe.is_reading(), woken) == (True, [pipe, pipe])

    with_pipe(test)


@given(pieces=st.lists(st.binary(max_size=50), max_size=20), bound=st.integers(1, 100))
def test_what_was_written_is_taken_whole_and_in_order(pieces: list[bytes], bound: int) -> None:
    def test(pipe: Pipe, told: Told, woken: list[Pipe]) -> None:
        for piece in pieces:
            pipe.write(piece)
        taken = []
        while data := pipe.take(bound):
            assert len(data) <= max(bound, *map(len, pieces))
            taken.append(data)
        assert b"".join(taken) == b"".join(pieces)
        assert pipe.get_write_buffer_size() == 0

    with_pipe(test)


def test_what_is_owed_to_the_client_keeps_the_pipe_from_being_over() -> None:
    """The front took the last bytes, and its client gives no room for them yet."""

    async def main() -> None:
        pipe, told = Pipe(lambda _: None), Told()
        pipe.connect(told)
        pipe.write(b"abc")
        pipe.close()
        assert pipe.take(9) == b"abc"
        pipe.owe(2)
        for _ in range(3):
            await asyncio.sleep(0)
        assert (told.news, pipe.over, pipe.waiting, pipe.get_write_buffer_size()) == (["made"], False, 0, 2)
        pipe.owe(0)
        for _ in range(3):
            await asyncio.sleep(0)
        assert (told.news, pipe.over) == (["made", "lost"], True)
        pipe.owe(5)
        assert pipe.over, "nobody waits for it any more"

    run(main())


def test_a_pipe_that_is_aborted_owes_nothing() -> None:
    def test(pipe: Pipe, told: Told, woken: list[Pipe]) -> None:
        pipe.owe(5)
        pipe.abort()
        assert pipe.over

    with_pipe(test, after="lost")
