"""Who listens on a port: told from /proc, so on Linux only. It knows nothing of HTTP."""

from contextlib import suppress
from pathlib import Path
from typing import Final

from harness.targets.guard import descendants

_LISTENING: Final = "0A"
"""The state TCP_LISTEN in /proc/net/tcp."""


def listens_below(root: int, port: int) -> bool:
    """Whether a process that descends from `root` listens on the TCP port. False also where that cannot be told."""
    inodes = _listening_inodes(port)
    if not inodes:
        return False
    wanted = {f"socket:[{inode}]" for inode in inodes}
    return any(_holds(pid, wanted) for pid in descendants(root))


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (Path("/proc/net") / name).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(fields[9])
    return found


def _holds(pid: int, wanted: set[str]) -> bool:
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(entry.readlink()) in wanted:
                    return True
    return False
