"""Runs benchmarks and writes their figures into docs/performance.md: `python -m tests.bench.live.report [NAME ...] [--quick]`.

A section of the document lies between `<!-- bench NAME -->` and `<!-- end NAME -->`, and nothing else in it is touched. Each
section says with which command, of which commit, on which machine and how busy it was.
"""

import argparse
import contextlib
import importlib
import io
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.bench.live import programs
from tests.bench.live.outcome import Outcome, markdown, text

DOCUMENT: Final = programs.ROOT / "docs" / "performance.md"
BUSY_CORES_MAX: Final = 0.1
"""Cores that others may keep busy before a section's run; beyond it the section says that its figures are rough."""
_LOOK_SECONDS: Final = 3.0
THOROUGH: Final[Mapping[str, tuple[str, ...]]] = {
    "livepath": ("--rounds", "5", "--seconds", "5"),
    "added_latency": ("--rounds", "4", "--seconds", "8"),
    "sustained": ("--seconds", "40"),
    "scaling": ("--rounds", "2", "--seconds", "4"),
    "memory": ("--counts", "10000", "100000", "1000000", "--rate", "4500"),
}
"""Arguments for figures that are to be published; a benchmark that is not here takes none."""
QUICK: Final[Mapping[str, tuple[str, ...]]] = {
    "livepath": ("--rounds", "1", "--seconds", "2"),
    "added_latency": ("--rounds", "2", "--seconds", "2"),
    "sustained": ("--seconds", "5"),
    "scaling": ("--rounds", "1", "--seconds", "1"),
    "memory": ("--counts", "2000", "6000"),
}
"""To try it."""


def names_in(document: str) -> list[str]:
    """The benchmarks a document has sections for, in its order."""
    return re.findall(r"^<!-- bench (\w+) -->$", document, re.MULTILINE)


def replaced(document: str, name: str, section: str) -> str:
    """The document with another text in one section. Raises ValueError where the section is not there once."""
    pattern = re.compile(rf"^<!-- bench {re.escape(name)} -->$\n.*?^<!-- end {re.escape(name)} -->$", re.MULTILINE | re.DOTALL)
    if len(pattern.findall(document)) != 1:
        raise ValueError(f"the document has no single section {name}")
    return pattern.sub(lambda _: f"<!-- bench {name} -->\n{section.strip()}\n<!-- end {name} -->", document)


def main(arguments: Sequence[str]) -> int:
    """Run and write, one section after the other. 1 when an aim was missed, 2 for a name without a section."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.live.report")
    parser.add_argument("names", nargs="*", metavar="NAME", help="all of the document's without one")
    parser.add_argument("--quick", action="store_true", help="short runs, to try it; not for publication")
    parser.add_argument("--to", type=Path, default=DOCUMENT, help="another document with the same sections")
    given = parser.parse_args(arguments)
    known = names_in(given.to.read_text(encoding="utf-8"))
    unknown = [name for name in given.names if name not in known]
    if unknown:
        print(f"no section for: {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    missed = False
    for name in given.names or known:
        print(f"== {name}", flush=True)
        options = (QUICK if given.quick else THOROUGH).get(name, ())
        section, below = measured(name, options)
        # Read anew each time: the runs take minutes, and the rest of the document is somebody's to edit meanwhile.
        given.to.write_text(replaced(given.to.read_text(encoding="utf-8"), name, section), encoding="utf-8")
        missed = missed or below
    return int(missed)


def measured(name: str, options: Sequence[str]) -> tuple[str, bool]:
    """A section's text, and whether an aim was missed."""
    circumstances = surroundings()
    module = importlib.import_module(f"tests.bench.bench_{name}")
    if hasattr(module, "run"):
        outcome: Outcome = module.run(options)
        print(text(outcome), flush=True)
        body, below = markdown(outcome), bool(outcome.missed)
        command = " ".join(["python -m", module.__name__, *options])
    else:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            below = bool(module.main())
        print(said.getvalue(), flush=True)
        body, command = f"```text\n{said.getvalue().strip()}\n```", f"python -m tests.bench {name}"
    return f"`{command}`\n\n{body}\n\n{circumstances}", below


def surroundings() -> str:
    """One paragraph: what was measured, on what, and how busy it was before."""
    cores = busy_cores()
    busy = " **The machine was busy: these figures are rough.**" if cores > BUSY_CORES_MAX else ""
    software = [
        f"Linux {platform.release().split('-')[0]}",
        f"Python {platform.python_version()}",
        f"uvloop {version('uvloop')}",
        *(programs.version(name) for name in programs.HOW_TO_GET),
        f"aiohttp {version('aiohttp')}",
    ]
    return f"Commit {_commit()}; {_processor()}; {', '.join(software)}; cores kept busy by others before the run: {cores:.2f}.{busy}"


def busy_cores() -> float:
    """How many cores are busy now, with whatever else runs here: the load average would remember the section before."""
    before = _busy_ticks()
    time.sleep(_LOOK_SECONDS)
    return max(0.0, (_busy_ticks() - before) / os.sysconf("SC_CLK_TCK") / _LOOK_SECONDS)


def _busy_ticks() -> int:
    """Of all cores since the machine started: everything but idle and waiting for a disk."""
    fields = [int(field) for field in Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4]


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=programs.ROOT).stdout.strip()
    return f"`{said}`" if said else "unknown"


def _processor() -> str:
    described = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    model = re.search(r"^model name\s*: (.*)$", described, re.MULTILINE)
    memory = re.search(r"^MemTotal: *(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"), re.MULTILINE)
    gib = f", {int(memory[1]) / 2**20:.0f} GiB" if memory is not None else ""
    return f"{os.cpu_count()} cores of {model[1].strip() if model is not None else platform.machine()}{gib}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
