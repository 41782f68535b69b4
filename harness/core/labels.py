"""The closed sets of labels that values carry.

Every label a person or a machine reads in a report, a metric or an exit is a member of one of these enums, so that
"what can this field be?" has one answer. Labels know nothing of how they are decided.
"""

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What a target is in a run."""

    STABLE = "stable"
    SECONDARY = "secondary"
    CANDIDATE = "candidate"


class Control(StrEnum):
    """What tells noise from divergence in a run."""

    SECONDARY = "secondary"
    """A second instance of stable."""
    SELF = "self"
    """Stable asked twice (safe methods only); latency is off."""
    RECORDED = "recorded"
    """The recorded answer; reserved for captures that carry one and have no running control."""
    NONE = "none"
    """Nothing: only "differs in more than eps0 of the requests" can be tested."""


class Design(StrEnum):
    """Which bet a trial supports (see harness/evidence)."""

    THREE_ARM = "three_arm"
    """All arms started alike and sent in random order: the odd one out is the candidate with chance 1/3."""
    TWO_ARM = "two_arm"
    """Candidate against secondary, both compared with stable."""
    NO_CONTROL = "no_control"
    """Candidate against stable only."""


class Aspect(StrEnum):
    """Which side of an exchange a difference is about."""

    STATUS = "status"
    HEADERS = "headers"
    BODY = "body"
    LATENCY = "latency"
    EFFECTS = "effects"
    DETERMINISM = "determinism"
    TRANSPORT = "transport"


class Channel(StrEnum):
    """How deep a mismatch goes, coarsest first; a pair of leaves is reported at its coarsest channel only."""

    KIND = "kind"
    FORMAT = "format"
    SHAPE = "shape"
    VALUE = "value"
    ORDER = "order"
    LATENCY = "latency"
    DISTANCE = "distance"
    """This one and the following watch places at which all arms differ in every answer."""
    BIAS = "bias"
    MIX = "mix"
    SEQUENCE = "sequence"


class EffectsSeen(StrEnum):
    """Whether a trial was judged with all its effects."""

    NONE = "none"
    """Effects were not watched."""
    COMPLETE = "complete"
    """Every collector said that all had come."""
    TIMED_OUT = "timed_out"
    """The bounded time had passed and some collector still waited, or one failed."""


class Kind(StrEnum):
    """What a difference is. The left side is the reference (stable, or secondary in the cross pair)."""

    MISSING = "missing"
    """The left side has it, the right side has not."""
    EXTRA = "extra"
    """The right side has it, the left side has not."""
    TYPE = "type"
    """Values of different types (string against number, integer against float, object against array)."""
    NULL = "null"
    """One side is null, the other is not."""
    CODE = "code"
    """The status codes differ."""
    ERROR = "error"
    """One side gave no answer (or another transport error than the other)."""
    MEDIA_TYPE = "media_type"
    """The bodies are of different media types and were not compared further."""
    MALFORMED = "malformed"
    """One side is not what its media type or content coding says."""
    DUPLICATE_KEY = "duplicate_key"
    """One side repeats an object key with different values."""
    UNCOMPARABLE = "uncomparable"
    """A comparator could not finish (its name is in the note)."""
    FORMAT = "format"
    """Values of the same type written in different formats (a UUID against a free string, a date against an epoch)."""
    LENGTH = "length"
    """Lengths of another order of magnitude (text) or another number of elements (arrays, sets)."""
    VALUE = "value"
    """Same type, format and shape; another value."""
    ORDER = "order"
    """The same elements in another order."""
    DUPLICATED = "duplicated"
    """Both sides do it, the right side more often."""
    FEWER = "fewer"
    """Both sides do it, the right side less often."""
    SLOWER = "slower"
    """The candidate's latency quantile is beyond the control's by more than the tolerance."""
    STYLE = "style"
    """Values that are new in each answer are written with other precision, length or characters than stable writes them with."""
    DISTANCE = "distance"
    """Numbers or times that are new in each answer lie further from stable's than two of stable's lie from each other."""
    BIAS = "bias"
    """Numbers or times that are new in each answer are larger, or smaller, than stable's more often than not."""
    MIX = "mix"
    """One of a few values that stable changes between comes more or less often."""
    SEQUENCE = "sequence"
    """Values that are new in each answer follow from the one before (the same, or another end only), and stable's do not; or vice versa."""


