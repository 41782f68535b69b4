"""Findings and counts in plain words, the same in every output. Pure."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from harness.core.labels import (
    NOISE_KINDS,
    Aspect,
    Control,
    FindingClass,
    Kind,
    ReasonCode,
    RefusedReason,
    Role,
    RunMode,
    Severity,
    ShedReason,
    SkipReason,
    VerdictState,
)
from harness.evidence.slices import COVERAGE, Slice
from harness.evidence.snapshot import Evidence, Reason
from harness.report.effect_words import effect_kind_words, effect_place_words, often_words, table_lines, times_words
from harness.report.model import FindingView, Report
from harness.report.occurs_words import occurs_words
from harness.report.text import clean, count_of, percent

KIND_WORDS: Final[dict[Kind, str]] = {
    Kind.MISSING: "missing in the candidate",
    Kind.EXTRA: "only in the candidate",
    Kind.TYPE: "another type",
    Kind.NULL: "null on one side only",
    Kind.CODE: "another status code",
    Kind.ERROR: "an answer on one side only",
    Kind.MEDIA_TYPE: "another media type",
    Kind.MALFORMED: "malformed on one side",
    Kind.DUPLICATE_KEY: "a repeated key on one side",
    Kind.UNCOMPARABLE: "could not be compared",
    Kind.FORMAT: "another format",
    Kind.LENGTH: "another length",
    Kind.VALUE: "another value",
    Kind.ORDER: "another order",
    Kind.DUPLICATED: "done more often",
    Kind.FEWER: "done less often",
    Kind.SLOWER: "slower",
    Kind.STYLE: "written in another way",
    Kind.DISTANCE: "further off than stable from itself",
    Kind.BIAS: "shifted to one side",
    Kind.MIX: "another mix of values",
    Kind.SEQUENCE: "follows from the answer before in another way",
}

CLASS_WORDS: Final[dict[FindingClass, str]] = {
    FindingClass.DIVERGENCE: "divergence",
    FindingClass.UNDECIDED: "undecided",
    FindingClass.EXPECTED: "expected",
    FindingClass.NOISE: "noise",
}

CONTROL_WORDS: Final[dict[Control, str]] = {
    Control.SECONDARY: "a second instance of stable",
    Control.SELF: "stable asked twice (latency is not judged)",
    Control.RECORDED: "the recorded answers",
    Control.NONE: "none: noise cannot be told from divergence",
}

SKIP_WORDS: Final[dict[SkipReason, str]] = {
    SkipReason.WRITE: "writes: an unsafe method, and the targets were not said to have stores of their own",
    SkipReason.OTHER_HOST: "requests to hosts that are not mapped to the targets",
    SkipReason.BROKEN_ENTRY: "capture entries that could not be read",
    SkipReason.UPGRADE: "protocol upgrades, relayed to stable only",
    SkipReason.NO_SHADOW: "requests with neither secondary nor candidate to compare with",
    SkipReason.LOOP: "requests that a harness had mirrored already",
    SkipReason.TRUNCATED_REQUEST: "requests with bodies too large to be sent again",
    SkipReason.INTERRUPTED: "requests whose turn did not come before the run ended",
    SkipReason.EXCLUDED: "requests to paths that are never mirrored: log-out, one-time links and what was configured",
    SkipReason.SAMPLED_OUT: "requests outside the sample that is mirrored",
    SkipReason.SWITCHED_OFF: "requests that came while mirroring was switched off",
    SkipReason.OTHER_BUILD: "requests that another build of the candidate answered",
    SkipReason.EARLIER_EPOCH: "requests that were under way when the epoch began, or whose answers announced its build",
}

SHED_WORDS: Final[dict[ShedReason, str]] = {
    ShedReason.IN_FLIGHT: "given up before sending: too many shadow requests under way",
    ShedReason.QUEUE_FULL: "given up before sending: the comparison queue was full",
    ShedReason.SHUTDOWN: "given up before sending: the harness was stopping",
    ShedReason.FAULT: "given up before sending: an error inside the harness",
    ShedReason.RATE: "given up before sending: more requests a second than the shadow targets may get",
    ShedReason.BREAKER: "given up before sending: a shadow target had failed or was slow too often",
    ShedReason.WORKER_LOST: "lost: a worker process ended before they were compared",
    ShedReason.KILLED: "lost: the proxy was killed before they were stored, and resumed",
    ShedReason.LAG: "given up before sending: the receiver of copies was behind",
}

REFUSED_WORDS: Final[dict[RefusedReason, str]] = {
    RefusedReason.BAD_REQUEST: "refused: not HTTP, or ambiguous",
    RefusedReason.HEAD_TOO_LARGE: "refused: headers too large",
    RefusedReason.BODY_TOO_LARGE: "refused: body too large",
    RefusedReason.CONNECT: "refused: CONNECT is not served",
    RefusedReason.UPSTREAM_UNREACHABLE: "refused: stable could not be reached",
    RefusedReason.UPSTREAM_BROKEN: "refused: stable's answer was not HTTP or ended early",
    RefusedReason.UPSTREAM_TIMEOUT: "refused: stable did not answer in time",
    RefusedReason.CLIENT_GONE: "the client left before its request was complete",
    RefusedReason.CLIENT_TIMEOUT: "refused: the client sent too slowly",
    RefusedReason.SHUTDOWN: "the harness stopped before their answer was complete",
    RefusedReason.TOO_MANY_CLIENTS: "refused: too many clients were connected",
}

HEADLINE: Final[dict[VerdictState | None, str]] = {
    VerdictState.PASS: "The candidate behaves like stable, as far as the bound below says.",
    VerdictState.FAIL: "The candidate differs from stable beyond noise.",
    VerdictState.INCONCLUSIVE: "Nothing is proven either way. This is not a pass.",
    None: "A replay only compares: nothing is judged.",
}

LISTED_WORDS: Final[dict[ReasonCode, tuple[str, str]]] = {
    ReasonCode.DIVERGENCE: ("divergence", "divergences"),
    ReasonCode.LATENCY: ("finding of a slower endpoint", "findings of slower endpoints"),
    ReasonCode.HARD_RULE: ("difference that the policy forbids", "differences that the policy forbids"),
    ReasonCode.UNDECIDED: ("difference too rare to decide", "differences too rare to decide"),
}
"""What reasons about findings are called where a table has the findings themselves: one and many."""

MODE_WORDS: Final[dict[RunMode, str]] = {
    RunMode.GATE: "gate",
    RunMode.REPLAY: "replay",
    RunMode.PROXY: "live proxy",
    RunMode.DEMO: "demo",
}


class Why(msgspec.Struct, frozen=True):
    """Reasons with the same next step, in words."""

    lines: tuple[str, ...]
    next_step: str


class Step(msgspec.Struct, frozen=True):
    """Reasons with the same next step."""

    next_step: str
    reasons: tuple[Reason, ...]
    followers: tuple[Reason, ...] = ()
    """Those about findings that follow from one that a reason above is about: they are counted, and not told one by one."""


class Family(msgspec.Struct, frozen=True):
    """A finding, and those that follow from it."""

    root: FindingView
    followers: tuple[FindingView, ...] = ()


def verdict_word(verdict: VerdictState | None) -> str:
    """`PASS`, `FAIL`, `INCONCLUSIVE`, or `NO VERDICT` for a replay."""
    return verdict.value.upper() if verdict else "NO VERDICT"


def place_words(finding: FindingView | Evidence) -> str:
    """Where a finding is: `body $.total`, `header etag`, `status`, "effect `POST payments.test/charge` (http): body.amount"."""
    if finding.aspect is Aspect.EFFECTS:
        return effect_place_words(finding.path)
    if finding.aspect in (Aspect.STATUS, Aspect.TRANSPORT) or (finding.aspect is Aspect.LATENCY and finding.path == "p50"):
        return finding.aspect.value
    if finding.aspect is Aspect.HEADERS:
        return f"header {finding.path}"
    return f"{finding.aspect.value} {finding.path}"


def kind_words(finding: FindingView | Evidence) -> str:
    """What the candidate does otherwise: `another value`; of an effect `done more often`."""
    if finding.aspect is Aspect.EFFECTS and (said := effect_kind_words(finding.path, finding.kind)) is not None:
        return said
    return KIND_WORDS[finding.kind]


def what_words(finding: FindingView) -> str:
    """What the candidate does otherwise; of an effect done more or less often with the counts of an example."""
    times = next((exemplar.times for exemplar in finding.exemplars if exemplar.times), None)
    return f"{often_words(finding.kind, times)} (in an example {times_words(times)})" if times else kind_words(finding)


def evidence_words(finding: FindingView, report: Report) -> str:
    """`14 of 14 requests, control 0 of 14`, and what repeats showed; for latency the ratio of the medians."""
    if finding.aspect is Aspect.LATENCY:
        return _latency_words(finding, report)
    if finding.kind in NOISE_KINDS and finding.aspect is not Aspect.DETERMINISM:
        off = f"{finding.detail}; " if finding.detail else ""
        return f"{off}the candidate stood alone in {finding.diverged:,} of {count_of(finding.compared, 'answer')} in which one did"
    words = f"{finding.diverged:,} of {count_of(finding.compared, 'request')}, control {finding.control_diverged:,} of {finding.compared:,}"
    if finding.followers:
        words += f"; in {finding.followers:,} of them its session had differed before"
    if finding.repeats:
        words += f"; came back in {finding.confirmed:,} of {count_of(finding.repeats, 'repeat')}"
    if when := occurs_words(finding):
        words += f"; {when}"
    if finding.slice is not None:
        words += f"; {finding.slice.sentence}"
    return words + accepted_words(finding)


def accepted_words(finding: FindingView) -> str:
    """Who accepted a finding, why and until when, after a semicolon; empty where nobody did."""
    said = finding.accepted
    if said is None:
        return ""
    how = "accepted" if finding.finding_class is FindingClass.EXPECTED else f"accepted otherwise ({finding.expected:,} so)"
    return f"; {how} by {said.by} until {said.expires}: {said.reason}"


def _latency_words(finding: FindingView, report: Report) -> str:
    if finding.path != "p50" and finding.latency is not None:
        channel = finding.latency.channel
        blocks = f"more often than the control in {channel.blocks_slower:,} of {count_of(channel.blocks, 'block')}"
        beyond = f"over {channel.factor:g} times the control's time" if channel.factor is not None else "over the limit"
        timed = count_of(finding.compared, "request")
        return f"{beyond} in {100.0 * channel.share:.2g} % of {timed}, control {100.0 * channel.share_control:.2g} %; {blocks}"
    timed = f"{count_of(finding.compared, 'request')} timed"
    for endpoint in report.endpoints:
        latency = endpoint.latency
        if endpoint.endpoint == finding.endpoint and latency.ratio is not None:
            words = f"median {latency.ratio:.2f} times the control's, {timed}"
            return words if latency.interval is None else f"{words} ({latency.interval.low:.2f} to {latency.interval.high:.2f})"
    return timed


def class_words(finding: FindingView) -> str:
    """What the evidence says of a finding, and whether the policy lets it block."""
    said = CLASS_WORDS[finding.finding_class]
    return said if finding.blocks else f"{said}, does not block"


def strength_words(finding: FindingView) -> str:
    """How far the evidence is, for people who know e-values: over all requests, and from repeating one of them."""
    reached = 10 ** min(finding.log10_e, 15)
    needed = 10 ** min(finding.log10_threshold, 15)
    words = f"evidence {_odds(reached)} : 1, needed {_odds(needed)} : 1"
    if finding.log10_confirmation > 0.0:
        named = finding.finding_class is FindingClass.DIVERGENCE and finding.log10_e < finding.log10_threshold
        repeated = f"repeating one request {_odds(10 ** min(finding.log10_confirmation, 15))} : 1"
        words += f"; {repeated}, which named it" if named else f"; {repeated}"
    return words


def _odds(value: float) -> str:
    return f"{value:,.0f}" if value < 1e6 else f"{value:.0e}".replace("e+", "e").replace("e0", "e")


def rate_words(finding: FindingView) -> str:
    """The excess rate and its interval."""
    level = percent(finding.interval.level)
    return f"{percent(finding.rate)} (between {percent(finding.interval.low)} and {percent(finding.interval.high)}, {level} confidence)"


def more_words(finding: FindingView) -> str:
    """What an undecided finding still needs; empty for others."""
    if finding.finding_class is not FindingClass.UNDECIDED:
        return ""
    if finding.more_requests is None:
        return "too rare to decide so far"
    return f"about {count_of(finding.more_requests, 'more request')} would decide"


def reason_words(reason: Reason, report: Report) -> str:
    """A reason in words: about a finding of the report in the words that every output has for it, else its message or its code."""
    if reason.code in LISTED_WORDS:
        about = next((finding for finding in report.findings if finding.id == reason.finding), None)
        if about is not None:
            said = "; ".join(filter(None, (evidence_words(about, report), more_words(about))))
            return f"{about.endpoint}: {place_words(about)}, {kind_words(about)}: {said}."
    if report.bound is not None and reason.message == report.bound.sentence:
        return "The claim above is reached."
    return reason.message or reason.code.value.replace("_", " ")


def stored_words(report: Report) -> list[str]:
    """What the candidate left stored otherwise, a line each; none where a reason of the verdict says it already."""
    said = any(reason.code is ReasonCode.FINAL_STATE for reason in report.reasons)
    return [] if said else table_lines(report.effects)


def where_words(finding: FindingView, where: str) -> str:
    """The concrete place of an example, for people; empty where the finding's own place says as much."""
    if where in ("", "$"):
        return ""
    if finding.aspect is Aspect.EFFECTS:
        return "" if where == finding.path else effect_place_words(where)
    return where


