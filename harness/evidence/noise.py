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
from collections.abc import Iterable, Iterator, Mapping
from statistics import median
from typing import Final, NamedTuple

from harness.core.labels import Aspect, Design, FindingClass, Kind, Role
from harness.core.limits import (
    EXEMPLARS_PER_FINDING_MAX,
    NOISE_CATEGORIES_MAX,
    NOISE_HYPOTHESES_MAX,
    NOISE_KEYS_MAX,
    NOISE_KEYS_PER_PLACE_MAX,
)
from harness.evidence.findings import finding_id, severity_of
from harness.evidence.hypothesis import Stake, log10_threshold
from harness.evidence.keys import KeyBudget, KeyMemory
from harness.evidence.martingale import LN10, excess_interval, log_e, log_sum, log_two_sided
from harness.evidence.mix import ARMS, alone_with
from harness.evidence.noise_bets import NOBODY, NoiseBet, Three
from harness.evidence.snapshot import Evidence, Interval
from harness.evidence.wealth import Wealth
from harness.evidence.weights import FAMILY_WEIGHTS, Family, series
from harness.evidence.what_blocks import Blocks

_LEVEL: Final = 0.95
"""Coverage of intervals."""
_INSTANCES_LOG_E: Final = math.log(20.0)
"""Evidence that the two instances of stable differ from which on a part has no say."""
_OPEN_LOG_E: Final = math.log(20.0)
_OPEN_LOG_E_MIN: Final = 0.5 * math.log(10.0)
_SPREAD_MIN: Final = 5
"""Squared lead over the number of bets below which evidence of two equal instances is not worth computing."""
_OFFS_MAX: Final = 64

Place = tuple[str, Aspect, str]
SMALLER, LARGER = 0, 1


class Instances:
    """Stable against secondary, one bet a trial, or one for all trials of a spell."""

    __slots__ = ("_lead", "_spell", "apart", "ups")

    def __init__(self) -> None:
        self.ups = [0, 0]
        self._lead = 0
        self._spell: int | None = None
        self.apart = False
        """They differ in a lasting way."""

    def saw(self, sign: int, spell: int | None) -> bool:
        """+1: what is watched is at stable, -1: at secondary, 0: at neither. Whether they are found apart by this."""
        before = self.apart
        if spell is None:
            self._count(sign)
        else:
            if spell != self._spell:
                self._count(self._lead)
                self._spell, self._lead = spell, 0
            self._lead += sign
        return self.apart and not before

    def _count(self, lead: int) -> None:
        if not lead or self.apart:
            return
        self.ups[lead > 0] += 1
        a, b = self.ups
        if (a - b) ** 2 >= _SPREAD_MIN * (a + b):
            self.apart = log_two_sided(a, b) >= _INSTANCES_LOG_E


class Part:
    """One stake of a game, with its share of the game's weight and its check on stable."""

    __slots__ = ("blocks", "instances", "share", "stake")

    def __init__(self, game: "Game", share: float, instances: Instances | None = None) -> None:
        self.share = share
        self.stake = Stake(game.weight * share)
        self.blocks = game.blocks
        self.instances = instances or Instances()

    @property
    def counted(self) -> float:
        """Log E as it counts: at most what it began with once the instances of stable were found apart."""
        return min(self.stake.log_e, 0.0) if self.instances.apart else self.stake.log_e


class Game:
    """One (endpoint, aspect, path, kind)."""

    __slots__ = ("aspect", "blocks", "decided", "endpoint", "exemplars", "id", "kind", "offs", "parts", "path", "shown", "time", "weight")

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
        self.offs: list[float] = []
        """How far the candidate was from stable where it lay apart: the first ones."""
        self.time = False

    @property
    def log_e(self) -> float:
        """Of the whole game: the mean of its parts; what no part has yet counts as 1."""
        rest = max(0.0, 1.0 - math.fsum(part.share for part in self.parts.values()))
        terms = [math.log(part.share) + part.counted for part in self.parts.values()]
        return log_sum([*terms, math.log(rest)] if rest > 1e-12 else terms) if terms else 0.0

    def best(self) -> Part:
        """The part that has the most evidence."""
        return max(self.parts.values(), key=_counted)


