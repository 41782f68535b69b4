"""What one trial says about each hypothesis: from a trial and its differences to bets, as a value.

A hypothesis is (endpoint, aspect, path, kind), the kind as seen from the arm that stands alone. This module looks at one
trial only and can run in any worker; whether a bet counts (once per key, taint, weights) is the ledger's business.

Every rule here treats the arms alike: permuting the arms of a trial permutes the odd arm and changes nothing else (for
two arms: swapping candidate and secondary). That is what makes the bets fair when the candidate behaves like stable.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import blake2b
from operator import attrgetter
from typing import Final

import msgspec

from harness.core.effect_paths import effect_place
from harness.core.http import SAFE_METHODS
from harness.core.labels import CHANNEL_DEPTH, CHANNEL_OF, MIRRORED_KIND, Aspect, Control, Design, EffectsSeen, ErrorKind, Kind, Role
from harness.core.values import Arm, Comparison, Difference, Scalar, Trial
from harness.evidence.noise_bets import Asked, NoiseBet, Pairs, noise_bets
from harness.evidence.restless import Restless, restless


class ArmOutcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one arm did, as far as evidence needs it. An error is an outcome."""

    status: int
    """0 where no answer came."""
    latency_ms: float | None
    """Of an answer, or of a time-out (at least the bound); None on another error, which says nothing about speed."""
    error: ErrorKind | None = None


