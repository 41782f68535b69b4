"""From a live exchange to a trial: what is skipped, what is shed, the coin, and the shadow exchanges.

It starts when the client has its answer, decides before anything is sent and without looking at the arms, and hands
over exactly one trial for each request it sends. What is done with a trial is not known here.
"""

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable

import msgspec

from harness.core.clock import Clock, Ids, Rng
from harness.core.http import SAFE_METHODS, header
from harness.core.labels import Control, Design, Role, ShedReason, SkipReason
from harness.core.limits import (
    CAPTURE_BODY_BYTES_MAX,
    CONFIRM_DAILY_MAX,
    ENDPOINT_CACHE_CHARS_MAX,
    ENDPOINTS_MAX,
    NAMES_CACHE_MAX,
    OTHER_ENDPOINT,
    SHADOW_BYTES_IN_FLIGHT_MAX,
    SHADOW_TRIALS_IN_FLIGHT_MAX,
    WARM_UP_REQUESTS,
    WARM_UP_SECONDS,
)
from harness.core.outcomes import Tally
from harness.core.plain import AnyExchange, AnyTrial, status_of
from harness.core.values import Request
from harness.proxy.allowance import Allowance, suffers
from harness.proxy.breaker import BreakerOptions, BreakerState
from harness.proxy.exclusions import Exclusions
from harness.proxy.plain import PlainRequest
from harness.proxy.protection import Protection
from harness.proxy.sampling import Sampler, parse_sample_key
from harness.proxy.shadow import Lane, ShadowTrial, answered_bytes
from harness.proxy.tracing import Tracing
from harness.proxy.upstream import UpstreamPool
from harness.proxy.wire import GUARD_HEADER

_LOG = logging.getLogger(__name__)


class FaultLog:
    """Reports errors that must not stop anything: the 1st, 2nd, 4th, 8th ... of each place. Never with values from traffic."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, where: str, error: BaseException) -> None:
        """Count an error; `where` is one of a few constants."""
        count = self._counts.get(where, 0) + 1
        self._counts[where] = count
        if count & (count - 1) == 0:
            _LOG.warning("%s failed with %s (occurrence %d)", where, type(error).__name__, count)


class WarmUp:
    """Whether an endpoint is still warming up: its first requests or seconds, whichever end first. Bounded by ENDPOINTS_MAX."""

    def __init__(self, requests: int = WARM_UP_REQUESTS, seconds: float = WARM_UP_SECONDS) -> None:
        self._requests = requests
        self._nanoseconds = int(seconds * 1e9)
        self._seen: dict[str, tuple[int, int]] = {}

    def note(self, endpoint: str, now_ns: int) -> bool:
        """Count a request; True while the endpoint warms up."""
        seen = self._seen.get(endpoint)
        if seen is None:
            if len(self._seen) >= ENDPOINTS_MAX:
                endpoint = OTHER_ENDPOINT
            seen = self._seen.get(endpoint, (now_ns, 0))
        first_ns, count = seen
        if count > self._requests:
            return False
        self._seen[endpoint] = (first_ns, count + 1)
        return count < self._requests and now_ns - first_ns < self._nanoseconds


class SessionKeys:
    """Which requests belong together: a keyed digest of the credentials they carry, empty without any."""

    def __init__(self, key: bytes) -> None:
        self._key = key[: hashlib.blake2b.MAX_KEY_SIZE]

    def key_of(self, request: Request) -> str:
        """Authorization where there is one, else the cookies."""
        credential = header(request.headers, "authorization") or header(request.headers, "cookie")
        if not credential:
            return ""
        return hashlib.blake2b(credential.encode("latin-1", "replace"), digest_size=8, key=self._key).hexdigest()


class DispatchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the user may decide about mirroring."""

    control: Control = Control.SECONDARY
    """How `secondary` came about; without a secondary the trials say NONE."""
    allow_writes: bool = False
    """Mirror unsafe methods too: the targets have stores of their own."""
    trials_in_flight_max: int = SHADOW_TRIALS_IN_FLIGHT_MAX
    """Each sends one request to each shadow target, so no target has more than this many under way."""
    bytes_in_flight_max: int = SHADOW_BYTES_IN_FLIGHT_MAX
    shadow_rps_max: float | None = None
    """Requests a second to each shadow target; None: no bound."""
    breaker: BreakerOptions = BreakerOptions()
    """One for each shadow target."""
    sample: float = 100.0
    """Percent of the requests that are mirrored."""
    sample_key: str = ""
    """`header:NAME`, `cookie:NAME` or `path:N`; see Sampler."""
    exclude: tuple[str, ...] = ()
    """Path templates that are never mirrored."""
    default_exclusions: bool = True
    """Whether DEFAULT_EXCLUSIONS are never mirrored."""
    self_rps_max: float | None = None
    """With control SELF: how many requests a second stable is asked a second time; None: no bound."""
    self_daily_max: int = CONFIRM_DAILY_MAX
    """The same in any 24 hours, where there is a bound."""


