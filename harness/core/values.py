"""The values that travel one way through the house: message, exchange, arm, trial, difference, comparison.

All are frozen and know nothing of sockets, clocks or files. `Trial` is the narrow waist: what comes before it does I/O,
what comes after it is a function from values to values. Times are integers in nanoseconds of a monotonic clock
unless a name says otherwise; header names and values are Latin-1 text exactly as on the wire.
"""

from collections.abc import Iterator

import msgspec

from harness.core.labels import Aspect, Control, Design, EffectsSeen, ErrorKind, Kind, Role

Headers = tuple[tuple[str, str], ...]
"""In wire order, repetitions kept, names in the case they came in."""


class Body(msgspec.Struct, frozen=True, gc=False):
    """A message body as captured.

    `data` is what was kept (wire bytes, still content-coded, transfer coding removed), `size` the whole length in
    bytes. When `size > len(data)` the rest was cut by the harness and `digest` (SHA-256 hex of the whole) stands for it.
    """

    data: bytes = b""
    size: int = 0
    digest: str = ""
    open: bool = False
    """A stream of events that had not ended when the harness stopped listening."""

    @property
    def truncated(self) -> bool:
        """Whether the harness kept only a prefix."""
        return self.open or self.size > len(self.data)


def body_of(data: bytes) -> Body:
    """A complete body."""
    return Body(data=data, size=len(data))


class Request(msgspec.Struct, frozen=True, gc=False):
    """One HTTP request. `target` is the request target in origin form (path and query, as on the wire)."""

    method: str
    target: str
    headers: Headers = ()
    body: Body = Body()
    host: str = ""
    """Authority the client asked for (Host header or absolute form), lower case, with a port where given."""


class Response(msgspec.Struct, frozen=True, gc=False):
    """One final HTTP response (1xx are not kept)."""

    status: int
    headers: Headers = ()
    body: Body = Body()
    reason: str = ""
    trailers: Headers = ()


class TransportError(msgspec.Struct, frozen=True):
    """An exchange without a complete answer."""

    kind: ErrorKind
    message: str = ""


class Exchange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request as it was sent to one target, and what came of it: a response or a transport error."""

    request: Request
    response: Response | None = None
    error: TransportError | None = None
    started_ns: int = 0
    first_byte_ns: int = 0
    """When the answer's head was complete; 0 where none came."""
    ended_ns: int = 0

    @property
    def latency_ms(self) -> float:
        """From the start of sending to the last byte (or the error), in milliseconds."""
        return (self.ended_ns - self.started_ns) / 1e6