class Bet(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a trial says about one (aspect, path, kind) of its endpoint."""

    aspect: Aspect
    path: str
    kind: Kind
    odd: Role | None
    """The arm that stands alone; None where arms differ and none stands alone."""
    control_differs: bool
    """Stable and secondary differ here in this kind."""
    candidate_differs: bool
    """Stable and candidate differ here in this kind."""
    key: int = 0
    """Which answer this is about: equal keys are the same answer read again. 0 without an odd arm."""

    @property
    def d(self) -> int:
        """+1 for the candidate, -1 for a stable instance, 0 for neither."""
        if self.odd is None:
            return 0
        return 1 if self.odd is Role.CANDIDATE else -1


class EffectCount(msgspec.Struct, frozen=True, array_like=True):
    """How often each arm did one thing to the outside in a trial."""

    collector: str
    operation: str
    stable: int = 0
    secondary: int = 0
    candidate: int = 0


class TrialBets(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """All that the ledger needs of a trial. Stored, it can be folded again bit for bit."""

    seq: int
    trial: str
    endpoint: str
    design: Design
    control: Control
    pass_index: int
    fresh: bool
    warm_up: bool
    tainted: bool
    repeat: bool
    """It was sent because a difference was seen: counts for that question only."""
    request: int
    """Which request it is (capture entry, or method, entity and body): the same in every pass."""
    captured: bool
    session: int
    started_ns: int
    stable: ArmOutcome
    secondary: ArmOutcome | None = None
    candidate: ArmOutcome | None = None
    recorded_status: int | None = None
    bets: tuple[Bet, ...] = ()
    effects_seen: EffectsSeen = EffectsSeen.NONE
    effects: tuple[EffectCount, ...] = ()
    """By collector and operation, in that order; empty where effects were not watched. Rules of a policy are judged on these."""
    expected: tuple[Bet, ...] = ()
    """Of the candidate alone, and accepted beforehand as they are: no bets any more, only counted (harness.evidence.expected)."""
    attributes: tuple[tuple[str, str], ...] = ()
    """What is known of the request by name (harness/core/attributes.py), redacted; empty where it was not read."""
    sampled: int = 0
    """How many trials it stands for where attributes are counted; 0 where it was read for its differences alone."""
    noise: tuple[NoiseBet, ...] = ()
    """How the arms' values relate at places where they differ anyhow."""
    restless: tuple[Restless, ...] = ()
    """Places where one arm disagrees with what it said in the pass before, and the others do not, or the other way round."""
    alone: bool = False
    """Of a capture: its pass sends one request at a time."""
    askable: bool = True
    """Whether it may raise a question: not where nobody could ask it again (live traffic that hangs on stored state)."""
    stable_kept: bool = False
    """Of a repeat: stable was left alone, and its answer is that of the trial that raised the question."""
    at_hand: bool = True
    """Whether the whole trial can be kept as an example: not where live traffic has no difference, which is not handed on."""


# Members that are asked for in every trial: looking them up by their enumeration takes longer than what is done with them.
_NONE, _RECORDED, _SELF = Control.NONE, Control.RECORDED, Control.SELF
_TWO_ARM, _THREE_ARM, _NO_CONTROL = Design.TWO_ARM, Design.THREE_ARM, Design.NO_CONTROL
_STABLE, _SECONDARY, _CANDIDATE = Role.STABLE, Role.SECONDARY, Role.CANDIDATE
_UNSEEN: Final = EffectsSeen.NONE
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(TrialBets)


def encode_bets(bets: TrialBets) -> bytes:
    """As MessagePack."""
    return _ENCODER.encode(bets)


def decode_bets(data: bytes) -> TrialBets:
    """The inverse of `encode_bets`; raises msgspec.DecodeError or msgspec.ValidationError on anything else."""
    return _DECODER.decode(data)


def design_of(trial: Trial) -> Design:
    """The bet a trial really supports: stable asked twice is no second instance, so it is worth two arms only."""
    control = trial.control
    if trial.secondary is None or control is _NONE or control is _RECORDED:
        return Design.NO_CONTROL
    return _TWO_ARM if control is _SELF and trial.design is _THREE_ARM else trial.design


def bets_of(trial: Trial, comparison: Comparison, secret: bytes = b"") -> TrialBets:
    """What a trial says. Pure; `secret` (up to 64 bytes, one per run) keys the hashes of values, so that a stored key
    does not give away a value."""
    design = design_of(trial)
    hashed, hashed_bytes = _hashing(secret)
    capture = trial.capture
    answer = request = hashed_bytes(_asked(trial))
    if capture is not None:
        request = hashed(f"{capture.file}\0{capture.entry}")
    bets: tuple[Bet, ...] = ()
    noise: tuple[NoiseBet, ...] = ()
    if comparison.stable_candidate or comparison.stable_secondary:
        bets, noise = _bets(trial, comparison, design, answer, hashed)
    return TrialBets(
        seq=trial.seq,
        trial=trial.id,
        endpoint=trial.endpoint,
        design=design,
        control=trial.control,
        pass_index=trial.pass_index,
        fresh=trial.fresh,
        warm_up=trial.warm_up,
        tainted=trial.tainted,
        repeat=trial.repeat_of is not None,
        request=request,
        captured=capture is not None,
        session=hashed(trial.session) if trial.session else 0,
        started_ns=trial.stable.exchange.started_ns,
        stable=_outcome(trial.stable),
        secondary=None if trial.secondary is None else _outcome(trial.secondary),
        candidate=None if trial.candidate is None else _outcome(trial.candidate),
        recorded_status=None if trial.recorded is None else trial.recorded.status,
        bets=bets,
        effects_seen=trial.effects_seen,
        effects=() if trial.effects_seen is _UNSEEN else _effect_counts(trial),
        noise=noise,
        restless=restless(comparison.again, design, trial.control) if comparison.again else (),
        alone=trial.alone,
        stable_kept=trial.repeat_of is not None and bool(trial.order) and Role.STABLE not in trial.order,
    )


def _effect_counts(trial: Trial) -> tuple[EffectCount, ...]:
    stable, secondary, candidate = trial.stable, trial.secondary, trial.candidate
    seen = stable.effects or (candidate is not None and candidate.effects) or (secondary is not None and secondary.effects)
    if not seen:  # so it is with most live trials
        return ()
    counts: dict[tuple[str, str], list[int]] = {}
    for index, arm in enumerate((stable, secondary, candidate)):
        if arm is not None:
            for effect in arm.effects:
                counts.setdefault((effect.collector, effect.operation), [0, 0, 0])[index] += 1
    return tuple(EffectCount(*place, *count) for place, count in sorted(counts.items()))


def _outcome(arm: Arm) -> ArmOutcome:
    exchange = arm.exchange
    if exchange.error is not None:
        kind = exchange.error.kind
        return ArmOutcome(0, exchange.latency_ms if kind is ErrorKind.TIMEOUT else None, kind)
    if exchange.response is None:
        return ArmOutcome(0, None)
    return ArmOutcome(exchange.response.status, (exchange.ended_ns - exchange.started_ns) / 1e6)  # its latency


@lru_cache(maxsize=8)
def _hashing(secret: bytes) -> tuple[Callable[[str], int], Callable[[bytes], int]]:
    """The keyed hash of a run, of text and of bytes, as a number of 64 bits. The key is taken in once, and not for every value."""
    keyed, number = blake2b(digest_size=8, key=secret).copy, int.from_bytes

    def of_text(text: str) -> int:
        state = keyed()
        state.update(text.encode("utf-8", "surrogatepass"))
        return number(state.digest(), "big")

    def of_bytes(data: bytes) -> int:
        state = keyed()
        state.update(data)
        return number(state.digest(), "big")

    return of_text, of_bytes


def _asked(trial: Trial) -> bytes:
    """Which stored answer a request reads: method, entity (or target) and what was sent along."""
    request = trial.request
    body = request.body
    head = f"{request.method}\0{trial.entity or request.target}\0".encode("utf-8", "surrogatepass")
    return head + (body.digest.encode() if body.truncated else body.data)


_Found = tuple[Difference | None, Difference | None, Difference | None]
"""The differences of one kind (with its mirror) at one path: of (stable, candidate), (stable, secondary), (secondary, candidate)."""
_Kinds = dict[Kind, list[Difference]]


def _bets(
    trial: Trial, comparison: Comparison, design: Design, answer: int, hashed: Callable[[str], int]
) -> tuple[tuple[Bet, ...], tuple[NoiseBet, ...]]:
    first, second = comparison.stable_candidate, comparison.stable_secondary
    cross: Iterable[Difference] = ()
    if design is _THREE_ARM and trial.candidate is not None:
        # Where only one of the others differs from stable the cross pair may have been left out, since it follows.
        if comparison.cross_compared or comparison.secondary_candidate or (first and second):
            cross = comparison.secondary_candidate
        else:
            cross = first or [mirrored(difference) for difference in second]
    places: dict[tuple[Aspect, str], Pairs] = {}
    for index, differences in enumerate((first, second, cross)):
        for difference in differences:
            name = (difference.aspect, difference.path)
            place = places.get(name)
            if place is None:
                place = places[name] = ([], [], [])
            place[index].append(difference)
    reader = _Reader(trial, design, answer, hashed)
    bets: list[Bet] = []
    for name, place in places.items():
        reader.read(name, place, bets)
    # An order that no arm has a say in: new hypotheses are numbered in it.
    if len(bets) > 1:
        bets.sort(key=_NUMBERED)
    return tuple(bets), _noise(trial, places, design, answer, hashed)


def _noise(
    trial: Trial, places: dict[tuple[Aspect, str], Pairs], design: Design, answer: int, hashed: Callable[[str], int]
) -> tuple[NoiseBet, ...]:
    """Nothing without a control, and nothing of what follows from an earlier difference or was asked again because of one."""
    if trial.candidate is None or design is _NO_CONTROL or trial.tainted or trial.repeat_of is not None:
        return ()
    spell = str(trial.pass_index) if trial.fresh else ""
    return noise_bets(places, Asked(design, trial.control is _SELF, spell, str(answer), hashed, trial.seq))


def mirrored(difference: Difference) -> Difference:
    """The same difference with left and right swapped."""
    kind = MIRRORED_KIND.get(difference.kind, difference.kind)
    return Difference(difference.aspect, difference.path, kind, difference.right, difference.left, difference.where, difference.note)


def _neutral(kind: Kind) -> Kind:
    """One name for a kind and its mirror."""
    return min(kind, MIRRORED_KIND.get(kind, kind))


_NUMBERED: Final = attrgetter("path", "aspect", "kind")


class _Reader:
    """Reads the places of one trial."""

    __slots__ = ("_answer", "_candidate", "_hashed", "_pass", "_three_arms", "_trial", "_unsafe")

    def __init__(self, trial: Trial, design: Design, answer: int, hashed: Callable[[str], int]) -> None:
        self._three_arms = design is _THREE_ARM
        self._answer = answer
        self._pass = trial.pass_index if trial.fresh else None
        self._hashed = hashed
        self._candidate = trial.candidate is not None
        self._trial = trial.id
        self._unsafe = trial.request.method not in SAFE_METHODS

    def read(self, name: tuple[Aspect, str], place: Pairs, bets: list[Bet]) -> None:
        """The bets on what differs at one path."""
        first, second, cross = place
        if len(first) < 2 and len(second) < 2 and len(cross) < 2:
            pc, ps, sc = first[0] if first else None, second[0] if second else None, cross[0] if cross else None
            if pc and ps and self._candidate and _is_like(ps, pc) and (_is_like(sc, pc) if sc else not self._three_arms):
                bets.append(Bet(*name, pc.kind, None, True, True))  # all arms differ, in the same way
                return
            shown = pc or ps or sc
            if shown is not None and _is_like(ps, shown) and _is_like(sc, shown):
                self._read(name, (pc, ps, sc), shown.kind, _NOTHING_ELSE, bets)
                return
        kinds = _by_kind(first), _by_kind(second), _by_kind(cross)
        for kind in kinds[0].keys() | kinds[1].keys() | kinds[2].keys():
            self._read(name, _earliest(kind, kinds), kind, kinds, bets)

    def _read(self, name: tuple[Aspect, str], found: _Found, kind: Kind, place: tuple[_Kinds, _Kinds, _Kinds], bets: list[Bet]) -> None:
        """The bets on one kind and its mirror at one path; `place` has all that differs there."""
        aspect, path = name
        if not self._candidate:
            if found[1] is not None:
                bets.append(Bet(aspect, path, found[1].kind, None, True, False))
        elif self._three_arms:
            bets.append(self._three(aspect, path, found, kind, place))
        else:
            self._two(aspect, path, found, bets)

    def _three(self, aspect: Aspect, path: str, found: _Found, kind: Kind, place: tuple[_Kinds, _Kinds, _Kinds]) -> Bet:
        """The candidate is odd iff it differs in the same way from both others and these agree to a finer depth."""
        pc, ps, sc = found
        if place is not _NOTHING_ELSE and (pc is None) + (ps is None) + (sc is None) == 2 and _alone(pc or ps or sc, place):
            # A difference in one pair of three cannot be: the pairs name the place differently (elements without order).
            pc, ps, sc = (differences[kind][0] if kind in differences else None for differences in place)
        if pc is not None and sc is not None and ps is None and pc.kind is sc.kind and _finer(place[1], pc):
            return Bet(
                aspect,
                path,
                pc.kind,
                _CANDIDATE,
                False,
                True,
                self._key((aspect, path, pc.kind), (pc.left, pc.right, sc.left, sc.right)),
            )
        if ps is not None and sc is not None and pc is None and ps.kind is _mirror(sc.kind) and _finer(place[0], ps):
            return Bet(
                aspect,
                path,
                ps.kind,
                _SECONDARY,
                True,
                False,
                self._key((aspect, path, ps.kind), (ps.left, ps.right, sc.left, sc.right)),
            )
        if pc is not None and ps is not None and sc is None and pc.kind is ps.kind and _finer(place[2], pc):
            return Bet(
                aspect,
                path,
                _mirror(pc.kind),
                _STABLE,
                True,
                True,
                self._key((aspect, path, pc.kind), (pc.left, pc.right, ps.left, ps.right)),
            )
        shown = pc or ps or sc
        assert shown is not None
        return Bet(aspect, path, shown.kind, None, ps is not None, pc is not None)

    def _two(self, aspect: Aspect, path: str, found: _Found, bets: list[Bet]) -> None:
        """D = [the candidate differs from stable in exactly this kind] - [the control does]."""
        pc, ps, _ = found
        if pc is not None and ps is not None and pc.kind is ps.kind:
            bets.append(Bet(aspect, path, pc.kind, None, True, True))
            return
        if pc is not None:
            bets.append(Bet(aspect, path, pc.kind, _CANDIDATE, False, True, self._key((aspect, path, pc.kind), (pc.left, pc.right))))
        if ps is not None:
            bets.append(Bet(aspect, path, ps.kind, _SECONDARY, True, False, self._key((aspect, path, ps.kind), (ps.left, ps.right))))

    def _key(self, place: tuple[Aspect, str, Kind], values: tuple[Scalar, ...]) -> int:
        """The same for every permutation of the arms. `values` are those of both differences that name the odd one: which
        element is compared with which may hang on the pair.

        A time or an identifier names what it belongs to: one that was split by a race is the same answer under whatever
        URL it is read. Other values are the same answer only under the same request. What is done is no answer at all: it is
        new each time.
        """
        if place[0] is _EFFECTS and self._is_deed(*place):
            return self._hashed(f"deed\0{self._trial}")
        answer = 0 if any(map(_names_itself, values)) else self._answer
        texts = "\0".join(sorted(map(repr, values)))
        return self._hashed(f"{self._pass}\0{answer}\0{texts}")

    def _is_deed(self, aspect: Aspect, path: str, kind: Kind) -> bool:
        """Whether a difference is about what is done, which is done anew in every trial, and not about what is read.

        That is so of whole effects: done or not, how often, in which order. Not of the values in their documents: these
        may come from stored state (a `created_at` in a message), and one that was split by a race is sent again for ever. Nor
        of reads that a read gives rise to: both may hang on stored state that was split and that neither of them changes.
        """
        if aspect is not _EFFECTS or kind not in _DEEDS:
            return False
        found = effect_place(path)
        return found.whole and (self._unsafe or not found.reads)


_EFFECTS: Final = Aspect.EFFECTS
_NOTHING_ELSE: Final[tuple[_Kinds, _Kinds, _Kinds]] = ({}, {}, {})
"""At a place where each pair has one difference at most, and these are of one kind and in one element."""
_DEEDS: Final = frozenset({Kind.MISSING, Kind.EXTRA, Kind.DUPLICATED, Kind.FEWER, Kind.ORDER})
_NAMES_ITSELF: Final = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-f]{16,}|\d{10,}(?:\.\d+)?", re.DOTALL
)