def _counted(part: Part) -> float:
    return part.counted


class _Watched:
    """What is remembered of one place."""

    __slots__ = ("answers", "before", "categories", "games", "keys", "noisy_since", "order", "spell")

    def __init__(self, budget: KeyBudget) -> None:
        self.keys = KeyMemory(budget, NOISE_KEYS_PER_PLACE_MAX)
        self.answers = KeyMemory(budget, NOISE_KEYS_PER_PLACE_MAX)
        self.games: dict[Kind, Game | None] = {}
        self.order = Instances()
        self.before: Three | None = None
        """The traces of the answer before, of the same spell."""
        self.spell: int | None = None
        self.noisy_since: int | None = None
        """The moment (trial, or pass) at which stable and secondary first differed."""
        self.categories: dict[int, int] = {}
        """Values of stable, with the moment at which each was first seen; with too many it is no small set."""


class NoiseBook:
    """All such places of a run. Bounded: further games are counted, by id, and have no stake."""

    def __init__(self, wealth: Wealth, blocks: Blocks) -> None:
        self._wealth = wealth
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
            turn = _Turn(self, place, watched, trial)
            if bet.key and watched.keys.add(bet.key):
                turn.values(bet)
            if bet.categories is not None:
                turn.mix(bet, bet.categories, trial.moment)
            for game, ours in turn.done.values():
                if ours and game.log_e >= _OPEN_LOG_E_MIN:
                    self._leading[game.id] = game
                    game.shown += 1
                    if len(game.exemplars) < EXEMPLARS_PER_FINDING_MAX and not game.shown & (game.shown - 1):
                        game.exemplars.append(name)
                        examples.append(game.id)
        return tuple(examples)

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
                self.games[game.id] = game
        return watched.games[kind]

    def bet(self, part: Part, design: Design, odd: Role, spell: int | None) -> None:
        """One bet of a part; its evidence goes into the gate's sum as far as it counts."""
        if not part.instances.apart:
            before = part.stake.log_e
            part.stake.bet(design, odd, spell)
            if part.blocks:
                self._wealth.changed(part.stake.weight, before, part.stake.log_e)

    def check(self, instances: Instances, sign: int, spell: int | None, parts: Iterable[Part]) -> None:
        """Stable against secondary, after the bets of a trial: it can only take evidence away. `parts` are those that hang on it."""
        if instances.saw(sign, spell):
            for part in parts:
                if part.blocks:
                    self._wealth.changed(part.stake.weight, part.stake.log_e, part.counted)

    def names(self, game: Game) -> bool:
        """Whether a game alone brings the gate to its threshold, now."""
        return self._wealth.reached_by(game.weight, game.log_e)

    def evidence(self, look: "Look") -> Iterator[Evidence]:
        """The games that are named a divergence, and those that are open."""
        for game in self.games.values():
            decided = game.decided or (look.now if self.names(game) else None)
            if decided is not None or self.open(game, look.passes):
                yield _evidence(game, decided, look)

    def open(self, game: Game, passes: int | None) -> bool:
        """Whether a game that is not decided is worth waiting for.

        In a stream: its evidence is beyond what the largest of so many fair games has at some time or other. After passes from
        fresh state, which can bring threefold each: it is not far below what so many can bring at all, and answer by answer,
        as if each were a witness of its own, it is beyond that of the largest.
        """
        if not game.parts or not game.blocks:
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


class Look(NamedTuple):
    """A moment at which one asks where the games stand."""

    roots: Mapping[Place, str]
    """The finding on the values of a place, where there is one."""
    alpha: float
    passes: int | None
    """How many there were from fresh state; None in a stream."""
    now: tuple[int, int]
    """(trials folded, pass)."""
    design: Design


