"""Latency beyond the median: whether the candidate is more often far slower than its control than the other way round.

For each factor k a pair says D = [candidate > k control] - [control > k candidate], which changes its sign when the two are
swapped; a block of pairs makes one bet, on the sign of its sum. A block with as many of one as of the other makes none. So
the bets are fair whenever candidate and control are exchangeable block by block, however the answers of a block hang together
(Shekhar & Ramdas 2023, betting on paired samples; `harness.evidence.latency` on blocks). Answers that are slow one time in
fifty leave the median where it was, and show here. The candidate's time is divided by what the policy tolerates first: that
can only lower D, and without it a slow-down within the tolerance would show as a tail that is a little fuller.
"""

import math
from typing import Final

from harness.core.labels import Design, Role
from harness.core.limits import EXEMPLARS_PER_FINDING_MAX
from harness.evidence.ceiling import Shares
from harness.evidence.hypothesis import Stake
from harness.evidence.martingale import excess_interval

TAIL_FACTORS: Final = (1.5, 2.0, 4.0)
"""How many times the other's time counts as far slower."""
SHOWN_LOG_E: Final = math.log(4.0)
"""Evidence from which on trials are kept as examples: among builds alike few places ever reach it."""
OFFERED_MAX: Final = 16
"""Trials that one place of one endpoint may ask to be kept, the ones that are not shown in the end included."""

_FIRST, _SECOND, _THIRD = TAIL_FACTORS


def reach_of(candidate: float, control: float) -> int:
    """In how many of the tails the candidate is; below 0, the control."""
    if candidate > _FIRST * control:
        return 1 if candidate <= _SECOND * control else 2 if candidate <= _THIRD * control else 3
    if control > _FIRST * candidate:
        return -1 if control <= _SECOND * candidate else -2 if control <= _THIRD * candidate else -3
    return 0


def tail_path(factor: float) -> str:
    """What a finding on a tail is called: `tail1.5x`."""
    return f"tail{factor:g}x"


class SlowTrials:
    """One trial of each of the blocks that went most against the candidate, in bounded space."""

    __slots__ = ("_kept", "_offered", "_waiting")

    def __init__(self) -> None:
        self._kept: list[tuple[float, str]] = []
        self._offered = 0
        self._waiting = ""

    def offer(self, trial: str) -> bool:
        """A trial that shows it; whether it is to be kept, as the first of its block."""
        if self._waiting or self._offered >= OFFERED_MAX:
            return False
        self._offered += 1
        self._waiting = trial
        return True

    def close(self, excess: float) -> None:
        """The block is over; not above 0 is an excess where the candidate was not behind."""
        if self._waiting and excess > 0.0:
            self._kept.append((excess, self._waiting))
            self._kept.sort(key=lambda entry: -entry[0])
            del self._kept[EXEMPLARS_PER_FINDING_MAX:]
        self._waiting = ""

    def ids(self) -> tuple[str, ...]:
        """Ids of trials, that of the slowest block first."""
        return tuple(trial for _, trial in self._kept)


class Channel:
    """One hypothesis on speed besides the median: its stake, its counts, and the block under way."""

    __slots__ = (
        "blocks",
        "decided",
        "held",
        "lead",
        "over",
        "over_before",
        "over_control",
        "path",
        "shares",
        "slow",
        "squares",
        "stake",
        "total",
    )

    def __init__(self, path: str, stake: Stake) -> None:
        self.path = path
        self.stake = stake
        self.over = self.over_control = 0
        """Pairs in which the candidate, and in which the control, was beyond."""
        self.lead = 0
        """Of the block under way: pairs in which the candidate was, less those in which the control was."""
        self.blocks = 0
        self.total = self.squares = 0.0
        """Of the lead as a share of its block."""
        self.slow = SlowTrials()
        self.decided: tuple[int, int] | None = None
        """(trials folded, pass) when it was named."""
        self.shares = Shares()
        """How often the candidate was beyond, by block."""
        self.over_before = 0
        """Pairs of the blocks that are over in which the candidate was."""
        self.held = False
        """It was accepted as it was: no part of the gate's sum, but held to its rate."""

    def hold(self, rate: float) -> None:
        """It was accepted, in so large a share of the pairs."""
        self.held, self.shares = True, Shares(rate)

    def offer(self, trial: str) -> bool:
        """A trial in which the candidate was beyond; whether it is to be kept as an example."""
        return self.stake.log_e >= SHOWN_LOG_E and self.slow.offer(trial)

    def close(self, pairs: int, observed: int) -> bool:
        """The block of so many pairs is over, `observed` in all: bet on its sign. Whether there was a bet."""
        lead, self.lead = self.lead, 0
        self.note(lead / pairs)
        self.shares.took(min(1.0, (self.over - self.over_before) / pairs))
        self.over_before = self.over
        if lead:
            self.stake.bet(Design.TWO_ARM, Role.CANDIDATE if lead > 0 else Role.SECONDARY, observed=observed)
        return lead != 0

    def note(self, excess: float) -> None:
        """Count a block by its excess, for the interval and the examples."""
        self.blocks += 1
        self.total += excess
        self.squares += excess * excess
        self.slow.close(excess)

    def excess(self, level: float) -> tuple[float, float, float]:
        """How far the candidate is ahead of the control, as a share of the pairs in the mean block, with an interval that holds at
        every look."""
        return (self.total / max(1, self.blocks), *excess_interval(self.total, self.squares, self.blocks, level))


class Tails:
    """The three tails of an endpoint, of the pool, or of the check of stable against secondary."""

    __slots__ = ("_since", "channels")

    def __init__(self, weight: float, *, stream: bool = False) -> None:
        """`weight` is shared alike by the tails."""
        self.channels = tuple(Channel(tail_path(factor), Stake(weight / len(TAIL_FACTORS), stream=stream)) for factor in TAIL_FACTORS)
        self._since = 0

    @property
    def held(self) -> bool:
        """Whether one of them was accepted."""
        return any(channel.held for channel in self.channels)

    def add(self, reach: int) -> None:
        """Take a pair that reaches so far (see `reach_of`)."""
        if reach > 0:
            for channel in self.channels[:reach]:
                channel.over += 1
                channel.lead += 1
        else:
            for channel in self.channels[:-reach]:
                channel.over_control += 1
                channel.lead -= 1

    def close(self, pairs: int) -> bool:
        """The block that ends with the `pairs`-th pair is over; whether any tail bet."""
        size, self._since = max(1, pairs - self._since), pairs
        bets = [channel.close(size, pairs) for channel in self.channels]
        return any(bets)
