"""junit.xml: the verdict and the endpoints as test cases. A divergence fails, what is not known is an error, nothing is skipped."""

import re
import xml.etree.ElementTree as ET
from typing import Final

from harness.core.labels import FindingClass, VerdictState
from harness.core.limits import REPORT_TABLE_ROWS_MAX
from harness.report.effect_words import table_lines, watched_words
from harness.report.model import FindingView, Report
from harness.report.text import count_of, visible
from harness.report.words import (
    evidence_words,
    followers_words,
    more_words,
    place_words,
    reason_words,
    steps_of,
    summary_words,
    verdict_word,
    what_words,
)

SUITE: Final = "shadowdiff"
_NOT_XML: Final = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
"""What XML 1.0 (2.2 Characters) does not allow, even as a reference."""


def render_junit(report: Report) -> bytes:
    """UTF-8 XML. A replay has no verdict, so it has no verdict case; its endpoints pass unless they were not exercised."""
    suite = ET.Element("testsuite", name=SUITE, timestamp=_text(report.run.started), time=f"{report.run.seconds:.3f}")
    cases: list[ET.Element] = []
    if report.verdict is not None:
        cases.append(_verdict_case(report))
    by_endpoint: dict[str, list[FindingView]] = {endpoint.endpoint: [] for endpoint in report.endpoints}
    for finding in report.findings:
        by_endpoint.setdefault(finding.endpoint, []).append(finding)
    cases += [_endpoint_case(report, endpoint, findings) for endpoint, findings in sorted(by_endpoint.items())]
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": str(sum(case.find("error") is not None for case in cases)),
        "skipped": "0",
    }
    suite.attrib.update(counts)
    suite.append(_properties(report))
    suite.extend(cases)
    root = ET.Element("testsuites", {"name": SUITE, **{name: counts[name] for name in ("tests", "failures", "errors")}})
    root.append(suite)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'.encode()


def _properties(report: Report) -> ET.Element:
    properties = ET.Element("properties")
    facts = {
        "run": report.run.id,
        "build": report.run.build,
        "version": report.run.version,
        "policy": report.policy.name,
        "control": report.control.value,
        "requests": str(report.totals.requests),
        "compared": str(report.totals.compared),
    }
    if report.effects.watched:
        facts["effects"] = watched_words(report.effects)
    if tables := table_lines(report.effects):
        facts["stored"] = "; ".join(tables[:REPORT_TABLE_ROWS_MAX])
    for name, value in facts.items():
        ET.SubElement(properties, "property", name=name, value=_text(value))
    return properties


def _verdict_case(report: Report) -> ET.Element:
    case = _case("verdict", "verdict", report.run.seconds)
    lines: list[str] = []
    for step in steps_of(report):
        lines += [f"{reason_words(reason, report)} [{reason.code.value}]" for reason in step.reasons]
        lines += [followers_words(len(step.followers))] if step.followers else []
        lines += [f"  next: {step.next_step}"] if step.next_step else []
    message = reason_words(report.reasons[0], report) if report.reasons else summary_words(report)
    if report.verdict is VerdictState.FAIL:
        _outcome(case, "failure", message, "divergence", lines)
    elif report.verdict is VerdictState.INCONCLUSIVE:
        _outcome(case, "error", message, "inconclusive", lines)
    else:
        said = [report.bound.sentence] if report.bound else []
        ET.SubElement(case, "system-out").text = _text("\n".join([verdict_word(report.verdict), *said, *lines]))
    return case


def _endpoint_case(report: Report, endpoint: str, findings: list[FindingView]) -> ET.Element:
    case = _case("endpoint", endpoint, 0.0)
    diverging = [finding for finding in findings if finding.blocks and finding.finding_class is FindingClass.DIVERGENCE]
    undecided = [finding for finding in findings if finding.blocks and finding.finding_class is FindingClass.UNDECIDED]
    lines = [_finding_line(report, finding) for finding in (*diverging, *undecided)]
    vacuous = report.coverage.vacuous.get(endpoint)
    if diverging:
        _outcome(case, "failure", count_of(len(diverging), "divergence"), "divergence", lines)
    elif undecided:
        _outcome(case, "error", count_of(len(undecided), "undecided difference"), "undecided", lines)
    elif vacuous is not None:
        _outcome(case, "error", "only looked exercised", vacuous, [vacuous])
    return case


def _finding_line(report: Report, finding: FindingView) -> str:
    parts = [f"{finding.severity.value}: {place_words(finding)}: {what_words(finding)}", evidence_words(finding, report)]
    return "; ".join([*parts, *filter(None, [more_words(finding)]), f"finding {finding.id}"])


def _case(kind: str, name: str, seconds: float) -> ET.Element:
    return ET.Element("testcase", classname=f"{SUITE}.{kind}", name=_text(name), time=f"{seconds:.3f}")


def _outcome(case: ET.Element, tag: str, message: str, kind: str, lines: list[str]) -> None:
    ET.SubElement(case, tag, message=_text(message), type=kind).text = _text("\n".join(lines))


def _text(text: str) -> str:
    """Text that may stand in XML: what is invisible is written out, what XML forbids is replaced."""
    return _NOT_XML.sub("\ufffd", visible(text))
