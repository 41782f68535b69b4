"""Live traffic for end-to-end tests: builds and the proxy as processes of their own, each ended when its test ends."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.core.limits import COMPARE_STALL_SECONDS_MAX
from tests.e2e.support import SHADOWDIFF

WAIT_S = 90.0
"""How long anything is waited for: only a machine that is slow and busy needs more than a few seconds of it."""


def wait_for_port(process: "subprocess.Popen[str]", port: int) -> None:
    """Until the demo service answers; its exit is a failure."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the build ended"
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10):
            return
        time.sleep(0.05)
    raise AssertionError("the build never answered")


def free_port() -> int:
    """A port that is free and below those that the system gives to outgoing connections, so that it stays so for a while."""
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.socket() as tried:
            tried.bind(("127.0.0.1", port))
            return port


@contextmanager
def build(name: str, seed: str) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """A build of the demo service: its port and its process."""
    port = free_port()
    command = [sys.executable, "-P", "-m", "scenarios.demo.service", "--port", str(port), "--build", name, "--seed", seed]
    process = subprocess.Popen(command, text=True)
    try:
        wait_for_port(process, port)
        yield port, process
    finally:
        process.kill()
        process.wait()


class Proxy:
    """A running proxy: its address and admin port as it announced them."""

    def __init__(self, process: "subprocess.Popen[bytes]", stdout: Path, stderr: Path) -> None:
        self.process = process
        self._stdout = stdout
        self._stderr = stderr
        self.address = self._announced(r"serving on (https?://[0-9.:]+)")
        self.port = int(self.address.rpartition(":")[2])
        self.admin = self._announced(r"admin on (http://[0-9.:]*\d)")

    def _announced(self, pattern: str) -> str:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.stderr):
                return found[1]
            assert self.process.poll() is None, self.stderr
            time.sleep(0.05)
        raise AssertionError(f"nothing like {pattern} was announced")

    @property
    def stdout(self) -> str:
        """What it has printed for its reader."""
        return self._stdout.read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        """What it has said beside that."""
        return self._stderr.read_text(encoding="utf-8")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Stop it in order; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_S + COMPARE_STALL_SECONDS_MAX)

    def verdict(self) -> dict[str, Any]:
        """The verdict endpoint's answer."""
        answer: dict[str, Any] = json.loads(get(f"{self.admin}/api/v1/verdict")[1])
        return answer

    def until_compared(self, count: int) -> dict[str, Any]:
        """The verdict endpoint's answer once so many requests were compared."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            answer = self.verdict()
            if answer["requests"] >= count and answer["as_of"]:
                return answer
            time.sleep(0.1)
        raise AssertionError(f"{count} requests were never compared: {answer}")


@contextmanager
def proxy(out: Path, *arguments: str, logs: Path | None = None, environment: Mapping[str, str] | None = None) -> Iterator[Proxy]:
    """`shadowdiff proxy` on free ports; its output goes to files beside the run directory, or in `logs`."""
    beside = (logs or out.parent) / out.name
    stdout, stderr = beside.with_suffix(".stdout"), beside.with_suffix(".stderr")
    command = [*SHADOWDIFF, "proxy", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--out", str(out), *arguments]
    with stdout.open("wb") as said, stderr.open("wb") as sink:
        process = subprocess.Popen(command, stdout=said, stderr=sink, env={**os.environ, "NO_COLOR": "1", **(environment or {})})
    try:
        yield Proxy(process, stdout, stderr)
    finally:
        process.kill()
        process.wait()


def get(url: str) -> tuple[int, bytes]:
    """Status and body."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"X-Tenant": "harbor"}), timeout=WAIT_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def report_of(out: Path) -> dict[str, Any]:
    """report.json of a run directory."""
    loaded: dict[str, Any] = json.loads((out / "report.json").read_bytes())
    return loaded
