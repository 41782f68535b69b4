"""The values of report.json, written and read. Owns the contract; knows no file, clock or page.

Everything that reads a finished run (HTML, JUnit, Markdown, terminal) reads a `Report`, so they cannot disagree.
"""

from enum import StrEnum
from typing import Final

import msgspec

from harness.core.canon import RuleAction
from harness.core.errors import SetupError
from harness.core.labels import (
    Aspect,
    Control,
    EffectsSeen,
    FindingClass,
    Kind,
    RefusedReason,
    Role,
    RunMode,
    Severity,
    ShedReason,
    SkipReason,
    VerdictState,
)
from harness.core.watched import EffectsFacts
from harness.evidence.seen import Seen
from harness.evidence.slices import Slice
from harness.evidence.snapshot import Blocking, Bound, Interval, LatencyChannel, LatencyEffect, Occurs, Reason, TargetLatency
from harness.report.text import clean

SCHEMA: Final = "shadowdiff-report-1"
"""Value of the key `schema`. The number changes only when a key changes its meaning or goes."""


class TargetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A target as it took part in the run."""

    address: str
    """Base URL, without credentials."""
    command: str | None = None
    """The command that started it, where the harness did."""


class CaptureFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A capture that was replayed."""

    file: str
    format: str
    entries: int
    digest: str = ""
    """SHA-256 of the file, in hex."""


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """What went into the run besides traffic, so that it can be repeated."""

    command_line: str = ""
    captures: tuple[CaptureFacts, ...] = ()
    comparators: dict[str, str] = {}
    """Name to version."""
    formats: dict[str, str] = {}
    """Name to version."""
    python: str = ""
    platform: str = ""
    labels: dict[str, str] = {}
    """What was said of the candidate (commit, author-kind, model): by options, environment, configuration and its commit."""


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Which run this is."""

    id: str
    started: str
    """ISO 8601, UTC."""
    seconds: float
    mode: RunMode
    targets: dict[Role, TargetFacts]
    build: str = ""
    """What the candidate is called by those who ask for its verdict."""
    seed: int | None = None
    version: str = ""
    """Of the harness."""
    provenance: Provenance = Provenance()


class PolicyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The policy the run was judged by."""

    name: str
    digest: str
    """SHA-256 over all its numbers, in hex."""
    preset: str
    alpha: float
    beta: float
    delta: float
    ref: str = ""
    """The ref of a repository at which it was read; empty where that was its folder."""
    conditions: tuple[str, ...] = ()
    """Its conditions that applied to the candidate's labels, in words; the numbers are those with them."""


class RequestTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Where every request went: requests = compared + shed + skipped + refused."""

    requests: int
    compared: int
    diverged: int
    shed: dict[ShedReason, int] = {}
    skipped: dict[SkipReason, int] = {}
    refused: dict[RefusedReason, int] = {}


class BodyView(msgspec.Struct, frozen=True, kw_only=True):
    """What a report shows of a body: canonical lines around the first difference, bounded."""

    text: str = ""
    first_line: int = 1
    """Number of the first line shown, counted from 1."""
    cut: bool = False
    """Whether lines before or after it, or the ends of long lines, are not shown."""
    size: int = 0
    """Bytes as received."""
    note: str = ""
    """Why there is no text (binary, unreadable coding), or what was done to show it."""


class RequestView(msgspec.Struct, frozen=True, kw_only=True):
    """A request as shown: redacted and bounded."""

    method: str
    target: str
    host: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: BodyView = BodyView()


class AnswerView(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as shown: redacted and bounded; `error` where none came."""

    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: BodyView = BodyView()
    error: str | None = None
    latency_ms: float | None = None


class EffectMark(StrEnum):
    """How an effect of one target compares with its partner: the candidate's for stable's, stable's for all others'."""

    SAME = "same"
    """The partner's document reads the same."""
    GENERATED = "generated"
    """The same operation; only generated values (identifiers, times, random words) are others."""
    SHIFTED = "shifted"
    """The same change of a stored row that held other values before."""
    CHANGED = "changed"
    """The same operation, with a document that differs beyond that."""
    MISSING = "missing"
    """Stable does it, the candidate does not (or less often)."""
    EXTRA = "extra"
    """Stable does nothing of the kind."""
    DUPLICATED = "duplicated"
    """Stable does it too, less often."""


class EffectView(msgspec.Struct, frozen=True, kw_only=True):
    """One effect as shown: redacted and bounded."""

    row: int
    """Effects of the same row, one a target at most, stand beside each other."""
    position: int
    """Its place among all effects of its target in this request, counted from 1."""
    collector: str
    operation: str
    document: str = ""
    """What it was done with: JSON, indented, keys in order; around the first difference where it is long."""
    cut: bool = False
    """Whether some of the document is not shown."""
    writes: bool = True
    """It changes something outside; a read does not."""
    late: bool = False
    """It came after the request had been judged."""
    note: str = ""
    """How it was answered, where that is known."""
    mark: EffectMark = EffectMark.SAME


