"""What is counted and bet for one (endpoint, aspect, path, kind), and for the pools of a run."""

import math
import operator
from typing import Final

from harness.core.labels import Aspect, Design, Kind, Role
from harness.core.limits import REQUESTS_PER_HYPOTHESIS_MAX
from harness.evidence.bets import Bet
from harness.evidence.findings import finding_id
from harness.evidence.keys import KeyBudget, KeyMemory
from harness.evidence.late_onset import LATE_SHARE, due, falls_at, kept_back, log_laid
from harness.evidence.martingale import LN10, START, log_factors, log_rate_e, log_sum, rate_factors
from harness.evidence.weights import Pool

# Members that are asked for in every trial: looking them up by their enumeration takes longer than what is done with them.
_CANDIDATE: Final = Role.CANDIDATE
_THREE_ARM: Final = Design.THREE_ARM
TERM_MAX = 1e12
"""Cap of one term of the gate's sum, far beyond every threshold: keeps the running sum exact enough."""


class Stake:
    """The bets of one hypothesis and the E they have reached. A weight of 0 means: not started."""

    __slots__ = (
        "_before",
        "_best",
        "_kept_back",
        "_now",
        "_odd",
        "_restarts",
        "_spell",
        "_start",
        "_trials",
        "bets",
        "log_e",
        "weight",
        "wins",
    )

    def __init__(self, weight: float = 0.0, *, stream: bool = False, start: tuple[float, ...] = START) -> None:
        """`stream`: it bets on a stream, in which a difference may begin late (see `harness.evidence.late_onset`). `start`: logs of
        how the money is spread over the stakes."""
        self.weight = weight
        self.bets = self.wins = 0
        self.log_e = self._best = 0.0
        self._restarts = 0
        """How many restarts have been made."""
        self._trials = 0
        """Without a control: how many trials there had been at the last one that differed."""
        self._kept_back: tuple[float, ...] = (math.log(LATE_SHARE),) if stream else ()
        """Log of what is kept back for further ones."""
        self._start = start
        self._before = self._now = tuple(log + math.log1p(-LATE_SHARE) for log in start) if stream else start
        """Logs of what lies on each stake: before the spell under way, and now."""
        self._spell: tuple[int, Design] | None = None
        self._odd = {Role.CANDIDATE: 0, Role.STABLE: 0, Role.SECONDARY: 0}
        """How often each arm was the odd one in this spell."""

    def bet(self, design: Design, odd: Role, spell: int | None = None, *, observed: int = 0) -> None:
        """The outcome of one bet: which arm was the odd one. Bets of one spell are one game (see `log_factors`), a bet
        without a spell is a game of its own. `observed`: how many requests there have been, for a stake of a stream; restarts that
        were due since the last bet are made now, which is the same as in time, since nothing was won or lost between."""
        now = None if spell is None else (spell, design)
        if now is None or now != self._spell:
            self._restart(observed)
            self._best = self.log_e_max
            self._spell = now
            self._before = self._now
            self._odd = dict.fromkeys(self._odd, 0)
        self._odd[odd] += 1
        self.bets += 1
        self.wins += odd is _CANDIDATE
        candidate, stable, secondary = self._odd.values()
        factors = log_factors(candidate, stable, secondary, three=design is _THREE_ARM)
        self._now = tuple(map(operator.add, self._before, factors))
        self.log_e = log_sum(self._now + self._kept_back)

    def _restart(self, observed: int) -> None:
        """Lay on the stakes what the restarts have for them that are due after so many requests and were not made yet."""
        if not self._kept_back or (restarts := due(observed)) <= self._restarts:
            return
        laid = log_laid(self._restarts, restarts)
        self._now = tuple(log_sum((now, start + laid)) for now, start in zip(self._now, self._start, strict=True))
        self._kept_back = (math.log(kept_back(restarts)),)
        self._restarts = restarts

    def hit(self, trials: int, eps0: float) -> None:
        """Without a control: one more of so many trials differs."""
        self.bets += 1
        self.wins += 1
        self._best = self.log_e_max
        if not self._kept_back:
            self.log_e = log_rate_e(self.wins, trials, eps0)
            return
        factors = rate_factors(eps0)
        if self.wins == 1:
            self._start = (-math.log(len(factors)),) * len(factors)
            self._now = tuple(log + math.log1p(-LATE_SHARE) for log in self._start)
        for restart in range(self._restarts + 1, due(trials - 1) + 1):
            self._missed(falls_at(restart), factors)
            self._restart(falls_at(restart))
        self._missed(trials - 1, factors)
        self._trials = trials
        self._now = tuple(now + hit for now, (hit, _) in zip(self._now, factors, strict=True))
        self.log_e = log_sum(self._now + self._kept_back)

    def _missed(self, trials: int, factors: tuple[tuple[float, float], ...]) -> None:
        """Nothing differed up to so many trials."""
        since = trials - self._trials
        self._now = tuple(now + since * miss for now, (_, miss) in zip(self._now, factors, strict=True))
        self._trials = trials

    @property
    def log_e_max(self) -> float:
        """The largest log E at the end of a spell, the one under way included as if it were over."""
        return max(self._best, self.log_e)


def term(weight: float, log_value: float) -> float:
    """What a hypothesis adds to the gate's sum: half its weight times its E."""
    return min(0.5 * weight * math.exp(min(log_value, 80.0)), TERM_MAX)


def log10_threshold(weight: float, alpha: float) -> float:
    """What log10 E must reach so that the hypothesis alone brings the gate to 1/alpha."""
    return math.log10(2.0 / (alpha * weight)) if weight > 0.0 else math.inf