class Naming(msgspec.Struct, frozen=True, kw_only=True):
    """How trials are labelled: pure functions of a request, and where ids come from."""

    endpoint_of: Callable[[Request], str]
    entity_of: Callable[[Request], str]
    ids: Ids
    session_key: bytes = b""
    tracing: Tracing | None = None
    """Gives trials a trace, where effects are watched."""


class Names:
    """What requests are called, remembered for those that have no body and come again. Memory is bounded."""

    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self._known: dict[tuple[str, str, str], tuple[str, str]] = {}

    def of(self, request: Request) -> tuple[str, str]:
        """Endpoint and entity."""
        if request.body.size:
            return self._naming.endpoint_of(request), self._naming.entity_of(request)
        key = request.method, request.target, request.host
        names = self._known.get(key)
        if names is None:
            names = self._naming.endpoint_of(request), self._naming.entity_of(request)
            # What is beyond the bound on endpoints is asked again, since it is counted.
            if names[0] != OTHER_ENDPOINT and len(request.target) + len(request.host) <= ENDPOINT_CACHE_CHARS_MAX:
                if len(self._known) >= NAMES_CACHE_MAX:
                    self._known.clear()
                self._known[key] = names
        return names


class Sink(msgspec.Struct, frozen=True, kw_only=True):
    """Where trials go. `put` must not block.

    `has_room` is asked once for each trial, with its endpoint and the body bytes it may come to hold, as the last thing
    before it is sent. What was sent is always put, so at most `trials_in_flight_max` trials come after it turned False.
    """

    put: Callable[[AnyTrial], None]
    has_room: Callable[[str, int], bool]
    whole: bool = True
    """Whether the body is wanted of answers that are all plain and alike."""


