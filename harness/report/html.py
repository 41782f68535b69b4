"""report.html: one file, no outside requests, readable without script. Lays out a Report; decides and computes nothing."""

import base64
import hashlib
from pathlib import Path
from typing import Final

import jinja2
import msgspec
from markupsafe import Markup

from harness.core.errors import SetupError
from harness.core.labels import Aspect, FindingClass, Role, Severity, VerdictState
from harness.report import effect_words, plots, words
from harness.report.effect_layout import COLUMNS, EffectRow, TableCard, differing, effect_rows, table_cards
from harness.report.frames import latency_frame
from harness.report.history import epoch_words
from harness.report.model import AnswerView, Exemplar, FindingView, Report
from harness.report.occurs_words import occurs_detail
from harness.report.sidebyside import Row, side_by_side
from harness.report.text import count_of, milliseconds, percent, visible

TEMPLATES: Final = Path(__file__).parent / "templates"
OPEN_FINDINGS: Final = 1
"""Findings shown unfolded at first."""


class ExemplarCard(msgspec.Struct, frozen=True):
    """One exemplar laid out."""

    exemplar: Exemplar
    answers: tuple[tuple[str, AnswerView], ...]
    headers: list[Row]
    body: list[Row]
    where: str
    effects: list[EffectRow]
    done: str
    """What the effects come to, in words."""
    about_effects: bool


class FindingCard(msgspec.Struct, frozen=True):
    """One finding laid out."""

    finding: FindingView
    place: str
    what: str
    evidence: str
    bar: Markup
    follows: str
    opened: bool
    exemplars: tuple[ExemplarCard, ...]
    followers: tuple["FindingCard", ...] = ()


class EffectsCard(msgspec.Struct, frozen=True):
    """The section on side effects laid out."""

    roles: tuple[Role, ...]
    tables: list[TableCard]
    noisy: list[TableCard]
    complete: str


class LatencyRow(msgspec.Struct, frozen=True):
    """One endpoint's latency, as text and plot."""

    endpoint: str
    compared: int
    plot: Markup
    medians: dict[str, str]
    delta: str
    ratio: str
    slower: bool
    gates: bool


