"""Problems and how they are shown."""

from hypothesis import given
from hypothesis import strategies as st

from harness.core.limits import CONFIG_PROBLEMS_SHOWN_MAX
from harness.settings.problems import ConfigError, Problem, closest, preview


def test_problem_names_everything_it_knows() -> None:
    problem = Problem("shadowdiff.yaml:4", "replay.pases", "unknown key", "passes, speed", "passes", "see the docs")
    assert problem.text() == 'shadowdiff.yaml:4: replay.pases: unknown key; allowed: passes, speed; did you mean "passes"?; see the docs'
    assert Problem("", "policy", "is missing").text() == "policy: is missing"


def test_one_problem_is_one_line() -> None:
    error = ConfigError([Problem("X", "a", "is wrong")], fix="mend it")
    assert str(error) == "X: a: is wrong\nhint: mend it"
    assert error.exit_code == 2


def test_many_problems_are_counted_and_bounded() -> None:
    error = ConfigError([Problem("f", f"k{i}", "is wrong") for i in range(CONFIG_PROBLEMS_SHOWN_MAX + 7)], subject="policy")
    lines = str(error).splitlines()
    assert lines[0] == f"{CONFIG_PROBLEMS_SHOWN_MAX + 7} problems in the policy"
    assert lines[-1].strip() == "and 7 more"
    assert len(lines) == CONFIG_PROBLEMS_SHOWN_MAX + 2
    assert len(error.problems) == CONFIG_PROBLEMS_SHOWN_MAX + 7


def test_closest_ignores_case_and_gives_nothing_for_strangers() -> None:
    assert closest("Concurency", ["passes", "concurrency"]) == "concurrency"
    assert closest("SHADOWDIFF_REPLAY_PASES", ["SHADOWDIFF_REPLAY_PASSES"]) == "SHADOWDIFF_REPLAY_PASSES"
    assert closest("zzz", ["passes"]) == ""


@given(st.text())
def test_preview_is_one_bounded_printable_line(text: str) -> None:
    shown = preview(text)
    assert len(shown) <= 60
    assert shown.isprintable()
    assert shown.startswith('"')
