"""Paths that begin with somebody's home folder (`~/runs`, `~anna/runs`)."""

from pathlib import Path

from harness.core.errors import UsageError


def expanded(path: str | Path) -> Path:
    """The path with the home folder written out. Raises UsageError where nobody is called so, or has no home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        who = Path(path).parts[0]
        raise UsageError(f"there is no home folder for {who}", where=str(path), fix="write the whole path, such as /home/...") from error