def render_html(report: Report) -> str:
    """The whole page. Raises SetupError where the package's templates are missing."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, ms=milliseconds, counted=count_of)
    try:
        template = environment.get_template("report.html.j2")
        style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    except (OSError, jinja2.TemplateNotFound) as error:
        raise SetupError("a template of the report is missing", where=str(TEMPLATES), fix="install shadowdiff again") from error
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return template.render(
        report=report,
        words=words,
        epoch_words=epoch_words,
        style=Markup(style),  # noqa: S704 - files of this package
        script=Markup(script),  # noqa: S704 - as above
        script_digest=digest,
        tone=report.verdict.value if report.verdict else "none",
        groups=_groups(report),
        shown={finding.id for finding in report.findings},
        numbers=_numbers(report),
        flow=_flow(report),
        latency=_latency_rows(report),
        effects=_effects_card(report),
        fx=effect_words,
        occurs_detail=occurs_detail,
        columns=COLUMNS,
        State=VerdictState,
    )


def _finalize(value: object) -> object:
    """What nobody can see is written out; numbers and marked-up parts pass."""
    if isinstance(value, Markup):
        return value
    return visible(value) if isinstance(value, str) else value


def _groups(report: Report) -> list[tuple[Severity, list[FindingCard]]]:
    """The findings by severity; those that follow from another one are on its card."""
    cards = [
        _card(report, family.root, opened=index < OPEN_FINDINGS, followers=family.followers)
        for index, family in enumerate(words.families(report.findings))
    ]
    groups = [(severity, [card for card in cards if card.finding.severity is severity]) for severity in Severity]
    return [(severity, group) for severity, group in groups if group]


def _card(report: Report, finding: FindingView, *, opened: bool = False, followers: tuple[FindingView, ...] = ()) -> FindingCard:
    control_rate = finding.control_diverged / finding.compared if finding.compared else 0.0
    bar = plots.rate_bar(finding.rate, finding.interval.low, finding.interval.high, control_rate)
    return FindingCard(
        finding=finding,
        place=words.place_words(finding),
        what=words.kind_words(finding),
        evidence=words.evidence_words(finding, report),
        bar=Markup(bar),  # noqa: S704 - numbers only
        follows=words.follows_words(finding, report),
        opened=opened,
        exemplars=tuple(_exemplar_card(finding, exemplar) for exemplar in finding.exemplars),
        followers=tuple(_card(report, follower) for follower in followers),
    )


def _exemplar_card(finding: FindingView, exemplar: Exemplar) -> ExemplarCard:
    sides = ((Role.STABLE, exemplar.stable), (Role.CANDIDATE, exemplar.candidate), (Role.SECONDARY, exemplar.secondary))
    answers = tuple((role.value, answer) for role, answer in sides if answer is not None)
    first, *others = [answer for _, answer in answers]
    about = effect_words.named_place(finding.path) if finding.aspect is Aspect.EFFECTS else None
    effects = effect_rows(exemplar, about)
    return ExemplarCard(
        exemplar=exemplar,
        answers=answers,
        headers=side_by_side(_header_text(first), [_header_text(other) for other in others], context=0),
        body=side_by_side(first.body.text, [other.body.text for other in others], first_line=first.body.first_line),
        where=words.where_words(finding, exemplar.where),
        effects=effects,
        done=_done(exemplar, effects),
        about_effects=finding.aspect is Aspect.EFFECTS,
    )


def _done(exemplar: Exemplar, effects: list[EffectRow]) -> str:
    """`3 side effects, 1 of them otherwise at the candidate`."""
    counted = count_of(len(effects), "side effect")
    otherwise = differing(effects)
    if otherwise:
        counted += f", {otherwise} of them otherwise at the candidate"
    if exemplar.effects_left_out:
        counted += f"; {exemplar.effects_left_out:,} more not shown"
    return counted


def _effects_card(report: Report) -> EffectsCard | None:
    """None where no collector watched."""
    facts = report.effects
    if not facts.watched:
        return None
    return EffectsCard(
        roles=tuple(effect_words.roles_of(facts)),
        tables=table_cards(facts, noisy=False),
        noisy=table_cards(facts, noisy=True),
        complete=effect_words.complete_words(facts),
    )


def _header_text(answer: AnswerView) -> str:
    ordered = sorted(answer.headers, key=lambda header: header[0].lower())
    return "\n".join(f"{name.lower()}: {value}" for name, value in ordered)


def _numbers(report: Report) -> list[tuple[str, str, str]]:
    """The figures at the top: (figure, label, tone)."""
    divergences = sum(words.severity_counts(report, FindingClass.DIVERGENCE).values())
    undecided = sum(words.severity_counts(report, FindingClass.UNDECIDED).values())
    totals = report.totals
    return [
        (f"{totals.compared:,}", f"of {count_of(totals.requests, 'request')} compared", ""),
        (f"{report.coverage.endpoints:,}", "endpoint exercised" if report.coverage.endpoints == 1 else "endpoints exercised", ""),
        (f"{divergences:,}", "divergence" if divergences == 1 else "divergences", "bad" if divergences else ""),
        (f"{undecided:,}", "undecided", "unsure" if undecided else ""),
        (f"{len(report.noise):,}", "places of noise set aside", ""),
    ]


def _flow(report: Report) -> Markup:
    totals = report.totals
    shares = [
        ("compared", totals.compared),
        ("skipped", sum(totals.skipped.values())),
        ("shed", sum(totals.shed.values())),
        ("refused", sum(totals.refused.values())),
    ]
    return Markup(plots.flow_bar(shares))  # noqa: S704 - numbers and our own labels only


def _latency_rows(report: Report) -> list[LatencyRow]:
    targets = {endpoint.endpoint: endpoint.latency.targets for endpoint in report.endpoints if endpoint.latency.targets}
    if not targets:
        return []
    scale = plots.scale_for(list(targets.values()))
    rows: list[LatencyRow] = []
    for record in latency_frame(report).to_dict("records"):
        endpoint = str(record["endpoint"])
        low = float(record["ratio_low"])
        rows.append(
            LatencyRow(
                endpoint=endpoint,
                compared=int(record["compared"]),
                plot=Markup(plots.latency_strip(endpoint, targets[endpoint], scale)),  # noqa: S704 - escaped by the writer
                medians={role.value: milliseconds(quantiles.p50_ms) for role, quantiles in targets[endpoint].items()},
                delta=_delta(float(record["delta_p50_ms"])),
                ratio=_ratio(float(record["ratio"]), low, float(record["ratio_high"])),
                slower=low > 1.0,
                gates=bool(record["gates"]),
            )
        )
    return rows


def _delta(value_ms: float) -> str:
    if value_ms != value_ms:  # noqa: PLR0124 - not a number: no candidate or no control was timed
        return "–"
    return f"{'+' if value_ms >= 0 else '−'}{milliseconds(abs(value_ms))}"


def _ratio(ratio: float, low: float, high: float) -> str:
    if ratio != ratio:  # noqa: PLR0124 - NaN alone is not itself
        return "–"
    return f"× {ratio:.2f}" if low != low else f"× {ratio:.2f} ({low:.2f} to {high:.2f})"  # noqa: PLR0124 - as above
