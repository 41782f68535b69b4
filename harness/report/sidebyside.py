"""Two or three texts lined up beside each other, with the differing characters marked. Pure; knows no HTML."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Final

import msgspec

CONTEXT_LINES: Final = 3
"""Equal lines kept around a difference; longer stretches are folded."""
_TOKEN_PAIRS_MAX: Final = 4096
"""Pairs of tokens compared inside a line; the differing middle of a longer one is marked as a whole."""
_TOKEN: Final = re.compile(r"\w+|\s+|[^\w\s]")


class Piece(msgspec.Struct, frozen=True):
    """A stretch of one line."""

    text: str
    changed: bool = False


class Cell(msgspec.Struct, frozen=True):
    """One line of one text; `number` counts from the text's first line."""

    number: int
    pieces: tuple[Piece, ...]
    changed: bool = False
    """The line differs from (or is absent from) the text it is compared with."""


class Row(msgspec.Struct, frozen=True):
    """Lines that stand beside each other; None where a text has no such line. `folded` counts equal lines not shown."""

    cells: tuple[Cell | None, ...] = ()
    folded: int = 0


def side_by_side(base: str, others: Sequence[str], *, first_line: int = 1, context: int = CONTEXT_LINES) -> list[Row]:
    """Rows of `base` and each of `others`, aligned on equal lines (difflib's longest matching blocks).

    The base's cells are marked by their difference from the first of the others. Lines are split at line feeds.
    Costs grow with the product of the numbers of lines: the caller bounds them.
    """
    base_lines = base.split("\n") if base else []
    columns = [_aligned(base_lines, other.split("\n") if other else []) for other in others]
    rows: list[Row] = []
    for index in range(len(base_lines) + 1):
        inserted = [column.inserted.get(index, ()) for column in columns]
        rows.extend(Row(cells=(None, *(_lone(line, first_line) if line else None for line in lines))) for lines in zip_longest(*inserted))
        if index < len(base_lines):
            rows.append(_base_row(base_lines, index, columns, first_line))
    return _folded(rows, context)


class _Line(msgspec.Struct, frozen=True):
    number: int
    text: str


class _Column(msgspec.Struct, frozen=True):
    """One text aligned with the base: per base line its partner, and before each base line what was put in."""

    partner: dict[int, _Line]
    inserted: dict[int, tuple[_Line, ...]]


def _aligned(base: list[str], other: list[str]) -> _Column:
    partner: dict[int, _Line] = {}
    inserted: dict[int, tuple[_Line, ...]] = {}
    for _, base_from, base_to, other_from, other_to in SequenceMatcher(None, base, other, autojunk=False).get_opcodes():
        shared = min(base_to - base_from, other_to - other_from)
        for step in range(shared):
            partner[base_from + step] = _Line(other_from + step, other[other_from + step])
        if other_to - other_from > shared:
            inserted[base_to] = tuple(_Line(number, other[number]) for number in range(other_from + shared, other_to))
    return _Column(partner, inserted)


def _base_row(base: list[str], index: int, columns: list[_Column], first_line: int) -> Row:
    text = base[index]
    first = columns[0].partner.get(index) if columns else _Line(index, text)
    left = _pieces(text, first.text)[0] if first else _whole(text)
    cells: list[Cell | None] = [Cell(first_line + index, left, changed=first is None or first.text != text)]
    for column in columns:
        line = column.partner.get(index)
        if line is None:
            cells.append(None)
        else:
            cells.append(Cell(first_line + line.number, _pieces(text, line.text)[1], changed=line.text != text))
    return Row(cells=tuple(cells))


def _lone(line: _Line, first_line: int) -> Cell:
    return Cell(first_line + line.number, _whole(line.text), changed=True)


def _whole(text: str) -> tuple[Piece, ...]:
    """A line that is new or gone: all of it is marked, but for its indentation."""
    bare = text.lstrip()
    indent = Piece(text[: len(text) - len(bare)])
    return (indent, Piece(bare, changed=True)) if indent.text else (Piece(bare, changed=True),)


def _pieces(left: str, right: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Both lines cut into stretches, by words, signs and spaces."""
    if left == right:
        return (Piece(left),), (Piece(right),)
    left_tokens, right_tokens = _TOKEN.findall(left), _TOKEN.findall(right)
    head = _shared(left_tokens, right_tokens)
    tail = _shared(left_tokens[head:][::-1], right_tokens[head:][::-1])
    left_middle, right_middle = left_tokens[head : len(left_tokens) - tail], right_tokens[head : len(right_tokens) - tail]
    before, after = Piece("".join(left_tokens[:head])), Piece("".join(left_tokens[len(left_tokens) - tail :]))
    left_out: list[Piece] = [before]
    right_out: list[Piece] = [before]
    for tag, left_from, left_to, right_from, right_to in _steps(left_middle, right_middle):
        left_out.append(Piece("".join(left_middle[left_from:left_to]), changed=tag != "equal"))
        right_out.append(Piece("".join(right_middle[right_from:right_to]), changed=tag != "equal"))
    return tuple(piece for piece in (*left_out, after) if piece.text), tuple(piece for piece in (*right_out, after) if piece.text)


def _shared(left: list[str], right: list[str]) -> int:
    """How many tokens two lists begin with alike."""
    return next((index for index, pair in enumerate(zip(left, right, strict=False)) if pair[0] != pair[1]), min(len(left), len(right)))


def _steps(left: list[str], right: list[str]) -> list[tuple[str, int, int, int, int]]:
    """How to get from one to the other; as one replacement where finding out would take long."""
    if len(left) * len(right) > _TOKEN_PAIRS_MAX:
        return [("replace", 0, len(left), 0, len(right))]
    return list(SequenceMatcher(None, left, right, autojunk=False).get_opcodes())


def _folded(rows: list[Row], context: int) -> list[Row]:
    """Long stretches without a difference replaced by one row that counts them."""
    keep = set[int]()
    for index, row in enumerate(rows):
        if any(cell is None or cell.changed for cell in row.cells):
            keep.update(range(index - context, index + context + 1))
    out: list[Row] = []
    run: list[Row] = []
    for index, row in enumerate(rows):
        if index in keep:
            out.extend(_fold(run))
            run = []
            out.append(row)
        else:
            run.append(row)
    return [*out, *_fold(run)]


def _fold(run: list[Row]) -> list[Row]:
    return run if len(run) <= 2 else [Row(folded=len(run))]