CHANNEL_OF: Final[dict[Kind, Channel]] = {
    Kind.MISSING: Channel.KIND,
    Kind.EXTRA: Channel.KIND,
    Kind.TYPE: Channel.KIND,
    Kind.NULL: Channel.KIND,
    Kind.CODE: Channel.KIND,
    Kind.ERROR: Channel.KIND,
    Kind.MEDIA_TYPE: Channel.KIND,
    Kind.MALFORMED: Channel.KIND,
    Kind.DUPLICATE_KEY: Channel.KIND,
    Kind.UNCOMPARABLE: Channel.KIND,
    Kind.DUPLICATED: Channel.KIND,
    Kind.FEWER: Channel.KIND,
    Kind.FORMAT: Channel.FORMAT,
    Kind.LENGTH: Channel.SHAPE,
    Kind.VALUE: Channel.VALUE,
    Kind.ORDER: Channel.ORDER,
    Kind.SLOWER: Channel.LATENCY,
    Kind.STYLE: Channel.SHAPE,
    Kind.DISTANCE: Channel.DISTANCE,
    Kind.BIAS: Channel.BIAS,
    Kind.MIX: Channel.MIX,
    Kind.SEQUENCE: Channel.SEQUENCE,
}

NOISE_KINDS: Final = frozenset({Kind.STYLE, Kind.DISTANCE, Kind.BIAS, Kind.MIX, Kind.SEQUENCE})
"""Kinds that only evidence over many answers shows; no pair of answers has such a difference."""

CHANNEL_DEPTH: Final[dict[Channel, int]] = {channel: depth for depth, channel in enumerate(Channel)}
"""Coarsest is 0. A pair that differs at depth d may also differ at any greater depth."""

MIRRORED_KIND: Final[dict[Kind, Kind]] = {
    Kind.MISSING: Kind.EXTRA,
    Kind.EXTRA: Kind.MISSING,
    Kind.DUPLICATED: Kind.FEWER,
    Kind.FEWER: Kind.DUPLICATED,
}
"""The kind seen when left and right are swapped; a kind that is not here is its own mirror."""


class FindingClass(StrEnum):
    """What the evidence says about a finding."""

    DIVERGENCE = "divergence"
    """The candidate differs beyond noise, at the stated error rate."""
    NOISE = "noise"
    """The control differs as well; no excess was shown."""
    EXPECTED = "expected"
    """Accepted beforehand by a person."""
    UNDECIDED = "undecided"
    """Seen, too rare to decide; it keeps a verdict from passing."""


class Occurrence(StrEnum):
    """When a difference happens, as far as passes with requests in parallel and one at a time tell."""

    ALWAYS = "always"
    """Each request that shows it does so in every pass."""
    SOMETIMES = "sometimes"
    ONLY_UNDER_LOAD = "only_under_load"
    """Only where requests are sent in parallel, more surely than 95 %."""
    ONLY_ALONE = "only_alone"
    """Only where one request is sent at a time, more surely than 95 %."""


class Severity(StrEnum):
    """How much a finding matters, highest first."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"


class VerdictState(StrEnum):
    """The answer of a gate."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class ErrorKind(StrEnum):
    """How an exchange failed without an answer. A transport error is an outcome of a compared trial, never a gap."""

    REFUSED = "refused"
    """No connection could be made."""
    TIMEOUT = "timeout"
    """The bound on the exchange ran out."""
    RESET = "reset"
    """The connection ended before the answer was complete."""
    GARBAGE = "garbage"
    """The bytes received are not HTTP."""
    TOO_LARGE = "too_large"
    """The answer's head is larger than the bound, or a shadow's body is so in comparison with stable's."""
    TLS = "tls"
    """The TLS handshake or verification failed."""


class SkipReason(StrEnum):
    """Why a request was seen and, by rule, not compared."""

    WRITE = "write"
    """An unsafe method, and nobody said that the targets have stores of their own."""
    OTHER_HOST = "other_host"
    """A host that is not mapped to the targets; it is never sent to."""
    BROKEN_ENTRY = "broken_entry"
    """A capture entry that could not be read (with --skip-broken)."""
    UPGRADE = "upgrade"
    """A protocol upgrade, relayed to stable only."""
    NO_SHADOW = "no_shadow"
    """Neither a secondary nor a candidate is configured."""
    LOOP = "loop"
    """The request carries the mark of a mirrored request."""
    TRUNCATED_REQUEST = "truncated_request"
    """The request's body is larger than the capture bound, so it cannot be sent again as it was."""
    INTERRUPTED = "interrupted"
    """The run ended before the request's turn."""
    EXCLUDED = "excluded"
    """Its path is one that is never mirrored (log-out, one-time links, or as configured)."""
    SAMPLED_OUT = "sampled_out"
    """Not in the sample that is mirrored."""
    SWITCHED_OFF = "switched_off"
    """Mirroring was switched off."""
    OTHER_BUILD = "other_build"
    """Another build of the candidate answered than the one that the epoch is about."""
    EARLIER_EPOCH = "earlier_epoch"
    """It was under way when the epoch began, or among the answers that announced its build: it belongs to none."""


