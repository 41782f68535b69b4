from pathlib import Path

import pytest

from harness.core.errors import UsageError
from harness.evidence.budgets import LATENCY_BUDGETS_MAX
from harness.evidence.policy import LatencyBudget
from harness.settings.policies import load_policy


def load(folder: Path, text: str) -> tuple[LatencyBudget, ...]:
    file = folder / "p.yaml"
    file.write_text(text, encoding="utf-8")
    return load_policy(str(file), folder=folder).policy.latency_budgets


def test_latency_budgets_are_read(tmp_path: Path) -> None:
    text = 'latency_budgets:\n- {endpoint: "GET /x*", quantile: 0.9, max_increase: 0.1}\n- {max_ms: 300}\n'
    assert load(tmp_path, text) == (LatencyBudget(endpoint="GET /x*", quantile=0.9, max_increase=0.1), LatencyBudget(max_ms=300.0))


def test_everything_that_is_wrong_with_latency_budgets_at_once(tmp_path: Path) -> None:
    text = """latency_budgets:
- {endpoint: " ", quantile: 1.5, max_ms: 0}
- {quantile: 0.2, max_increase: -1}
- {endpoint: GET /x}
- {max_ms: 1, max_increase: 0.1}
- {max_ms: 1, most: 2}
"""
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    said = str(caught.value)
    for words in (
        "latency_budgets[0].endpoint",
        "latency_budgets[0].quantile",
        "latency_budgets[0].max_ms",
        "latency_budgets[1].quantile",
        "latency_budgets[1].max_increase",
        "says neither max_increase nor max_ms",
        "says both max_increase and max_ms",
        "latency_budgets[4].most",
    ):
        assert words in said, said


def test_latency_budgets_are_bounded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too many"):
        load(tmp_path, "latency_budgets:\n" + "- {max_ms: 1}\n" * (LATENCY_BUDGETS_MAX + 1))


@pytest.mark.parametrize("text", ["latency_budgets: 3\n", "latency_budgets: [3]\n", "latency_budgets: [{max_ms: soon}]\n"])
def test_what_is_no_list_of_budgets_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        load(tmp_path, text)
