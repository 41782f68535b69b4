from hypothesis import given
from hypothesis import strategies as st

from harness.report.sidebyside import Row, side_by_side

LINES = st.lists(st.sampled_from(["a", "b b", "  c: 1", "  c: 2", ""]), max_size=14).map("\n".join)


def column(rows: list[Row], index: int) -> list[str]:
    return ["".join(piece.text for piece in cell.pieces) for row in rows if row.cells and (cell := row.cells[index]) is not None]


def test_the_differing_characters_are_marked() -> None:
    (row,) = side_by_side('"total": 12.5', ['"total": 12.50', '"total": 12.5'])
    stable, candidate, secondary = row.cells
    assert stable is not None
    assert candidate is not None
    assert secondary is not None
    assert [piece.text for piece in candidate.pieces if piece.changed] == ["50"]
    assert [piece.text for piece in stable.pieces if piece.changed] == ["5"]
    assert not secondary.changed
    assert candidate.changed


def test_lines_that_are_gone_or_new_leave_gaps() -> None:
    rows = side_by_side("a\nb\nc", ["a\nc\nd"])
    assert [[cell is None for cell in row.cells] for row in rows] == [[False, False], [False, True], [False, False], [True, False]]


def test_long_equal_stretches_are_folded() -> None:
    same = "\n".join(f"line {number}" for number in range(40))
    rows = side_by_side(same, [same.replace("line 20", "line x")], first_line=101)
    assert [row.folded for row in rows if row.folded] == [17, 16]
    shown = [row.cells[0].number for row in rows if row.cells and row.cells[0]]
    assert shown == list(range(118, 125))


def test_one_text_alone_has_nothing_changed() -> None:
    assert side_by_side("a\nb", [])[0].cells[0] is not None
    assert side_by_side("", ["", ""]) == []


def test_long_lines_are_marked_as_a_whole_between_what_they_share() -> None:
    left, right = "start " + "1," * 200 + " end", "start " + "2,1," * 100 + " end"
    (row,) = side_by_side(left, [right])
    cell = row.cells[1]
    assert cell is not None
    assert [piece.changed for piece in cell.pieces] == [False, True, False]
    assert cell.pieces[0].text == "start "
    assert "".join(piece.text for piece in cell.pieces) == right


@given(st.text("ab, ", max_size=30), st.text("ab, ", max_size=30))
def test_the_pieces_of_a_line_are_the_line(left: str, right: str) -> None:
    rows = side_by_side(left, [right])
    assert [line for line in column(rows, 0) if line] == ([left] if left else [])
    assert [line for line in column(rows, 1) if line] == ([right] if right else [])


def test_new_lines_keep_their_indentation_unmarked() -> None:
    rows = side_by_side("", ["  x"])
    cell = rows[0].cells[1]
    assert cell is not None
    assert [(piece.text, piece.changed) for piece in cell.pieces] == [("  ", False), ("x", True)]


@given(LINES, LINES, LINES)
def test_every_line_of_every_text_is_there_once_and_in_order(base: str, left: str, right: str) -> None:
    rows = side_by_side(base, [left, right], context=100)
    for index, text in enumerate((base, left, right)):
        wanted = text.split("\n") if text else []
        if not any(row.folded for row in rows):
            assert column(rows, index) == wanted
    assert all(len(row.cells) == 3 for row in rows if not row.folded)


@given(LINES, LINES)
def test_nothing_is_marked_where_texts_are_equal_and_something_where_not(base: str, other: str) -> None:
    rows = side_by_side(base, [other])
    marked = any(cell is None or cell.changed for row in rows for cell in row.cells)
    assert marked == (base != other)