class ShedReason(StrEnum):
    """Why a whole trial was given up: under load or for a target's sake, before sending, or lost with a worker process."""

    IN_FLIGHT = "in_flight"
    """As many shadow trials are under way as the bound allows."""
    QUEUE_FULL = "queue_full"
    """The comparison queue is full."""
    SHUTDOWN = "shutdown"
    """The harness is stopping."""
    FAULT = "fault"
    """An error inside the harness; the client had its answer."""
    RATE = "rate"
    """The shadow targets got as many requests a second as the user allows."""
    BREAKER = "breaker"
    """A shadow target failed or was slow too often, and is left alone for a while."""
    WORKER_LOST = "worker_lost"
    """A worker process ended before the trial was compared."""
    KILLED = "killed"
    """The proxy was killed before the trial was stored, and its run resumed."""
    LAG = "lag"
    """The receiver of copies was behind: those who send them must not wait for it."""


class RefusedReason(StrEnum):
    """Why a client's request was answered by the harness itself."""

    BAD_REQUEST = "bad_request"
    """Not HTTP, or HTTP that could be read in two ways (400)."""
    HEAD_TOO_LARGE = "head_too_large"
    """Request line and headers beyond the bound (431)."""
    BODY_TOO_LARGE = "body_too_large"
    """The body is beyond the bound (413)."""
    CONNECT = "connect"
    """CONNECT is not served (501)."""
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    """Stable cannot be reached (502)."""
    UPSTREAM_BROKEN = "upstream_broken"
    """Stable's answer was not HTTP or ended early, before anything was sent on (502)."""
    UPSTREAM_TIMEOUT = "upstream_timeout"
    """Stable did not answer in time (504)."""
    CLIENT_GONE = "client_gone"
    """The client closed before its request was complete."""
    CLIENT_TIMEOUT = "client_timeout"
    """The client sent its request too slowly (408)."""
    SHUTDOWN = "shutdown"
    """The harness stopped before the answer was complete."""
    TOO_MANY_CLIENTS = "too_many_clients"
    """As many clients are connected as the bound allows (503)."""


class ReasonCode(StrEnum):
    """Why a verdict is what it is, or what its reader must know. Each has a next step in NEXT_STEP."""

    DIVERGENCE = "divergence"
    LATENCY = "latency"
    POOLED_DIVERGENCE = "pooled_divergence"
    HARD_RULE = "hard_rule"
    UNDECIDED = "undecided"
    TOO_LITTLE_DATA = "too_little_data"
    NO_DATA = "no_data"
    NO_CONTROL = "no_control"
    NO_CANDIDATE = "no_candidate"
    NOT_FRESH = "not_fresh"
    LOW_COMPLETION = "low_completion"
    TRAFFIC_NOT_REPRODUCED = "traffic_not_reproduced"
    VACUOUS_AUTH = "vacuous_auth"
    VACUOUS_DATA = "vacuous_data"
    VACUOUS_ERRORS = "vacuous_errors"
    LATENCY_INVALID = "latency_invalid"
    INTERRUPTED = "interrupted"
    UNCOMPARABLE = "uncomparable"
    CLAIM_REACHED = "claim_reached"
    WRITES_SKIPPED = "writes_skipped"
    HOSTS_SKIPPED = "hosts_skipped"
    BROKEN_ENTRIES = "broken_entries"
    THIN_ENDPOINTS = "thin_endpoints"
    UNUSED_RULES = "unused_rules"
    OTHER_BUILD = "other_build"
    STALE = "stale"
    EFFECTS_NOT_OBSERVED = "effects_not_observed"
    EFFECTS_UNATTRIBUTED = "effects_unattributed"
    FINAL_STATE = "final_state"
    TOO_LITTLE_COVERAGE = "too_little_coverage"
    NOT_BLOCKING = "not_blocking"
    ACCEPTED_BUT_CHANGED = "accepted_but_changed"
    MUST_CHANGE = "must_change"
    MUST_CHANGE_OPEN = "must_change_open"
    EXPECTED = "expected"
    ACCEPTANCE_EXPIRED = "acceptance_expired"
    SELF_ACCEPTED = "self_accepted"
    MIXED_BUILDS = "mixed_builds"


