"""Closed-loop load by wrk: as many requests as the proxy can take, over a list of paths in turn."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tests.bench.live import programs

_SCRIPT: Final = """\
local paths = {{ {paths} }}
local requests, turn = {{}}, 0
init = function() for i, path in ipairs(paths) do requests[i] = wrk.format("GET", path) end end
request = function() turn = turn % #requests + 1; return requests[turn] end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("figures %d %d %d %d %d %d %d\\n", summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99), e.status, e.connect + e.read + e.write + e.timeout))
end
"""
_TIMEOUT_SECONDS: Final = 60


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What one round showed."""

    requests: int
    seconds: float
    received_bytes: int
    """Heads and bodies of the answers."""
    p50_ms: float
    p99_ms: float
    bad: int
    """Answers other than 2xx and 3xx."""
    broken: int
    """Connections that failed, and answers that never came."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def drive(port: int, paths: Sequence[str], *, folder: Path, seconds: float, connections: int = 32, headers: Sequence[str] = ()) -> Load:
    """Load a port of 127.0.0.1 from one thread. `folder` takes a script; `headers` are sent with each. Raises AbsentError."""
    script = folder / "paths.lua"
    script.write_text(_SCRIPT.format(paths=", ".join(f'"{path}"' for path in paths)))
    duration = max(1, round(seconds))
    options = ["-t1", f"-c{connections}", f"-d{duration}s", "--timeout", f"{_TIMEOUT_SECONDS}s", "-s", str(script)]
    options += [word for header in headers for word in ("-H", header)]
    command = [programs.program("wrk"), *options, f"http://127.0.0.1:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=duration + 2 * _TIMEOUT_SECONDS)
    return load_of(done.stdout + done.stderr)


def load_of(said: str) -> Load:
    """Read the script's last line. Raises ValueError where it is not there."""
    found = re.search(r"^figures (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", said, re.MULTILINE)
    if found is None:
        raise ValueError(f"wrk said nothing that can be read: {said[-500:]}")
    requests, micros, size, p50, p99, bad, broken = map(int, found.groups())
    return Load(requests=requests, seconds=micros / 1e6, received_bytes=size, p50_ms=p50 / 1000, p99_ms=p99 / 1000, bad=bad, broken=broken)
