"""Changed rows: what an update did, apart from what the row held before. Pure.

A document of an update has the new `row` and the old values of the columns that `changed`. What a row held before is no deed of
this request: where two builds' stores have come apart, every later update of the same row would differ for ever. So old
values are not compared, and a number that both builds changed by the same amount is changed alike, wherever it stood.
"""

from typing import Any

from harness.core.likeness import ROW, changes_of, without_row


def settled(left: Any, right: Any) -> tuple[Any, Any]:
    """Two documents as they are compared: without old values, and with one number for what was changed alike."""
    one, other = changes_of(left), changes_of(right)
    if one is None or other is None:
        return left, right
    alike = {column for column, change in one.items() if other.get(column) == change}
    row = {column: left[ROW][column] if column in alike else value for column, value in right[ROW].items()}
    return {**without_row(left), ROW: left[ROW]}, {**without_row(right), ROW: row}
