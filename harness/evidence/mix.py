"""Values that belong to a small set: which arm alone has one of them. Pure; the values themselves are known by their hashes only."""

from collections.abc import Iterator
from typing import Final

from harness.core.labels import Design, Role
from harness.core.values import Scalar

_CHARS_MAX: Final = 24
_NUMBER_MAX: Final = 1000
ARMS: Final = (Role.STABLE, Role.SECONDARY, Role.CANDIDATE)


def category_like(value: Scalar) -> bool:
    """Whether a value may be one of a small set: a truth value, null, a short text, a small whole number (a status, too)."""
    if isinstance(value, str):
        return len(value) <= _CHARS_MAX
    if value is None or isinstance(value, bool):
        return True
    return isinstance(value, int) and -_NUMBER_MAX < value < _NUMBER_MAX


def alone_with(categories: tuple[int, int, int], design: Design) -> Iterator[tuple[int, Role]]:
    """Each category that one arm has and the others have not, in an order that no arm has a say in, with that arm.

    Three arms: exactly one of them has it; each is the one with chance 1/3 if they are alike. Two arms: one of candidate and
    secondary has it (stable, which was asked first, is not looked at).
    """
    if design is Design.THREE_ARM:
        for category in sorted(set(categories)):
            if categories.count(category) == 1:
                yield category, ARMS[categories.index(category)]
        return
    _, secondary, candidate = categories
    if secondary != candidate:
        yield from sorted(((secondary, Role.SECONDARY), (candidate, Role.CANDIDATE)), key=_category)


def _category(held: tuple[int, Role]) -> int:
    return held[0]
