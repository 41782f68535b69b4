"""The demo's world in memory: instances of the order service, the live run over them, and the gate that replays its recording.

All of it is the code itself, but for sockets, processes and real time. It runs in a virtual loop (tests/sim/virtual_time).
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection
from random import Random
from time import gmtime, strftime
from typing import Final

import orjson
from msgspec import structs

from comparators.trial import compare_trial
from harness.app.gate import is_open
from harness.app.parts import CountedIds, plan_of, policy_of
from harness.core.endpoint import EndpointMapper, entity_of
from harness.core.http import SAFE_METHODS, header
from harness.core.labels import Control, Design, EffectsSeen, Role, RunMode
from harness.core.outcomes import Tally
from harness.core.redact import Redactor
from harness.core.trace import TRACEPARENT, trace_id, with_trace
from harness.core.values import Arm, Effect, Exchange, Request, Response, Trial, body_of
from harness.effects.egress.documents import Describer
from harness.evidence.bets import bets_of
from harness.evidence.gate import judge
from harness.evidence.ledger import Ledger
from harness.evidence.snapshot import Snapshot, Verdict
from harness.settings.schema import ReplaySettings, Settings
from replay.capture import Capture
from replay.codings import DECODERS
from replay.formats.gor import GorEncoder
from replay.runner import PassJob, RunnerIO, run_pass
from replay.schedule import plan as schedule
from replay.sessions import group_sessions
from replay.watch import WatchedEffects
from scenarios.demo.api import OrderService
from scenarios.demo.outside import IDEMPOTENCY_KEY, OutboundCall
from scenarios.demo.traffic import CONCURRENCY, THINK_S, Session, Step, plan
from tests.scenarios.demo.playing import effect_of
from tests.sim.virtual_time import LoopClock

SEND_MS: Final = (0.3, 0.9)
"""What the harness's one core spends on a send: gives a pass the length it has in life, and no two sends the same time."""
RESTART_S: Final = 0.7
"""What it takes to stop three processes and start three."""
HOST: Final = "127.0.0.1:8080"
STABLE: Final = "stable"
CALL_S: Final = 0.003
"""What an outbound call takes through the egress proxy."""


class Core:
    """The one processor of the harness: sends wait for it in turn."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._free_s = 0.0

    async def send(self) -> None:
        """Wait for the processor and take its time."""
        now_s = asyncio.get_running_loop().time()
        self._free_s = max(now_s, self._free_s) + self._chance.uniform(*SEND_MS) / 1000
        await asyncio.sleep(self._free_s - now_s)


class Instance:
    """One process of the service: it answers when asked, and the answer is under way for as long as it worked on it."""

    def __init__(self, build: str, seed: str, clock: LoopClock, core: Core, watcher: "Watcher | None" = None) -> None:
        """Its calls go to the watcher; without one it makes none."""
        self._service = OrderService(build, Random(seed), clock.time)
        self._clock = clock
        self._core = core
        self._watcher = watcher

    async def exchange(self, request: Request) -> Exchange:
        """Send a request."""
        await self._core.send()
        started_ns = self._clock.monotonic_ns()
        answer = self._service.answer(request)
        if self._watcher is not None:
            for call in answer.calls:
                await asyncio.sleep(CALL_S)
                self._watcher.called(request, call)
        await asyncio.sleep(answer.work_ms / 1000)
        ended_ns = self._clock.monotonic_ns()
        response = self._as_served(answer.response)
        return Exchange(request=request, response=response, started_ns=started_ns, first_byte_ns=ended_ns, ended_ns=ended_ns)

    def _as_served(self, response: Response) -> Response:
        """With what a web server adds."""
        date = strftime("%a, %d %b %Y %H:%M:%S GMT", gmtime(self._clock.time()))
        served = (("Content-Length", str(response.body.size)), ("Date", date), ("Server", "Python/3 aiohttp/3"))
        return Response(response.status, response.headers + served, response.body, "OK" if response.status < 400 else "")


class Watcher:
    """The collector of outbound calls, without sockets: what every arm did, by the trace context it was sent."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._describer = Describer((IDEMPOTENCY_KEY.lower(),))
        self._seen: defaultdict[str, list[Effect]] = defaultdict(list)

    def called(self, request: Request, call: OutboundCall) -> None:
        """A build makes a call for a request."""
        self._seen[_arm_of(request)].append(effect_of(call, self._describer))

    async def begin(self, _request: Request, roles: Collection[Role], *, alone: bool) -> "WatchedArms":
        """See `replay.watch.Watch`."""
        del alone
        return WatchedArms(self, trace_id(self._chance.getrandbits(120)), roles)

    def taken(self, arm: str) -> tuple[Effect, ...]:
        """What an arm did, once."""
        return tuple(self._seen.pop(arm, ()))