def next_steps(reasons: Iterable[Reason]) -> list[tuple[str, tuple[Reason, ...]]]:
    """The reasons by next step, in the order in which each step comes first; so a step is said once."""
    groups: dict[str, list[Reason]] = {}
    for reason in reasons:
        groups.setdefault(reason.next_step, []).append(reason)
    return [(step, tuple(group)) for step, group in groups.items()]


def steps_of(report: Report) -> list[Step]:
    """The reasons by next step, apart where they are about findings that follow from another one that is told."""
    top = {follower.id: family.root.id for family in families(report.findings) for follower in family.followers}
    found: list[Step] = []
    for step, group in next_steps(report.reasons):
        about = {reason.finding for reason in group}
        below = [one.code in LISTED_WORDS and one.finding in top and top[one.finding] in about for one in group]
        told, followers = (tuple(one for one, is_below in zip(group, below, strict=True) if is_below is which) for which in (False, True))
        found.append(Step(step, told, followers))
    return found


def followers_words(count: int) -> str:
    """How many reasons of a step are not told one by one."""
    return f"{count_of(count, 'further finding follows', 'further findings follow')} from these."


def why_words(report: Report, listed: Collection[str] = ()) -> list[Why]:
    """The reasons in words, by next step. Those about findings in `listed` (ids), which a table above has, are only counted."""
    found: list[Why] = []
    for step in steps_of(report):
        counts: dict[ReasonCode, int] = {}
        lines: list[str] = []
        rest = sum(reason.finding not in listed for reason in step.followers)
        for reason in (*step.reasons, *(one for one in step.followers if one.finding in listed)):
            if reason.finding in listed and reason.code in LISTED_WORDS:
                counts[reason.code] = counts.get(reason.code, 0) + 1
            else:
                lines.append(reason_words(reason, report))
        told = [f"{count_of(count, *LISTED_WORDS[code])}, listed above." for code, count in counts.items()]
        below = (followers_words(rest),) if rest else ()
        found.append(Why(lines=(*told, *lines, *below), next_step=step.next_step))
    return found