class Effect(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that a target did to the outside while it answered: an outbound call, a row change, a command, a span.

    `operation` says what was done so that it reads the same from arm to arm and from request to request: the verb, then the
    place without its identifiers (`POST payments.test/charges/{id}`, `INSERT public.orders`, `SET cart:{id}`). `document` is
    what it was done with, a JSON object that is compared as a body is.
    """

    collector: str
    operation: str
    document: bytes = b"{}"
    writes: bool = True
    """It changes something outside; a read does not."""
    at_ns: int = 0
    """When it was seen, on the monotonic clock."""
    late: bool = False
    """It came after its trial was taken for complete."""
    note: str = ""
    """For people: how it was answered, say (from the tape, by a stub)."""
    keys: tuple[str, ...] = ()
    """Of an inserted row: the columns whose values the store makes itself (serial, identity, rowid), the primary key's first."""


class Arm(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One target's part in a trial."""

    role: Role
    exchange: Exchange
    intended_ns: int = 0
    """When the schedule meant it to start; the actual start is the exchange's."""
    effects: tuple[Effect, ...] = ()
    """In the order in which they were seen."""


class CaptureRef(msgspec.Struct, frozen=True):
    """Where in a capture a request comes from."""

    file: str
    entry: int
    """Counted from 0 over all requests of the file."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One request and the exchanges of all arms: everything that later stages may know."""

    id: str
    seq: int
    """Position in the run's one order; the sequencer folds by it. Dense, from 0."""
    endpoint: str
    request: Request
    """As the client (or the capture) sent it, before any rewriting for an arm."""
    stable: Arm
    secondary: Arm | None = None
    candidate: Arm | None = None
    control: Control = Control.SECONDARY
    design: Design = Design.THREE_ARM
    order: tuple[Role, ...] = ()
    """The coin: the order in which the arms were sent."""
    pass_index: int = 0
    repeat_of: str | None = None
    fresh: bool = False
    """The targets' state was reset before this pass, so an answer is independent of the earlier passes'."""
    capture: CaptureRef | None = None
    recorded: Response | None = None
    session: str = ""
    entity: str = ""
    """What the answer is about (the concrete URL, without volatile parts): the key of once-per-key rules."""
    in_flight: int = 0
    """Trials under way when this one started, itself included."""
    warm_up: bool = False
    tainted: bool = False
    """An earlier trial of the session lost its identifier mapping: differences here follow from that one."""
    mapped_ids: int = 0
    """How many identifiers were rewritten for the arms."""
    trace: str = ""
    """Its name among effects, where they are watched in live traffic: 32 hex digits."""
    stable_trace: str = ""
    """The sender's own trace, under which stable's effects are found, where the live request carried one."""
    effects_seen: EffectsSeen = EffectsSeen.NONE
    """Whether effects were watched, and whether all of this trial's had come when it was judged."""
    alone: bool = False
    """Of a capture: its pass sends one request at a time."""

    def arms(self) -> Iterator[Arm]:
        """The arms present, stable first."""
        yield self.stable
        if self.secondary is not None:
            yield self.secondary
        if self.candidate is not None:
            yield self.candidate


Scalar = str | int | float | bool | None


class Further(msgspec.Struct, frozen=True, array_like=True):
    """Further elements that differ in the same kind at the same path of one answer, in the order in which they were found."""

    pairs: tuple[tuple[Scalar, Scalar], ...]
    """Previews of left and right."""
    left_out: int = 0
    """How many more there are that were not looked at."""


class Difference(msgspec.Struct, frozen=True):
    """One located mismatch of a pair.

    `path` is a JSONPath-like address with array indices collapsed (`$.items[*].price`), a header name in lower case,
    `$` for a whole body or status. `left` and `right` are bounded previews of the real values (not yet redacted);
    None with kind missing or extra means absence.
    """

    aspect: Aspect
    path: str
    kind: Kind
    left: Scalar = None
    right: Scalar = None
    where: str = ""
    """The concrete address (`$.items[3].price`), for people."""
    note: str = ""
    further: Further | None = None
    """Only where a change was accepted at this place; never stored."""


class Again(msgspec.Struct, frozen=True):
    """How an arm answers otherwise than it did in the pass before. Left is what it said then."""

    role: Role
    differences: tuple[Difference, ...]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What the comparators say of one trial, pair by pair. Left is named first."""

    trial: str
    seq: int
    stable_candidate: tuple[Difference, ...] = ()
    stable_secondary: tuple[Difference, ...] = ()
    secondary_candidate: tuple[Difference, ...] = ()
    """Only computed where both of the others differ somewhere; otherwise it follows from them."""
    cross_compared: bool = False
    """`secondary_candidate` was computed though only one of the others differs: nothing is inferred. Needed where "equal"
    is not transitive (tolerances): two arms within tolerance of a third may be beyond it of each other."""
    rules_used: tuple[int, ...] = ()
    """Indices of the rules that had an effect."""
    again: tuple[Again, ...] = ()
    """Arms that answer otherwise than in the pass before, where that was looked at."""


class Count(msgspec.Struct, frozen=True):
    """A labelled count."""

    label: str
    count: int


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Where every request went. `requests = compared + shed + skipped + refused`, at any moment nothing is under way."""

    requests: int = 0
    compared: int = 0
    diverged: int = 0
    """Compared trials with at least one difference between stable and candidate."""
    shed: dict[str, int] = {}
    skipped: dict[str, int] = {}
    refused: dict[str, int] = {}
    errors: dict[str, int] = {}
    """Transport errors and time-outs per target role: outcomes of compared trials, so informational."""
