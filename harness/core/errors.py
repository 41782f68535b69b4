"""Errors that are somebody's to mend. Each says what was wrong, where, and what to do, and carries the exit code."""

from typing import ClassVar


class ShadowdiffError(Exception):
    """Base of all errors shown to people without a traceback."""

    exit_code: ClassVar[int] = 5

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(what)

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.fix:
            parts.append(f"hint: {self.fix}")
        return "\n".join(parts)


class UsageError(ShadowdiffError):
    """Wrong options, configuration or policy (exit 2)."""

    exit_code = 2


class SetupError(ShadowdiffError):
    """A target never became ready, a capture cannot be read, a port is taken (exit 4)."""

    exit_code = 4


class CaptureError(SetupError):
    """A capture file that cannot be read: names the file and the entry."""