def families(findings: Iterable[FindingView]) -> list[Family]:
    """Findings in their order, each with those that follow from it; a graver one is never put below a lighter one."""
    listed = list(findings)
    by_id = {finding.id: finding for finding in listed}
    below: dict[str, list[FindingView]] = {}
    roots: list[FindingView] = []
    for finding in listed:
        top = _top(finding, by_id)
        if top is finding:
            roots.append(finding)
        else:
            below.setdefault(top.id, []).append(finding)
    return [Family(root, tuple(below.get(root.id, ()))) for root in roots]


def _top(finding: FindingView, by_id: Mapping[str, FindingView]) -> FindingView:
    """The finding below which this one is shown: itself where it follows from none, or none that is listed and as grave."""
    seen = {finding.id}
    top = finding
    while (root := by_id.get(top.root or "")) is not None and _gravity(root) <= _gravity(finding):
        if root.id in seen:
            return finding
        seen.add(root.id)
        top = root
    return top


def _gravity(finding: FindingView) -> tuple[int, int]:
    """Divergences before all else, then by severity; the gravest is lowest."""
    return (not finding.blocks or finding.finding_class is not FindingClass.DIVERGENCE, list(Severity).index(finding.severity))


def follows_words(finding: FindingView, report: Report) -> str:
    """What a finding follows from, or which one the same requests show; empty where it has no root."""
    if not finding.root:
        return ""
    root = next((other for other in (*report.findings, *report.noise) if other.id == finding.root), None)
    if root is None:
        return f"follows from finding {finding.root}"
    if root.endpoint != finding.endpoint:
        return f"follows from {root.endpoint}: {place_words(root)}, {kind_words(root)}"
    coarser = root.aspect in (Aspect.STATUS, Aspect.TRANSPORT)
    return f"{'follows from' if coarser else 'in the same requests as'} {place_words(root)}, {kind_words(root)}"


