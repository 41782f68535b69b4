"""The ledger: folds bets in sequence order and knows where every hypothesis stands. One owner, one thread, no I/O.

Its state is a function of the policy and the sequence of `TrialBets`, nothing else: folding a stored run again gives
the same snapshot, bit for bit. All its memory is bounded (harness/core/limits.py).
"""

from collections.abc import Iterable, Iterator
from typing import Final

from harness.core.labels import Aspect, Control, Design, Kind, Role
from harness.core.limits import EVIDENCE_SESSIONS_MAX, EXEMPLARS_PER_FINDING_MAX, HYPOTHESES_MAX
from harness.evidence.bets import Bet, TrialBets
from harness.evidence.confirm import BetIndex, Question, Questions
from harness.evidence.determinism import DeterminismBook
from harness.evidence.expected import NO_CHANGES, ExpectedChanges
from harness.evidence.findings import finding_id
from harness.evidence.hard_rules import HardRules
from harness.evidence.hypothesis import Hypothesis, PoolState
from harness.evidence.keys import KeyBudget, KeyMemory
from harness.evidence.latency import LIVE_BLOCK, REPLAY_BLOCK, EndpointLatency, LatencyBook
from harness.evidence.noise import InTrial, NoiseBook
from harness.evidence.occurs import OccursBook
from harness.evidence.policy import Policy
from harness.evidence.reproduction import Exercise, Reproduction
from harness.evidence.slices import SliceBook
from harness.evidence.snapshot import Snapshot
from harness.evidence.standing import Standing
from harness.evidence.wealth import Wealth
from harness.evidence.weights import FAMILY_WEIGHTS, POOL_WEIGHTS, POOLED_SHARE, EndpointShares, Family, Pool, family_of, pools_of, series
from harness.evidence.what_blocks import Blocks, restless_parts

# Members that are asked for in every trial: looking them up by their enumeration takes longer than what is done with them.
_CANDIDATE: Final = Role.CANDIDATE
_NO_CONTROL: Final = Design.NO_CONTROL
_UNCOMPARABLE: Final = Kind.UNCOMPARABLE
_KEPT_ELSEWHERE: Final = frozenset({Pool.LATENCY, Pool.DETERMINISM})
"""Pools that the books of these aspects keep."""


class EndpointLedger:
    """What is known of one endpoint."""

    __slots__ = (
        "aside",
        "diverged",
        "exercise",
        "first",
        "first_sends",
        "hypotheses",
        "latency",
        "latency_blocks",
        "latency_decided_at",
        "name",
        "share",
        "started",
        "untainted",
    )

    def __init__(self, name: str, share: float, latency: EndpointLatency) -> None:
        self.name = name
        self.share = share
        self.latency = latency
        self.exercise = Exercise()
        self.hypotheses: dict[tuple[Aspect, str, Kind], Hypothesis] = {}
        self.started = {Family.COARSE: 0, Family.VALUES: 0}
        """How many hypotheses of a family have a weight."""
        self.aside = dict(self.started)
        """The same of those that do not block."""
        self.diverged = 0
        """Trials in which the candidate alone differs somewhere."""
        self.first = 0
        """Trials that send a request for the first time and follow from no earlier divergence."""
        self.first_sends = 0
        """Trials that send a request for the first time."""
        self.untainted = 0
        self.latency_decided_at: tuple[int, int] | None = None
        self.latency_blocks = True
        """Whether the policy lets its latency fail a run or keep it from passing."""


