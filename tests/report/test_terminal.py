import io

import msgspec
import pytest
from rich.console import Console

from harness.core.limits import REPORT_TABLE_ROWS_MAX
from harness.report.model import Blind
from harness.report.terminal import render_terminal
from tests.report import samples
from tests.report.contract import terminal_text
from tests.report.hostile import ATTACKS, hostile_report


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("name", ["pass", "fail", "inconclusive", "replay"])
def test_lines_fit(name: str, width: int) -> None:
    text = terminal_text(getattr(samples, f"{name}_report")(), width)
    assert max(map(len, text.splitlines())) <= width


def test_it_reads_without_colour() -> None:
    text = terminal_text(samples.fail_report())
    assert text.splitlines()[0].startswith("gate run 20240514-093107-fail ")
    assert text.splitlines()[1].startswith("FAIL  ")
    for words in ("CRITICAL", "body $.total.amount", "14 of 14 requests", "undecided", "next: ", "Report  runs/sample/report.html"):
        assert words in text
    assert text.count("Run the finding's command") == 1, "a next step is said once"


def test_colours_are_only_styles() -> None:
    out = io.StringIO()
    render_terminal(samples.fail_report(), Console(file=out, width=80, force_terminal=True, color_system="standard", legacy_windows=False))
    assert "\x1b[1;31mFAIL" in out.getvalue()


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_traffic_cannot_steer_the_terminal(attack: str) -> None:
    text = terminal_text(hostile_report(attack))
    assert not any(ord(character) < 32 for character in text if character != "\n")
    assert "\u202e" not in text
    assert "[/]" in text or "[bold red]" not in attack
    assert len(text.splitlines()) < 300


def test_long_lists_are_cut_and_say_so() -> None:
    report = samples.fail_report()
    many = msgspec.structs.replace(
        report,
        findings=report.findings * 20,
        reasons=tuple(msgspec.structs.replace(reason, finding=None) for reason in report.reasons * 10),
        blind=tuple(Blind(what=f"thing {number}") for number in range(50)),
    )
    text = terminal_text(many)
    assert f"... and {len(report.findings) * 20 - REPORT_TABLE_ROWS_MAX} more findings in the report" in text
    assert "... and 40 more reasons in the report" in text
    assert "... and 44 more in the report" in text


def test_a_finding_that_follows_from_another_stands_below_it() -> None:
    report = samples.fail_report()
    findings = tuple(msgspec.structs.replace(f, root="f1c0ffee02") if f.id == "f1c0ffee04" else f for f in report.findings)
    lines = terminal_text(msgspec.structs.replace(report, findings=findings), 120).splitlines()
    status = next(number for number, line in enumerate(lines) if "POST /orders  " in line and lines[number + 1].strip() == "status")
    assert "GET /quotes/{token}" in lines[status + 3]
    assert "follows from POST /orders: status, another" in lines[status + 6]


def test_without_room_for_columns_findings_stand_one_below_the_other() -> None:
    text = terminal_text(samples.fail_report(), 40)
    assert "Endpoint and what differs" not in text
    assert (
        "MAJOR  divergence\n  GET /orders/{int}\n    body $.total.amount\n    another value\n    14 of 14 requests, control 0 of 14\n"
        in text
    )


def test_effects_are_named_in_one_line() -> None:
    lines = terminal_text(samples.fail_report(), 120).splitlines()
    assert "effects watched: http (virtualise) 1,204 calls, postgres 310 rows, redis 108 commands; 3 unattributed" in lines
    wide = terminal_text(samples.fail_report(), 160)
    assert "effect `INSERT public.orders` (postgres): new.total" in wide
    assert "  - column total of public.orders differs at the candidate (postgres, in 2 of 2 passes)" in lines
    assert "effects watched" not in terminal_text(samples.pass_report(), 120)


def test_a_long_place_stays_indented() -> None:
    lines = terminal_text(samples.fail_report(), 80).splitlines()
    (first,) = (number for number, line in enumerate(lines) if "effect `INSERT" in line)
    assert lines[first + 1].startswith(" " * 12 + "public.orders` (postgres):")


def test_the_claim_of_a_pass_is_said_once() -> None:
    report = samples.pass_report()
    assert report.bound is not None
    reasons = (msgspec.structs.replace(report.reasons[0], message=report.bound.sentence),)
    text = terminal_text(msgspec.structs.replace(report, reasons=reasons), 200)
    assert text.count(report.bound.sentence) == 1
    assert "The claim above is reached." in text