def slice_words(found: Slice) -> str:
    """For whom it differs, with what the rate there may be."""
    return f"{found.sentence}; the rate there is between {percent(found.low)} and {percent(found.high)} ({percent(COVERAGE)} confidence)"


def counts_words(counts: Mapping[str, int] | Mapping[Role, int]) -> str:
    """`write 12, other host 3`; `none` where nothing was counted."""
    listed = [f"{clean(str(label)).replace('_', ' ')} {count:,}" for label, count in counts.items() if count]
    return ", ".join(listed) or "none"


def severity_counts(report: Report, finding_class: FindingClass) -> dict[Severity, int]:
    """How many findings of a class there are that block, by severity, highest first, without zeros."""
    counts = dict.fromkeys(Severity, 0)
    for finding in report.findings:
        if finding.blocks and finding.finding_class is finding_class:
            counts[finding.severity] += 1
    return {severity: count for severity, count in counts.items() if count}


def summary_words(report: Report) -> str:
    """One line: what was compared and what was found."""
    diverging = sum(severity_counts(report, FindingClass.DIVERGENCE).values())
    undecided = sum(severity_counts(report, FindingClass.UNDECIDED).values())
    words = [
        f"{count_of(report.totals.compared, 'request')} compared on {count_of(report.coverage.endpoints, 'endpoint')}",
        count_of(diverging, "divergence") if diverging else "no divergence",
    ]
    if undecided:
        words.append(f"{undecided:,} undecided")
    if report.passes > 1:
        words.append(count_of(report.passes, "pass", "passes"))
    if report.repeats:
        words.append("asked again: " + ", ".join(f"{role} {count:,} times" for role, count in report.repeats.items()))
    return ", ".join(words)


def not_compared_words(report: Report) -> list[tuple[int, str]]:
    """What was seen and not compared, as (count, why), most frequent first."""
    totals = report.totals
    found = [
        *((count, SKIP_WORDS[reason]) for reason, count in totals.skipped.items()),
        *((count, SHED_WORDS[reason]) for reason, count in totals.shed.items()),
        *((count, REFUSED_WORDS[reason]) for reason, count in totals.refused.items()),
    ]
    return sorted((entry for entry in found if entry[0]), key=lambda entry: -entry[0])


def not_exercised_words(report: Report) -> list[str]:
    """A line for everything that was not compared, only looked exercised, or could not be seen."""
    coverage = report.coverage
    return [
        *(f"{count:,} {why}" for count, why in not_compared_words(report)),
        *(f"{endpoint} was never compared" for endpoint in coverage.not_compared),
        *(f"{endpoint} only looked exercised ({reason.replace('_', ' ')})" for endpoint, reason in coverage.vacuous.items()),
        *(f"{'' if entry.count is None else f'{entry.count:,} '}{entry.what}" for entry in report.blind),
    ]
