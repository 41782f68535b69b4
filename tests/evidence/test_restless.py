"""What a trial says of arms that disagree with themselves: the odd one among equals, whichever it is."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Aspect, Control, Design, Kind, Role
from harness.core.values import Again, Difference
from harness.evidence.restless import Restless, restless


def again(role: Role, *kinds: Kind, path: str = "$.a") -> Again:
    return Again(role, tuple(Difference(Aspect.BODY, path, kind, 1, 2, path) for kind in kinds))


def three(*found: Again) -> tuple[Restless, ...]:
    return restless(found, Design.THREE_ARM, Control.SECONDARY)


def test_the_one_that_changed_and_the_one_that_did_not_is_the_odd_one() -> None:
    changed = Restless(Aspect.BODY, "$.a", Kind.VALUE, Role.CANDIDATE, changed=True)
    still = Restless(Aspect.BODY, "$.a", Kind.VALUE, Role.CANDIDATE, changed=False)
    assert three(again(Role.CANDIDATE, Kind.VALUE)) == (changed,)
    assert three(again(Role.STABLE, Kind.VALUE), again(Role.SECONDARY, Kind.VALUE)) == (still,)
    assert three(*(again(role, Kind.VALUE) for role in Role)) == ()
    assert three() == ()


def test_where_stable_is_favoured_only_the_other_two_are_compared() -> None:
    def two(*found: Again) -> list[Role]:
        return [one.odd for one in restless(found, Design.TWO_ARM, Control.SECONDARY)]

    assert two(again(Role.CANDIDATE, Kind.VALUE)) == [Role.CANDIDATE]
    assert two(again(Role.SECONDARY, Kind.VALUE), again(Role.STABLE, Kind.VALUE)) == [Role.SECONDARY]
    assert two(again(Role.STABLE, Kind.VALUE)) == []


def test_without_a_second_instance_nothing_is_said() -> None:
    found = (again(Role.CANDIDATE, Kind.VALUE),)
    assert restless(found, Design.NO_CONTROL, Control.NONE) == ()
    assert restless(found, Design.TWO_ARM, Control.SELF) == ()


def test_a_field_that_came_and_one_that_went_are_one_kind_of_change() -> None:
    found = three(again(Role.STABLE, Kind.MISSING), again(Role.SECONDARY, Kind.EXTRA))
    assert [(one.odd, one.changed) for one in found] == [(Role.CANDIDATE, False)]


answers = st.dictionaries(
    st.sampled_from(Role), st.sets(st.tuples(st.sampled_from(["$.a", "$.b"]), st.sampled_from([Kind.VALUE, Kind.NULL])))
)


@given(answers)
def test_permuting_the_arms_permutes_the_odd_one(changed: dict[Role, set[tuple[str, Kind]]]) -> None:
    def of(order: tuple[Role, ...]) -> dict[tuple[str, Kind], tuple[Role, bool]]:
        names = dict(zip(Role, order, strict=True))
        found = [
            Again(names[role], tuple(Difference(Aspect.BODY, p, k, 1, 2, p) for p, k in sorted(places))) for role, places in changed.items()
        ]
        return {(one.path, one.kind): (one.odd, one.changed) for one in three(*found)}

    plain = of(tuple(Role))
    for order in permutations(Role):
        names = dict(zip(Role, order, strict=True))
        assert of(order) == {place: (names[odd], how) for place, (odd, how) in plain.items()}