class Exemplar(msgspec.Struct, frozen=True, kw_only=True):
    """One trial that shows a finding. Built from a redacted trial only."""

    finding: str
    trial_id: str
    request: RequestView
    stable: AnswerView
    candidate: AnswerView | None = None
    secondary: AnswerView | None = None
    where: str = ""
    """The concrete place (`$.items[3].price`)."""
    explanation: str = ""
    """What differs, for people: a sentence, and lines about the place where there is more to say."""
    command: str = ""
    """Shell snippet that sends the request to both builds and compares the answers."""
    times: dict[Role, int] = {}
    """How often each target did the side effect that the finding is about; empty where it is not about one as a whole."""
    effects: dict[Role, tuple[EffectView, ...]] = {}
    """What each target did to the outside meanwhile, by row; empty where effects were not watched or none was seen."""
    effects_left_out: int = 0
    """Effects that are not shown, of all targets together."""
    effects_seen: EffectsSeen = EffectsSeen.NONE
    """Whether all effects had come when the request was judged."""


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """Whose word a finding is expected by, or was."""

    reason: str
    by: str
    expires: str
    must_change: bool = False


class FindingView(msgspec.Struct, frozen=True, kw_only=True):
    """One hypothesis with its evidence and examples."""

    id: str
    endpoint: str
    aspect: Aspect
    path: str
    kind: Kind
    finding_class: FindingClass = msgspec.field(name="class")
    severity: Severity
    compared: int
    diverged: int
    control_diverged: int
    log10_e: float
    log10_threshold: float
    rate: float
    interval: Interval
    detail: str = ""
    """How large it is, where a number says more: `off by +9 h`."""
    slice: Slice | None = None
    """The part of the traffic it is confined to, more or less, where one explains it beyond chance."""
    root: str | None = None
    """Id of the finding that this one follows from, where it does."""
    decided_at: int | None = None
    decided_pass: int | None = None
    confirmed: int = 0
    repeats: int = 0
    more_requests: int | None = None
    log10_confirmation: float = 0.0
    """Evidence from repeating one request of it from fresh state; what named it where `log10_e` is below the threshold."""
    followers: int = 0
    """Those of `diverged` that follow from an earlier divergence of their session."""
    noisy: bool = False
    """The control differs here too often for a claim about this place."""
    blocks: bool = True
    """Whether the policy lets it fail a run or keep it from passing."""
    exemplars: tuple[Exemplar, ...] = ()
    seen: Seen | None = None
    """What the differences are, redacted: what `shadowdiff accept` writes down."""
    expected: int = 0
    """Requests that show it as it was accepted; part of `diverged` where the class is `expected`."""
    accepted: Accepted | None = None
    """Who accepted it, why and until when."""
    latency: LatencyEffect | None = None
    """How large it is, for a finding on latency: ratio, quantiles, and the share that is beyond."""
    occurs: Occurs | None = None
    """When it happens: always, sometimes, only under load or only alone, by passes."""


class LatencyView(msgspec.Struct, frozen=True, kw_only=True):
    """Latency of one endpoint."""

    targets: dict[Role, TargetLatency] = {}
    ratio: float | None = None
    """Median of the paired ratios, candidate over control."""
    interval: Interval | None = None
    """Of the ratio."""
    gates: bool = False
    """Whether there was enough of it to decide anything."""
    channels: tuple[LatencyChannel, ...] = ()
    """What is judged of it: median, tails, budgets; how large each is, and its evidence."""


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint's counts."""

    endpoint: str
    compared: int
    diverged: int
    bound: float | None = None
    latency: LatencyView = LatencyView()
    statuses: dict[Role, dict[str, int]] = {}


