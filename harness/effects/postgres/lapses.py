"""What this collector could not see, kept in bounded room. Pure."""

from typing import Final

from harness.core import limits_collectors
from harness.core.labels import Role
from harness.effects.api import Lapse

FURTHER: Final = "further lapses of the PostgreSQL collector"


class LapseBook:
    """Lapses with counts, in the order in which they first happened."""

    def __init__(self, distinct_max: int = limits_collectors.POSTGRES_LAPSES_MAX) -> None:
        self._max = distinct_max
        self._counts: dict[tuple[str, Role | None, bool], int] = {}

    def note(self, what: str, role: Role | None, count: int = 1, *, blind: bool = True) -> None:
        """Something happened `count` times more."""
        key = (what, role, blind)
        if key not in self._counts and len(self._counts) >= self._max:
            key = (FURTHER, None, True)
        self._counts[key] = self._counts.get(key, 0) + count

    def stand(self, what: str, role: Role | None, *, blind: bool = True) -> None:
        """Something is so, however often it is found again."""
        if (what, role, blind) not in self._counts:
            self.note(what, role, blind=blind)

    def all(self) -> tuple[Lapse, ...]:
        """Everything noted."""
        return tuple(Lapse(what, count, role, blind) for (what, role, blind), count in self._counts.items())