class Ledger:
    """Folds trials, answers with snapshots."""

    def __init__(
        self,
        policy: Policy,
        *,
        endpoints: Iterable[str] = (),
        live: bool = False,
        control: Control = Control.SECONDARY,
        design: Design = Design.THREE_ARM,
        accepted: ExpectedChanges | None = None,
    ) -> None:
        """`endpoints` are those of a capture, known before anything is sent. `control` and `design` are what an empty
        snapshot says; trials bring their own. `accepted` are the changes that are applied (None: what bets say is expected is)."""
        self.policy = policy
        self.control = control
        self.design = design
        self.folded = 0
        self.repeats = self.repeats_of_stable = 0
        self.uncomparable = 0
        self.passes: dict[int, int] = {}
        self.fresh_passes: set[int] = set()
        self.fresh = False
        self.endpoints: dict[str, EndpointLedger] = {}
        self.by_id: dict[str, Hypothesis] = {}
        self.confirmations: dict[str, float] = {}
        """Finding id -> largest log E of a question about it."""
        self.wealth = Wealth(policy.alpha)
        self.questions = Questions(policy.beta)
        self.reproduction = Reproduction()
        self.latency, self.latency_aside = (
            LatencyBook(
                LIVE_BLOCK if live else REPLAY_BLOCK,
                policy.latency_tolerance,
                policy.latency_requests_min,
                POOL_WEIGHTS[Pool.LATENCY],
                policy.latency_budgets,
            )
            for _ in range(2)
        )
        """Of endpoints whose latency blocks, and of the others."""
        self.latency_pool_decided_at: int | None = None
        self.hard = HardRules(policy.effects)
        self.blocks = Blocks(policy.blocks)
        self.slices = SliceBook()
        self.occurs = OccursBook()
        self._live = live
        self._applied = accepted
        self.accepted = accepted or NO_CHANGES
        self.determinism, self.determinism_aside = DeterminismBook(self.accepted), DeterminismBook(self.accepted)
        self.aside = Wealth(policy.alpha)
        """A sum of their own for what does not block in latency and determinism: nobody looks at it."""
        self.noise = NoiseBook(self.wealth, self.blocks, self.accepted, rule=LIVE_BLOCK if live else REPLAY_BLOCK)
        self._shares = EndpointShares(endpoints)
        self._budget = KeyBudget()
        self.pools: dict[Pool, PoolState] = {
            pool: PoolState(pool, POOL_WEIGHTS[pool], self._budget, stream=live) for pool in Pool if pool not in _KEPT_ELSEWHERE
        }
        self._overflow_keys = KeyMemory(self._budget)
        self._overflow_ids = KeyMemory(self._budget)
        self.overflow_alone = 0
        self._roots: dict[tuple[int, int], str] = {}
        self._pass = 0
        self._grouped = False
        """The pass under way was sent from fresh state: its trials are one game, and one looks when it is over."""
        self._touched: dict[str, Hypothesis] = {}
        """Hypotheses that bet in this pass."""

    @property
    def overflow(self) -> int:
        """Hypotheses beyond the bound, as far as they are remembered."""
        return len(self._overflow_ids) + self.noise.overflow

    def fold(self, bets: TrialBets) -> tuple[str, ...]:
        """Take the next trial. Returns the ids of findings, and names of hard rules, of which it is worth keeping as an example."""
        if not bets.repeat and (bets.pass_index, bets.fresh) != (self._pass, self._grouped):
            self._end_pass()
            self._pass, self._grouped = bets.pass_index, bets.fresh
            self.wealth.pair_open = bets.fresh and bets.pass_index % 2 == 0
        if bets.expected and self._applied is not None:
            bets = self._applied.restored(bets)
        self.folded += 1
        broken = self.hard.fold(bets, self.folded)
        if self.questions.about(bets.request):
            self._answer(bets, {(bet.aspect, bet.path, bet.kind): bet for bet in bets.bets})
        if bets.repeat:
            self.repeats += 1
            self.repeats_of_stable += not bets.stable_kept
            return broken
        self.control = bets.control
        self.design = bets.design
        self._count_pass(bets)
        endpoint = self.endpoints.get(bets.endpoint)
        if endpoint is None:
            endpoint = self._enter(bets.endpoint)
        endpoint.exercise.fold(bets)
        endpoint.untainted += not bets.tainted
        endpoint.first_sends += bets.pass_index == 0
        endpoint.first += bets.pass_index == 0 and not bets.tainted
        self.slices.compared(bets)
        self.occurs.fold(bets)
        self.reproduction.fold(bets)
        broken += self._fold_latency(bets, endpoint)
        if bets.restless:
            share, spell = endpoint.share, self._spell
            block, aside = restless_parts(bets.endpoint, bets.restless, self.blocks)
            for book, found, wealth in ((self.determinism, block, self.wealth), (self.determinism_aside, aside, self.aside)):
                if found:
                    requests = endpoint.first_sends
                    book.fold(bets.endpoint, found, share=share, design=bets.design, spell=spell, wealth=wealth, requests=requests)
        if bets.expected:
            broken += self._fold_expected(bets, endpoint)
        if bets.noise and not bets.tainted:
            broken += self._fold_noise(bets, endpoint)
        return broken + self._fold_bets(bets, endpoint) if bets.bets else broken

    def snapshot(self) -> Snapshot:
        """Where everything stands now. From fresh state it is to be asked for after a pass: one that is not over counts as
        if it were."""
        return Standing(self).snapshot()

    def decided(self, hypothesis: Hypothesis) -> tuple[int, int] | None:
        """(trials folded, pass) when it was named a divergence."""
        if hypothesis.decided_at is not None and hypothesis.decided_pass is not None:
            return hypothesis.decided_at, hypothesis.decided_pass
        return (self.folded, self._pass) if self.wealth.names(hypothesis.stake) else None

    def failed(self) -> tuple[int, int] | None:
        """(trials folded, pass) when the gate failed: when its sum reached 1/alpha or a hard rule was broken, whichever was first."""
        return min((at for at in (self.proven(), self.hard.failed) if at is not None), default=None)

    def proven(self) -> tuple[int, int] | None:
        """(trials folded, pass) when the gate's sum reached 1/alpha."""
        return self.wealth.reached(self.folded, self._pass, latency=self.latency.valid, tails=self.latency.tails_valid)

    def pool_decided(self, state: PoolState) -> int | None:
        """How many trials were folded when a pool reached its threshold alone."""
        return self.folded if state.decided_at is None and self.wealth.names(state.stake) else state.decided_at

    def _end_pass(self) -> None:
        """A pass from fresh state is over: look at what its bets came to."""
        if not self._grouped:
            return
        self.wealth.look(self.folded, self._pass)
        for hypothesis in self._touched.values():
            if hypothesis.decided_at is None and self.wealth.names(hypothesis.stake):
                self._decide(hypothesis)
        self._touched.clear()
        for state in self.pools.values():
            if state.decided_at is None and self.wealth.names(state.stake):
                state.decided_at = self.folded
        self.determinism.settle(self.wealth, self.folded, self._pass)
        self.determinism_aside.settle(self.aside, self.folded, self._pass)
        self.noise.settle(self.folded, self._pass)

    def _look(self) -> None:
        """Look at the gate's sum after a trial, where trials are games of their own."""
        if not self._grouped:
            self.wealth.look(self.folded, self._pass)

    def hypotheses(self) -> Iterator[tuple[EndpointLedger, Hypothesis]]:
        """All hypotheses with a state of their own."""
        for endpoint in self.endpoints.values():
            for hypothesis in endpoint.hypotheses.values():
                yield endpoint, hypothesis

    def _enter(self, name: str) -> EndpointLedger:
        share = self._shares.next_share(name)
        weight = FAMILY_WEIGHTS[Family.LATENCY] * (1.0 - POOLED_SHARE) * share
        blocks = self.blocks.blocks(name, Aspect.LATENCY, "p50", Kind.SLOWER)
        book = self.latency if blocks else self.latency_aside
        latency = book.enter(name, weight)
        book.accept(latency, *self.accepted.slower(name))
        endpoint = self.endpoints[name] = EndpointLedger(name, share, latency)
        endpoint.latency_blocks = blocks
        return endpoint

    def _count_pass(self, bets: TrialBets) -> None:
        self.passes[bets.pass_index] = self.passes.get(bets.pass_index, 0) + 1
        self.fresh = bets.fresh
        if bets.fresh:
            self.fresh_passes.add(bets.pass_index)

    def _clean_sends(self, bets: TrialBets) -> int:
        """Earlier complete passes from fresh state: in each of them the request was sent, and did not show what it shows now."""
        if not (bets.captured and bets.fresh):
            return 0
        whole = max(self.passes.values())
        return sum(1 for index in self.fresh_passes if index < bets.pass_index and self.passes[index] == whole)

    def _fold_latency(self, bets: TrialBets, endpoint: EndpointLedger) -> tuple[str, ...]:
        """The ids of findings on speed of which the trial is worth keeping as an example."""
        book, own, wealth = self.latency, endpoint.latency, self.wealth
        if not endpoint.latency_blocks:
            book, wealth = self.latency_aside, self.aside
        if book.fold(bets, own):
            medians, beyond = book.changes(own)
            wealth.latency_changed(0.0, medians)
            wealth.tails_changed(0.0, beyond)
            self._look()
            at = (self.folded, bets.pass_index)
            if endpoint.latency_decided_at is None and book.gates(own) and wealth.names(own.stake):
                endpoint.latency_decided_at = at
            if endpoint.latency_blocks and self.latency_pool_decided_at is None and wealth.names(book.pool):
                self.latency_pool_decided_at = self.folded
            for channel in book.channels(own):
                if channel.decided is None and wealth.names(channel.stake):
                    channel.decided = at
        return tuple([finding_id(endpoint.name, Aspect.LATENCY, path, Kind.SLOWER) for path in book.shown])

    def _answer(self, bets: TrialBets, index: BetIndex) -> None:
        for question, before in self.questions.answers(bets, index):
            hypothesis, stake = question.hypothesis, question.stake
            if stake.weight and stake.log_e != before:
                self._confirm(question, before)
            compared = self.endpoints[hypothesis.endpoint].exercise.compared
            self.questions.settle(question, noisy=hypothesis.noisy(compared, self.policy.noisy_share))

    def _confirm(self, question: Question, before: float) -> None:
        hypothesis, stake = question.hypothesis, question.stake
        self.wealth.changed(stake.weight, before, stake.log_e)
        self._look()
        self.confirmations[hypothesis.id] = max(self.confirmations.get(hypothesis.id, 0.0), stake.log_e)
        if self.wealth.names(stake):
            self._decide(hypothesis)

    def _decide(self, hypothesis: Hypothesis) -> None:
        hypothesis.decide(self.folded, self._pass)
        self.questions.close_all(hypothesis)

    def _hypothesis(self, endpoint: EndpointLedger, bet: Bet) -> Hypothesis | None:
        key = (bet.aspect, bet.path, bet.kind)
        hypothesis = endpoint.hypotheses.get(key)
        if hypothesis is None and len(self.by_id) < HYPOTHESES_MAX:
            hypothesis = Hypothesis(endpoint.name, bet.aspect, bet.path, bet.kind, self._budget, stream=self._live)
            hypothesis.blocks = self.blocks.blocks(endpoint.name, bet.aspect, bet.path, bet.kind)
            endpoint.hypotheses[key] = self.by_id[hypothesis.id] = hypothesis
        return hypothesis

    def _fold_bets(self, bets: TrialBets, endpoint: EndpointLedger) -> tuple[str, ...]:
        examples: list[str] = []
        if _UNCOMPARABLE in [bet.kind for bet in bets.bets]:
            self.uncomparable += any(
                bet.kind is _UNCOMPARABLE and self.blocks.blocks(endpoint.name, bet.aspect, bet.path, bet.kind) for bet in bets.bets
            )
        diverged = _CANDIDATE in [bet.odd for bet in bets.bets]
        endpoint.diverged += diverged
        whole = _whole_answer(endpoint, bets) if diverged else None
        pooled: dict[Pool, list[Bet]] = {}
        for bet in bets.bets:
            hypothesis = endpoint.hypotheses.get((bet.aspect, bet.path, bet.kind)) or self._hypothesis(endpoint, bet)
            if bet.odd is None and hypothesis is not None:
                hypothesis.control += bet.control_differs
                continue
            blocks = self.blocks.blocks(endpoint.name, bet.aspect, bet.path, bet.kind) if hypothesis is None else hypothesis.blocks
            if hypothesis is not None and bet.odd is _CANDIDATE:
                self.occurs.shown(hypothesis.id, bets)
            if hypothesis is None:
                self._overflowed(endpoint, bet, blocks=blocks)
            elif bets.tainted:
                if self._follow(bets, bet, hypothesis):
                    examples.append(hypothesis.id)
            else:
                hypothesis.count(bet, bets.design, first=bets.pass_index == 0)
                if bet.odd is _CANDIDATE:
                    hypothesis.shown_beside(whole if whole != hypothesis.id else None)
                    self.slices.shown(hypothesis.id, bets, first=hypothesis.is_new(bets.request))
                if bet.odd is not None and self._stake(bets, bet, bet.odd, endpoint, hypothesis):
                    examples.append(hypothesis.id)
            if bet.odd is not None and blocks and not bets.tainted:
                for pool in pools_of(bet.aspect, bet.kind):
                    pooled.setdefault(pool, []).append(bet)
        for pool, odd in pooled.items():
            self._fold_pool(bets, self.pools[pool], odd)
        self._look()
        return tuple(examples)

    def _fold_noise(self, bets: TrialBets, endpoint: EndpointLedger) -> tuple[str, ...]:
        """Places whose values differ anyhow: the ids of findings of which the trial is worth keeping as an example."""
        moment = self._pass if self._grouped else self.folded
        trial = InTrial(bets.endpoint, endpoint.share, bets.design, moment, self._spell, endpoint.exercise.compared, bets.started_ns)
        examples = self.noise.fold(trial, bets.noise, bets.trial)
        self._look()
        if not self._grouped:
            self.noise.settle(self.folded, self._pass)
        return examples

    def _fold_expected(self, bets: TrialBets, endpoint: EndpointLedger) -> tuple[str, ...]:
        """Accepted changes are counted and shown: no bet, no question, no pool, nothing that follows from them."""
        found = [hypothesis for bet in bets.expected if (hypothesis := self._hypothesis(endpoint, bet)) is not None]
        return tuple(one.id for one in found if one.count_expected(bets.trial, first=bets.pass_index == 0))

    def _stake(self, bets: TrialBets, bet: Bet, odd: Role, endpoint: EndpointLedger, hypothesis: Hypothesis) -> bool:
        """Bet, once per key; raise a question where the candidate stands alone. Whether the trial is worth an example."""
        stake = hypothesis.stake
        if not stake.weight:
            self._start(endpoint, hypothesis)
        if hypothesis.keys.add(bet.key):
            self._touched[hypothesis.id] = hypothesis
            if bets.design is _NO_CONTROL:
                self._hit(endpoint.exercise.compared, hypothesis)
            else:
                before = stake.log_e
                stake.bet(bets.design, odd, self._spell, observed=endpoint.exercise.compared)
                if hypothesis.blocks:
                    self.wealth.changed(stake.weight, before, stake.log_e)
                if not self._grouped and hypothesis.decided_at is None and self.wealth.names(stake):
                    self._decide(hypothesis)
        if bets.session:
            self._remember_root(bets, hypothesis)
        if odd is not _CANDIDATE:
            return False
        if hypothesis.blocks and bets.askable and bets.request not in hypothesis.requests and hypothesis.decided_at is None:
            hypothesis.unasked |= hypothesis.requests_overflow
            noisy = hypothesis.noisy(endpoint.exercise.compared, self.policy.noisy_share)
            self.questions.ask(bets, hypothesis, self._clean_sends(bets), noisy=noisy)
        hypothesis.shown_by(bets.request)
        return _example(hypothesis, hypothesis.alone, bets.trial)

    @property
    def _spell(self) -> int | None:
        """Which trials bet as one: those of a pass from fresh state."""
        return self._pass if self._grouped else None

    def _hit(self, compared: int, hypothesis: Hypothesis) -> None:
        """Without a control: it differs once more. The first time only starts the game: its weight hangs on that moment."""
        if hypothesis.since is None:
            hypothesis.since = compared
            return
        hypothesis.stake.hit(compared - hypothesis.since, self.policy.eps0)
        if hypothesis.decided_at is None and self.wealth.names(hypothesis.stake):
            self._decide(hypothesis)
            if hypothesis.blocks:
                self.wealth.fail(self.folded, self._pass)

    def _start(self, endpoint: EndpointLedger, hypothesis: Hypothesis) -> None:
        """Give a hypothesis its weight when it takes its first bet, of either sign: 1/(j(j+1)) of the endpoint's share.

        This keeps every E fair. That *some* arm stands alone here for the first time is seen before one looks which arm it
        is, and given that, the candidate is it with the fair chance; so the j-th such event starts a game whose first bet
        is fair already, and the number j says nothing about who won it. (tests/sim: `watched_stream`, `many_paths`.)
        Those that do not block are numbered apart: they are named at the same error rate, all together, and are no part of the gate's.
        """
        family = family_of(hypothesis.aspect, hypothesis.kind)
        started = endpoint.started if hypothesis.blocks else endpoint.aside
        started[family] += 1
        hypothesis.stake.weight = FAMILY_WEIGHTS[family] * (1.0 - POOLED_SHARE) * endpoint.share * series(started[family])

    def _fold_pool(self, bets: TrialBets, state: PoolState, odd: list[Bet]) -> None:
        if bets.pass_index == 0:
            state.count(odd, bets.design)
        arm = state.agreed(odd)
        if arm is None or bets.design is _NO_CONTROL:
            return  # without a control only "each place differs in at most eps0" is tested; together they may differ in more
        stake = state.stake
        before = stake.log_e
        stake.bet(bets.design, arm, self._spell, observed=self.folded)
        self.wealth.changed(stake.weight, before, stake.log_e)
        if not self._grouped and state.decided_at is None and self.wealth.names(stake):
            state.decided_at = self.folded

    def _remember_root(self, bets: TrialBets, hypothesis: Hypothesis) -> None:
        key = (bets.session, bets.pass_index)
        if key not in self._roots:
            if len(self._roots) >= EVIDENCE_SESSIONS_MAX:
                del self._roots[next(iter(self._roots))]
            self._roots[key] = hypothesis.id

    def _follow(self, bets: TrialBets, bet: Bet, hypothesis: Hypothesis) -> bool:
        """A difference that follows from an earlier one of its session: counted, with its root, and no bet of its own."""
        hypothesis.control += bet.control_differs
        if bet.odd is not _CANDIDATE:
            return False
        hypothesis.followers += 1
        hypothesis.root = hypothesis.root or self._roots.get((bets.session, bets.pass_index))
        return not hypothesis.alone and _example(hypothesis, hypothesis.followers, bets.trial)

    def _overflowed(self, endpoint: EndpointLedger, bet: Bet, *, blocks: bool) -> None:
        self._overflow_ids.add(int(finding_id(endpoint.name, bet.aspect, bet.path, bet.kind), 16))
        self.overflow_alone += blocks and bet.odd is _CANDIDATE


def _example(hypothesis: Hypothesis, count: int, trial: str) -> bool:
    """Whether to keep a trial as an example: the 1st, 2nd, 4th, ... that shows it, up to the bound."""
    if len(hypothesis.exemplars) >= EXEMPLARS_PER_FINDING_MAX or count & (count - 1):
        return False
    hypothesis.exemplars.append(trial)
    return True


def _whole_answer(endpoint: EndpointLedger, bets: TrialBets) -> str | None:
    """The finding that the candidate's whole answer is another one (status, or none at all), if the trial shows that."""
    for bet in bets.bets:
        if bet.aspect in (Aspect.STATUS, Aspect.TRANSPORT) and bet.odd is _CANDIDATE:
            return finding_id(endpoint.name, bet.aspect, bet.path, bet.kind)
    return None