class WatchedArms:
    """See `replay.watch.WatchedTrial`."""

    def __init__(self, watcher: Watcher, trace: str, roles: Collection[Role]) -> None:
        self._watcher = watcher
        self._trace = trace
        self._arms = dict.fromkeys(roles, "")

    def prepared(self, role: Role, request: Request) -> Request:
        """The request with the trial's trace."""
        sent = structs.replace(request, headers=with_trace(request.headers, self._trace, role))
        self._arms[role] = _arm_of(sent)
        return sent

    def answered(self, role: Role) -> None:
        """Calls are made before the answer."""

    async def effects(self) -> WatchedEffects:
        """What the arms did."""
        return WatchedEffects({role: self._watcher.taken(arm) for role, arm in self._arms.items()}, EffectsSeen.COMPLETE)

    def abandon(self) -> None:
        """Nothing is kept of it."""
        for arm in self._arms.values():
            self._watcher.taken(arm)


def _arm_of(request: Request) -> str:
    """The `traceparent`: another one for every arm of a trial."""
    return header(request.headers, TRACEPARENT) or ""


def started(run: str, start: int, candidate: str, clock: LoopClock, watcher: Watcher | None = None) -> dict[Role, Instance]:
    """An instance for each role, with the seeds that the demo gives them; `run` is that part of the seed that the start is not."""
    core = Core(Random(f"{run} core {start}"))
    builds = {Role.STABLE: STABLE, Role.SECONDARY: STABLE, Role.CANDIDATE: candidate}
    return {role: Instance(build, f"{run}-{role}-{start}", clock, core, watcher) for role, build in builds.items()}


class Book:
    """What every trial of a run goes into."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.tally = Tally()
        self._plan = plan_of(Settings())

    async def take(self, trial: Trial) -> None:
        """Compare and fold; trials come in the order of their numbers."""
        comparison = compare_trial(trial, self._plan)
        self.ledger.fold(bets_of(trial, comparison))
        self.tally.compared(trial, comparison)


class Live:
    """The planned traffic through a proxy that mirrors reads and records all, as harness/app/proxy.py runs it for the demo."""

    def __init__(self, seed: int, candidate: str) -> None:
        self._seed = seed
        self._clock = LoopClock()
        self._arms = started(f"{seed}-live", 1, candidate, self._clock)
        policy = policy_of(None, RunMode.PROXY).policy
        self._book = Book(Ledger(policy, control=Control.SECONDARY, design=Design.TWO_ARM, live=True))
        self._redactor = Redactor(Random(f"{seed} key").randbytes(32), decoders=DECODERS)
        self._encoder = GorEncoder()
        self._records: list[bytes] = []
        self._mapper = EndpointMapper()
        self._coin = Random(f"{seed}/live")
        self._ids = CountedIds()
        self._seq = 0

    async def run(self) -> tuple[bytes, Snapshot]:
        """The recording, redacted, in the order in which the answers were complete; and where the evidence stands at the end."""
        room = asyncio.Semaphore(CONCURRENCY)
        async with asyncio.TaskGroup() as group:
            for session in plan(self._seed):
                group.create_task(self._play(session, room, group))
        return b"".join(self._records), self._book.ledger.snapshot()

    async def _play(self, session: Session, room: asyncio.Semaphore, group: asyncio.TaskGroup) -> None:
        pauses = Random(f"pauses {self._seed} {session.customer}")
        known: dict[str, str] = {}
        async with room:
            for step in session.steps:
                request = _request(session, step, known)
                exchange = await self._arms[Role.STABLE].exchange(request)
                if request.method in SAFE_METHODS:
                    group.create_task(self._mirror(request, exchange, known.get("token", "")))
                body = self._record(request, exchange)
                if step.learns and body.status < 300:
                    answer = orjson.loads(body.body.data)
                    known |= {name: str(answer[member]) for name, member in step.learns}
                await asyncio.sleep(pauses.expovariate(1 / THINK_S))

    def _record(self, request: Request, exchange: Exchange) -> Response:
        response = exchange.response
        assert response is not None, "an instance always answers"
        took_ns = exchange.ended_ns - exchange.started_ns
        at_ns = int(self._clock.time() * 1e9) - took_ns
        redacted = self._redactor.response(response)
        self._records.append(self._encoder.pair(self._redactor.request(request), redacted, time_ns=at_ns, latency_ns=took_ns))
        return response

    async def _mirror(self, request: Request, stable: Exchange, session: str) -> None:
        coin = [Role.SECONDARY, Role.CANDIDATE]
        self._coin.shuffle(coin)
        answers = await asyncio.gather(*(self._arms[role].exchange(request) for role in coin))
        arms = {role: Arm(role=role, exchange=exchange) for role, exchange in zip(coin, answers, strict=True)}
        trial = Trial(
            id=self._ids.next_id(),
            seq=self._seq,
            endpoint=self._mapper.endpoint(request),
            request=request,
            stable=Arm(role=Role.STABLE, exchange=stable),
            secondary=arms[Role.SECONDARY],
            candidate=arms[Role.CANDIDATE],
            control=Control.SECONDARY,
            design=Design.TWO_ARM,
            order=(Role.STABLE, *coin),
            session=session,
            entity=entity_of(request),
            warm_up=True,  # no endpoint of the demo has more requests than belong to it
        )
        self._seq += 1
        await self._book.take(trial)


def _request(session: Session, step: Step, known: dict[str, str]) -> Request:
    headers = [("Host", HOST), ("X-Tenant", session.tenant), ("X-Region", session.region), ("X-Device", session.device)]
    headers.append(("User-Agent", "shop-app/4.2"))
    if step.signed:
        headers.append(("Authorization", f"Bearer {known['token']}"))
    data = b""
    if step.body is not None:
        data = orjson.dumps(step.body)
        headers += [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
    headers += [("Accept", "*/*"), ("Accept-Encoding", "gzip, deflate, br")]
    return Request(step.method, step.path.format_map(known), tuple(headers), body_of(data), HOST)


_GATE_DESIGN: Final = Design.TWO_ARM
"""Only stable's calls reach the outside, so the arms are not alike."""