_NAME_MIN: Final = 10
"""Characters that every text has which `_NAMES_ITSELF` fits."""


def _names_itself(value: Scalar) -> bool:
    text = str(value)
    return len(text) >= _NAME_MIN and _NAMES_ITSELF.fullmatch(text) is not None


def _is_like(difference: Difference | None, shown: Difference) -> bool:
    """Whether it is of the same kind in the same element, or there is none."""
    return difference is None or (difference.kind is shown.kind and difference.where == shown.where)


def _by_kind(differences: list[Difference]) -> _Kinds:
    kinds: _Kinds = {}
    for difference in differences:
        kinds.setdefault(_neutral(difference.kind), []).append(difference)
    return kinds


def _mirror(kind: Kind) -> Kind:
    return MIRRORED_KIND.get(kind, kind)


def _earliest(kind: Kind, place: tuple[_Kinds, _Kinds, _Kinds]) -> _Found:
    """The differences of this kind at the first place, in document order, where any pair has one.

    Only that one is looked at: a later one may be hidden behind an earlier one in one pair and not in another, which would
    favour an arm (an element that was split once would hide the candidate's later differences and not the control's).
    """
    first, second, cross = lists = (place[0].get(kind, ()), place[1].get(kind, ()), place[2].get(kind, ()))
    if len(first) <= 1 and len(second) <= 1 and len(cross) <= 1:
        found = (first[0] if first else None, second[0] if second else None, cross[0] if cross else None)
        where = (found[0] or found[1] or found[2]).where  # type: ignore[union-attr]  # a kind has a difference
        if all(difference is None or difference.where == where for difference in found):
            return found
    where = min((difference.where for found in lists for difference in found), key=_document_order)
    pc, ps, sc = (next((d for d in found if d.where == where), None) for found in lists)
    return pc, ps, sc


_INDEX: Final = re.compile(r"\d{1,18}")


def _document_order(where: str) -> tuple[tuple[int, ...], str]:
    return tuple(int(index) for index in _INDEX.findall(where)), where


def _finer(pair: dict[Kind, list[Difference]], found: Difference) -> bool:
    """Whether a pair's differences at the place of another one, if any, are of finer channels only."""
    if not pair:
        return True
    depth = CHANNEL_DEPTH[CHANNEL_OF[found.kind]]
    return all(CHANNEL_DEPTH[CHANNEL_OF[d.kind]] > depth or d.where != found.where for others in pair.values() for d in others)


def _alone(difference: Difference | None, place: tuple[_Kinds, _Kinds, _Kinds]) -> bool:
    """Whether no other difference of any pair is at the same concrete place, or at a deeper look there."""
    assert difference is not None
    here = [d for pair in place for found in pair.values() for d in found if d.where == difference.where]
    return len(here) == 1 or CHANNEL_DEPTH[CHANNEL_OF[difference.kind]] < min(
        CHANNEL_DEPTH[CHANNEL_OF[d.kind]] for d in here if d is not difference
    )
