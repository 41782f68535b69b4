"""One exchange by itself: what waits for a connection, time-outs, the end."""

import asyncio
from typing import Any

from harness.core.labels import ErrorKind
from harness.core.limits import STREAM_BUFFER_BYTES_MAX
from harness.core.values import TransportError
from harness.proxy.call import Call, CallsUnderWay
from harness.proxy.connection import UpstreamConnection
from tests.proxy.rig import SystemClock, run, until
from tests.proxy.test_connection import OK, Transport
from tests.proxy.test_parsing import Told


class Reader(Told):
    """Writes down what a call tells."""

    def answer_read(self) -> None:
        self.events.append("read")

    def answer_switched(self, rest: bytes) -> None:
        self.events.append(("switched", rest))

    def answer_raw(self, data: bytes) -> None:
        self.events.append(("raw", data))

    def answer_failed(self, error: TransportError) -> None:
        self.events.append(error.kind)

    def request_full(self) -> None:
        self.events.append("full")

    def request_drained(self) -> None:
        self.events.append("drained")


class Owner:
    """Hands out nothing by itself."""

    def __init__(self, exchange_timeout_s: float = 5.0) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock = SystemClock()
        self.calls = CallsUnderWay(self.loop, exchange_timeout_s)
        self.told: list[Any] = []

    def connect(self, call: Call) -> None:
        self.told.append("connect")

    def give_back(self, connection: UpstreamConnection, *, keep: bool) -> None:
        self.told.append(("back", keep))
        connection.end()

    def forget(self, connection: UpstreamConnection) -> None:
        self.told.append("forget")

    def connection(self) -> tuple[UpstreamConnection, Transport]:
        connection, transport = UpstreamConnection(self.loop, lambda _: None), Transport()
        connection.connection_made(transport)
        transport.done.clear()
        return connection, transport


def test_what_is_written_before_the_connection_waits_and_is_bounded_by_its_writer() -> None:
    async def main() -> None:
        owner, reader = Owner(), Reader()
        call = Call(owner, "POST", b"head ", reader, total=True, retryable=False)
        call.write(b"")
        call.write(b"small ")
        assert reader.events == []
        call.write(b"x" * STREAM_BUFFER_BYTES_MAX)
        call.pause()
        connection, transport = owner.connection()
        call.attach(connection, reused=False)
        assert reader.events == ["full", "drained"]
        assert transport.done == ["pause", b"head small " + b"x" * STREAM_BUFFER_BYTES_MAX]
        call.resume()
        call.write(b"more")
        call.finish()
        connection.data_received(OK)
        assert reader.events[3:] == [b"ok", ("end", ())]
        assert owner.told == [("back", True)]
        call.write(b"late")
        call.abort()
        call.fail(ErrorKind.RESET, "late")
        assert transport.done[-1] == b"more"
        assert call.done

    run(main())


def test_an_answer_before_the_end_of_the_request_costs_the_connection() -> None:
    async def main() -> None:
        owner, reader = Owner(), Reader()
        call = Call(owner, "POST", b"head", reader, total=True, retryable=False)
        connection, _ = owner.connection()
        call.attach(connection, reused=False)
        connection.data_received(OK)
        assert owner.told == [("back", False)]

    run(main())


def test_only_a_silent_end_of_a_reused_connection_is_tried_again_and_only_once() -> None:
    async def main() -> None:
        owner, reader = Owner(), Reader()
        call = Call(owner, "GET", b"head", reader, total=True, retryable=True)
        for expected in (["forget", "connect"], ["forget", "connect", ("back", False)]):
            connection, transport = owner.connection()
            call.attach(connection, reused=True)
            assert transport.done == [b"head"]
            connection.eof_received()
            assert owner.told == expected
        assert reader.events == [ErrorKind.RESET]

    run(main())


def test_an_answer_that_began_is_not_tried_again() -> None:
    async def main() -> None:
        owner, reader = Owner(), Reader()
        call = Call(owner, "GET", b"head", reader, total=True, retryable=True)
        connection, _ = owner.connection()
        call.attach(connection, reused=True)
        connection.data_received(b"H")
        connection.eof_received()
        assert reader.events == ["read", ErrorKind.RESET]
        assert "connect" not in owner.told

    run(main())


def test_silence_is_not_counted_while_the_reader_pauses() -> None:
    async def main() -> None:
        owner, reader = Owner(0.05), Reader()
        call = Call(owner, "GET", b"head", reader, total=False, retryable=True)
        call.pause()
        await asyncio.sleep(0.15)
        assert reader.events == []
        call.resume()
        await until(lambda: reader.events == [ErrorKind.TIMEOUT])

    run(main())


def test_an_abort_in_the_middle_of_an_answer_ends_what_is_told() -> None:
    async def main() -> None:
        class Aborting(Reader):
            def answer_head(self, head: Any) -> None:
                self.events.append("head")
                call.abort()

        owner, reader = Owner(), Aborting()
        call = Call(owner, "GET", b"head", reader, total=True, retryable=True)
        connection, _ = owner.connection()
        call.attach(connection, reused=False)
        connection.data_received(OK[:-1])
        assert reader.events == ["head"]
        assert owner.told == [("back", False)]

    run(main())


def test_one_timer_ends_each_call_at_its_own_time() -> None:
    async def main() -> None:
        owner = Owner(1.0)  # so long that all have begun before the first one ends
        started_s = owner.loop.time()
        ended: list[tuple[int, float]] = []

        class Timed(Reader):
            def __init__(self, number: int) -> None:
                super().__init__()
                self.number = number

            def answer_failed(self, error: TransportError) -> None:
                assert error.kind is ErrorKind.TIMEOUT
                ended.append((self.number, owner.loop.time() - started_s))
                if self.number == 0:  # a call that begins while others end must not put their end off
                    Call(owner, "GET", b"", Timed(3), total=True, retryable=True)

        calls = []
        for number in range(3):
            calls.append(Call(owner, "GET", b"", Timed(number), total=True, retryable=True))
            await asyncio.sleep(0.05)
        calls[1].abort()
        await until(lambda: len(ended) == 3)
        assert [number for number, _ in ended] == [0, 2, 3]
        assert all(took_s >= least_s for (_, took_s), least_s in zip(ended, (1.0, 1.1, 2.0), strict=True))
        assert owner.calls.all() == []

    run(main())
