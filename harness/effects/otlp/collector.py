"""The collector of spans: what instrumented builds of any language report of their own calls is filed by trial and arm.

A span belongs to the trial whose trace id it carries, and to the arm whose path it was sent to or below whose parent span it
hangs. It is given out once its trial's spans are complete, since what is reported of one depends on those around it.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping
from typing import Final, Self

from harness.core import limits
from harness.core.clock import Clock
from harness.core.labels import Role
from harness.core.trace import span_of
from harness.core.values import Effect
from harness.effects.api import Collector, Lapse, Observed, OpenTrial, Workplace
from harness.effects.naming import Operations, document
from harness.effects.otlp.decode import Incoming, attributes_of, name_of
from harness.effects.otlp.grpc import GrpcReceiver
from harness.effects.otlp.intake import Intake
from harness.effects.otlp.options import Options, grpc_address, listen_address, read_options
from harness.effects.otlp.receiver import Receiver
from harness.effects.otlp.spans import KIND_NAMES, SERVER, Doing, doing_of
from harness.effects.otlp.trees import NO_PARENT, Grove, Node, Tree, loops

_NO_TRACE: Final = bytes(16)
_ASKED_SECONDS: Final = 0.05
"""How often whoever hands effects on asks for them, at least."""
_WEIGHT_BYTES: Final = 1024
"""A span weighs one, and one more for each of these in its query text."""

_BROKEN = "spans with broken ids"
_STRANGE = "spans of no request of this run"
_HOMELESS = "spans that hang below no target's request"
_CUT = "spans left out, more than can be held"
_UNDRAINED = "effects left out, more than can be held"
_INCOMPLETE = "requests whose spans were not complete in time"
_POOLED = "operations beyond the bound are called `other`"


class _Held:
    """A trial and its spans."""

    __slots__ = ("began_ns", "ended", "grove", "news", "settled", "trial", "weight")

    def __init__(self, trial: OpenTrial, now_ns: int = 0) -> None:
        self.trial = trial
        self.began_ns = now_ns
        self.grove = Grove({str(role): bytes.fromhex(span_of(trial.trace, role)) for role in trial.roles})
        self.news = asyncio.Event()
        self.settled = False
        self.ended = False
        self.weight = 0

    def tree(self, role: Role) -> Tree:
        return self.grove.trees[str(role)]


class SpanCollector(Collector):
    """Effects from OpenTelemetry spans (`effects.otlp`)."""

    name = "otlp"
    version = 1

    def __init__(self, options: Options, clock: Clock, host: str = "127.0.0.1", *, live: bool = False) -> None:
        self._options = options
        self._clock = clock
        self._live = live
        if live:
            self.delay_s = 2 * options.quiet_ms / 1000 + _ASKED_SECONDS  # exported, then quiet, then asked for
        self._roles: tuple[Role, ...] = ()
        self._kinds = frozenset(KIND_NAMES[kind] for kind in options.kinds)
        self._intake = Intake(self.take)
        self._receiver = Receiver(*listen_address(options, host), self._intake)
        self._grpc = GrpcReceiver(lambda role: grpc_address(options, role, host), self._intake)
        self._operations = Operations()
        self._trials: dict[bytes, _Held] = {}
        self._ended: OrderedDict[bytes, _Held] = OrderedDict()
        self._weight = 0
        self._outbox: list[Observed] = []
        self._counts: Counter[tuple[str, Role | None]] = Counter()
        self._heard: set[Role] = set()
        """Roles that sent a span of any kind."""
        self._answering: set[Role] = set()
        """Roles that sent the SERVER span of a trial."""
        self._silent: Counter[Role] = Counter()
        """Trials in which a role's spans were waited for, while none had ever come."""
        self._given_up: Counter[Role] = Counter()
        """Trials in which a role's spans were not waited for any more."""

    @classmethod
    def make(cls, options: Mapping[str, object], workplace: Workplace) -> Self:
        """A collector from its section of the configuration. Raises UsageError."""
        return cls(read_options(options), workplace.clock, workplace.host, live=workplace.live)

    async def open(self, roles: Collection[Role]) -> None:
        """Listen for exports. Raises SetupError."""
        self._roles = tuple(roles)
        await self._receiver.open(roles)
        await self._grpc.open(roles)

    def names(self, role: Role) -> Mapping[str, str]:
        """`{otlp}` and `{otlp_grpc}`: the endpoint of a target's exporter, by what it speaks."""
        return {"otlp": self._endpoint(role), "otlp_grpc": self._grpc.url(role)}

    def env(self, role: Role) -> Mapping[str, str]:
        """What makes an SDK send its spans here soon; those of traces alone too, for they would come before the general ones."""
        protocol = self._options.protocol
        endpoint = self._grpc.url(role) if protocol == "grpc" else self._endpoint(role)
        return {
            "OTEL_SDK_DISABLED": "false",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint if protocol == "grpc" else f"{endpoint}/v1/traces",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": protocol,
            "OTEL_BSP_SCHEDULE_DELAY": str(max(1, int(self._options.quiet_ms / 2))),
            "OTEL_PROPAGATORS": "tracecontext,baggage",
            "OTEL_TRACES_SAMPLER": "parentbased_always_on",
        }

    def _endpoint(self, role: Role) -> str:
        return f"{self._receiver.url}/{role}"

    def begin(self, trial: OpenTrial) -> None:
        """Know the trial's trace from now on."""
        self._forget(self._ended.pop(bytes.fromhex(trial.trace), None))
        self._trials[bytes.fromhex(trial.trace)] = _Held(trial)

    async def settle(self, trial: OpenTrial, deadline_ns: int) -> bool:
        """Wait until the spans of all arms are there and none came for `quiet_ms`.

        A role of which nothing was heard in SPAN_TRIALS_SILENT_MAX trials is not waited for any more, until something is;
        what it did is not known, so the answer is False.
        """
        held = self._trials.get(bytes.fromhex(trial.trace))
        if held is None or held.ended:
            return False
        cap_ns = min(deadline_ns, self._clock.monotonic_ns() + int(self._options.wait_ms * 1e6))
        waited = [role for role in trial.roles if role in self._answering or self._silent[role] < limits.SPAN_TRIALS_SILENT_MAX]
        complete = not waited or await self._quiet(held, waited, cap_ns)
        held.settled = True
        for role in trial.roles:
            self._judged(held, role, waited=role in waited)
        for role in trial.roles:
            self._release(held, role)
        return complete and len(waited) == len(trial.roles)

    async def _quiet(self, held: _Held, roles: Collection[Role], cap_ns: int) -> bool:
        arms = [str(role) for role in roles]
        trees = [held.tree(role) for role in roles]
        quiet_ns = int(self._options.quiet_ms * 1e6)
        while True:
            now_ns = self._clock.monotonic_ns()
            until_ns = cap_ns
            if held.grove.whole(arms):
                due_ns = max(tree.last_ns for tree in trees) + quiet_ns
                if now_ns >= due_ns:
                    return True
                until_ns = min(cap_ns, due_ns)
            if now_ns >= cap_ns:
                return False
            held.news.clear()
            try:
                async with asyncio.timeout(max((until_ns - now_ns) / 1e9, 0.001)):
                    await held.news.wait()
            except TimeoutError:
                continue

    def _judged(self, held: _Held, role: Role, *, waited: bool) -> None:
        tree = held.tree(role)
        if not waited:
            self._given_up[role] += 1
        elif not tree.whole:
            self._counts[_INCOMPLETE, role] += 1
        if waited and role not in self._answering:
            self._silent[role] += 1
        self._counts[_BROKEN, role] += len(loops(tree.nodes))

    async def drain(self) -> list[Observed]:
        """The effects of settled trials, and late ones; of live traffic, those of traces that are whole and quiet or were waited for."""
        if self._live:
            self._settle_live()
        outbox, self._outbox = self._outbox, []
        return outbox

    def _settle_live(self) -> None:
        """Nobody says when a trial of live traffic begins and ends: its spans do, arm by arm."""
        now_ns = self._clock.monotonic_ns()
        quiet_ns, wait_ns = int(self._options.quiet_ms * 1e6), int(self._options.wait_ms * 1e6)
        for held in list(self._trials.values()):
            if now_ns >= held.began_ns + wait_ns:
                self.end(held.trial)
                continue
            for arm, tree in held.grove.trees.items():
                if tree.grown and now_ns >= tree.last_ns + quiet_ns and tree.entered:
                    self._release(held, Role(arm))

    def end(self, trial: OpenTrial) -> None:
        """What still comes of the trial is late."""
        trace = bytes.fromhex(trial.trace)
        held = self._trials.pop(trace, None)
        if held is None:
            return
        if not held.settled:
            # Given up before its end: what it did is given out all the same, for somebody did it.
            for role in trial.roles:
                self._release(held, role)
        self._counts[_HOMELESS, None] += held.grove.homeless
        held.ended = True
        self._ended[trace] = held
        if len(self._ended) > limits.SPAN_TRIALS_ENDED_MAX:
            self._forget(self._ended.popitem(last=False)[1])

    async def close(self) -> None:
        """Stop listening."""
        await self._receiver.close()
        await self._grpc.close()

    def lapses(self) -> tuple[Lapse, ...]:
        """What could not be seen so far."""
        found = [Lapse(what, count, role, what not in {_STRANGE, _POOLED}) for (what, role), count in self._counts.items() if count]
        found += [Lapse(what, count, role) for (what, role), count in self._intake.refused.items()]
        for role, count in self._given_up.items():
            if role in self._heard:
                what = f"no span of a request's own came from {role}; does it take up `traceparent`?"
            else:
                what = f"no span came from {role}; is it instrumented?"
            found.append(Lapse(what, count, role))
        if self._live:
            found += [Lapse(f"no span came from {role}; is it instrumented?", 1, role) for role in self._roles if role not in self._heard]
        if self._operations.overflowed:
            found.append(Lapse(_POOLED, self._operations.overflowed, blind=False))
        return tuple(found)

    def take(self, role: Role | None, spans: list[Incoming]) -> int:
        """File spans that were sent to a role's path (None: to no role's). Returns how many were not taken."""
        now_ns = self._clock.monotonic_ns()
        rejected = 0
        grown: dict[tuple[bytes, str], _Held] = {}
        if role is not None and spans:
            self._heard.add(role)
        for span in spans:
            trace = span.trace
            if not _are_ids(span):
                self._counts[_BROKEN, role] += 1
                rejected += 1
                continue
            held = self._trials.get(trace) or self._ended.get(trace)
            if held is None and self._live:
                held = _Held(OpenTrial(trace=trace.hex(), roles=self._roles, request=""), now_ns)
                self._trials[trace] = held
            if held is None or (role is not None and role not in held.trial.roles):
                self._counts[_STRANGE, role] += 1
                continue
            arm = "" if role is None else str(role)
            if held.grove.knows(span.span, arm):
                continue
            node = self._node(span, role)
            if not self._room_for(held, node):
                self._counts[_CUT, role] += 1
                for tree in held.grove.trees.values():
                    tree.cut = True
                rejected += 1
                continue
            if home := held.grove.add(node, arm, now_ns):
                grown[trace, home] = held
        for (_, home), held in grown.items():
            self._grew(held, Role(home))
        return rejected

    def _node(self, span: Incoming, role: Role | None) -> Node:
        parent = span.parent or NO_PARENT
        if parent == span.span:
            self._counts[_BROKEN, role] += 1
            parent = NO_PARENT
        doing: Doing | None = None
        if span.kind in self._kinds:
            doing = doing_of(span.kind, name_of(span), attributes_of(span), error=span.error, statements=self._options.statements)
        # A live request with tracing of the client's own has a parent that never comes.
        remote = span.remote or (self._live and span.kind == SERVER)
        return Node(span.span, parent, span.kind, started_ns=span.started_ns, remote=remote, doing=doing)

    def _grew(self, held: _Held, role: Role) -> None:
        self._heard.add(role)
        if held.tree(role).served:
            self._answering.add(role)
        if held.settled or held.ended:
            self._release(held, role)
        held.news.set()

    def _room_for(self, held: _Held, node: Node) -> bool:
        """Whether one more span can be held, if need be in place of the oldest trials that were judged."""
        weight = 1
        if node.doing is not None and isinstance(text := node.doing.fields.get("db.query.text"), str):
            weight += len(text) // _WEIGHT_BYTES
        while self._weight + weight > limits.EFFECTS_UNDRAINED_MAX and self._ended:
            self._forget(self._ended.popitem(last=False)[1])
        if self._weight + weight > limits.EFFECTS_UNDRAINED_MAX:
            if self._live and not held.weight:
                self._trials.pop(bytes.fromhex(held.trial.trace), None)
            return False
        self._weight += weight
        held.weight += weight
        return True

    def _forget(self, held: _Held | None) -> None:
        if held is not None:
            self._weight -= held.weight
            held.weight = 0

    def _release(self, held: _Held, role: Role) -> None:
        """Give out what is known of an arm and was not given out yet."""
        tree = held.tree(role)
        for node in tree.report():
            if len(self._outbox) >= limits.EFFECTS_UNDRAINED_MAX:
                self._counts[_UNDRAINED, role] += 1
                continue
            doing = node.doing
            if doing is None:
                continue
            verb, place = (doing.verb, doing.place) if doing.place else _parted(doing.verb)
            effect = Effect(
                collector=self.name,
                operation=self._operations.named(verb, place),
                document=document(doing.fields),
                writes=doing.writes,
                at_ns=tree.last_ns,
                late=held.ended,
            )
            self._outbox.append(Observed(role=role, effect=effect, trace=held.trial.trace))


def _are_ids(span: Incoming) -> bool:
    return (
        len(span.trace) == 16 and len(span.span) == 8 and len(span.parent) in {0, 8} and span.trace != _NO_TRACE and span.span != NO_PARENT
    )


def _parted(verb: str) -> tuple[str, str]:
    """The last word of a verb as the place, for what has none: `CLIENT postgresql` `COMMIT`."""
    head, _, last = verb.rpartition(" ")
    return head, last