class _Turn:
    """One place in one trial."""

    __slots__ = ("_book", "_design", "_place", "_share", "_spell", "_watched", "done")

    def __init__(self, book: NoiseBook, place: Place, watched: _Watched, trial: InTrial) -> None:
        self._book = book
        self._place = place
        self._watched = watched
        self._share, self._design, self._spell = trial.share, trial.design, trial.spell
        self.done: dict[str, tuple[Game, bool]] = {}
        """The games that bet, and whether the candidate was the odd one."""

    def values(self, bet: NoiseBet) -> None:
        """All but the mix."""
        if bet.far != NOBODY:
            self._distance(bet)
        if bet.ranks is not None:
            self._bias(bet.ranks)
        if bet.style != NOBODY:
            self._style(bet.style)
        if bet.traces is not None:
            self._sequence(bet.traces)

    def _game(self, kind: Kind) -> Game | None:
        return self._book.game(self._place, kind, self._watched, self._share)

    def _bet(self, game: Game, part: Part, odd: Role) -> None:
        self._book.bet(part, self._design, odd, self._spell)
        self.done[game.id] = (game, odd is Role.CANDIDATE or (game.id in self.done and self.done[game.id][1]))

    def _check_odd(self, part: Part, odd: int) -> None:
        """Of three arms: stable alone against secondary alone."""
        self._book.check(part.instances, (odd == 0) - (odd == 1), self._spell, (part,))

    def _distance(self, bet: NoiseBet) -> None:
        game = self._game(Kind.DISTANCE)
        if game is None:
            return
        three = self._design is Design.THREE_ARM
        part = game.parts.get(0)
        if part is None:
            # With two arms stable went first: its times are the earlier ones, and only numbers can be checked by their order.
            part = game.parts[0] = Part(game, 1.0, None if three or bet.time else self._watched.order)
        self._bet(game, part, ARMS[bet.far])
        if bet.far == 2 and bet.off is not None and len(game.offs) < _OFFS_MAX:
            game.offs.append(bet.off)
            game.time = bet.time
        if three:
            self._check_odd(part, bet.far)

    def _bias(self, ranks: Three) -> None:
        game = self._game(Kind.BIAS)
        if game is None:
            return
        order = self._watched.order
        if not game.parts:
            game.parts = {side: Part(game, 0.5, order) for side in (SMALLER, LARGER)}
        if self._design is Design.THREE_ARM:
            if ranks.count(0) == 1:
                self._bet(game, game.parts[SMALLER], ARMS[ranks.index(0)])
            if 2 in ranks:
                self._bet(game, game.parts[LARGER], ARMS[ranks.index(2)])
        elif ranks[1] != ranks[2]:
            up, down = (Role.CANDIDATE, Role.SECONDARY) if ranks[2] > ranks[1] else (Role.SECONDARY, Role.CANDIDATE)
            self._bet(game, game.parts[LARGER], up)
            self._bet(game, game.parts[SMALLER], down)
        games = (game, self._watched.games.get(Kind.DISTANCE))
        parts = [part for one in games if one is not None for part in one.parts.values() if part.instances is order]
        self._book.check(order, (ranks[0] > ranks[1]) - (ranks[0] < ranks[1]), self._spell, parts)

    def _style(self, odd: int) -> None:
        game = self._game(Kind.STYLE)
        if game is None:
            return
        part = game.parts.get(0)
        if part is None:
            part = game.parts[0] = Part(game, 1.0)
        self._bet(game, part, ARMS[odd])
        if self._design is Design.THREE_ARM:
            self._check_odd(part, odd)

    def _sequence(self, traces: Three) -> None:
        """Who follows from its own answer before, and who does not."""
        before, self._watched.before = self._watched.before, traces
        if before is None:
            return
        follows = [now == then for now, then in zip(traces, before, strict=True)]
        three = self._design is Design.THREE_ARM
        if follows[0] is follows[1] is follows[2]:
            return
        game = self._game(Kind.SEQUENCE)
        if game is None:
            return
        if not game.parts:
            instances = Instances()
            game.parts = {side: Part(game, 0.5, instances) for side in (0, 1)}
        if three:
            one = follows.count(True) == 1
            self._bet(game, game.parts[0 if one else 1], ARMS[follows.index(one)])
        elif follows[1] is not follows[2]:
            ours, others = (Role.CANDIDATE, Role.SECONDARY) if follows[2] else (Role.SECONDARY, Role.CANDIDATE)
            self._bet(game, game.parts[0], ours)
            self._bet(game, game.parts[1], others)
        self._book.check(game.parts[0].instances, follows[0] - follows[1], self._spell, game.parts.values())

    def mix(self, bet: NoiseBet, held: Three, moment: int) -> None:
        """Each category that one arm alone has. A category counts from the moment after stable first had it."""
        watched, known = self._watched, self._watched.categories
        started = watched.noisy_since is not None and watched.noisy_since < moment and len(known) <= NOISE_CATEGORIES_MAX
        if started and watched.answers.add(bet.answer):
            for category, odd in alone_with(held, self._design):
                if known.get(category, moment) < moment:
                    self._mix(category, odd)
            self._check_mix(held)
        if bet.control_differs and watched.noisy_since is None:
            watched.noisy_since = moment
        if held[0] not in known and len(known) <= NOISE_CATEGORIES_MAX:
            known[held[0]] = moment

    def _mix(self, category: int, odd: Role) -> None:
        game = self._game(Kind.MIX)
        if game is None:
            return
        part = game.parts.get(category)
        if part is None:
            part = game.parts[category] = Part(game, series(len(game.parts) + 1))
        self._bet(game, part, odd)

    def _check_mix(self, held: Three) -> None:
        game = self._watched.games.get(Kind.MIX)
        if game is None or held[0] == held[1]:
            return
        for category, sign in ((held[0], 1), (held[1], -1)):
            if (part := game.parts.get(category)) is not None:
                self._book.check(part.instances, sign, self._spell, (part,))


