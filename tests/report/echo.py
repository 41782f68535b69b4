"""A small HTTP/1.1 server on loopback that keeps what arrives, for tests that run real clients against it."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Arrived:
    """One request as it came: request line, headers in order, body."""

    def __init__(self, line: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.line = line
        self.headers = headers
        self.body = body

    @property
    def target(self) -> bytes:
        return self.line.split(b" ", 1)[1].rsplit(b" ", 1)[0]

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


Answer = Callable[[Arrived], bytes]


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """A complete answer that closes the connection."""
    head = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), b"Connection: close", *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


class _Handler(socketserver.StreamRequestHandler):
    timeout = 10

    def handle(self) -> None:
        line = self.rfile.readline().rstrip(b"\r\n")
        headers: list[tuple[bytes, bytes]] = []
        while raw := self.rfile.readline().rstrip(b"\r\n"):
            name, _, value = raw.partition(b":")
            headers.append((name, value.strip()))
        length = next((int(value) for name, value in headers if name.lower() == b"content-length"), 0)
        arrived = Arrived(line, headers, self.rfile.read(length))
        server = self.server
        assert isinstance(server, _Server)
        server.arrived.append(arrived)
        self.wfile.write(server.answer(arrived))


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, reply: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = reply
        self.arrived: list[Arrived] = []


@contextmanager
def serving(reply: Answer) -> Iterator[tuple[str, list[Arrived]]]:
    """The server's base URL, and the list that requests are added to."""
    server = _Server(reply)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", server.arrived
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
