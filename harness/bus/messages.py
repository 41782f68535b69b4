"""What the harness's own processes tell each other. Values only; both ends are of one version, as one supervisor starts all.

ingress worker -> compare worker   Hello, then TRIAL frames; back: Done
compare worker -> supervisor       Hello; RESULTS and COUNTERS frames, Alive, StreamOver, Failed; back: CompareOrders,
                                   Applied, SeenEffects, Stop
ingress worker -> supervisor       Hello, Serving, Connected, Lost, Stopped, Failed; RECORD frames;
                                   back: IngressOrders, Comparers, Mirror, Reload, Stop
"""

from typing import Final

import msgspec

from harness.core.labels import Role
from harness.core.values import Comparison, Effect, Exchange, Request


class Hello(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Who is at the other end: an ingress worker names its stream, a compare worker its own number."""

    number: int
    ingress: bool


class EffectsOrders(msgspec.Struct, frozen=True, array_like=True):
    """How live trials wait for what their arms did."""

    wait_ns: int
    """How long at most."""
    delay_ns: int
    """How long after the last answer effects may still come."""
    ordered: tuple[str, ...] = ()


class CompareOrders(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What a compare worker needs: the rules as configuration has them (encoded), and the key for hashes of values."""

    rules: bytes
    secret: bytes
    forward_all: bool
    """Whether every trial goes on to the run store, those without a difference too."""
    effects: EffectsOrders | None = None
    """None where effects are not watched."""
    redaction: bytes = b""
    """What is redacted, as configuration has it (encoded)."""
    redaction_key: bytes = b""
    """Of the run's redactor; without it no attributes of requests are read, since nothing unredacted is handed on with bets."""
    build_header: str = ""
    """The header, in lower case, in which the candidate's answers name their build; empty where none does."""
    expected: bytes = b""
    """The accepted changes that are applied (encoded); empty for none."""


class Applied(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The accepted changes that are applied from now on (encoded); empty for none."""

    expected: bytes


class SeenEffects(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What collectors saw: trace, role and effect each; and until when nothing more will come (monotonic)."""

    effects: tuple[tuple[str, Role, Effect], ...]
    until_ns: int
    blind_ns: int = 0
    """Of trials that began before it, not everything may be known (monotonic)."""


class IngressOrders(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What an ingress worker needs: the settings (encoded), and what the processes of a run have in common."""

    settings: bytes
    session_key: bytes
    seed: int
    record: bool
    whole: bool = False
    """Whether answers that are all alike are handed on with their body too."""
    resumes: int = 0
    """How often the run went on after it was killed: names of trials must not come again."""


class Comparers(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The compare workers there are now: number and path of the socket each listens on."""

    sockets: tuple[tuple[int, str], ...]


class Mirror(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """How many of a hundred requests are mirrored from now on."""

    percent: float


class Reload(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """New settings (encoded), already checked, and certificates to be read again."""

    settings: bytes


class Stop(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Answer what was accepted, wait for shadows, hand over what is to be compared; at most so many seconds.

    A compare worker ends at once: nobody hands it anything any more.
    """

    grace_s: float


class Serving(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Clients are served."""

    address: str


class Connected(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """From now on trials of the stream may be with this compare worker. Told before the first one is."""

    comparer: int


class Done(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """So many further trials of this connection have been compared, and their results are with the supervisor."""

    count: int


class Lost(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A compare worker is gone, and with it, as far as can be seen from here, these trials of the stream."""

    comparer: int
    seqs: tuple[int, ...]


class Alive(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A compare worker has nothing to say and does not hang: one of which nothing is heard does."""


class StreamOver(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """All that a compare worker will ever have of a stream has been handed on."""

    stream: int


class Stopped(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """An ingress worker has nothing under way any more and ends."""


class Failed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The sender cannot go on: an error as people read it."""

    what: str
    where: str = ""
    fix: str = ""
    exit_code: int = 5


Message = (
    Hello
    | CompareOrders
    | Applied
    | SeenEffects
    | IngressOrders
    | Comparers
    | Connected
    | Mirror
    | Reload
    | Stop
    | Serving
    | Done
    | Lost
    | Alive
    | StreamOver
    | Stopped
    | Failed
)


class Result(msgspec.Struct, frozen=True, array_like=True):
    """What a compare worker found in one trial."""

    stream: int
    bets: bytes
    """The trial's bets, encoded; they carry its number in the stream."""
    comparison: Comparison
    trial: bytes = b""
    """The trial as it came, encoded; empty where nothing differs in it and nobody wants it: only what differs is an example."""
    build: str = ""
    """The build that the candidate's answer names; empty where it names none, or nobody asks."""


class Recorded(msgspec.Struct, frozen=True, array_like=True):
    """A live exchange as it was."""

    request: Request
    exchange: Exchange


ENCODER: Final = msgspec.msgpack.Encoder()
decode_message: Final = msgspec.msgpack.Decoder(Message).decode
decode_results: Final = msgspec.msgpack.Decoder(list[Result]).decode
decode_recorded: Final = msgspec.msgpack.Decoder(Recorded).decode
