"""Epochs in words."""

import io
from typing import NamedTuple

from rich.console import Console

from harness.core.labels import ReasonCode, VerdictState
from harness.core.limits import REPORT_TABLE_ROWS_MAX
from harness.report.history import epoch_words, history_view
from harness.report.model import EpochFacts, ResumedFacts


class Shown(NamedTuple):
    epoch: int
    build: str = "b\x1b[31m"
    since: float = 0.0
    verdict: VerdictState = VerdictState.PASS
    reason: ReasonCode = ReasonCode.CLAIM_REACHED
    requests: int = 1234
    alpha: float = 0.01
    resumed: int = 0
    lost: int = 0


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


def test_what_a_kill_has_cost_is_said_of_the_epoch_and_in_the_list() -> None:
    facts = ResumedFacts(at="2031-05-17T09:30:00Z", lost=1, seconds=5.0)
    several = ResumedFacts(at="2031-05-18T00:00:00Z", lost=1200, seconds=5.0)
    said = epoch_words(EpochFacts(number=1, closed_by="end", alpha=0.01, resumed=(facts, several)))
    assert "Resumed at 2031-05-17T09:30:00Z after the proxy was killed: 1 request lost, those under way and of at most 5 s before." in said
    assert "1,200 requests lost" in said
    assert "Lost" not in text([Shown(1)])
    listed = text([Shown(1), Shown(2, resumed=1, lost=4321)])
    assert "Lost" in listed
    assert "4,321" in listed


def test_the_oldest_are_left_out_of_a_long_list() -> None:
    said = text([Shown(number) for number in range(1, REPORT_TABLE_ROWS_MAX + 4)])
    assert "... and 3 before them in history.jsonl" in said


def test_alpha_per_run_and_per_month() -> None:
    assert epoch_words(None) == ""
    facts = EpochFacts(number=2, closed_by="period", period_s=86_400.0, alpha=0.001, runs_a_month=31, alpha_a_month=0.031)
    assert "at most 0.1 % in it" in epoch_words(facts)
    assert "31 epochs of a month together at most 3.1 %" in epoch_words(facts)
    assert "each further one" in epoch_words(EpochFacts(number=1, closed_by="end", alpha=0.01))