class RuleView(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of the configuration, and whether it ever had an effect."""

    index: int
    action: RuleAction
    endpoint: str
    aspect: Aspect
    path: str
    why: str = ""
    used: bool = True


class Blind(msgspec.Struct, frozen=True, kw_only=True):
    """Something that could not be seen or kept."""

    what: str
    count: int | None = None


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What the traffic exercised."""

    endpoints: int
    methods: dict[str, int]
    """Compared trials by method."""
    status_classes: dict[str, int]
    """Stable's answers by status class."""
    vacuous: dict[str, str] = {}
    """Endpoints that only looked exercised, with the reason code."""
    thin: tuple[str, ...] = ()
    """Endpoints with too few requests for a claim of their own."""
    not_compared: tuple[str, ...] = ()
    """Endpoints that were seen and never compared."""


class SettingUsed(msgspec.Struct, frozen=True, kw_only=True):
    """One setting and where its value came from."""

    key: str
    value: str
    source: str


class ResumedFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The proxy was killed, and this epoch resumed by another process: the same run, with the same alpha."""

    at: str
    """UTC, such as 2031-05-17T09:30:00Z."""
    lost: int
    """Requests that had no outcome stored when it was killed; they are in `totals.shed` as `killed`, and count as not completed."""
    seconds: float
    """The evidence that was lost is of so many seconds at most, beside that of requests under way."""


class EpochFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Which epoch of a live run the report is about, and what a false alarm has for a chance."""

    number: int
    """From 1."""
    closed_by: str
    """Why it ended: `build`, `period`, `acceptance`, `request` or `end` (of the run)."""
    period_s: float | None = None
    """How long an epoch lasts at most, in seconds; null without such a bound."""
    alpha: float
    """Chance of a false alarm in this epoch, at most."""
    runs_a_month: int | None = None
    """Epochs in a month of 31 days, with a period; a change of build makes one more."""
    alpha_a_month: float | None = None
    """Chance of a false alarm in any of them, at most: `alpha` for each (union bound)."""
    resumed: tuple[ResumedFacts, ...] = ()
    """When the epoch went on after the proxy had been killed, oldest first."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of report.json."""

    schema: str
    """Which contract this is."""
    verdict: VerdictState | None
    """`pass`, `fail` or `inconclusive`; null for a replay, which judges nothing."""
    reasons: tuple[Reason, ...]
    """Why, each with a code, a message, the finding it is about and a next step; the first is the headline."""
    run: RunFacts
    """Which run: id, start, seconds, mode, targets, build, seed, version, and what was replayed with what."""
    policy: PolicyFacts
    """The policy it was judged by."""
    control: Control
    """What told noise from divergence."""
    totals: RequestTotals
    """Where every request went."""
    errors: dict[Role, int]
    """Transport errors and time-outs by target; they are outcomes of compared requests, so informational."""
    passes: int
    """How often the capture was sent."""
    bound: Bound | None
    """What a pass claims, as numbers and a sentence; null where nothing is claimed."""
    endpoints: tuple[EndpointView, ...]
    """Counts, statuses and latency of each endpoint."""
    findings: tuple[FindingView, ...]
    """Divergences and undecided differences, gravest first, with exemplars."""
    noise: tuple[FindingView, ...]
    """Places in which the control differs as well; set aside."""
    rules: tuple[RuleView, ...]
    """The rules of the configuration."""
    unused_rules: tuple[RuleView, ...]
    """Those of them that matched nothing."""
    blocking: tuple[Blocking, ...]
    """What keeps a verdict from being reached, and about how many more requests it needs."""
    blind: tuple[Blind, ...]
    """What could not be seen or kept."""
    coverage: Coverage
    """What the traffic exercised."""
    settings: tuple[SettingUsed, ...] = ()
    """The settings used and where each came from; secrets redacted."""
    effects: EffectsFacts = EffectsFacts()
    """What was watched of side effects: by which collectors, what belongs to no request, how stored tables ended."""
    epoch: EpochFacts | None = None
    """Which epoch of a live run this is; null for a capture."""
    repeats: dict[Role, int] = {}
    """How often each target was asked again about live traffic, to see whether a difference comes back; empty where none was."""


def encode_report(report: Report) -> bytes:
    """report.json: UTF-8, indented, ending in a newline."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def decode_report(data: bytes, *, where: str = "report.json") -> Report:
    """The opposite of `encode_report`; keys unknown to this version are passed over.

    Raises SetupError for another schema or anything that is not a report.
    """
    try:
        schema = msgspec.json.decode(data, type=_SchemaOnly).schema
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SetupError(f"not a report: {error}", where=where, fix="give a run directory or report.json of shadowdiff") from error
    if schema != SCHEMA:
        raise SetupError(
            f"report schema {clean(schema)!r} cannot be read here; {SCHEMA!r} can",
            where=where,
            fix="use the version of shadowdiff that wrote it, or a newer one",
        )
    try:
        return msgspec.json.decode(data, type=Report)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SetupError(f"damaged report: {error}", where=where, fix="restore the file, or run it again") from error


class _SchemaOnly(msgspec.Struct):
    schema: str
    """Which contract this is."""


def findings_of(report: Report, finding_class: FindingClass) -> list[FindingView]:
    """The report's findings of one class, gravest first."""
    return [finding for finding in report.findings if finding.finding_class is finding_class]
