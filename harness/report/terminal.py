"""The verdict as text on a terminal, through a Console that is handed in. Clear without colour and at 80 columns."""

from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from harness.core.labels import FindingClass, Severity, VerdictState
from harness.core.limits import REPORT_TABLE_ROWS_MAX
from harness.report.effect_words import watched_words
from harness.report.history import epoch_words
from harness.report.model import FindingView, Report
from harness.report.text import clean, count_of
from harness.report.words import (
    HEADLINE,
    MODE_WORDS,
    class_words,
    counts_words,
    evidence_words,
    families,
    follows_words,
    kind_words,
    more_words,
    not_exercised_words,
    place_words,
    stored_words,
    summary_words,
    verdict_word,
    why_words,
)

VERDICT_STYLE: Final = {
    VerdictState.PASS: "bold green",
    VerdictState.FAIL: "bold red",
    VerdictState.INCONCLUSIVE: "bold yellow",
    None: "bold",
}
_SEVERITY_STYLE: Final = {Severity.CRITICAL: "bold red", Severity.MAJOR: "yellow", Severity.MINOR: "cyan"}
_REASONS_MAX: Final = 10
TABLE_WIDTH_MIN: Final = 72
"""Columns below which findings stand one below the other."""


def render_terminal(report: Report, console: Console, *, where: str = "") -> None:
    """Prints the verdict, the findings, why, and what to do next. `where` says where the report is."""
    console.print(verdict_view(report, where=where))


def verdict_view(report: Report, *, where: str = "") -> RenderableType:
    """The same as a value for rich."""
    word = Text.assemble((verdict_word(report.verdict), VERDICT_STYLE[report.verdict]), "  ", HEADLINE[report.verdict])
    title = Text(f"{MODE_WORDS[report.run.mode]} run {clean(report.run.id)}")
    parts: list[RenderableType] = [Rule(title, align="left", style="dim"), word, Text(f"{clean(summary_words(report))}.")]
    if report.bound:
        parts.append(Text(clean(report.bound.sentence)))
    if about := epoch_words(report.epoch):
        parts.append(Text(about))
    if watched := watched_words(report.effects):
        parts.append(Text(f"effects watched: {clean(watched)}"))
    findings = [
        finding
        for family in families(one for one in report.findings if one.finding_class is not FindingClass.NOISE)
        for finding in (family.root, *family.followers)
    ]
    shown = findings[:REPORT_TABLE_ROWS_MAX]
    if shown:
        parts += [Text(), _Findings(report, shown)]
        if len(findings) > len(shown):
            parts.append(Text(f"... and {count_of(len(findings) - len(shown), 'more finding')} in the report"))
    if tables := _bounded(stored_words(report)):
        parts += [Text(), Text("Stored at the end", style="bold"), *(_item(line) for line in tables)]
    if report.reasons:
        parts += [Text(), Text("Why", style="bold"), *_reasons(report, frozenset(finding.id for finding in shown))]
    left_out = _left_out(report)
    if left_out:
        parts += [Text(), Text("Not compared, not seen", style="bold"), *(_item(line) for line in left_out)]
    if where:
        has = " (with examples, and commands that reproduce them)" if any(finding.exemplars for finding in report.findings) else ""
        parts += [Text(), Text.assemble(("Report  ", "bold"), clean(where), (has, "dim"))]
    return Group(*parts)


class _Findings:
    """The findings as a table, or one below the other where there is no room for columns."""

    def __init__(self, report: Report, findings: list[FindingView]) -> None:
        self._report = report
        self._findings = findings

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        if options.max_width >= TABLE_WIDTH_MIN:
            yield self._table()
            return
        for finding in self._findings:
            yield Text.assemble(_severity(finding), f"  {class_words(finding)}")
            yield Padding(_what(self._report, finding), (0, 0, 0, 2))
            yield Padding(Text(_evidence(self._report, finding), overflow="fold"), (0, 0, 0, 4))

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, show_edge=False, expand=False, header_style="bold", padding=(0, 2, 0, 0))
        table.add_column("Severity", no_wrap=True)
        table.add_column("Endpoint and what differs", overflow="fold", ratio=3)
        table.add_column("Evidence", overflow="fold", ratio=2)
        table.add_column("Class", no_wrap=True)
        for finding in self._findings:
            table.add_row(
                _severity(finding),
                _what(self._report, finding),
                Text(_evidence(self._report, finding)),
                Text(class_words(finding)),
            )
        return table


def _severity(finding: FindingView) -> Text:
    return Text(finding.severity.value.upper(), style=_SEVERITY_STYLE[finding.severity])


def _what(report: Report, finding: FindingView) -> RenderableType:
    about = [Text(clean(place_words(finding)), style="bold", overflow="fold"), Text(kind_words(finding))]
    if follows := follows_words(finding, report):
        about.append(Text(clean(follows), overflow="fold"))
    return Group(Text(clean(finding.endpoint), overflow="fold"), *(Padding(line, (0, 0, 0, 2)) for line in about))


def _evidence(report: Report, finding: FindingView) -> str:
    more = more_words(finding)
    return f"{evidence_words(finding, report)}\n{more}" if more else evidence_words(finding, report)


def _reasons(report: Report, listed: frozenset[str]) -> list[RenderableType]:
    """Why, without what the table above says already; each next step once."""
    lines: list[RenderableType] = []
    groups = why_words(report, listed)
    room = _REASONS_MAX
    for group in groups:
        lines += [_item(clean(line)) for line in group.lines[:room]]
        if group.next_step and room > 0:
            lines.append(Padding(Text.assemble(("next: ", "bold"), clean(group.next_step)), (0, 0, 0, 4)))
        room = max(0, room - len(group.lines))
    if (more := sum(len(group.lines) for group in groups) - _REASONS_MAX) > 0:
        lines.append(_item(f"... and {count_of(more, 'more reason')} in the report"))
    return lines


def _left_out(report: Report) -> list[str]:
    lines = [clean(line) for line in not_exercised_words(report)]
    if any(report.errors.values()):
        lines.append(f"errors and time-outs of targets: {counts_words(report.errors)}")
    return _bounded(lines)


def _bounded(lines: list[str]) -> list[str]:
    shown = lines[:_REASONS_MAX]
    return shown if len(lines) <= _REASONS_MAX else [*shown, f"... and {len(lines) - _REASONS_MAX} more in the report"]


def _item(line: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=3, justify="right")
    grid.add_column(overflow="fold")
    grid.add_row(Text("-"), Text(line))
    return grid
