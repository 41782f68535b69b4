"""When each entry of a capture is meant to be sent. Pure.

At full speed every entry is due at once and the capture's order decides; at a given speed the recorded distances are
kept, divided by it. Inside a session order is always kept: an entry is never due before the one before it.
"""

import math
from collections.abc import Iterable
from typing import Final

import msgspec

from harness.core.errors import UsageError
from replay.entry import CaptureEntry
from replay.sessions import Session

MAX_SPEED: Final = "max"
_NANO: Final = 1_000_000_000
_SPEED_MIN: Final = 0.001
_SPEED_MAX: Final = 10_000.0


class Planned(msgspec.Struct, frozen=True):
    """One entry and when it is due."""

    entry: CaptureEntry
    position: int
    """In the capture: the tie-breaker among entries that are due at once."""
    due_ns: int
    """Since the start of the pass."""
    teaches: bool = True
    """Whether identifiers are learned from its answers."""


class PlannedSession(msgspec.Struct, frozen=True):
    """A session's entries in order; `due_ns` never decreases."""

    key: str
    steps: tuple[Planned, ...]


def parse_speed(text: str) -> float | None:
    """`max` is None; `2`, `2x` and `0.5x` are factors of the recorded speed. Raises UsageError otherwise."""
    if text.strip().lower() == MAX_SPEED:
        return None
    try:
        speed = float(text.strip().lower().removesuffix("x"))
    except ValueError:
        speed = math.nan
    if not _SPEED_MIN <= speed <= _SPEED_MAX:
        raise UsageError(f"{text!r} is not a speed", where="--speed", fix=f"give max, or a factor from {_SPEED_MIN:g} to {_SPEED_MAX:g}")
    return speed


def plan(sessions: Iterable[Session], speed: float | None) -> tuple[PlannedSession, ...]:
    """The sessions with times, in the order of their first entries' turn."""
    planned: list[PlannedSession] = []
    for session in sessions:
        steps: list[Planned] = []
        due_ns = 0
        for position, entry, teaches in zip(session.positions, session.entries, session.teaching, strict=True):
            if speed is not None:
                due_ns = max(due_ns, int(entry.offset_s / speed * _NANO))
            steps.append(Planned(entry, position, due_ns, teaches))
        planned.append(PlannedSession(session.key, tuple(steps)))
    planned.sort(key=lambda session: (session.steps[0].due_ns, session.steps[0].position))
    return tuple(planned)
