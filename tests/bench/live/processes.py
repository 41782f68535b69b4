"""What the processes of a tree have used, read from /proc: CPU seconds and memory, each process under a name."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """One process at one moment."""

    name: str
    """What it is: the module it runs, or its program."""
    cpu_s: float
    """User and system time so far, its own threads only."""
    rss_bytes: int
    """Resident now."""
    peak_bytes: int
    """The most that was resident."""
    nice: int


Identity = tuple[int, int]
"""Process number and start tick: together they are never used twice."""


def tree(root: int) -> dict[Identity, Use]:
    """A process and all its descendants that are alive; empty where it has ended."""
    stats = _stats()
    wanted: list[int] = [root]
    found: dict[Identity, Use] = {}
    while wanted:
        pid = wanted.pop()
        if pid not in stats:
            continue
        wanted += [child for child, fields in stats.items() if int(fields[1]) == pid]
        fields = stats[pid]
        # One that ends while it is read has no sizes any more.
        with contextlib.suppress(OSError, KeyError):
            status = _status(pid)
            found[pid, int(fields[19])] = Use(
                name=name_of(_command_line(pid)),
                cpu_s=(int(fields[11]) + int(fields[12])) * _TICK,
                rss_bytes=status["VmRSS"] * 1024,
                peak_bytes=status["VmHWM"] * 1024,
                nice=int(fields[16]),
            )
    return dict(sorted(found.items()))


def cpu_between(before: Mapping[Identity, Use], after: Mapping[Identity, Use]) -> dict[str, float]:
    """CPU seconds by name; processes of one name are added up. What ended in between is left out."""
    spent: dict[str, float] = {}
    for identity, use in after.items():
        earlier = before[identity].cpu_s if identity in before else 0.0
        spent[use.name] = spent.get(use.name, 0.0) + use.cpu_s - earlier
    return spent


def name_of(command: Sequence[str]) -> str:
    """The module's last name for `python -m a.b`, else the program's file name."""
    words = list(command)
    if "-m" not in words[:-1]:
        return Path(words[0]).name if words else "?"
    at = words.index("-m") + 1
    module = words[at].removesuffix(".__main__")
    if module == "harness.cli.main":
        return " ".join(["shadowdiff", *(word for word in words[at + 1 : at + 2] if not word.startswith("-"))])
    return module.removeprefix("harness.")


def _stats() -> dict[int, list[str]]:
    """The fields of each process's stat after the program's name (state is the first)."""
    found = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            # It may end between the listing and the reading.
            with contextlib.suppress(OSError):
                found[int(folder.name)] = (folder / "stat").read_text().rpartition(")")[2].split()
    return found


def _status(pid: int) -> dict[str, int]:
    """The sizes of a process in KiB."""
    lines = (_PROC / str(pid) / "status").read_text().splitlines()
    return {line.partition(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "VmHWM"))}


def _command_line(pid: int) -> list[str]:
    return [word.decode(errors="replace") for word in (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0") if word]
