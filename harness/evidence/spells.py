"""Outside passes from fresh state: trials of an endpoint that follow each other are one witness to a game, and make one bet.

A measurement hangs together from request to request (slow spells, gauges that drift), each instance's by itself. So trials are
cut into blocks, as those of latency are: by time and by number, without a look at who was odd. Per part of a game, a block bets
on the arm that was odd most often in it, and does not bet where two share that. Moving the arms round moves that arm with
them, so among arms that are alike over a block as a whole it is a fair bet, whatever hangs together within the block.

Of two arms alike, one may be in a spell that outlasts many blocks, which looks as a difference does. Blocks that grow leave such
spells behind, so those of a replay, which are short, do: each is longer than the one before, up to five times the first. Of 60
replays at 20 requests a second, with gauges that drift over 100 requests, 7 failed without that, and none with it. In a stream a
difference may begin late, so its blocks, which are long from the start, stay as they are.

A block is looked at when it is over, and the one that is open counts for nothing: a look that could come at any moment of it could
come at one at which the candidate was ahead.
"""

import math
from typing import Final

from harness.core.labels import Design, Role
from harness.evidence.hypothesis import Stake
from harness.evidence.latency import BlockRule
from harness.evidence.martingale import log_two_sided

_INSTANCES_LOG_E: Final = math.log(20.0)
"""Evidence that the two instances of stable differ from which on a part has no say."""
_GROWTH: Final = 0.25
"""By how much of the first block each further block of a replay is longer than the one before."""
_TIMES_MAX: Final = 5.0
"""How many times as long as the first a block gets."""
_SPREAD_MIN: Final = 5
"""Squared lead over the number of bets below which evidence of two equal instances is not worth computing."""


class Instances:
    """Stable against secondary, one bet for all trials of a spell: of a pass from fresh state, or of a block."""

    __slots__ = ("_lead", "_spell", "apart", "parts", "ups")

    def __init__(self) -> None:
        self.ups = [0, 0]
        self._lead = 0
        self._spell: int | None = None
        self.apart = False
        """They differ in a lasting way."""
        self.parts: list[Part] = []
        """What hangs on it."""

    def saw(self, sign: int, spell: int | None) -> bool:
        """+1: what is watched is at stable, -1: at secondary, 0: at neither. Whether they are found apart by this: a pass counts when
        the next one begins, a block (no spell) when it is closed."""
        found = False
        if spell != self._spell:
            found = self.close()
            self._spell = spell
        self._lead += sign
        return found

    def close(self) -> bool:
        """A spell is over. Whether the two are found apart by it."""
        lead, self._lead = self._lead, 0
        if not lead or self.apart:
            return False
        self.ups[lead > 0] += 1
        a, b = self.ups
        if (a - b) ** 2 >= _SPREAD_MIN * (a + b):
            self.apart = log_two_sided(a, b) >= _INSTANCES_LOG_E
        return self.apart


class Part:
    """One stake of a game, with its share of the game's weight and its check on stable."""

    __slots__ = ("blocks", "game", "instances", "odd", "share", "stake")

    def __init__(self, game: str, weight: float, share: float, instances: Instances | None = None, *, blocks: bool = True) -> None:
        """`game` is the id of the game, `weight` is the game's; `blocks`: it counts for the verdict."""
        self.game = game
        self.share = share
        self.stake = Stake(weight * share)
        self.blocks = blocks
        self.instances = instances or Instances()
        self.instances.parts.append(self)
        self.odd = {Role.STABLE: 0, Role.SECONDARY: 0, Role.CANDIDATE: 0}
        """How often each arm was the odd one in the block that is open."""

    @property
    def counted(self) -> float:
        """Log E as it counts: at most what it began with once the instances of stable were found apart."""
        return min(self.stake.log_e, 0.0) if self.instances.apart else self.stake.log_e

    def most(self) -> Role | None:
        """The block is over: the arm that was odd most often in it, None where two share that."""
        most = max(self.odd.values())
        leading = [arm for arm, times in self.odd.items() if times == most]
        self.odd = dict.fromkeys(self.odd, 0)
        return leading[0] if most and len(leading) == 1 else None


class OpenBlock:
    """The block of an endpoint that is open."""

    __slots__ = ("_before", "_lasts_ns", "_since_ns", "_trials", "closed", "design", "index", "seen")

    def __init__(self, rule: BlockRule, index: int, design: Design, number: int, at_ns: int) -> None:
        """It is the `index`-th of its endpoint, from 0, and begins with the `number`-th trial of the endpoint."""
        times = 1.0 if rule.stream else min(_TIMES_MAX, 1.0 + _GROWTH * index)
        self._trials = rule.pairs_min * times
        self._lasts_ns = rule.seconds_min * times * 1e9
        self._before = number - 1
        self._since_ns = at_ns
        self.index = index
        self.closed = False
        self.design = design
        self.seen: dict[Instances, None] = {}
        """What has something to say on it, with its parts."""

    def over(self, number: int, at_ns: int) -> bool:
        """Whether the trial, which it has taken, closes it."""
        return number - self._before >= self._trials and abs(at_ns - self._since_ns) >= self._lasts_ns
