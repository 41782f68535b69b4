from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Design, Role
from harness.evidence.mix import ARMS, alone_with, category_like

HELD = st.tuples(*[st.integers(0, 2)] * 3)


@given(HELD, st.permutations(range(3)))
def test_three_arms_are_treated_alike(held: tuple[int, int, int], order: list[int]) -> None:
    moved = (held[order[0]], held[order[1]], held[order[2]])
    before = {(category, arm) for category, arm in alone_with(held, Design.THREE_ARM)}
    after = {(category, ARMS[order[ARMS.index(arm)]]) for category, arm in alone_with(moved, Design.THREE_ARM)}
    assert before == after


@given(HELD)
def test_swapping_two_arms_turns_the_bets_round(held: tuple[int, int, int]) -> None:
    other = {Role.CANDIDATE: Role.SECONDARY, Role.SECONDARY: Role.CANDIDATE}
    swapped = list(alone_with((held[0], held[2], held[1]), Design.TWO_ARM))
    assert [(category, other[arm]) for category, arm in alone_with(held, Design.TWO_ARM)] == swapped


def test_what_may_be_a_category() -> None:
    assert [category_like(True), category_like(None), category_like("open"), category_like(404)] == [True] * 4
    assert [category_like(1.5), category_like(10**6), category_like("x" * 40)] == [False] * 3
