"""Whether two documents are alike but for values that were generated, or do the same to a row that held another value. Pure.

Generated are identifiers, times, random words: what identifies or dates itself by its form.
For showing only, and about form alone: which values vary by themselves is for the control to tell, never for this.
"""

import json
from typing import Any

from harness.core.likeness import by_change, likeness_of, without_keys


def differ_in_generated_values_only(left: bytes, right: bytes, keys: tuple[str, ...] = ()) -> bool:
    """Whether two documents (JSON) differ, if at all, in generated values of the same form only.

    `keys` are the columns of a `row` whose values the store makes itself. False where one is not JSON.
    """
    one, other = _masked(left, keys), _masked(right, keys)
    return one is not None and one == other


def are_the_same_change(left: bytes, right: bytes, keys: tuple[str, ...] = ()) -> bool:
    """Whether two documents of updates (`row`, `changed`) differ, if at all, in what the rows held before, and as above.

    A number that both changed by the same amount is changed alike, wherever it stood.
    """
    one, other = _masked(left, keys, changes=True), _masked(right, keys, changes=True)
    return one is not None and one == other


def _masked(data: bytes, keys: tuple[str, ...], *, changes: bool = False) -> str | None:
    try:
        value = json.loads(data)
        return json.dumps(_alike(without_keys(by_change(value) if changes else value, keys), ""), sort_keys=True)
    except (ValueError, RecursionError):
        return None


def _alike(value: Any, name: str) -> Any:
    """The value with the shape in place of what was generated; `name` is the key that it stands under."""
    if isinstance(value, dict):
        return {key: _alike(member, key) for key, member in value.items()}
    if isinstance(value, list):
        return [_alike(member, name) for member in value]
    return likeness_of(value, name)
