"""Translation tables: what is filed is found where it stands as a word, and nowhere else."""

import pytest

from harness.core.idtable import IdTable, Key, keys_of
from harness.core.places import Place

LONG, OTHER = "x9f8Kd72LmQp04Zt", "Qw3rT7yU1iOp9aSd"
RUNNING = Place(running=True)


def table(*pairs: tuple[Key, str]) -> IdTable:
    made = IdTable()
    for key, value in pairs:
        made.add(key, value)
    return made


@pytest.mark.parametrize(
    ("value", "place", "expected"),
    [
        (LONG, Place(), OTHER),
        (f"a {LONG}.", Place(), f"a {OTHER}."),
        (f"a{LONG}", Place(), f"a{LONG}"),
        (f"{LONG}-{LONG}", Place(), f"{OTHER}-{OTHER}"),
        ("ord_1", Place(), "ord_2"),
        ("see ord_1 in my longer text", Place(), "see ord_1 in my longer text"),
        ("see ord_1, my_ord_1, ord_1-b", RUNNING, "see ord_2, my_ord_1, ord_1-b"),
        ("7", Place(("order",)), "8"),
        ("7", Place(("old", "order")), "8"),
        ("7", Place(("customer",)), "7"),
        ("7", Place(), "7"),
        ("/orders/7/items/7", RUNNING, "/orders/8/items/7"),
        ("/orders/70", RUNNING, "/orders/70"),
        ("", RUNNING, ""),
    ],
)
def test_translation(value: str, place: Place, expected: str) -> None:
    made = table((((), LONG), OTHER), (((), "ord_1"), "ord_2"), ((("order",), "7"), "8"))
    used: set[Key] = set()
    assert made.translate(value, place, used) == expected
    assert bool(used) == (value != expected)


def test_the_longest_wins_and_nothing_is_translated_twice() -> None:
    made = table((((), LONG), OTHER), (((), f"{LONG}-2"), LONG), (((), OTHER), "zzzzzzzzzzzzzzzzz1"))
    assert made.translate(f"{LONG}-2 {LONG} {OTHER}", RUNNING, set()) == f"{LONG} {OTHER} zzzzzzzzzzzzzzzzz1"


def test_removal() -> None:
    made = table((((), "a-b"), "x"), (((), "a-c"), "y"))
    made.remove(((), "a-b"))
    assert made.known(((), "a-b")) is None
    assert made.known(((), "a-c")) == "y"
    assert made.may_hit(b"..a..")
    made.remove(((), "a-c"))
    assert not made.may_hit(b"..a..")
    assert made.spots("a a") == []


def test_spots_are_positions_of_anchors() -> None:
    made = table((((), "q-abcdefgh"), "x"))
    assert made.spots("abcdefgh q-abcdefgh") == [0, 11]


def test_keys() -> None:
    assert list(keys_of("7", Place(("a", "b")))) == [((), "7"), (("a", "b"), "7"), (("b",), "7")]
    assert list(keys_of("x", Place(("a",)))) == [((), "x")]
