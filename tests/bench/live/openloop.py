"""Open-loop load at a constant rate: a request is due when it is due, however slow the answers are.

Latency counts from the moment a request was due, not from when a connection was free to send it, so that a slow spell
is not left out of the figures (no coordinated omission). One thread over `select`, whose time-outs are finer than the
milliseconds of asyncio's and epoll's.
"""

import gc
import re
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_READ_BYTES: Final = 256 * 1024
_WAIT_SECONDS_MAX: Final = 1.0
_TAIL_SECONDS_MAX: Final = 30.0
"""How long is waited for answers after the last request was due."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What one run showed."""

    due: int
    """Requests that were to be sent."""
    seconds: float
    """From the first request to the last answer."""
    latencies_ms: list[float]
    """Of every whole 2xx answer, from when its request was due."""
    late_ms: list[float]
    """How long after its time each request was sent."""
    bad: int
    """Answers other than 2xx, and connections that broke under a request."""
    unanswered: int
    """Still without an answer when nothing more was waited for."""

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.latencies_ms) / self.seconds


class _Connection:
    """One connection and the request it carries."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self.good = False
        self._left = -1
        self._head = b""

    def fileno(self) -> int:
        """For select."""
        return self.socket.fileno()

    def send(self, request: bytes, due: float) -> None:
        """Requests are small: a socket that carries one at a time takes them whole."""
        self.due = due
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Whether the answer is complete. Raises ConnectionError where it never will be."""
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionError("closed under a request")
        if self._left < 0:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return False
            length = _LENGTH.search(head)
            if length is None:
                raise ConnectionError("an answer without Content-Length")
            self._left, self._head = int(length[1]), b""
            self.good = head[9:10] == b"2"
        self._left -= len(data)
        if self._left:
            return False
        self._left = -1
        return True


def paths_in_turn(paths: Sequence[str]) -> Callable[[int], bytes]:
    """Requests over a list of paths."""
    requests = [request_of(path) for path in paths]
    return lambda number: requests[number % len(requests)]


def request_of(path: str, *headers: str) -> bytes:
    """A GET as it goes out."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: shop.example", "Accept: application/json", *headers, "", ""]).encode()


def drive(port: int, requests: Callable[[int], bytes], *, rate: float, count: int, first: int = 0, connections: int = 32) -> Load:
    """Send `count` requests, numbered from `first`, to a port of 127.0.0.1 at `rate` a second."""
    gc.collect()
    gc.disable()
    try:
        return _Run(port, requests, rate, connections).run(range(first, first + count))
    finally:
        gc.enable()


class _Run:
    def __init__(self, port: int, requests: Callable[[int], bytes], rate: float, connections: int) -> None:
        self._port = port
        self._requests = requests
        self._rate = rate
        self._idle = deque(_Connection(port) for _ in range(connections))
        self._busy: dict[int, _Connection] = {}
        self._latencies: list[float] = []
        self._late: list[float] = []
        self._bad = 0

    def run(self, numbers: range) -> Load:
        """Send them all, then wait for what is still under way."""
        start = time.perf_counter() + 0.01
        due = ((number, start + turn / self._rate) for turn, number in enumerate(numbers))
        waiting: deque[tuple[int, float]] = deque()
        following = next(due, None)
        give_up = start + len(numbers) / self._rate + _TAIL_SECONDS_MAX
        while (following is not None or waiting or self._busy) and (now := time.perf_counter()) < give_up:
            while following is not None and following[1] <= now:
                waiting.append(following)
                following = next(due, None)
            self._send(waiting)
            until = _WAIT_SECONDS_MAX if following is None else following[1] - time.perf_counter()
            self._receive(max(0.0, min(until, _WAIT_SECONDS_MAX)))
        end = time.perf_counter()
        self._close()
        answered = len(self._latencies) + self._bad
        return Load(
            due=len(numbers),
            seconds=end - start,
            latencies_ms=self._latencies,
            late_ms=self._late,
            bad=self._bad,
            unanswered=len(numbers) - answered,
        )

    def _send(self, waiting: deque[tuple[int, float]]) -> None:
        while waiting and self._idle:
            number, due = waiting.popleft()
            connection = self._idle.popleft()
            self._busy[connection.fileno()] = connection
            self._late.append((time.perf_counter() - due) * 1000)
            try:
                connection.send(self._requests(number), due)
            except OSError:
                self._replace(connection)

    def _receive(self, wait_s: float) -> None:
        if not self._busy:
            time.sleep(wait_s)
            return
        ready, _, _ = select.select(list(self._busy), [], [], wait_s)
        for descriptor in ready:
            connection = self._busy[descriptor]
            try:
                if not connection.receive():
                    continue
            except OSError:
                self._replace(connection)
                continue
            if connection.good:
                self._latencies.append((time.perf_counter() - connection.due) * 1000)
            else:
                self._bad += 1
            del self._busy[descriptor]
            self._idle.append(connection)

    def _replace(self, connection: _Connection) -> None:
        self._bad += 1
        del self._busy[connection.fileno()]
        connection.socket.close()
        self._idle.append(_Connection(self._port))

    def _close(self) -> None:
        for connection in self._all():
            connection.socket.close()

    def _all(self) -> Iterator[_Connection]:
        yield from self._idle
        yield from self._busy.values()
