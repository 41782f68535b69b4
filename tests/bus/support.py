"""A compare worker of the tests' own process."""

import asyncio
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.bus.frames import Frame
from harness.bus.link import Link
from harness.bus.messages import Done, Hello, decode_message
from harness.bus.packing import decode_trial
from tests.proxy.rig import until


class Comparer:
    """A compare worker of the test's: keeps what it is handed, and says that it is done when told."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self.path = str(folder / f"compare-{number}")
        self.streams: list[int] = []
        self.seqs: list[int] = []
        self.links: list[Link] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: Link(self._received, self._lost), self.path)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.die()
        await until(lambda: not self.links)

    def _received(self, link: Link, kind: Frame, payload: bytes) -> None:
        if kind is Frame.TRIAL:
            self.seqs.append(decode_trial(payload).seq)
        else:
            hello = decode_message(payload)
            assert isinstance(hello, Hello)
            self.streams.append(hello.number)
            self.links.append(link)

    def _lost(self, link: Link) -> None:
        with suppress(ValueError):
            self.links.remove(link)

    def done(self, count: int) -> None:
        self.links[0].send(Done(count))

    def die(self) -> None:
        if self._server is not None:
            self._server.close()
        for link in list(self.links):
            link.close()

    @property
    def socket(self) -> tuple[int, str]:
        return self.number, self.path