class Gate:
    """A gate as harness/app/gate.py runs it for the demo, outbound calls watched."""

    def __init__(self, seed: int, candidate: str, capture: Capture) -> None:
        self._seed = seed
        self._candidate = candidate
        self._replayable = len(capture.entries)
        self._policy = policy_of(None, RunMode.DEMO).policy
        self._mapper = EndpointMapper(hosts=capture.hosts)
        self._sessions = schedule(group_sessions(capture.entries), None)
        endpoints = dict.fromkeys(self._mapper.endpoint(entry.request) for entry in capture.entries)
        ledger = Ledger(self._policy, control=Control.SECONDARY, design=_GATE_DESIGN, endpoints=tuple(endpoints))
        self._book = Book(ledger)
        self._clock = LoopClock()
        self._ids = CountedIds()
        self._seq = 0

    async def run(self) -> tuple[Snapshot, Verdict]:
        """Send until all is decided, and judge."""
        for index in range(self._policy.passes_max):
            await self._send(index)
            if index + 1 >= self._policy.passes_min and not is_open(self._book.ledger.snapshot(), self._policy):
                break
            await asyncio.sleep(RESTART_S)
        snapshot = self._book.ledger.snapshot()
        return snapshot, judge(snapshot, self._book.tally.totals(), self._policy, replayable=self._replayable)

    async def _send(self, index: int) -> None:
        watcher = Watcher(Random(f"{self._seed} traces {index}"))
        arms = started(f"{self._seed}-gate", index + 1, self._candidate, self._clock, watcher)

        async def send(role: Role, request: Request) -> Exchange:
            return await arms[role].exchange(request)

        job = PassJob(
            sessions=self._sessions,
            roles=tuple(Role),
            design=_GATE_DESIGN,
            pass_index=index,
            fresh=True,
            concurrency=ReplaySettings().concurrency,
            allow_writes=True,
            seq_start=self._seq,
        )
        io = RunnerIO(
            send=send,
            emit=self._book.take,
            clock=self._clock,
            rng=Random(f"{self._seed}/pass{index}"),
            ids=self._ids,
            tally=self._book.tally,
            endpoint_of=self._mapper.endpoint,
            entity_of=entity_of,
            stop=asyncio.Event(),
            watch=watcher,
        )
        self._seq = (await run_pass(job, io)).seq_next
