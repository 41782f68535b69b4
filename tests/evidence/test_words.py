import pytest

from harness.core.labels import NEXT_STEP, ReasonCode
from harness.evidence.words import NAMES_SHOWN_MAX, count_of, listed, percent, reason


def test_a_reason_has_the_next_step_of_its_code() -> None:
    made = reason(ReasonCode.HARD_RULE, "why", "f1")
    assert (made.code, made.message, made.finding, made.next_step) == (ReasonCode.HARD_RULE, "why", "f1", NEXT_STEP[ReasonCode.HARD_RULE])


@pytest.mark.parametrize(("number", "words"), [(0, "0 passes"), (1, "1 pass"), (2000, "2,000 passes")])
def test_one_and_many(number: int, words: str) -> None:
    assert count_of(number, "pass", "passes") == words


def test_many_without_a_word_of_its_own_takes_an_s() -> None:
    assert (count_of(1, "request"), count_of(3, "request")) == ("1 request", "3 requests")


def test_lists_are_bounded_and_say_so() -> None:
    names = [f"n{index}" for index in range(NAMES_SHOWN_MAX + 2)]
    assert listed(names) == f"{', '.join(names[:NAMES_SHOWN_MAX])} and 2 more"
    assert listed(["a", "b", "a"]) == "a, b"
    assert listed({}) == ""


@pytest.mark.parametrize(
    ("share", "up", "down"), [(0.0, "0 %", "0 %"), (0.00512, "0.52 %", "0.51 %"), (0.975, "98 %", "97 %"), (1.0, "100 %", "100 %")]
)
def test_a_bound_is_never_less_than_what_is_claimed(share: float, up: str, down: str) -> None:
    assert (percent(share), percent(share, up=False)) == (up, down)
