"""summary.md: the verdict for a job summary or a review comment. GitHub's Markdown; traffic values cannot form any of it."""

import re
from typing import Final

from harness.core.labels import Aspect, FindingClass, VerdictState
from harness.core.limits import REPORT_TABLE_ROWS_MAX
from harness.report.effect_words import inside_words, named_place, watched_words
from harness.report.history import epoch_words
from harness.report.model import FindingView, Report
from harness.report.text import clean, count_of
from harness.report.words import (
    HEADLINE,
    class_words,
    counts_words,
    evidence_words,
    families,
    follows_words,
    more_words,
    not_compared_words,
    place_words,
    stored_words,
    summary_words,
    verdict_word,
    what_words,
    why_words,
)

_SIGN: Final = {VerdictState.PASS: "✅", VerdictState.FAIL: "❌", VerdictState.INCONCLUSIVE: "⚠️", None: "ℹ️"}
_ACTIVE: Final = re.compile(r"[^\w ,;'\"/%…×·–-]|_")
"""Everything that Markdown, HTML or GitHub's links and mentions could read."""
_CELL_CHARS_MAX: Final = 120


def render_markdown(report: Report, *, where: str = "") -> str:
    """The summary; `where` says where the whole report is."""
    lines = [
        f"## {_SIGN[report.verdict]} shadowdiff: {verdict_word(report.verdict)}",
        "",
        f"**{HEADLINE[report.verdict]}** {escaped(summary_words(report))}.",
        "",
    ]
    if report.bound:
        lines += [f"> {escaped(report.bound.sentence)}", ""]
    if about := epoch_words(report.epoch):
        lines += [escaped(about), ""]
    findings = _listed(report)
    lines += [*_findings(report, findings), *_reasons(report, findings), *_effects(report), *_left_out(report)]
    facts = [f"run {code(report.run.id)}", f"policy {_policy(report)}", f"control {code(report.control.value)}"]
    if report.run.build:
        facts.insert(0, f"build {code(report.run.build)}")
    if where:
        facts.append(f"report {code(where)}")
    return "\n".join([*lines, f"<sub>{' · '.join(facts)}</sub>", ""])


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: every sign that could mean something becomes a character reference.

    GitHub looks for mentions and issue numbers after references are resolved, so `@` and `#` are cut off by a
    zero-width space from what follows.
    """
    return _references(clean(text)).replace("&#64;", "&#64;&#8203;").replace("&#35;", "&#35;&#8203;")


def code(text: str) -> str:
    """Text as code: no mention or issue link is made inside it."""
    return f"<code>{_references(clean(text, _CELL_CHARS_MAX))}</code>"


def _references(text: str) -> str:
    return _ACTIVE.sub(lambda match: f"&#{ord(match[0])};", text)


def _policy(report: Report) -> str:
    """The policy's name, the ref at which it was read, and which of its conditions applied."""
    ref = f" at {code(report.policy.ref)}" if report.policy.ref else ""
    applied = f" (for {escaped('; '.join(report.policy.conditions))})" if report.policy.conditions else ""
    return f"{code(report.policy.name)}{ref}{applied}"


def _listed(report: Report) -> list[FindingView]:
    """Every finding that a table shows, those that follow from another below it."""
    found = families(finding for finding in report.findings if finding.finding_class is not FindingClass.NOISE)
    return [finding for family in found for finding in (family.root, *family.followers)]


def _findings(report: Report, findings: list[FindingView]) -> list[str]:
    if not findings:
        return []
    lines = ["| Severity | Endpoint | What | Evidence | Class |", "|---|---|---|---|---|"]
    lines += [_row(report, finding) for finding in findings[:REPORT_TABLE_ROWS_MAX]]
    if len(findings) > REPORT_TABLE_ROWS_MAX:
        lines += ["", f"… and {count_of(len(findings) - REPORT_TABLE_ROWS_MAX, 'more finding')} in report.json."]
    return [*lines, ""]


def _row(report: Report, finding: FindingView) -> str:
    follows = follows_words(finding, report)
    evidence = "; ".join(filter(None, (evidence_words(finding, report), more_words(finding))))
    cells = (
        finding.severity.value,
        code(finding.endpoint),
        f"{_place(finding)} {escaped(what_words(finding))}" + (f"; {escaped(follows)}" if follows else ""),
        escaped(evidence),
        class_words(finding),
    )
    return f"| {' | '.join(cells)} |"


def _place(finding: FindingView) -> str:
    """Where it is; of an effect, its operation and the place in it are code by themselves."""
    place = named_place(finding.path) if finding.aspect is Aspect.EFFECTS else None
    if place is None:
        return code(place_words(finding))
    words = f"effect {code(place.operation)} ({escaped(place.collector)})"
    return words if place.whole else f"{words}: {code(inside_words(place))}"


def _effects(report: Report) -> list[str]:
    """What was watched of side effects, and what was stored otherwise at the end."""
    watched = watched_words(report.effects)
    tables = [f"- {escaped(line)}" for line in stored_words(report)]
    shown = tables[:REPORT_TABLE_ROWS_MAX]
    rest = [f"- … and {len(tables) - len(shown)} more in report.json"] if len(tables) > len(shown) else []
    return [*([f"Effects watched: {escaped(watched)}.", ""] if watched else []), *shown, *rest, *([""] if tables else [])]


def _reasons(report: Report, findings: list[FindingView]) -> list[str]:
    """Why, without what the table above says already; each next step once."""
    listed = frozenset(finding.id for finding in findings[:REPORT_TABLE_ROWS_MAX])
    lines: list[str] = []
    for group in why_words(report, listed):
        lines += [f"- {escaped(line)}" for line in group.lines]
        if group.next_step:
            lines[-1] += f" <br>**Next:** {escaped(group.next_step)}"
    shown = lines[:REPORT_TABLE_ROWS_MAX]
    rest = [f"- … and {len(lines) - len(shown)} more in report.json"] if len(lines) > len(shown) else []
    return [*shown, *rest, ""] if lines else []


def _left_out(report: Report) -> list[str]:
    lines = [f"- {count:,} {escaped(why)}" for count, why in not_compared_words(report)]
    lines += [f"- {code(endpoint)} was never compared" for endpoint in report.coverage.not_compared]
    lines += [
        f"- {code(endpoint)} only looked exercised: {escaped(reason.replace('_', ' '))}"
        for endpoint, reason in report.coverage.vacuous.items()
    ]
    lines += [f"- {'' if entry.count is None else f'{entry.count:,} '}{escaped(entry.what)}" for entry in report.blind]
    if any(report.errors.values()):
        lines.append(f"- errors and time-outs of targets: {escaped(counts_words(report.errors))}")
    if not lines:
        return []
    shown = lines[:REPORT_TABLE_ROWS_MAX]
    rest = [f"- … and {len(lines) - len(shown)} more in report.json"] if len(lines) > len(shown) else []
    return ["<details><summary>Not compared, not seen</summary>", "", *shown, *rest, "", "</details>", ""]
