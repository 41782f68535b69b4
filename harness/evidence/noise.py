"""Evidence at places whose values differ anyhow: the games of distance, bias, style, mix and sequence, and where they stand.

A game may have parts (shifted up, shifted down; one for each category): their stakes share its weight, so its E is a
weighted mean of theirs and as fair as they are. Two things keep what is no fault of the candidate's build from counting:

- Stable against secondary is watched alongside. Where these two differ in the same lasting way (a process number, the time
  since the start, an instance's name), the place tells instances apart, not builds, and the part has no say any more.
- Categories are those that stable has shown before, at a place where stable and secondary have differed before.

Both hang on the past and on the two stable instances only, so no bet is worth more for the candidate than for another arm.
It can fail a run. It keeps one from passing only while its evidence is worth more passes (see `open`).
"""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from harness.core.labels import Aspect, Design, Kind, Role
from harness.core.limits import (
    EXEMPLARS_PER_FINDING_MAX,
    NOISE_CATEGORIES_MAX,
    NOISE_HYPOTHESES_MAX,
    NOISE_KEYS_MAX,
    NOISE_KEYS_PER_PLACE_MAX,
)
from harness.evidence.ceiling import Shares
from harness.evidence.expected import NO_CHANGES, ExpectedChanges
from harness.evidence.findings import finding_id
from harness.evidence.keys import KeyBudget, KeyMemory
from harness.evidence.latency import REPLAY_BLOCK, BlockRule
from harness.evidence.martingale import log_e, log_sum
from harness.evidence.mix import ARMS, alone_with
from harness.evidence.noise_bets import NOBODY, NoiseBet, Three
from harness.evidence.noise_standing import Look, noise_evidence
from harness.evidence.offs import Offs
from harness.evidence.shifted import SHIFTS
from harness.evidence.snapshot import Evidence
from harness.evidence.spells import Instances, OpenBlock, Part
from harness.evidence.wealth import Wealth
from harness.evidence.weights import FAMILY_WEIGHTS, Family, series
from harness.evidence.what_blocks import Blocks

# Members that are asked for in every trial: looking them up by their enumeration takes longer than what is done with them.
_DISTANCE: Final = Kind.DISTANCE
_BIAS: Final = Kind.BIAS
_STYLE: Final = Kind.STYLE
_SEQUENCE: Final = Kind.SEQUENCE
_MIX: Final = Kind.MIX
_CANDIDATE: Final = Role.CANDIDATE
_SECONDARY: Final = Role.SECONDARY
_THREE_ARM: Final = Design.THREE_ARM
_OPEN_LOG_E: Final = math.log(20.0)
_OPEN_LOG_E_MIN: Final = 0.5 * math.log(10.0)
SIGHT_LOG_E: Final = math.log(4.0)
"""Evidence that something shows more often than it was accepted from which on more passes are worth while."""
_OFFS_MAX: Final = 64

Place = tuple[str, Aspect, str]
SMALLER, LARGER = 0, 1


class Game:
    """One (endpoint, aspect, path, kind)."""

    __slots__ = (
        "aspect",
        "blocks",
        "decided",
        "endpoint",
        "exemplars",
        "held",
        "id",
        "kind",
        "leads",
        "measured",
        "offs",
        "parts",
        "path",
        "shares",
        "shown",
        "time",
        "weight",
    )

    def __init__(self, place: Place, kind: Kind, weight: float) -> None:
        self.endpoint, self.aspect, self.path = place
        self.kind = kind
        self.id = finding_id(self.endpoint, self.aspect, self.path, kind)
        self.weight = weight
        self.blocks = True
        """Whether the policy lets it count for the verdict."""
        self.parts: dict[int, Part] = {}
        self.decided: tuple[int, int] | None = None
        self.exemplars: list[str] = []
        self.shown = 0
        self.leads = False
        """Its evidence was worth an example when its last block was closed."""
        self.offs: list[float] = []
        """How far the candidate was from stable where it lay apart: the first ones."""
        self.time = False
        self.measured = Offs()
        """How far the candidate is from stable, wherever it lies."""
        self.shares = Shares()
        """How often the candidate is the odd one."""
        self.held = False
        """It was accepted as it was: no part of the gate's sum, but held to its rate."""

    @property
    def log_e(self) -> float:
        """Of the whole game: the mean of its parts; what no part has yet counts as 1."""
        rest = max(0.0, 1.0 - math.fsum(part.share for part in self.parts.values()))
        terms = [math.log(part.share) + part.counted for part in self.parts.values()]
        return log_sum([*terms, math.log(rest)] if rest > 1e-12 else terms) if terms else 0.0

    def best(self) -> Part:
        """The part that has the most evidence."""
        return max(self.parts.values(), key=_counted)

    def part(self, share: float, instances: Instances | None = None) -> Part:
        """A new part with its share of the weight."""
        return Part(self.id, self.weight, share, instances, blocks=self.blocks and not self.held)


