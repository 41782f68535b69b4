"""Which leaves of two answers pair up."""

from hypothesis import given
from hypothesis import strategies as st

from harness.core.leaves import Leaf, Name, differing, key_of, leaves_of, mapping_key, place_of, scope_of, url_leaves
from tests.core.test_jsonspans import VALUES

UUID_A, UUID_B = "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "7d444840-9dc0-41d1-b245-5ffdce74fad2"


def places(one: object, two: object) -> list[tuple[str, str, str | None]]:
    return sorted((place, leaf.value, twin.value if twin else None) for place, leaf, twin in differing(one, two, ("order",)))


def test_differing_leaves_at_the_same_place() -> None:
    assert places({"a": UUID_A, "b": "same", "n": 1}, {"a": UUID_B, "b": "same", "n": 2}) == [("$.a", UUID_A, UUID_B)]
    assert places([{"id": 1}, {"id": 2}], [{"id": 1}, {"id": 3}]) == [("$[1].id", "2", "3")]
    assert places({"l": [UUID_A]}, {"l": [UUID_B, "x"]}) == [("$.l[0]", UUID_A, None)]
    assert places({"o": {"a": UUID_A}}, {"o": 5}) == [("$.o.a", UUID_A, None)]
    assert places({"u": "/orders/1?x=y"}, {"u": "/orders/2?x=z"}) == [("$.u/1of2", "1", "2"), ("$.u?x", "y", "z")]
    assert places({"etag": UUID_A, "t": True, "f": 1.5, "s": "two words"}, {"etag": UUID_B, "t": False, "f": 2.5, "s": "word two"}) == []


@given(VALUES, VALUES)
def test_total(one: object, two: object) -> None:
    for place, leaf, twin in differing(one, two, ()):
        assert place.startswith("$")
        assert twin is None or twin.value != leaf.value
    assert list(differing(one, one, ())) == [] or one != one
    assert isinstance(leaves_of(one, ()), dict)


def test_names_decide_how_much_must_show() -> None:
    assert scope_of(Leaf("abcdefg12", None)) is None
    assert scope_of(Leaf("abcdefg12", None, Name.ID)) == ()
    assert scope_of(Leaf("blue-wide-shirt", None, Name.ID)) is None
    assert scope_of(Leaf("blue-shirt-2", None, Name.TOKEN)) == ()
    assert scope_of(Leaf("7", ("order",), Name.ID)) == ("order",)
    assert scope_of(Leaf("7", None)) is None
    assert leaves_of({"id": "a", "sessionToken": "b", "my_ref": "c", "x": "d"}, ()) == {
        "$.id": Leaf("a", (), Name.ID),
        "$.sessionToken": Leaf("b", None, Name.TOKEN),
        "$.my_ref": Leaf("c", None, Name.ID),
        "$.x": Leaf("d", None, Name.PLAIN),
    }


def test_forms_must_go_together() -> None:
    assert mapping_key(Leaf("ord_1", None), Leaf("ord_2", None)) == ((), "ord_1")
    assert mapping_key(Leaf("ord_1", None), Leaf("inv_2", None)) is None
    assert mapping_key(Leaf(UUID_A, None), Leaf("x9f8Kd72LmQp04Zt", None)) is None
    assert mapping_key(Leaf(UUID_A, None, Name.ID), Leaf("x9f8Kd72LmQp04Zt", None, Name.ID)) == ((), UUID_A)
    assert key_of(Leaf("7", ("a",))) == (("a",), "7")


@given(st.text(max_size=40))
def test_urls(url: str) -> None:
    assert all(place.startswith("p") for place, _ in url_leaves("p", url))


def test_places() -> None:
    assert place_of(("a", 0, "b")) == "$.a[0].b"
