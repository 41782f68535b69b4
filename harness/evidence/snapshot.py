"""What the ledger says at one moment: the value that gate, metrics, reports and web read.

Nothing here decides anything. Nothing here holds traffic values but redacted ones that name a slice: examples are named by trial id.
"""

import msgspec

from harness.core.labels import Aspect, Control, Design, FindingClass, Kind, Occurrence, ReasonCode, Severity, VerdictState
from harness.evidence.slices import Slice


class Interval(msgspec.Struct, frozen=True):
    """A confidence interval; `level` is its coverage, e.g. 0.95."""

    low: float
    high: float
    level: float


class TargetLatency(msgspec.Struct, frozen=True):
    """Quantiles in milliseconds."""

    p50_ms: float
    p90_ms: float
    p99_ms: float


class LatencyChannel(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is judged of an endpoint's latency: its median, a tail, or a budget; how large it is, and its evidence."""

    path: str
    """`p50`, `tail1.5x`, `tail2x`, `tail4x`, or a budget as `budget p99 +10%` or `budget p99 300ms`."""
    factor: float | None = None
    """How many times the other's time counts as beyond; None for a budget."""
    threshold_ms: float | None = None
    """What counts as beyond now, for a budget; None until enough is known of the control."""
    share: float = 0.0
    """Share of the pairs in which the candidate is beyond."""
    share_control: float = 0.0
    """Share in which the control is."""
    blocks: int = 0
    """Blocks of requests that told the two apart, or, for a budget in milliseconds, all of them."""
    blocks_slower: int = 0
    """Those of them in which the candidate was beyond more often."""
    log10_e: float = 0.0
    """Largest evidence reached."""
    log10_threshold: float = 0.0


class LatencyEffect(msgspec.Struct, frozen=True, kw_only=True):
    """How large the difference is that a finding on latency is about."""

    channel: LatencyChannel
    ratio: float | None = None
    """Median of the paired ratios, candidate over control."""
    candidate: TargetLatency | None = None
    control: TargetLatency | None = None


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may accept of a finding on speed, on noisy values or on determinism: how large it is, and how often it shows."""

    median: float | None = None
    """Candidate less stable; of speed, candidate divided by control."""
    low: float | None = None
    high: float | None = None
    unit: str = ""
    """`s` for times."""
    looks: int = 0
    """How often it was looked at."""
    hits: int = 0
    """How often it showed."""
    rate_low: float = 0.0
    rate_high: float = 1.0
    """95 % interval of the rate, by witnesses: trials of a stream, passes, blocks of requests."""
    still_high: float = 1.0
    """Of determinism: the upper end for staying as it was where stable changed; the rate is that of changing where stable did not."""
    outside_log10: float = 0.0
    """Evidence that it shows more often than it was accepted."""


class Occurs(msgspec.Struct, frozen=True, kw_only=True):
    """When a finding happens, by passes that sent the whole capture; of aspect `determinism` by pairs of them."""

    when: Occurrence
    parallel: int = 0
    """Passes that sent requests in parallel."""
    parallel_shown: int = 0
    """Those of them that show it, in any request."""
    alone: int = 0
    """Passes that sent one request at a time."""
    alone_shown: int = 0


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One hypothesis (endpoint, aspect, path, kind) and where its evidence stands."""

    id: str
    """Hash of (endpoint, aspect, path, kind); the same from run to run."""
    endpoint: str
    aspect: Aspect
    path: str
    kind: Kind
    finding_class: FindingClass
    severity: Severity
    compared: int
    """Trials of the endpoint that were compared."""
    diverged: int
    """Trials in which the candidate alone differs here."""
    control_diverged: int
    """Trials in which a stable instance differs from the other here."""
    log10_e: float
    """Largest evidence reached, as log10 of the e-value."""
    log10_threshold: float
    """What it must reach to be named a divergence."""
    rate: float
    """Excess rate of the candidate over the control."""
    interval: Interval
    decided_at: int | None = None
    """Sequence number of the trial at which it was decided."""
    decided_pass: int | None = None
    confirmed: int = 0
    """Repeats from fresh state in which the difference came back."""
    repeats: int = 0
    """Repeats from fresh state that were counted."""
    root: str | None = None
    """The finding this one follows from."""
    exemplars: tuple[str, ...] = ()
    """Ids of trials that show it."""
    more_requests: int | None = None
    """About how many more requests it needs to be decided, where it is not."""
    noisy: bool = False
    """The control differs here in more than the policy's share of trials: it does not gate at delta."""
    followers: int = 0
    """Further trials in which the candidate alone differs and which follow from an earlier divergence of the session."""
    blocks: bool = True
    """Whether the policy lets it fail a run or keep it from passing."""
    detail: str = ""
    """For people, where a number says more: `off by +9 h`."""
    log10_confirmation: float = 0.0
    """Largest evidence reached by repeating one request of it, above its own threshold where that named it."""
    still: int = 0
    """Of aspect `determinism`: how often the candidate stayed as it was where stable changed; else it changed and stable did not."""
    slice: Slice | None = None
    """The part of the traffic that it is confined to, more or less, where one explains it beyond chance."""
    expected: int = 0
    """Trials in which the candidate alone differs as it was accepted; outside of `diverged`, but for class `expected`."""
    expected_first: int = 0
    """Those of them that send a request for the first time."""
    latency: LatencyEffect | None = None
    """How large it is, for a finding on latency."""
    noted: Noted | None = None
    """What may be accepted of it, where that is not told by differences."""
    occurs: Occurs | None = None
    """When it happens; None of a stream, and where it takes more than one pass to say."""


class EndpointState(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint's counts and latency."""

    endpoint: str
    compared: int
    diverged: int
    bound: float | None = None
    """Upper bound (95 %) of the rate of diverging requests, where none diverged."""
    latency: dict[str, TargetLatency] = {}
    """By role."""
    ratio: float | None = None
    """Median of the paired ratios, candidate over control."""
    interval: Interval | None = None
    """Of the median ratio, valid at every look; None with too few blocks to reject anything."""
    latency_gates: bool = False
    statuses: dict[str, dict[str, int]] = {}
    """By role, by status class: counts."""
    requests: int = 0
    """Compared requests that were sent for the first time (each request of a capture once, however many passes)."""
    latency_channels: tuple[LatencyChannel, ...] = ()
    """What is judged of its latency: median, tails, budgets."""


class PoolEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """One pooled hypothesis: every endpoint together."""

    name: str
    log10_e: float
    """Largest evidence reached."""
    log10_threshold: float
    decided_at: int | None = None


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One claim of a rollout pass: "the candidate's excess here is below `delta`"."""

    hypothesis: str
    """For people: `endpoint aspect path kind`, an endpoint, or a pool."""
    delta: float
    log10_w: float
    """Evidence for it."""
    log10_needed: float
    more_requests: int | None = None
    """About how many more requests it needs, at the rates seen; 0 when it is reached."""


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why; `finding` is a finding's id where the reason is about one."""

    code: ReasonCode
    message: str
    finding: str | None = None
    next_step: str = ""


class Blocking(msgspec.Struct, frozen=True):
    """What keeps a verdict from being reached, and about how many more requests it needs (None: unknown)."""

    hypothesis: str
    more_requests: int | None = None


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """What a pass claims."""

    requests: int
    rate: float
    level: float
    sentence: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's answer, always with reasons; the first reason is the headline."""

    state: VerdictState
    reasons: tuple[Reason, ...]
    bound: Bound | None = None
    blocking: tuple[Blocking, ...] = ()


class BrokenRule(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a policy's rule on effects (`at_most` or `at_least`), and how the candidate broke it at one endpoint."""

    rule: int
    """Its place in the policy, from 0."""
    effect: str
    """The rule's pattern."""
    limit: int
    missing: bool
    """The candidate did less than `at_least`; otherwise more than `at_most`."""
    why: str
    endpoint: str
    judged: int
    """Trials of the endpoint that the rule was applied to."""
    trials: int
    """Those that break it."""
    untold: int
    """Those in which the candidate did less than `at_least`, which prove nothing: its effects had not all come, it did not answer,
    or the trial follows from an earlier divergence of its session."""
    candidate: int
    """What the candidate did in the trial that breaks it most."""
    stable_min: int
    """The least that stable did in a trial that breaks it."""
    stable_max: int
    stable_broke: int
    """Those of the trials in which stable breaks it too."""
    collectors: tuple[str, ...] = ()
    """Which collectors saw the effect at any target, anywhere in the run."""
    exemplars: tuple[str, ...] = ()
    """Ids of trials that break it, the first one first."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger at one moment."""

    seq: int
    """Trials folded."""
    control: Control
    design: Design
    passes: int
    gate_log10: float
    """log10 of the run's pooled evidence G."""
    gate_log10_threshold: float
    """log10(1/alpha)."""
    findings: tuple[Evidence, ...] = ()
    """Divergences and undecided ones, gravest first."""
    noise: tuple[Evidence, ...] = ()
    endpoints: tuple[EndpointState, ...] = ()
    open_questions: int = 0
    """Hypotheses and confirmations that more passes could decide."""
    pooled_hypotheses: int = 0
    """Hypotheses beyond the bound, counted in the pools only."""
    compared_in_passes: dict[int, int] = {}
    """Pass index -> compared trials."""
    status_mismatch_recorded: int = 0
    """Trials in which stable's status class differs from the recorded one (recorded answers only)."""
    recorded: int = 0
    """Trials with a recorded answer."""
    status_mismatch_control: int = 0
    """Trials in which secondary's status class differs from stable's."""
    vacuous: dict[str, str] = {}
    """Endpoint -> reason code (vacuous_auth, vacuous_data, vacuous_errors)."""
    vacuous_trials: int = 0
    """Compared trials of those endpoints."""
    latency_valid: bool = True
    failed_at: int | None = None
    """Trials folded when the gate failed, by its evidence or by a hard rule; None while it has not."""
    failed_pass: int | None = None
    proven_at: int | None = None
    """Trials folded when the evidence alone failed the gate."""
    hard: tuple[BrokenRule, ...] = ()
    """The policy's rules on effects that the candidate broke, or may have."""
    rules_unmet: tuple[str, ...] = ()
    """Rules on effects, in words, that no judged trial was of the endpoint of."""
    pools: tuple[PoolEvidence, ...] = ()
    claims: tuple[Claim, ...] = ()
    """What a rollout pass claims; empty under preset capture."""
    fresh: bool = False
    """Whether repeats count: the latest pass was sent from fresh state."""
    requests_distinct: int = 0
    """Compared requests sent for the first time, without those of vacuous endpoints."""
    requests_diverged: int | None = 0
    """Those of them that showed a difference of the candidate alone, outside noisy fields; None: too many to remember."""
    uncomparable: int = 0
    """Trials of which a comparator could not finish a part."""
    repeats: int = 0
    """Trials that were sent only to answer a question."""
    repeats_of_stable: int = 0
    """Those of them that were sent to stable too."""
    pooled_candidate: int = 0
    """Differences of the candidate alone beyond the bound on hypotheses."""
    thin_endpoints: tuple[str, ...] = ()
    """Endpoints with too few requests for a bound of their own."""
    latency_tails_valid: bool = True
    """Stable and secondary are alike in the tails of their latency too."""