class Hypothesis:
    """One (endpoint, aspect, path, kind). Counts are of trials; bets are fewer (once per key)."""

    __slots__ = (
        "alone",
        "aspect",
        "beside",
        "blocks",
        "control",
        "control_first",
        "control_half",
        "control_half_first",
        "decided_at",
        "decided_pass",
        "endpoint",
        "exemplars",
        "expected",
        "expected_example",
        "expected_first",
        "first",
        "followers",
        "id",
        "keys",
        "kind",
        "odd_control",
        "path",
        "repeats",
        "requests",
        "requests_overflow",
        "root",
        "since",
        "stake",
        "unasked",
    )

    def __init__(self, endpoint: str, aspect: Aspect, path: str, kind: Kind, budget: KeyBudget, *, stream: bool = False) -> None:
        self.endpoint = endpoint
        self.aspect = aspect
        self.path = path
        self.kind = kind
        self.id = finding_id(endpoint, aspect, path, kind)
        self.stake = Stake(stream=stream)
        self.keys = KeyMemory(budget)
        self.alone = 0
        """Trials in which the candidate stands alone."""
        self.control = 0
        """Trials in which stable and secondary differ."""
        self.odd_control = 0
        """Trials in which the one control of a two-arm trial stands alone."""
        self.control_half = 0
        """Trials in which one of the two stable instances of a three-arm trial stands alone."""
        self.first = self.control_first = self.control_half_first = 0
        """The same three, over requests sent for the first time: what a claim on rates may use."""
        self.followers = 0
        """Trials in which the candidate stands alone and which follow from an earlier divergence of the session."""
        self.root: str | None = None
        self.beside: str | None = ""
        """The status or transport finding that every trial that shows this one shows as well; None if there is no such one."""
        self.repeats: list[int] = [0, 0]
        """Answers of its questions: came back, asked."""
        self.unasked = False
        """A difference could not be asked about: too many questions were open."""
        self.since: int | None = None
        """Without a control: how many trials there had been when it was first seen. Its game starts after that one."""
        self.exemplars: list[str] = []
        self.requests: set[int] = set()
        self.requests_overflow = False
        self.decided_at: int | None = None
        self.decided_pass: int | None = None
        self.blocks = True
        """Whether the policy lets it fail a run or keep it from passing: by the place alone."""
        self.expected = self.expected_first = 0
        """Trials in which the candidate stands alone as it was accepted, and those of them that send a request for the first time."""
        self.expected_example = ""
        """The first of these trials."""

    def count(self, bet: Bet, design: Design, *, first: bool) -> None:
        """Take a trial's outcome into the counts."""
        self.control += bet.control_differs
        if bet.odd is None:
            return
        if bet.odd is _CANDIDATE:
            self.alone += 1
            self.first += first
        elif design is _THREE_ARM:
            self.control_half += 1
            self.control_half_first += first
        else:
            self.odd_control += 1
            self.control_first += first

    def count_expected(self, trial: str, *, first: bool) -> bool:
        """Count a trial that shows an accepted change. Whether it is worth an example: the first one is."""
        self.expected += 1
        self.expected_first += first
        if self.expected_example:
            return False
        self.expected_example = trial
        return True

    def is_new(self, request: int) -> bool:
        """Whether a request is known not to have shown it before."""
        return not self.requests_overflow and request not in self.requests

    def shown_by(self, request: int) -> None:
        """Remember which distinct requests show it."""
        if len(self.requests) < REQUESTS_PER_HYPOTHESIS_MAX:
            self.requests.add(request)
        elif request not in self.requests:
            self.requests_overflow = True

    def shown_beside(self, coarser: str | None) -> None:
        """Note which finding about the whole answer the same trial shows."""
        if self.beside == "":
            self.beside = coarser
        elif self.beside != coarser:
            self.beside = None

    def noisy(self, compared: int, share: float) -> bool:
        """Whether the control differs here too often for a claim; three times at least, which the candidate cannot cause."""
        return self.control >= 3 and self.control > share * compared

    def decide(self, seq: int, pass_index: int) -> None:
        """It is named a divergence from now on."""
        if self.decided_at is None:
            self.decided_at, self.decided_pass = seq, pass_index

    @property
    def log10_e_max(self) -> float:
        """Largest evidence of its stream of bets."""
        return self.stake.log_e_max / LN10


class PoolState:
    """One pooled hypothesis: a bet a trial, where all new answers of the trial name the same arm."""

    __slots__ = ("control", "control_half", "decided_at", "first", "keys", "pool", "stake")

    def __init__(self, pool: Pool, weight: float, budget: KeyBudget, *, stream: bool = False) -> None:
        self.pool = pool
        self.stake = Stake(weight, stream=stream)
        self.keys = KeyMemory(budget)
        self.first = self.control = self.control_half = 0
        """Trials with requests sent for the first time in which only the candidate, the one control, one of two controls differs."""
        self.decided_at: int | None = None

    def count(self, bets: list[Bet], design: Design) -> None:
        """The trial's part in a claim on the pooled rate: the candidate counts wherever it stands alone somewhere."""
        if any(bet.odd is _CANDIDATE for bet in bets):
            self.first += 1
        elif design is _THREE_ARM:
            self.control_half += 1
        else:
            self.control += 1

    def agreed(self, bets: list[Bet]) -> Role | None:
        """The arm that every new answer names, if they agree. All answers are known afterwards."""
        if len(bets) == 1:
            return bets[0].odd if self.keys.add(bets[0].key) else None
        new = {key for key in dict.fromkeys(bet.key for bet in bets) if self.keys.add(key)}
        odd = [bet.odd for bet in bets if bet.key in new]
        return odd[0] if odd and all(arm is odd[0] for arm in odd) else None
