"""A finding that the policy does not let block is shown in every output as one, and counts as no failure in any."""

import io
from xml.etree import ElementTree as ET

import msgspec
from rich.console import Console

from harness.core.labels import FindingClass, VerdictState
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.model import Report
from harness.report.terminal import render_terminal
from harness.report.words import class_words, severity_counts
from tests.report import samples


def lax(report: Report) -> Report:
    """The same, by a policy that lets nothing block."""
    findings = tuple(msgspec.structs.replace(finding, blocks=False) for finding in report.findings)
    return msgspec.structs.replace(report, findings=findings, verdict=VerdictState.PASS)


REPORT = lax(samples.fail_report())


def test_every_output_says_that_it_does_not_block() -> None:
    assert class_words(REPORT.findings[0]) == "divergence, does not block"
    console = Console(file=io.StringIO(), width=160)
    with console.capture() as captured:
        render_terminal(REPORT, console)
    for shown in (render_html(REPORT), render_markdown(REPORT), captured.get()):
        assert "does not block" in shown
    assert "does not block" not in render_markdown(samples.fail_report())


def test_it_is_counted_as_no_divergence() -> None:
    assert severity_counts(samples.fail_report(), FindingClass.DIVERGENCE)
    assert severity_counts(REPORT, FindingClass.DIVERGENCE) == {}
    assert ET.fromstring(render_junit(REPORT)).findall(".//failure") == []