def _evidence(game: Game, decided: tuple[int, int] | None, look: Look) -> Evidence:
    stake = game.best().stake
    lost, pairs = stake.bets - stake.wins, max(1, stake.bets)
    loss = 0.5 if look.design is Design.THREE_ARM else 1.0
    total, squares = stake.wins - loss * lost, stake.wins + loss * loss * lost
    low, high = excess_interval(total, squares, pairs, _LEVEL)
    return Evidence(
        id=game.id,
        endpoint=game.endpoint,
        aspect=game.aspect,
        path=game.path,
        kind=game.kind,
        finding_class=FindingClass.UNDECIDED if decided is None else FindingClass.DIVERGENCE,
        severity=severity_of(game.aspect, game.kind, game.path),
        compared=stake.bets,
        diverged=stake.wins,
        control_diverged=lost,
        log10_e=max(0.0, game.log_e) / LN10,
        log10_threshold=log10_threshold(game.weight, look.alpha),
        rate=total / pairs,
        interval=Interval(low, high, _LEVEL),
        decided_at=None if decided is None else decided[0],
        decided_pass=None if decided is None else decided[1],
        exemplars=tuple(game.exemplars),
        noisy=True,
        root=look.roots.get((game.endpoint, game.aspect, game.path)),
        blocks=game.blocks,
        detail=_detail(game),
    )


_UNITS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"))


def _detail(game: Game) -> str:
    """`off by 9 h`: how far the candidate is from stable in the median, where it lies apart."""
    if not game.offs:
        return ""
    off = median(game.offs)
    if not game.time:
        return f"off by {off:+.3g}"
    size, unit = next(((size, unit) for size, unit in _UNITS if abs(off) >= size), _UNITS[-1])
    return f"off by {off / size:+.3g} {unit}"
