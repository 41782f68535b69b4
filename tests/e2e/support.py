"""Runs the command line as people do: a process of its own, real builds, real sockets."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CAPTURES = ROOT / "tests" / "captures"
SHADOWDIFF = [sys.executable, "-P", "-m", "harness.cli.main"]


class Ran:
    """What a finished command left behind."""

    def __init__(self, done: "subprocess.CompletedProcess[str]", out: Path) -> None:
        self.code = done.returncode
        self.stdout = done.stdout
        self.stderr = done.stderr
        self.out = out

    @property
    def report(self) -> dict[str, Any]:
        """report.json."""
        loaded: dict[str, Any] = json.loads((self.out / "report.json").read_bytes())
        return loaded

    def explain(self) -> str:
        """For an assertion that fails."""
        return f"exit {self.code}\n{self.stdout}\n{self.stderr}"


def shadowdiff(
    *arguments: str, out: Path, cwd: Path | None = None, timeout_s: float = 300, environment: Mapping[str, str] | None = None
) -> Ran:
    """Run a command with `--out`; never raises for its exit code."""
    done = subprocess.run(
        [*SHADOWDIFF, *arguments, "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        cwd=cwd or out.parent,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100", **(environment or {})},
    )
    return Ran(done, out)


def httpbin(release: str) -> str:
    """A target that serves a real httpbin release; skips the test, by name, where it could not be installed."""
    gunicorn = ROOT / ".cache" / f"httpbin-{release}" / "bin" / "gunicorn"
    if not gunicorn.exists():
        pytest.skip(f"httpbin {release} is not installed: run sh tests/prepare.sh")
    return f"cmd:{gunicorn} --worker-class gthread --threads 8 --bind 127.0.0.1:{{port}} --log-level error httpbin:app"


def chromium() -> str:
    """The browser; skips the test, by name, where there is none."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is not installed: run sh tests/prepare.sh")
    return found


def write_har(path: Path, requests: Iterable[dict[str, Any]]) -> Path:
    """A HAR file of the requests: `method`, `url`, `headers` (pairs), `body`, and what was answered: `status`, `answered` (headers)."""
    entries = []
    for number, request in enumerate(requests):
        headers, answered = ([{"name": name, "value": value} for name, value in request.get(key, ())] for key in ("headers", "answered"))
        entry: dict[str, Any] = {
            "startedDateTime": f"2024-05-01T10:00:{number % 60:02}.000Z",
            "time": 1,
            "request": {"method": request.get("method", "GET"), "url": request["url"], "httpVersion": "HTTP/1.1", "headers": headers},
            "response": {"status": request.get("status", 0), "headers": answered, "content": {}},
        }
        if "body" in request:
            kind = dict(request.get("headers", ())).get("Content-Type", "application/octet-stream")
            entry["request"]["postData"] = {"mimeType": kind, "text": request["body"]}
        entries.append(entry)
    path.write_text(
        json.dumps({"log": {"version": "1.2", "creator": {"name": "test", "version": "1"}, "entries": entries}}), encoding="utf-8"
    )
    return path
