"""A connection between two processes: frames in order, one end told once, and garbage ends it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.bus.frames import Frame, framed
from harness.bus.link import Link
from harness.bus.messages import ENCODER, Done, Mirror, decode_message
from harness.core.errors import ShadowdiffError
from tests.proxy.rig import LOOPS, run, until


class End:
    """One end: what it got, and whether it was told of the end."""

    def __init__(self, check: Callable[[bytes], None] = lambda payload: None) -> None:
        self.check = check
        self.got: list[tuple[Frame, bytes]] = []
        self.lost = 0
        self.link: Link | None = None

    def make(self) -> Link:
        self.link = Link(self._received, self._lost)
        return self.link

    def _received(self, link: Link, kind: Frame, payload: bytes) -> None:
        assert link is self.link
        self.got.append((kind, payload))
        self.check(payload)

    def _lost(self, link: Link) -> None:
        assert link is self.link
        self.lost += 1


@asynccontextmanager
async def connected(path: Path, end: End) -> AsyncIterator[tuple[Link, socket.socket]]:
    """A link, and a plain socket at its other end."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(str(path / "s"))
        listener.listen()
        _, link = await loop.create_unix_connection(end.make, str(path / "s"))
        accepted, _ = listener.accept()
        other.close()
        with accepted:
            accepted.setblocking(False)
            yield link, accepted
        link.close()
        await link.wait_over(1.0)


async def read(other: socket.socket, size: int) -> bytes:
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < size and (piece := await loop.sock_recv(other, 65536)):
        data += piece
    return data


@pytest.fixture(name="loop", params=sorted(LOOPS))
def _loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_frames_arrive_in_order_and_the_end_is_told_once_after_them(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        end = End()
        async with connected(tmp_path, end) as (link, other):
            sent = [(Frame.TRIAL, b"a" * number) for number in range(50)]
            data = b"".join(framed(kind, payload) for kind, payload in sent)
            for start in range(0, len(data), 100):
                other.send(data[start : start + 100])
                await asyncio.sleep(0)
            other.close()
            await until(lambda: end.lost == 1)
            assert end.got == sent
            assert not link.open
            link.send(Done(1))
            link.hold()
            link.unhold()
            await link.wait_over(1.0)
        assert end.lost == 1

    run(main(), loop)


def test_what_is_sent_in_one_turn_goes_out_together_and_is_sent_before_the_end(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        end = End()
        async with connected(tmp_path, end) as (link, other):
            link.send(Mirror(5.0))
            link.send_frame(Frame.RECORD, b"abc")
            expected = framed(Frame.MESSAGE, ENCODER.encode(Mirror(5.0))) + framed(Frame.RECORD, b"abc")
            assert link.unsent == len(expected)
            assert await read(other, len(expected)) == expected
            link.send(Done(7))
            link.close()
            assert await read(other, 1000) == framed(Frame.MESSAGE, ENCODER.encode(Done(7)))
            await until(lambda: end.lost == 1)
            assert link.unsent == 0

    run(main(), loop)


def test_an_end_that_is_held_is_read_no_further_and_loses_nothing(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        end = End()
        async with connected(tmp_path, end) as (link, other):
            link.hold()
            link.hold()
            other.send(framed(Frame.COUNTERS, b"1"))
            other.close()
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert end.got == []
            assert end.lost == 0
            link.unhold()
            link.unhold()
            await until(lambda: end.lost == 1)
            assert end.got == [(Frame.COUNTERS, b"1")]

    run(main(), loop)


def refuse(payload: bytes) -> None:
    raise ShadowdiffError("not now")


GARBAGE: dict[str, tuple[bytes, Callable[[bytes], None]]] = {
    "no frame": (b"\xff" * 20, lambda payload: None),
    "no message": (framed(Frame.MESSAGE, b"\xc1"), lambda payload: decode_message(payload) and None),
    "no text": (framed(Frame.MESSAGE, b"\x93\xa5\xff\xff\xff\xff\xff\x01\xc3"), lambda payload: decode_message(payload) and None),
    "refused": (framed(Frame.MESSAGE, b"abc"), refuse),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_ends_the_connection(loop: str, name: str, tmp_path: Path) -> None:
    async def main() -> None:
        data, check = GARBAGE[name]
        end = End(check)
        async with connected(tmp_path, end) as (_, other):
            other.send(data)
            await until(lambda: end.lost == 1)
            assert await read(other, 1) == b""

    run(main(), loop)


def test_who_does_not_read_is_not_waited_for_for_ever(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        end = End()
        async with connected(tmp_path, end) as (link, _):
            for _ in range(64):
                link.send_frame(Frame.TRIAL, bytes(65536))
            await asyncio.sleep(0)
            assert link.unsent > 2_000_000
            link.close()
            assert end.lost == 0
            await link.wait_over(0.05)
            await until(lambda: end.lost == 1)

    run(main(), loop)


def test_a_link_that_was_never_connected_is_merely_silent() -> None:
    async def main() -> None:
        link = End().make()
        link.send(Done(1))
        link.hold()
        link.unhold()
        link.close()
        await link.wait_over(0.01)
        assert not link.open
        assert link.unsent == 0

    run(main())
