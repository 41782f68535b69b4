"""Confirmation in live traffic: what the ledger has a question about is asked again, beside the traffic, until it is clear.

The supervisor does it, which is on no client's path: it holds the request as it came, sends it over connections of its own, and
compares in a thread of its own. A repeat counts only where the answer depends on no stored state, so only safe methods at endpoints
that were declared stateless are asked. A target marked `production` is never asked: where stable is, candidate and secondary
are compared with what stable answered at first. Given that answer, and each of them asked anew, an innocent candidate can be swapped
with the secondary, so the bet is fair; the answers that raised the question are not counted.

Always two arms, also where stable is asked too: the harness did not start the targets, and stable, which serves the clients,
need not be like the others. Were stable steadier than both, three arms would pay a candidate that is as noisy as the secondary.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, Protocol

from comparators.plan import Plan, build_plan
from comparators.registry import load_comparators
from comparators.trial import compare_trial
from harness.app import ingress, parts
from harness.app.builds import build_in
from harness.app.context import Context
from harness.app.epochs import Epochs, build_rules
from harness.app.results import Results
from harness.core.clock import Clock
from harness.core.errors import ShadowdiffError, UsageError
from harness.core.http import SAFE_METHODS
from harness.core.labels import Control, Design, Role
from harness.core.limits import CONFIRM_SENDS_MAX, CONFIRM_WAITING_BYTES_MAX, CONFIRM_WAITING_MAX, ENDPOINTS_MAX, SHADOW_ANSWER_BYTES_MAX
from harness.core.plain import AnyExchange, opened_exchange
from harness.core.values import Arm, Comparison, Exchange, Request, Trial
from harness.counters import TargetBreakers, TargetRepeats
from harness.evidence.bets import TrialBets, bets_of
from harness.evidence.expected import ExpectedChanges, set_apart
from harness.evidence.hard_rules import pattern_of
from harness.fold import Fold, TrialSource
from harness.proxy.address import HostRule, UpstreamAddress
from harness.proxy.allowance import Allowance, suffers
from harness.proxy.exclusions import Exclusions
from harness.proxy.shadow import answered_bytes
from harness.proxy.upstream import UpstreamPool
from harness.proxy.wire import GUARD_HEADER
from harness.settings.schema import ConfirmSettings, Settings
from harness.worker import Worker

_LOG: Final = logging.getLogger(__name__)
_GUARD: Final = ((GUARD_HEADER, "1"),)
LOOK_SECONDS: Final = 0.02
"""How often it is looked whether the targets may be asked, while something waits."""
SPENT_LOOK_SECONDS: Final = 1.0
"""The same where nothing is left of the day's."""
CONNECT_SECONDS_MAX: Final = 5.0
STOP_SECONDS: Final = 5.0


class Surroundings(Protocol):
    """Who knows whether targets may be asked now."""

    def mirroring(self) -> float:
        """How many of a hundred requests are mirrored."""

    def breakers(self) -> Mapping[str, TargetBreakers]:
        """How the breakers of each shadow target stand."""


def asked_roles(settings: Settings) -> tuple[Role, ...]:
    """Who is asked again; nobody without `confirm.live`. Raises UsageError where the settings do not go together."""
    confirm, targets = settings.confirm, settings.targets
    if not confirm.live:
        return ()
    if not confirm.stateless:
        raise UsageError(
            "nothing may be asked again: no endpoint is declared stateless",
            where="confirm.stateless",
            fix="name endpoints whose answers depend on no stored state, such as GET /search*, or leave confirm.live out",
        )
    for role in (Role.SECONDARY, Role.CANDIDATE):
        target = getattr(targets, role)
        if target is not None and target.production:
            raise UsageError(
                f"{role} serves users, and would be asked again",
                where=f"targets.{role}.production",
                fix=f"give another instance as {role}, or leave confirm.live out",
            )
    if targets.secondary is None or targets.candidate is None:
        missing = "secondary" if targets.secondary is None else "candidate"
        raise UsageError(f"asking again proves nothing without a {missing}", where="confirm.live", fix=f"give a {missing}, or leave it out")
    if settings.effects.collect:
        raise UsageError(
            "what a repeat does outside would belong to no request", where="confirm.live", fix="leave out confirm.live or effects.collect"
        )
    production = targets.stable is not None and targets.stable.production
    return (Role.SECONDARY, Role.CANDIDATE) if production else (Role.STABLE, Role.SECONDARY, Role.CANDIDATE)


