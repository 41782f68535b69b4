"""Finding comparators: the built-in ones and those of other installed packages, through entry points."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from comparators.api import BodyComparator
from harness.core.errors import UsageError

GROUP: Final = "shadowdiff.comparators"
_FIX: Final = "update or uninstall the package that provides it"


def load_comparators(points: Iterable[EntryPoint] | None = None) -> tuple[BodyComparator, ...]:
    """All comparators in the order in which they are asked: by priority, then those of other packages before the built-in ones.

    Raises UsageError that names the plug-in when one cannot be loaded, does not satisfy `BodyComparator`, or uses a name twice.
    """
    found: list[tuple[BodyComparator, bool]] = []
    names: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP) if points is None else points, key=lambda p: (p.name, p.value)):
        comparator = _load(point)
        if comparator.name in names:
            raise UsageError(
                f"two comparators are called `{comparator.name}`: {names[comparator.name]} and {point.value}", where=GROUP, fix=_FIX
            )
        names[comparator.name] = point.value
        found.append((comparator, point.value.startswith("comparators.")))
    found.sort(key=lambda item: (-item[0].priority, item[1], item[0].name))
    return tuple(comparator for comparator, _ in found)


def versions(comparators: Iterable[BodyComparator]) -> dict[str, int]:
    """Name and version of each, as a run keeps them."""
    return {comparator.name: comparator.version for comparator in comparators}


def _load(point: EntryPoint) -> BodyComparator:
    where = f"comparator plug-in `{point.name}` ({point.value})"
    try:
        comparator = point.load()
    except Exception as error:  # a plug-in may raise anything; it becomes a usage error
        raise UsageError(f"cannot be loaded: {type(error).__name__}: {error}", where=where, fix=_FIX) from error
    if not isinstance(comparator, BodyComparator):
        raise UsageError("is not a comparator: it lacks name, version, priority, matches or compare", where=where, fix=_FIX)
    return comparator