def _counted(part: Part) -> float:
    return part.counted


class _Watched:
    """What is remembered of one place."""

    __slots__ = ("answers", "before", "categories", "games", "keys", "noisy_since", "offs", "order", "spell")

    def __init__(self, budget: KeyBudget) -> None:
        self.keys = KeyMemory(budget, NOISE_KEYS_PER_PLACE_MAX)
        self.answers = KeyMemory(budget, NOISE_KEYS_PER_PLACE_MAX)
        self.games: dict[Kind, Game | None] = {}
        self.order = Instances()
        self.offs = Offs()
        self.before: Three | None = None
        """The traces of the answer before, of the same spell."""
        self.spell: int | None = None
        self.noisy_since: int | None = None
        """The moment (trial, or pass) at which stable and secondary first differed."""
        self.categories: dict[int, int] = {}
        """Values of stable, with the moment at which each was first seen; with too many it is no small set."""


class NoiseBook:
    """All such places of a run. Bounded: further games are counted, by id, and have no stake."""

    def __init__(self, wealth: Wealth, blocks: Blocks, expected: ExpectedChanges = NO_CHANGES, *, rule: BlockRule = REPLAY_BLOCK) -> None:
        """`rule`: what makes a block, outside passes from fresh state."""
        self._wealth = wealth
        self._rule = rule
        self._open: dict[str, OpenBlock] = {}
        """By endpoint: the block that is open, or was closed last."""
        self._expected = expected
        self._blocks = blocks
        self._budget = KeyBudget(NOISE_KEYS_MAX)
        self._places: dict[Place, _Watched] = {}
        self._started: dict[str, int] = {}
        self.games: dict[str, Game] = {}
        self._more = KeyMemory(self._budget)
        self._leading: dict[str, Game] = {}
        """Games in which the candidate stood out since they were last looked at."""

    @property
    def overflow(self) -> int:
        """Places and games beyond the bound, as far as they are remembered."""
        return len(self._more)

    def fold(self, trial: "InTrial", bets: tuple[NoiseBet, ...], name: str) -> tuple[str, ...]:
        """Take the places of a trial of this name. Returns the ids of findings of which it is worth keeping as an example."""
        examples: list[str] = []
        block = self._block(trial) if trial.spell is None else None
        turn = _Turn(self, trial, block)
        for bet in bets:
            place = (trial.endpoint, bet.aspect, bet.path)
            watched = self._places.get(place)
            if watched is None:
                if len(self._places) >= NOISE_HYPOTHESES_MAX:
                    self._more.add(int(finding_id(*place, Kind.VALUE), 16))
                    continue
                watched = self._places[place] = _Watched(self._budget)
            if trial.spell != watched.spell:
                watched.spell, watched.before = trial.spell, None
            turn.at(place, watched)
            known = tuple(watched.games.values())
            if bet.key and watched.keys.add(bet.key):
                turn.values(bet)
            if bet.categories is not None:
                turn.mix(bet, bet.categories, trial.moment)
            for one in known:
                if one is not None and one.kind in turn.looked:
                    told = turn.done.get(one.id)
                    one.shares.saw(hit=told is not None and told[1], spell=trial.spell if block is None else block.index)
            for game, ours in turn.done.values():
                if ours and (game.leads if block is not None else game.log_e >= _OPEN_LOG_E_MIN):
                    if block is None:
                        self._leading[game.id] = game
                    game.shown += 1
                    if len(game.exemplars) < EXEMPLARS_PER_FINDING_MAX and not game.shown & (game.shown - 1):
                        game.exemplars.append(name)
                        examples.append(game.id)
        if block is not None and block.over(trial.number, trial.at_ns):
            self._close(block)
        return tuple(examples)

    def _block(self, trial: "InTrial") -> OpenBlock:
        """The block of the trial's endpoint that is open. A trial of another design begins a new one."""
        block = self._open.get(trial.endpoint)
        if block is not None and not block.closed and block.design is not trial.design:
            self._close(block)
        if block is None or block.closed:
            index = 0 if block is None else block.index + 1
            block = self._open[trial.endpoint] = OpenBlock(self._rule, index, trial.design, trial.number, trial.at_ns)
        return block

    def _close(self, block: OpenBlock) -> None:
        """A block is over: its bets, then its check of stable against secondary."""
        block.closed = True
        games: dict[str, Game] = {}
        for instances in block.seen:
            for part in instances.parts:
                odd = part.most()
                if odd is not None:
                    self._stake(part, block.design, odd, None)
                    games[part.game] = self.games[part.game]
            if instances.close():
                self._apart(instances)
        for game in games.values():
            game.leads = game.log_e >= _OPEN_LOG_E_MIN
            if game.leads:
                self._leading[game.id] = game

    def settle(self, folded: int, pass_index: int) -> None:
        """Look at the games that have gained: those that reach their threshold alone are named from now on."""
        for game in self._leading.values():
            if game.decided is None and self.names(game):
                game.decided = (folded, pass_index)
        self._leading.clear()

    def game(self, place: Place, kind: Kind, watched: _Watched, share: float) -> Game | None:
        """The game of a kind at a place, begun with its weight: 1/(j(j+1)) of the endpoint's share for the j-th to take its
        first bet. None where there are too many."""
        if kind not in watched.games:
            if len(self.games) >= NOISE_HYPOTHESES_MAX:
                self._more.add(int(finding_id(*place, kind), 16))
                watched.games[kind] = None
            else:
                number = self._started[place[0]] = self._started.get(place[0], 0) + 1
                game = watched.games[kind] = Game(place, kind, FAMILY_WEIGHTS[Family.NOISE] * share * series(number))
                game.blocks = self._blocks.blocks(*place, kind)
                game.measured = watched.offs
                accepted = None if kind in SHIFTS else self._expected.held(*place, kind)
                if accepted is not None:
                    game.held, game.shares = True, Shares(accepted.rate_high)
                self.games[game.id] = game
        return watched.games[kind]

    def bet(self, part: Part, design: Design, odd: Role, spell: int | None, block: OpenBlock | None) -> None:
        """One bet of a part, or what an open block has of one."""
        if block is None:
            self._stake(part, design, odd, spell)
        else:
            part.odd[odd] += 1
            block.seen[part.instances] = None

    def check(self, instances: Instances, sign: int, spell: int | None, block: OpenBlock | None) -> None:
        """Stable against secondary, after the bets of a trial: it can only take evidence away."""
        if instances.saw(sign, spell):
            self._apart(instances)
        if block is not None:
            block.seen[instances] = None

    def _stake(self, part: Part, design: Design, odd: Role, spell: int | None) -> None:
        """Its evidence goes into the gate's sum as far as it counts."""
        if not part.instances.apart:
            before = part.stake.log_e
            part.stake.bet(design, odd, spell)
            if part.blocks:
                self._wealth.changed(part.stake.weight, before, part.stake.log_e)

    def _apart(self, instances: Instances) -> None:
        """What was won there is void."""
        for part in instances.parts:
            if part.blocks:
                self._wealth.changed(part.stake.weight, part.stake.log_e, part.counted)

    def in_sight(self) -> int:
        """Accepted games of which more passes may tell that they show more often than they were accepted."""
        beyond = self._expected.outside_log_e
        return sum(game.held and SIGHT_LOG_E <= game.shares.log_e < beyond for game in self.games.values())

    def names(self, game: Game) -> bool:
        """Whether a game alone brings the gate to its threshold, now."""
        return self._wealth.reached_by(game.weight, game.log_e)

    def evidence(self, look: Look) -> Iterator[Evidence]:
        """The games that are named a divergence, and those that are open."""
        for game in self.games.values():
            decided = game.decided or (look.now if self.names(game) else None)
            outside = game.held and game.shares.log_e >= self._expected.outside_log_e
            if decided is not None or outside or self.open(game, look.passes):
                yield noise_evidence(game, decided, look)

    def open(self, game: Game, passes: int | None) -> bool:
        """Whether a game that is not decided is worth waiting for.

        In a stream: its evidence is beyond what the largest of so many fair games has at some time or other. After passes from
        fresh state, which can bring threefold each: it is not far below what so many can bring at all, and answer by answer,
        as if each were a witness of its own, it is beyond that of the largest.
        """
        if not game.parts or not game.blocks or game.held:
            return False
        needed = max(_OPEN_LOG_E, math.log(len(self.games)))
        if passes is None:
            return game.log_e >= needed
        stake = game.best().stake
        each = log_e(stake.wins, 0, stake.bets - stake.wins)
        return each >= needed and game.log_e >= max(_OPEN_LOG_E_MIN, min(needed, log_e(passes, 0, 0) - math.log(3.0)))