class Dispatcher:
    """Decides about each completed live exchange, and sends its shadows.

    Raises UsageError for a sample key or an exclusion that cannot be read.
    """

    def __init__(
        self,
        options: DispatchOptions,
        *,
        secondary: UpstreamPool | None,
        candidate: UpstreamPool | None,
        clock: Clock,
        rng: Rng,
        tally: Tally,
        naming: Naming,
        sink: Sink,
        faults: FaultLog,
    ) -> None:
        self._pools = {role: pool for role, pool in ((Role.SECONDARY, secondary), (Role.CANDIDATE, candidate)) if pool is not None}
        self._control = options.control if secondary is not None else Control.NONE
        self._design = Design.NO_CONTROL if self._control is Control.NONE else Design.TWO_ARM
        self._clock = clock
        self._rng = rng
        self._tally = tally
        self._naming = naming
        self._names = Names(naming)
        self._sessions = SessionKeys(naming.session_key)
        self._sink = sink
        self._faults = faults
        self._warm_up = WarmUp()
        self._mirror_percent = 100.0
        self._opened: Counter[Role] = Counter()
        self._second: Allowance | None = None
        """How often stable may be asked a second time; it outlives a change of options."""
        if self._control is Control.SELF and options.self_rps_max is not None:
            self._second = Allowance(options.self_rps_max, options.self_daily_max)
        self.use(options)
        self._under_way: set[ShadowTrial] = set()
        self._bytes = 0
        self._seq = 0
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    def use(self, options: DispatchOptions) -> None:
        """Go by these options from now on; caps and breakers begin anew. What control there is stays as it was.

        Raises UsageError, and changes nothing, for a sample key or an exclusion that cannot be read.
        """
        exclusions = Exclusions(options.exclude, defaults=options.default_exclusions)
        key = parse_sample_key(options.sample_key) if options.sample_key else None
        self._exclusions, self._options = exclusions, options
        self._sampler = Sampler(key, rng=self._rng, secret=self._naming.session_key)
        self._protection = Protection(self._pools, rps_max=options.shadow_rps_max, breaker=options.breaker, opened=self._opened)
        lanes = tuple(Lane(role, pool, self._protection.breakers.get(role)) for role, pool in self._pools.items())
        self._orders = tuple((way, (Role.STABLE, *(lane.role for lane in way))) for way in (lanes, lanes[::-1])[: len(lanes)])
        """The orders in which shadows are sent; the coin chooses. Empty without a shadow target."""
        self.mirror_percent = self._mirror_percent

    @property
    def in_flight(self) -> int:
        """Trials whose shadows are under way."""
        return len(self._under_way)

    @property
    def mirror_percent(self) -> float:
        """How much of what `sample` takes is mirrored now: 100 all of it, 0 nothing. Setting it takes effect at once.

        With a sample key a smaller percentage takes a part of what a larger one takes. Raises ValueError beyond 0 to 100.
        """
        return self._mirror_percent

    @mirror_percent.setter
    def mirror_percent(self, percent: float) -> None:
        if not 0.0 <= percent <= 100.0:
            raise ValueError(f"a percentage from 0 to 100 is expected, not {percent}")
        self._mirror_percent = float(percent)
        self._share = self._options.sample * self._mirror_percent / 1e4

    @property
    def breakers(self) -> dict[Role, BreakerState]:
        """How the breaker of each shadow target stands; empty where none can open."""
        return {role: breaker.state for role, breaker in self._protection.breakers.items()}

    @property
    def breakers_opened(self) -> Counter[Role]:
        """How often the breaker of each shadow target has opened, over every change of options."""
        return self._opened

    def offer(self, request: Request, stable: AnyExchange, starved: bool, plain: PlainRequest | None = None) -> None:
        """A live exchange was completed. Never raises; the request gets its outcome here or when its trial was compared.

        `starved`: the copy of the request is incomplete because the harness ran out of its bound on memory.
        `plain`: the request as it was read, where it was plain, which makes sending it again cheap.
        """
        try:
            self._count(self._skip(request, plain) or self._shed_or_begin(request, stable, starved, plain))
        except Exception as error:  # noqa: BLE001 - whatever fails here, the live path goes on
            self._faults.add("mirroring", error)
            self._tally.shed(ShedReason.FAULT)

    def declines(self, request: Request, starved: bool) -> bool:
        """Whether a request is not to be mirrored, as far as that is known before stable was asked; it then has its outcome.

        For whoever has yet to ask stable: a request that was not declined is handed to `go_on` with stable's exchange. The two
        together are `offer`. Never raises.
        """
        try:
            outcome = self._skip(request) or self._refusal(request, starved, len(request.body.data), self._clock.monotonic_ns())
            self._count(outcome)
        except Exception as error:  # noqa: BLE001 - as in offer
            self._faults.add("mirroring", error)
            self._tally.shed(ShedReason.FAULT)
            return True
        return outcome is not None

    def go_on(self, request: Request, stable: AnyExchange) -> None:
        """Stable's exchange of a request that was not declined. Never raises; the request gets its outcome as with `offer`."""
        try:
            self._count(self._shed_or_begin(request, stable, starved=False))
        except Exception as error:  # noqa: BLE001 - as in offer
            self._faults.add("mirroring", error)
            self._tally.shed(ShedReason.FAULT)

    async def stop(self, grace_s: float) -> None:
        """Send nothing more, wait for the shadows under way, then give up what is left, counted as shed."""
        self._stopping = True
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        except TimeoutError:
            for trial in list(self._under_way):
                trial.abort()
                self._leave(trial)
                self._tally.shed(ShedReason.SHUTDOWN)

    def _count(self, outcome: SkipReason | ShedReason | None) -> None:
        if outcome is None:
            return
        if isinstance(outcome, SkipReason):
            self._tally.skipped(outcome)
        else:
            self._tally.shed(outcome)

    def _skip(self, request: Request, plain: PlainRequest | None = None) -> SkipReason | None:
        """Why a request is not mirrored whatever the load. The cheapest questions come first, the draw last."""
        if plain is None and header(request.headers, GUARD_HEADER) is not None:  # one with it is not plain
            return SkipReason.LOOP
        if not self._orders:
            return SkipReason.NO_SHADOW
        if self._mirror_percent == 0.0:
            return SkipReason.SWITCHED_OFF
        writes = self._options.allow_writes and self._control is not Control.SELF  # it would be done twice
        if request.method == "TRACE" or (request.method not in SAFE_METHODS and not writes):
            return SkipReason.WRITE
        if self._exclusions.exclude(request):
            return SkipReason.EXCLUDED
        if self._share < 1.0 and not self._sampler.takes(request, self._share):
            return SkipReason.SAMPLED_OUT
        return None

    def _shed_or_begin(
        self, request: Request, stable: AnyExchange, starved: bool, plain: PlainRequest | None = None
    ) -> SkipReason | ShedReason | None:
        """Send the shadows, unless something speaks against it. Nothing looks at what the arms would answer."""
        held, now_ns = self._held_bytes(request, stable), self._clock.monotonic_ns()
        self._note(stable)
        refusal = self._refusal(request, starved, held, now_ns)
        if refusal is not None:
            return refusal
        endpoint, entity = self._names.of(request)
        if not self._sink.has_room(endpoint, held):
            return ShedReason.QUEUE_FULL
        self._begin(request, stable, plain, endpoint=endpoint, entity=entity, held=held, now_ns=now_ns)
        return None

    def _refusal(self, request: Request, starved: bool, held: int, now_ns: int) -> SkipReason | ShedReason | None:
        """What speaks against sending now, whichever endpoint it is. Changes nothing."""
        if self._stopping:
            return ShedReason.SHUTDOWN
        if starved or len(self._under_way) >= self._options.trials_in_flight_max or self._bytes + held > self._options.bytes_in_flight_max:
            return ShedReason.IN_FLIGHT
        if request.body.truncated:
            return SkipReason.TRUNCATED_REQUEST
        if self._second is not None and not self._second.allows(now_ns):
            return ShedReason.RATE  # whole, since without its control it would say nothing
        return self._protection.refuses(now_ns)

    def _note(self, exchange: AnyExchange) -> None:
        """How stable fares, where it is asked twice."""
        if self._second is not None:
            error = None if exchange.error is None else exchange.error.kind
            latency_ms = (exchange.ended_ns - exchange.started_ns) / 1e6
            self._second.back_off.note(exchange.started_ns, latency_ms, failed=suffers(error, status_of(exchange)))

    def _held_bytes(self, request: Request, stable: AnyExchange) -> int:
        """What the trial may come to hold: each arm is taken to answer as much as stable did."""
        answer = min(answered_bytes(stable), CAPTURE_BODY_BYTES_MAX)
        return len(request.body.data) + answer * (1 + len(self._orders))

    def _begin(
        self, request: Request, stable: AnyExchange, plain: PlainRequest | None, *, endpoint: str, entity: str, held: int, now_ns: int
    ) -> None:
        lanes, order = self._orders[len(self._orders) == 2 and self._rng.random() < 0.5]
        shadow = ShadowTrial(
            request,
            plain,
            stable,
            trial_id=self._naming.ids.next_id(),
            endpoint=endpoint,
            entity=entity,
            session=self._sessions.key_of(request),
            order=order,
            in_flight=len(self._under_way) + 1,
            warm_up=self._warm_up.note(endpoint, now_ns),
            held_bytes=held,
            done=self._finish,
            tracing=self._naming.tracing,
        )
        self._under_way.add(shadow)
        self._idle.clear()
        self._bytes += held
        self._protection.sent(now_ns)
        if self._second is not None:
            self._second.take(now_ns)
        try:
            for lane in lanes:
                shadow.send(lane, self._clock.monotonic_ns())
        except Exception:  # whatever it is, the trial leaves; then it is raised
            shadow.abort()
            self._leave(shadow)
            raise

    def _finish(self, shadow: "ShadowTrial") -> None:
        self._leave(shadow)
        try:
            self._sink.put(shadow.trial(self._seq, self._control, self._design, whole=self._sink.whole))
        except Exception as error:  # noqa: BLE001 - a broken consumer must not reach the sockets' callbacks
            self._faults.add("the comparison queue", error)
            self._tally.shed(ShedReason.FAULT)
        else:
            self._seq += 1

    def _leave(self, shadow: "ShadowTrial") -> None:
        self._under_way.discard(shadow)
        self._bytes -= shadow.held_bytes
        if not self._under_way:
            self._idle.set()