NEXT_STEP: Final[dict[ReasonCode, str]] = {
    ReasonCode.DIVERGENCE: "Run the finding's command against both builds; fix the candidate, or add a rule if it is wanted.",
    ReasonCode.LATENCY: "Profile the endpoint in the candidate; the report has its quantiles for each target.",
    ReasonCode.POOLED_DIVERGENCE: "Look at the undecided findings first; more passes or more traffic will name the culprit.",
    ReasonCode.HARD_RULE: "The policy forbids this whatever its rate; see what the candidate did in the trial named.",
    ReasonCode.UNDECIDED: "Send more traffic like the finding's exemplar, or allow more passes from fresh state.",
    ReasonCode.TOO_LITTLE_DATA: "Send more requests, or judge the capture with preset capture.",
    ReasonCode.NO_DATA: "Check that the capture or the client's traffic reaches the harness and maps to the targets' host.",
    ReasonCode.NO_CONTROL: "Give a --secondary, or stable as a command, so that noise can be told from divergence.",
    ReasonCode.NO_CANDIDATE: "Give a --candidate; without one nothing is under test.",
    ReasonCode.NOT_FRESH: "Give the targets as commands, or a reset command, or say replay.state: stateless.",
    ReasonCode.LOW_COMPLETION: "See what was shed and skipped; lower the load, or allow writes on targets with own stores.",
    ReasonCode.TRAFFIC_NOT_REPRODUCED: "Restore the data the capture was made with (prepare command); give credentials that work.",
    ReasonCode.VACUOUS_AUTH: "Give credentials that the targets accept: redacted ones cannot be replayed.",
    ReasonCode.VACUOUS_DATA: "Load the data the capture refers to (prepare command): most requests find nothing.",
    ReasonCode.VACUOUS_ERRORS: "Find out why stable fails or throttles before comparing anything with it.",
    ReasonCode.LATENCY_INVALID: "Stable and secondary differ in speed: start them alike, on alike hosts, and run again.",
    ReasonCode.INTERRUPTED: "Run it again to the end; the report shows what was done so far.",
    ReasonCode.UNCOMPARABLE: "See the finding's note for the comparator that failed, and report it with the exemplar.",
    ReasonCode.CLAIM_REACHED: "The bound says what this pass covers; thin endpoints need more traffic for one of their own.",
    ReasonCode.WRITES_SKIPPED: "If each target has a store of its own, give --allow-writes.",
    ReasonCode.HOSTS_SKIPPED: "Map a further host with --host, or leave it out of the capture.",
    ReasonCode.BROKEN_ENTRIES: "Mend or re-record the capture; the report names the entries.",
    ReasonCode.THIN_ENDPOINTS: "Send more requests to the endpoints named.",
    ReasonCode.UNUSED_RULES: "Remove or correct the rules named: they matched nothing.",
    ReasonCode.OTHER_BUILD: "Ask about the build under test, or put this build under test first.",
    ReasonCode.STALE: "See whether the harness still receives traffic; ask again once it has judged anew.",
    ReasonCode.EFFECTS_NOT_OBSERVED: "Name the collectors in effects.collect, mend what they could not see, or wait longer (wait_s).",
    ReasonCode.EFFECTS_UNATTRIBUTED: "Send one request at a time, or let builds pass traceparent on; see what is done in the background.",
    ReasonCode.TOO_LITTLE_COVERAGE: "Send traffic that has what the policy's `coverage` asks for, or change the policy.",
    ReasonCode.NOT_BLOCKING: "Look through them in the report; the policy's `blocks` says which places do not block.",
    ReasonCode.FINAL_STATE: "See the rows in the report and find the request that leaves them so; leave the table out if it is wanted.",
    ReasonCode.ACCEPTED_BUT_CHANGED: "Compare it with the entry in the file of accepted changes; fix it, or accept it as it is now.",
    ReasonCode.MUST_CHANGE: "Find out why the change is not in this build, or take must_change out of its entry.",
    ReasonCode.MUST_CHANGE_OPEN: "Send more requests to the endpoint of the change that must happen.",
    ReasonCode.EXPECTED: "Nothing: they were accepted. Take an entry out once stable has the change too.",
    ReasonCode.ACCEPTANCE_EXPIRED: "Fix what was accepted for a time, or accept it anew with a later date.",
    ReasonCode.SELF_ACCEPTED: "Let somebody accept them on the base ref, or allow it in the policy (allow_self_accepted).",
    ReasonCode.MIXED_BUILDS: "Let one build alone answer under the candidate's address, and wait for the next epoch.",
}


class RunMode(StrEnum):
    """Which use of the harness a run is."""

    GATE = "gate"
    REPLAY = "replay"
    PROXY = "proxy"
    DEMO = "demo"
