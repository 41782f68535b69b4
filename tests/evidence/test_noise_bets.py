import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Control, Design, Kind
from harness.core.limits import NOISE_PLACES_PER_TRIAL_MAX
from harness.evidence.bets import bets_of, decode_bets, encode_bets
from harness.evidence.noise_bets import NOBODY, NoiseBet
from tests.evidence.build import diff, pair, trial

VALUE = st.one_of(
    st.integers(-50, 50), st.sampled_from(["a", "b", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", "0123456789ab", None, 1.25])
)


def only(values: tuple[object, object, object], **changes: object) -> NoiseBet:
    (bet,) = bets_of(trial(**changes), pair({"$.x": values})).noise  # type: ignore[arg-type]  # fields of a trial
    return bet


def move(index: int, order: list[int]) -> int:
    return index if index == NOBODY else order.index(index)


@given(st.tuples(VALUE, VALUE, VALUE), st.permutations(range(3)))
def test_permuting_the_arms_permutes_what_is_told_of_them(values: tuple[object, object, object], order: list[int]) -> None:
    moved = (values[order[0]], values[order[1]], values[order[2]])
    before, after = (bets_of(trial(), pair({"$.x": v})).noise for v in (values, moved))
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        assert (one.key, one.answer) == (other.key, other.answer)
        assert (move(one.far, order), move(one.style, order)) == (other.far, other.style)
        for mine, theirs in ((one.ranks, other.ranks), (one.categories, other.categories), (one.traces, other.traces)):
            assert (mine is None) is (theirs is None)
            assert mine is None or theirs is None or tuple(mine[i] for i in order) == theirs


@given(st.tuples(VALUE, VALUE, VALUE))
def test_swapping_two_arms_turns_what_is_told_round(values: tuple[object, object, object]) -> None:
    two = trial(design=Design.TWO_ARM)
    p, s, c = values
    before, after = (bets_of(two, pair({"$.x": v})).noise for v in (values, (p, c, s)))
    assert [bet.far for bet in after] == [move(bet.far, [0, 2, 1]) for bet in before]
    assert [bet.style for bet in after] == [move(bet.style, [0, 2, 1]) for bet in before]
    assert [bet.key for bet in after] == [bet.key for bet in before]


def test_with_stable_asked_twice_order_distance_and_sequence_are_off() -> None:
    """Its second answer comes from a warm cache."""
    on = only((123456789, 123456790, 123456999))
    off = bets_of(trial(control=Control.SELF), pair({"$.x": (123456789, 123456790, 123457000)})).noise
    assert (on.far, on.ranks) == (2, (0, 1, 2))
    assert on.traces is not None
    assert all(bet.far == NOBODY and bet.ranks is None and bet.traces is None for bet in off)
    assert [bet.style for bet in off] == [NOBODY] * len(off) or off[0].style == 2


@pytest.mark.parametrize("changes", [{"control": Control.NONE}, {"tainted": True}, {"repeat_of": "t1"}])
def test_nothing_without_a_control_nor_of_what_follows(changes: dict[str, object]) -> None:
    assert bets_of(trial(**changes), pair({"$.x": (1, 2, 9)})).noise == ()  # type: ignore[arg-type]  # fields of a trial


def test_the_same_values_are_the_same_answer() -> None:
    """A time that was split by a race when its row was made is read again under other URLs."""
    values = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", "2026-01-01T00:00:09Z")
    assert only(values, entity="/1").key == only(values, entity="/2").key
    assert only(("a", "b", "c"), entity="/1").answer != only(("a", "b", "c"), entity="/2").answer
    assert only(values, fresh=True, pass_index=1).key != only(values, fresh=True, pass_index=2).key


def test_no_value_is_stored_and_what_is_stored_is_read_again() -> None:
    bets = bets_of(trial(), pair({"$.x": ("secretive1", "secretive2", "secretive3")}))
    stored = encode_bets(bets)
    assert b"secretive" not in stored
    assert decode_bets(stored) == bets


def test_elements_without_order_that_each_pair_matched_otherwise_say_nothing() -> None:
    """Elements are paired by likeness: the third pair may hold another element than the first two."""

    def told(cross: tuple[int, int]) -> int:
        comparison = msgspec.structs.replace(pair({"$.x": (1, 50, 9)}), secondary_candidate=(diff(Kind.VALUE, *cross),))
        return len(bets_of(trial(), comparison).noise)

    assert told((50, 9)) == 1
    assert told((50, 8)) == told((49, 9)) == told((7, 8)) == 0


def test_of_many_places_each_has_its_turn() -> None:
    values = {f"$.f{i}": (i, i + 1, i + 5) for i in range(100)}
    taken = [bets_of(trial(seq=seq), pair(values)).noise for seq in range(200)]
    assert {len(noise) for noise in taken} == {NOISE_PLACES_PER_TRIAL_MAX}
    assert {bet.path for noise in taken for bet in noise} == set(values)
