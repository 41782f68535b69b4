"""The project's own proxy as a user starts it: its processes, and what its metrics say became of each request."""

import contextlib
import functools
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from tests.bench.live import processes, programs
from tests.bench.live.upstreams import Upstreams

SHADOWDIFF: Final = (sys.executable, "-P", "-m", "harness.cli.main")
SETTLE_SECONDS_MAX: Final = 60.0
"""How long is waited until every request has its outcome."""
_READY_SECONDS_MAX: Final = 30.0
_POLL_SECONDS: Final = 0.1


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Outcomes of requests."""

    compared: int = 0
    shed: int = 0
    skipped: int = 0
    refused: int = 0
    reasons: dict[str, int] = {}
    """What was shed, by reason."""

    @property
    def total(self) -> int:
        """Requests that have an outcome."""
        return self.compared + self.shed + self.skipped + self.refused

    def since(self, earlier: "Counts") -> "Counts":
        """What was added."""
        reasons = {reason: count - earlier.reasons.get(reason, 0) for reason, count in self.reasons.items()}
        return Counts(
            compared=self.compared - earlier.compared,
            shed=self.shed - earlier.shed,
            skipped=self.skipped - earlier.skipped,
            refused=self.refused - earlier.refused,
            reasons={reason: count for reason, count in reasons.items() if count},
        )

    def why_shed(self) -> str:
        """The reasons in words; empty where nothing was shed."""
        return ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.reasons.items()))


def counts_of(exposition: str) -> Counts:
    """Read outcomes from the text of /metrics. Raises KeyError where they are not in it: silence must not look like zero."""
    outcomes: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == "shadowdiff_trials_total":
                outcomes[sample.labels["outcome"]] = int(sample.value)
            elif sample.name == "shadowdiff_shed_total" and sample.value:
                reasons[sample.labels["reason"]] = int(sample.value)
    return Counts(
        compared=outcomes["compared"], shed=outcomes["shed"], skipped=outcomes["skipped"], refused=outcomes["refused"], reasons=reasons
    )


class Project:
    """The running proxy."""

    def __init__(self, pid: int, port: int, admin_port: int) -> None:
        """`pid` is its first process."""
        self.pid = pid
        self.port = port
        self._admin = f"http://127.0.0.1:{admin_port}"

    def counts(self) -> Counts:
        """Outcomes so far."""
        return counts_of(self._get("/metrics"))

    def uses(self) -> dict[processes.Identity, processes.Use]:
        """What its processes have used so far."""
        return processes.tree(self.pid)

    def settled(self, total: int) -> Counts:
        """Outcomes once `total` requests have one, or when no more is waited for; the caller compares."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while (counts := self.counts()).total < total and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return counts

    def wait_ready(self) -> None:
        """Until it takes traffic and its metrics are there."""
        deadline = time.monotonic() + _READY_SECONDS_MAX
        while True:
            try:
                self._get("/readyz")
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_SECONDS)

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(self._admin + path, timeout=30) as answer:
            text: str = answer.read().decode()
            return text


@functools.cache
def options() -> frozenset[str]:
    """The long options `shadowdiff proxy` has."""
    help_text = subprocess.run([*SHADOWDIFF, "proxy", "--help"], capture_output=True, text=True, check=True, cwd=programs.ROOT).stdout
    return frozenset(re.findall(r"--[a-z][a-z-]+", help_text))


@contextlib.contextmanager
def project(
    folder: Path, upstreams: Upstreams, *, name: str = "project", secondary: bool = False, workers: int = 1, extra: Sequence[str] = ()
) -> Iterator[Project]:
    """Start it before the targets, everything mirrored to the candidate (and the secondary). Raises StartError.

    A version without `--workers` is started without it: it has one. The caller asks `options()` where more are wanted.
    """
    port, admin = programs.free_port(), programs.free_port()
    command = [*SHADOWDIFF, "proxy", "--quiet", "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
    command += ["--stable", upstreams.url("stable"), "--candidate", upstreams.url("candidate"), "--out", str(folder / f"{name}-run")]
    if secondary:
        command += ["--secondary", upstreams.url("secondary")]
    if "--workers" in options():
        command += ["--workers", str(workers)]
    command += extra
    with programs.running(command, port=port, log=folder / f"{name}.log", folder=folder) as process:
        running = Project(process.pid, port, admin)
        running.wait_ready()
        yield running
