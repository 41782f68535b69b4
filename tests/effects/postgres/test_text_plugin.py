"""Lines of test_decoding: what the server really writes (names, types and values that look like its punctuation), read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.effects.postgres.changes import Action, Cell, Change, Message, Sort
from harness.effects.postgres.text_plugin import read

TRACE = "0af7651916cd43dd8448eb211c80319c"


def text(value: str | None) -> Cell:
    return Cell(Sort.TEXT, value)


@pytest.mark.parametrize(
    ("line", "entries"),
    [
        ("BEGIN", ()),
        ("COMMIT 12", ()),
        (
            "table public.orders: INSERT: id[integer]:1 note[text]:'it''s\n: INSERT: b[text]:''x''' n[numeric]:null",
            (
                Change(
                    Action.INSERT,
                    "public",
                    "orders",
                    {"id": Cell(Sort.INTEGER, "1"), "note": text("it's\n: INSERT: b[text]:'x'"), "n": text(None)},
                    {},
                ),
            ),
        ),
        (
            'table "My ""S"."Ta.ble": UPDATE: old-key: "A"[integer]:1 new-tuple: "A"[integer]:2 big[text]:unchanged-toast-datum',
            (Change(Action.UPDATE, 'My "S', "Ta.ble", {"A": Cell(Sort.INTEGER, "2")}, {"A": Cell(Sort.INTEGER, "1")}),),
        ),
        (
            "table public.k: UPDATE: \"a: x[y]\"[integer[]]:'{1}' b[\"odd \"\"[] type\"]:'v' c[bit]:B'101' d[boolean]:true e[real]:-1e+30",
            (
                Change(
                    Action.UPDATE,
                    "public",
                    "k",
                    {
                        "a: x[y]": text("{1}"),
                        "b": text("v"),
                        "c": text("101"),
                        "d": Cell(Sort.BOOLEAN, "true"),
                        "e": Cell(Sort.FLOAT, "-1e+30"),
                    },
                    {},
                ),
            ),
        ),
        ("table public.k: DELETE: id[integer]:3", (Change(Action.DELETE, "public", "k", {}, {"id": Cell(Sort.INTEGER, "3")}),)),
        ("table public.k: DELETE: (no-tuple-data)", (Change(Action.DELETE, "public", "k", {}, {}),)),
        (
            'table "a, b"."c: TRUNCATE", public.k: TRUNCATE: restart_seqs cascade',
            (Change(Action.TRUNCATE, "a, b", "c: TRUNCATE", {}, {}), Change(Action.TRUNCATE, "public", "k", {}, {})),
        ),
        (f"message: transactional: 1 prefix: shadowdiff, sz: 32 content:{TRACE}", (Message(TRACE),)),
        ("message: transactional: 1 prefix: shadowdiff, sz: 3 content:a\nb", (Message("a\nb"),)),
        (f"message: transactional: 0 prefix: shadowdiff, sz: 32 content:{TRACE}", ()),
        (f"message: transactional: 1 prefix: other, sz: 32 content:{TRACE}", ()),
    ],
)
def test_lines(line: str, entries: tuple[object, ...]) -> None:
    assert read(line) == entries


@pytest.mark.parametrize(
    "line",
    [
        "",
        "tables",
        "table x: INSERT:",
        "table a.b: INSERT: a[int]:'open",
        "table a.b: UPDATE: old-key: a[integer]:1",
        "table a.b: INSERT: a:1",
    ],
)
def test_other_lines_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"not a|without"):
        read(line)


@given(st.dictionaries(st.text(st.characters(exclude_characters="\0"), min_size=1), st.none() | st.text(), min_size=1))
def test_any_names_and_values_come_back(row: dict[str, str | None]) -> None:
    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def literal(value: str | None) -> str:
        return "null" if value is None else "'" + value.replace("'", "''") + "'"

    columns = " ".join(f"{quoted(name)}[text]:{literal(value)}" for name, value in row.items())
    (change,) = read(f"table public.t: INSERT: {columns}")
    assert change == Change(Action.INSERT, "public", "t", {name: text(value) for name, value in row.items()}, {})


@given(st.text())
def test_anything_is_read_or_refused(line: str) -> None:
    for start in ("", "table a.b: INSERT:", "table a.b: UPDATE: old-key:", "message: "):
        try:
            read(start + line)
        except ValueError:
            continue
