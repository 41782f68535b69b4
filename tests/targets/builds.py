"""Small builds for the tests of targets: real programs, started as real processes."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

WAIT_S = 60.0
"""How long anything is waited for: a busy machine may be slow."""
SERVER = """
import http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(os.environ.get("STATUS", "200")))
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

print("serving as", os.environ.get("NAME", "nobody"), flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

STUBBORN = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    (folder / "child").write_text(str(os.getpid()))
    time.sleep(600)
    os._exit(0)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        (folder / "daemon").write_text(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
os.wait()
(folder / "main").write_text(str(os.getpid()))
time.sleep(600)
"""
"""Ignores SIGTERM, has a child, and a daemonised grandchild in a session of its own."""


def script(folder: Path, name: str, text: str) -> str:
    """The text as a program; returns the command that runs it."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return f"{sys.executable} -u {path}"


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition: Callable[[], bool], what: str, seconds: float = WAIT_S) -> None:
    """Wait for a condition, with a bound."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still waiting for: {what}"
        time.sleep(0.01)


def pid_in(path: Path) -> int:
    """The process id a program wrote into a file, once it is there."""
    until(lambda: path.exists() and path.read_text(encoding="utf-8").strip() != "", f"{path.name} to be written")
    return int(path.read_text(encoding="utf-8"))


class RealClock:
    """The machine's clock."""

    def monotonic_ns(self) -> int:
        """See Clock."""
        return time.monotonic_ns()

    def time(self) -> float:
        """See Clock."""
        return time.time()


@asynccontextmanager
async def answering(first: bytes | None, scheme: str = "http") -> AsyncIterator[str]:
    """A server that is not HTTP: it says `first` and closes, or hangs (None). Its base URL."""
    ended: list[asyncio.Event] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.Event())
        done = ended[-1]
        if first is None:
            await reader.read()
        else:
            writer.write(first)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        done.set()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for event in ended:
            await event.wait()
