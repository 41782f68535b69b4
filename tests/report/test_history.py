"""Epochs in words."""

import io
from typing import NamedTuple

from rich.console import Console

from harness.core.labels import ReasonCode, VerdictState
from harness.core.limits import REPORT_TABLE_ROWS_MAX
from harness.report.history import epoch_words, history_view
from harness.report.model import EpochFacts


class Shown(NamedTuple):
    epoch: int
    build: str = "b\x1b[31m"
    since: float = 0.0
    verdict: VerdictState = VerdictState.PASS
    reason: ReasonCode = ReasonCode.CLAIM_REACHED
    requests: int = 1234
    alpha: float = 0.01


def text(lines: list[Shown]) -> str:
    out = io.StringIO()
    Console(file=out, width=150).print(history_view(lines), markup=False)
    return out.getvalue()


def test_every_epoch_is_a_line_and_hostile_labels_do_no_harm() -> None:
    said = text([Shown(1), Shown(2, verdict=VerdictState.FAIL)])
    assert "1970-01-01 00:00:00" in said
    assert "claim_reached" in said
    assert "1,234" in said
    assert "fail" in said
    assert "\x1b" not in said


def test_the_oldest_are_left_out_of_a_long_list() -> None:
    said = text([Shown(number) for number in range(1, REPORT_TABLE_ROWS_MAX + 4)])
    assert "... and 3 before them in history.jsonl" in said


def test_alpha_per_run_and_per_month() -> None:
    assert epoch_words(None) == ""
    facts = EpochFacts(number=2, closed_by="period", period_s=86_400.0, alpha=0.001, runs_a_month=31, alpha_a_month=0.031)
    assert "at most 0.1 % in it" in epoch_words(facts)
    assert "31 epochs of a month together at most 3.1 %" in epoch_words(facts)
    assert "each further one" in epoch_words(EpochFacts(number=1, closed_by="end", alpha=0.01))
