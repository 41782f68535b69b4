"""Changed rows: what an update did, apart from what the row held before. Pure.

A document of an update has the new `row` and the old values of the columns that `changed`. What a row held before is no deed of
this request: where two builds' stores have come apart, every later update of the same row would differ for ever. So old
values are not compared, and a number that both builds changed by the same amount is changed alike, wherever it stood.
The same number written in two ways (5 and "5", "12.5" and "12.50") stays as it is.
"""

from decimal import Decimal
from typing import Any, Final

from harness.core.likeness import CHANGED, ROW, changes_of, without_row

_FLOAT_ERROR: Final = Decimal("1e-13")
"""How much, of the larger number, sums of binary fractions differ by from where they are made."""


def settled(left: Any, right: Any) -> tuple[Any, Any]:
    """Two documents as they are compared: without old values, and with one number for what was changed alike."""
    one, other = changes_of(left), changes_of(right)
    if one is None or other is None:
        return left, right
    alike = {column for column in one.keys() & other.keys() if _is_alike(left, right, column, one[column], other[column])}
    row = {column: left[ROW][column] if column in alike else value for column, value in right[ROW].items()}
    return {**without_row(left), ROW: left[ROW]}, {**without_row(right), ROW: row}


def _is_alike(left: dict[str, Any], right: dict[str, Any], column: str, change: Decimal, other: Decimal) -> bool:
    """Whether both changed a number by the same amount, from another one."""
    new = (left[ROW][column], right[ROW][column])
    if isinstance(new[0], str) is not isinstance(new[1], str):
        return False
    x, y = (Decimal(value if isinstance(value, str) else repr(value)) for value in new)
    if x == y or change == other:
        return x != y
    if not any(isinstance(value, float) for value in (*new, left[CHANGED][column], right[CHANGED][column])):
        return False
    return abs(change - other) <= _FLOAT_ERROR * max(map(abs, (x, y, x - change, y - other)))