class Stateless:
    """Which endpoints may be asked again. Memory is bounded."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._patterns = [pattern_of(text) for text in patterns]
        self._known: dict[str, bool] = {}

    def __contains__(self, endpoint: str) -> bool:
        found = self._known.get(endpoint)
        if found is None:
            if len(self._known) > ENDPOINTS_MAX:
                self._known.clear()
            safe = endpoint.partition(" ")[0] in SAFE_METHODS
            found = self._known[endpoint] = safe and any(pattern.fullmatch(endpoint) for pattern in self._patterns)
        return found


class _Open:
    """A request about which there is a question."""

    __slots__ = ("fold", "held", "key", "sends", "trial", "urgency")

    def __init__(self, fold: Fold, key: int, trial: Trial) -> None:
        self.fold = fold
        self.key = key
        self.trial = trial
        """The one that raised it."""
        self.sends = 0
        self.urgency = 0.0
        self.held = len(trial.request.body.data) + answered_bytes(trial.stable.exchange)


class Asking:
    """Asks again. `may_ask` and `folded` are called in the thread that folds, everything else on the event loop that made it.

    One request is under way at a time: the one whose question is the most promising, equals in turn (`Questions.urgency`); each at
    most CONFIRM_SENDS_MAX times.
    """

    def __init__(
        self,
        settings: Settings,
        results: Results,
        epochs: Epochs,
    ) -> None:
        """Nobody is asked where the settings do not say so. Raises as `asked_roles`."""
        self._settings = settings
        self._results = results
        self._epochs = epochs
        self._clock: Clock = epochs.context.clock
        self._rng = parts.rng_of(epochs.context.identity, "confirm")
        self._around: Surroundings | None = None
        self._roles = asked_roles(settings)
        confirm: ConfirmSettings = settings.confirm
        self._stateless = Stateless(confirm.stateless)
        self.allowances = {role: Allowance(confirm.rate, confirm.daily) for role in self._roles}
        """Of each target that is asked."""
        self._exclusions = self._excluded(settings)
        self._pools: dict[Role, UpstreamPool] = {}
        self._open: OrderedDict[int, _Open] = OrderedDict()
        """By request, the next one first; what is under way is among them."""
        self._held = 0
        self._plan: Plan | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._moved = asyncio.Event()
        self._thread = Worker("asking")
        self._task: asyncio.Task[None] | None = None
        if self._roles:
            results.fold.watcher = self

    def start(self, around: Surroundings) -> None:
        """Begin, on the running loop. Nothing is asked while nothing is mirrored, or a breaker of a target is not closed."""
        if not self._roles:
            return
        self._around = around
        self._loop = asyncio.get_running_loop()
        settings = self._settings
        self._plan = build_plan((*settings.rules, *build_rules(settings.epochs.build_header)), load_comparators())
        for role, (address, host) in ingress.target_addresses(settings).items():
            if role in self._roles:
                self._pools[role] = self._pool(address, host)
        self._task = asyncio.create_task(self._work(), name="asking")

    async def stop(self) -> None:
        """Ask no more; what is under way is given up."""
        self._loop = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for pool in self._pools.values():
            await pool.close()
        await self._thread.stop(STOP_SECONDS)

    def use(self, settings: Settings) -> None:
        """What is never mirrored, from now on."""
        self._exclusions = self._excluded(settings)

    def recalled(self, bets: TrialBets) -> None:
        """A process that is no more had asked this: it counts for the day. Called before anything is asked."""
        for allowance in self.allowances.values():
            allowance.took(bets.started_ns)

    def words(self) -> str:
        """What is asked of whom, in one line; empty where nobody is."""
        confirm = self._settings.confirm
        often = f"at most {confirm.rate:g}/s and {confirm.daily:,} a day of {', '.join(self._roles)}"
        return f"asking again at {', '.join(confirm.stateless)}: {often}" if self._roles else ""

    def waiting(self) -> dict[str, int]:
        """Requests that are asked in turn, as a stage of the queues; nothing where nobody is asked."""
        return {"confirm": len(self._open)} if self._roles else {}

    def repeats(self) -> dict[str, TargetRepeats]:
        """How often each target was asked, and how it stands."""
        now_ns = self._clock.monotonic_ns()
        return {
            str(role): TargetRepeats(sent=one.taken, factor=one.back_off.factor, spent=one.spent(now_ns))
            for role, one in self.allowances.items()
        }

    def may_ask(self, endpoint: str) -> bool:
        """See `harness.fold.Watcher`."""
        return endpoint in self._stateless

    def folded(self, fold: Fold, bets: TrialBets, trial: TrialSource, *, asked: bool) -> None:
        """See `harness.fold.Watcher`. How targets answer is looked at in all trials."""
        allowances, started_ns = self.allowances, bets.started_ns
        for role, outcome in ((Role.STABLE, bets.stable), (Role.SECONDARY, bets.secondary), (Role.CANDIDATE, bets.candidate)):
            if outcome is not None and role in allowances:
                allowances[role].back_off.note(started_ns, outcome.latency_ms, failed=suffers(outcome.error, outcome.status))
        if not asked or bets.repeat or bets.endpoint not in self._stateless:
            return
        known = self._open.get(bets.request)
        if known is not None and known.fold is fold:
            return
        loop, found = self._loop, trial()
        if loop is not None and found is not None:
            try:
                loop.call_soon_threadsafe(self._take, _Open(fold, bets.request, found))
            except RuntimeError:
                return  # the loop has ended

    def _take(self, one: _Open) -> None:
        known = self._open.get(one.key)
        if known is not None:
            if known.fold is one.fold:
                return
            self._forget(known)
        if len(self._open) >= CONFIRM_WAITING_MAX or self._held + one.held > CONFIRM_WAITING_BYTES_MAX:
            return
        self._open[one.key] = one
        self._held += one.held
        self._moved.set()

    def _forget(self, one: _Open) -> None:
        if self._open.get(one.key) is one:
            del self._open[one.key]
            self._held -= one.held

    def _over(self, one: _Open) -> bool:
        """Whether it is asked no further, whatever is answered."""
        return one.fold is not self._results.fold or one.sends >= CONFIRM_SENDS_MAX or self._exclusions.exclude(one.trial.request)

    async def _work(self) -> None:
        while True:
            while not self._open:
                self._moved.clear()
                await self._moved.wait()
            for each in [each for each in self._open.values() if self._over(each)]:
                self._forget(each)
            if not self._open:
                continue
            one = max(self._open.values(), key=lambda each: each.urgency)  # of equals the one that has waited longest
            now_ns = self._clock.monotonic_ns()
            if not self._may_send(now_ns):
                spent = any(each.spent(now_ns) for each in self.allowances.values())
                await asyncio.sleep(SPENT_LOOK_SECONDS if spent else LOOK_SECONDS)
                continue
            urgency: float | None = None
            try:
                urgency = await self._ask(one)
            except ShadowdiffError as error:
                # A request that cannot be sent, or results that have failed, which the run says for itself.
                _LOG.warning("a request could not be asked again: %s", type(error).__name__)
            except Exception as error:  # noqa: BLE001 - whatever fails here, clients are served and traffic is judged
                _LOG.warning("asking again failed with %s", type(error).__name__)
            if urgency is None:
                self._forget(one)
            elif self._open.get(one.key) is one:
                one.urgency = urgency
                self._open.move_to_end(one.key)

    def _may_send(self, now_ns: int) -> bool:
        """A repeat is sent to all or to none, so the least that one of them allows holds for all."""
        assert self._around is not None
        if not self._around.mirroring() or not all(each.allows(now_ns) for each in self.allowances.values()):
            return False
        breakers = self._around.breakers()
        return not any((found := breakers.get(str(role))) is not None and (found.open or found.probing) for role in self._roles)

    async def _ask(self, one: _Open) -> float | None:
        """Send it once more and fold what is answered; how urgent it is now, None where it is not to be asked further."""
        one.sends += 1
        context, build = self._epochs.context, self._epochs.gate.build
        trial = await self._sent(one)
        header = self._settings.epochs.build_header
        if header and build and (said := build_in(trial, header)) and said != build:
            return one.urgency  # another build's answer says nothing about this one: its epoch comes, or it goes
        bets, comparison = await self._thread.call(self._compared, trial, context)
        return await self._results.fold_repeat(one.fold, bets, comparison)

    def _compared(self, trial: Trial, context: Context) -> tuple[TrialBets, Comparison]:
        """In a thread of its own: a comparator that hangs must not hold up the fold."""
        assert self._plan is not None
        try:
            comparison = compare_trial(trial, self._plan)
        except SystemExit as error:
            raise ShadowdiffError(
                "a comparator tried to end the program", where="comparison", fix="update or remove its package"
            ) from error
        bets = bets_of(trial, comparison, context.secret)
        return set_apart(bets, comparison, ExpectedChanges(context.expected.applied)), comparison

    async def _sent(self, one: _Open) -> Trial:
        """Ask all targets at once, begun in random order. Network trouble and time-outs are outcomes like others."""
        asked, order = one.trial, list(self._roles)
        self._rng.shuffle(order)
        now_ns = self._clock.monotonic_ns()
        for allowance in self.allowances.values():
            allowance.take(now_ns)
        bytes_max = SHADOW_ANSWER_BYTES_MAX + 2 * answered_bytes(asked.stable.exchange)
        sending = {role: self._submit(role, asked.request, bytes_max) for role in order}
        arms = {role: Arm(role=role, exchange=await exchange, intended_ns=now_ns) for role, exchange in sending.items()}
        return Trial(
            id=f"{asked.id}-again{one.sends}",
            seq=0,
            endpoint=asked.endpoint,
            request=asked.request,
            stable=arms.get(Role.STABLE, asked.stable),
            secondary=arms[Role.SECONDARY],
            candidate=arms[Role.CANDIDATE],
            control=Control.SECONDARY,
            design=Design.TWO_ARM,
            order=tuple(order),
            repeat_of=asked.id,
            fresh=True,
            session=asked.session,
            entity=asked.entity,
            in_flight=1,
        )

    def _submit(self, role: Role, request: Request, bytes_max: int) -> "asyncio.Future[Exchange]":
        future: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()

        def answered(exchange: AnyExchange) -> None:
            if not future.done():
                future.set_result(opened_exchange(exchange, request))

        self._pools[role].submit(request, answered, extra=_GUARD, answer_bytes_max=bytes_max)
        return future

    def _pool(self, address: UpstreamAddress, host: HostRule) -> UpstreamPool:
        return UpstreamPool(
            address,
            connect_timeout_s=CONNECT_SECONDS_MAX,
            exchange_timeout_s=self._settings.proxy.shadow_timeout_s,
            clock=self._clock,
            host=host,
        )

    def _excluded(self, settings: Settings) -> Exclusions:
        return Exclusions(settings.proxy.exclude, defaults=settings.proxy.default_exclusions)