class InTrial(NamedTuple):
    """What the games need to know of a trial."""

    endpoint: str
    share: float
    """Of the endpoint."""
    design: Design
    moment: int
    """The spell, or the trial where each is its own."""
    spell: int | None
    """The pass from fresh state."""
    number: int = 0
    """Which trial of the endpoint it is."""
    at_ns: int = 0
    """When it began."""


class _Turn:
    """One trial, place by place."""

    __slots__ = ("_block", "_book", "_design", "_place", "_share", "_spell", "_watched", "done", "looked")

    _place: Place
    _watched: _Watched

    def __init__(self, book: NoiseBook, trial: InTrial, block: OpenBlock | None) -> None:
        self._book = book
        self._block = block
        self._share, self._design, self._spell = trial.share, trial.design, trial.spell
        self.done: dict[str, tuple[Game, bool]] = {}
        """The games that bet, and whether the candidate was the odd one."""
        self.looked: set[Kind] = set()
        """The games that were looked at."""

    def at(self, place: Place, watched: _Watched) -> None:
        """Go on to a place."""
        self._place, self._watched = place, watched
        self.done.clear()
        self.looked.clear()

    def values(self, bet: NoiseBet) -> None:
        """All but the mix."""
        self.looked.add(_STYLE)
        if bet.off is not None:
            self._watched.offs.add(bet.off, self._spell if self._block is None else self._block.index, time=bet.time)
        if bet.far != NOBODY:
            self._distance(bet)
        if bet.ranks is not None:
            self._bias(bet.ranks, bet.ranks if bet.ranks_low is None else bet.ranks_low)
        if bet.style != NOBODY:
            self._style(bet.style)
        if bet.traces is not None:
            self._sequence(bet.traces)

    def _game(self, kind: Kind) -> Game | None:
        return self._watched.games.get(kind) or self._book.game(self._place, kind, self._watched, self._share)

    def _bet(self, game: Game, part: Part, odd: Role) -> None:
        self._book.bet(part, self._design, odd, self._spell, self._block)
        before = self.done.get(game.id)
        self.done[game.id] = (game, odd is _CANDIDATE or (before is not None and before[1]))

    def _check(self, instances: Instances, sign: int) -> None:
        self._book.check(instances, sign, self._spell, self._block)

    def _check_odd(self, part: Part, odd: int) -> None:
        """Of three arms: stable alone against secondary alone."""
        self._check(part.instances, (odd == 0) - (odd == 1))

    def _distance(self, bet: NoiseBet) -> None:
        game = self._game(_DISTANCE)
        if game is None:
            return
        three = self._design is _THREE_ARM
        part = game.parts.get(0)
        if part is None:
            # With two arms stable went first: its times are the earlier ones, and only numbers can be checked by their order.
            part = game.parts[0] = game.part(1.0, None if three or bet.time else self._watched.order)
        self._bet(game, part, ARMS[bet.far])
        if bet.far == 2 and bet.off is not None and len(game.offs) < _OFFS_MAX:
            game.offs.append(bet.off)
            game.time = bet.time
        if three:
            self._check_odd(part, bet.far)

    def _bias(self, ranks: Three, low: Three) -> None:
        """`low` is their order for the game on the smallest."""
        game = self._game(_BIAS)
        if game is None:
            return
        order = self._watched.order
        if not game.parts:
            game.parts = {side: game.part(0.5, order) for side in (SMALLER, LARGER)}
        if self._design is _THREE_ARM:
            if low.count(0) == 1:
                self._bet(game, game.parts[SMALLER], ARMS[low.index(0)])
            if 2 in ranks:
                self._bet(game, game.parts[LARGER], ARMS[ranks.index(2)])
        else:
            if ranks[1] != ranks[2]:
                self._bet(game, game.parts[LARGER], _CANDIDATE if ranks[2] > ranks[1] else _SECONDARY)
            if low[1] != low[2]:
                self._bet(game, game.parts[SMALLER], _CANDIDATE if low[2] < low[1] else _SECONDARY)
        self._check(order, (ranks[0] > ranks[1]) - (ranks[0] < ranks[1]))

    def _style(self, odd: int) -> None:
        game = self._game(_STYLE)
        if game is None:
            return
        part = game.parts.get(0)
        if part is None:
            part = game.parts[0] = game.part(1.0)
        self._bet(game, part, ARMS[odd])
        if self._design is _THREE_ARM:
            self._check_odd(part, odd)

    def _sequence(self, traces: Three) -> None:
        """Who follows from its own answer before, and who does not."""
        before, self._watched.before = self._watched.before, traces
        if before is None:
            return
        self.looked.add(_SEQUENCE)
        follows = [traces[0] == before[0], traces[1] == before[1], traces[2] == before[2]]
        three = self._design is _THREE_ARM
        if follows[0] is follows[1] is follows[2]:
            return
        game = self._game(_SEQUENCE)
        if game is None:
            return
        if not game.parts:
            instances = Instances()
            game.parts = {side: game.part(0.5, instances) for side in (0, 1)}
        if three:
            one = follows.count(True) == 1
            self._bet(game, game.parts[0 if one else 1], ARMS[follows.index(one)])
        elif follows[1] is not follows[2]:
            ours, others = (_CANDIDATE, _SECONDARY) if follows[2] else (_SECONDARY, _CANDIDATE)
            self._bet(game, game.parts[0], ours)
            self._bet(game, game.parts[1], others)
        self._check(game.parts[0].instances, follows[0] - follows[1])

    def mix(self, bet: NoiseBet, held: Three, moment: int) -> None:
        """Each category that one arm alone has. A category counts from the moment after stable first had it."""
        watched, known = self._watched, self._watched.categories
        started = watched.noisy_since is not None and watched.noisy_since < moment and len(known) <= NOISE_CATEGORIES_MAX
        if started and watched.answers.add(bet.answer):
            self.looked.add(_MIX)
            for category, odd in alone_with(held, self._design):
                if known.get(category, moment) < moment:
                    self._mix(category, odd)
            self._check_mix(held)
        if bet.control_differs and watched.noisy_since is None:
            watched.noisy_since = moment
        if held[0] not in known and len(known) <= NOISE_CATEGORIES_MAX:
            known[held[0]] = moment

    def _mix(self, category: int, odd: Role) -> None:
        game = self._game(_MIX)
        if game is None:
            return
        part = game.parts.get(category)
        if part is None:
            part = game.parts[category] = game.part(series(len(game.parts) + 1))
        self._bet(game, part, odd)

    def _check_mix(self, held: Three) -> None:
        game = self._watched.games.get(_MIX)
        if game is None or held[0] == held[1]:
            return
        for category, sign in ((held[0], 1), (held[1], -1)):
            if (part := game.parts.get(category)) is not None:
                self._check(part.instances, sign)
