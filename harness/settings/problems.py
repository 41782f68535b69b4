"""What is wrong with a configuration, as values, and the error that shows all of it at once."""

import difflib
import json
from collections.abc import Iterable
from typing import Final

import msgspec

from harness.core.errors import UsageError
from harness.core.limits import CONFIG_PROBLEMS_SHOWN_MAX

_PREVIEW_CHARS_MAX: Final = 60


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong. `where` is a file and line, an environment variable or an option."""

    where: str
    key: str
    what: str
    allowed: str = ""
    closest: str = ""
    fix: str = ""

    def text(self) -> str:
        """One line for people."""
        parts = [": ".join(part for part in (self.where, self.key, self.what) if part)]
        if self.allowed:
            parts.append(f"allowed: {self.allowed}")
        if self.closest:
            parts.append(f'did you mean "{self.closest}"?')
        if self.fix:
            parts.append(self.fix)
        return "; ".join(parts)


class ConfigError(UsageError):
    """A configuration or policy that cannot be used; `problems` has all that was found."""

    def __init__(self, problems: Iterable[Problem], *, subject: str = "configuration", fix: str = "") -> None:
        self.problems = tuple(problems)
        lines = [problem.text() for problem in self.problems[:CONFIG_PROBLEMS_SHOWN_MAX]]
        more = len(self.problems) - len(lines)
        if more > 0:
            lines.append(f"and {more} more")
        if len(lines) == 1:
            super().__init__(lines[0], fix=fix)
        else:
            head = f"{len(self.problems)} problems in the {subject}"
            super().__init__("\n  ".join([head, *lines]), fix=fix)


def closest(word: str, known: Iterable[str]) -> str:
    """The known word most like `word`, or nothing where none is near."""
    by_folded = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else ""


def preview(value: object) -> str:
    """A value as it may be shown: quoted, on one line, without control characters, bounded."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
    return text if len(text) <= _PREVIEW_CHARS_MAX else text[: _PREVIEW_CHARS_MAX - 3] + "..."
