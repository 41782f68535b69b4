"""What was seen of a difference: forms and values from and to, or how the one makes the other. Pure, bounded.

A person accepts a difference as it was seen. `Seen` says that in a few words that a file can hold, `within` tells whether
another difference lies inside it. Where the values say nothing that could be held to (always new ones, redacted ones), only
their forms are.
"""

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from harness.core.labels import Aspect, Kind, Role
from harness.core.limits import SEEN_FINDINGS_MAX, SEEN_FORMS_MAX, SEEN_VALUES_MAX
from harness.core.shapes import Shape, shape_of
from harness.core.values import Comparison, Difference, Scalar
from harness.evidence.bets import TrialBets
from harness.evidence.findings import finding_id
from harness.evidence.snapshot import Noted


class Relation(StrEnum):
    """How the values of the candidate come from those of stable."""

    ANY = "any"
    """In no way that could be held to: forms only."""
    VALUES = "values"
    """They are a few pairs of values."""
    RATIO = "ratio"
    """Candidate divided by stable lies between `low` and `high`."""
    DIFFERENCE = "difference"
    """Candidate minus stable lies between `low` and `high`."""
    PREFIX_ADDED = "prefix_added"
    PREFIX_REMOVED = "prefix_removed"
    SUFFIX_ADDED = "suffix_added"
    SUFFIX_REMOVED = "suffix_removed"
    CASE = "case"
    """The same text, but for upper and lower case."""
    SAME_TEXT = "same_text"
    """Another type that is written the same (7 and "7")."""


class SeenSlice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The part of the traffic to which a change was confined: an attribute of the request and its value."""

    attribute: str
    value: str


class Seen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was seen of one finding."""

    forms: tuple[str, ...] = ()
    """Each as `from -> to`: integer, number, text, uuid, date, null, absent ... Empty: any."""
    relation: Relation = Relation.ANY
    low: float | None = None
    high: float | None = None
    text: str = ""
    """What is added or removed in front or at the end."""
    values: tuple[tuple[Scalar, Scalar], ...] = ()
    """Pairs of stable's and the candidate's values."""
    slice: SeenSlice | None = None
    """The part of the traffic to which it was wholly confined, if there was one."""
    requests: int = 0
    """Compared requests of the endpoint, each counted once however often it was sent."""
    changed: int = 0
    """Those of them that showed it."""
    rate_low: float = 0.0
    rate_high: float = 1.0
    """95 % interval of the rate: of differences from these two counts (exact, each side at 2.5 %)."""
    median: float | None = None
    """Of a shift, or of the ratio of two latencies: the middle of what lies between `low` and `high`."""
    unit: str = ""
    """`s` for a shift of times."""
    still_high: float = 1.0
    """Of determinism: the upper end of the rate of staying as it was where stable changed."""


ANYTHING: Final = Seen()
"""Nothing is held to."""
_EXACT: Final = frozenset({Kind.CODE, Kind.ERROR, Kind.MEDIA_TYPE, Kind.MALFORMED})
"""Kinds whose values are few words or codes: never a range."""
_FORMS_ONLY: Final = frozenset({Kind.MISSING, Kind.EXTRA, Kind.ORDER, Kind.NULL, Kind.UNCOMPARABLE, Kind.DUPLICATE_KEY})
"""Kinds of which one value, or its order, is no change of a value."""
_TOLERANCE: Final = 1e-9
"""Relative: numbers are read from text."""
_NAMED_SHAPES: Final = {
    Shape.UUID: "uuid",
    Shape.DATE: "date",
    Shape.DATETIME_OFFSET: "date-time with offset",
    Shape.DATETIME_LOCAL: "date-time",
    Shape.HTTP_DATE: "http-date",
    Shape.EMAIL: "email",
    Shape.JWT: "jwt",
    Shape.URL: "url",
}
"""Shapes that no text has by chance. All others are text: two names may be of different shapes."""
ARROW: Final = " -> "


def form_of(value: Scalar, *, absent: bool = False) -> str:
    """The form of a value, coarse enough that it never differs by chance."""
    if value is None:
        return "absent" if absent else "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if value[:1] in {"{", "["}:
        return "object" if value[0] == "{" else "array"
    return _NAMED_SHAPES.get(shape_of(value), "text")


def forms_of(difference: Difference) -> str:
    """`from -> to` of a difference."""
    kind = difference.kind
    left = form_of(difference.left, absent=kind is Kind.EXTRA)
    return left + ARROW + form_of(difference.right, absent=kind is Kind.MISSING)


def within(seen: Seen, difference: Difference) -> bool:
    """Whether a difference lies within what was seen."""
    if seen.forms and forms_of(difference) not in seen.forms:
        return False
    left, right = difference.left, difference.right
    match seen.relation:
        case Relation.ANY:
            return True
        case Relation.VALUES:
            return any(_same(left, a) and _same(right, b) for a, b in seen.values)
        case Relation.RATIO | Relation.DIFFERENCE:
            number = _number(seen.relation, left, right)
            return number is not None and _between(seen.low, number, seen.high)
        case Relation.CASE | Relation.SAME_TEXT:
            return _holds(seen.relation, left, right)
        case _:
            return isinstance(left, str) and isinstance(right, str) and _affixed(seen.relation, seen.text, left, right)


def elements_of(difference: Difference) -> Iterable[Difference]:
    """A difference, and what differs in the same way at further elements, as far as that was looked at."""
    yield difference
    if difference.further is not None:
        for left, right in difference.further.pairs:
            yield msgspec.structs.replace(difference, left=left, right=right, further=None)


def _same(one: Scalar, other: Scalar) -> bool:
    if isinstance(one, bool) or isinstance(other, bool) or isinstance(one, str) or isinstance(other, str):
        return type(one) is type(other) and one == other
    return one == other


def _number(relation: Relation, left: Scalar, right: Scalar) -> float | None:
    """Ratio or difference of two numbers; None where there is none."""
    if isinstance(left, str | bool | None) or isinstance(right, str | bool | None):
        return None
    try:
        number = float(right) / left if relation is Relation.RATIO else float(right) - left
    except (ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _between(low: float | None, number: float, high: float | None) -> bool:
    slack = _TOLERANCE * max(1.0, abs(number))
    return (low is None or number >= low - slack) and (high is None or number <= high + slack)


def _holds(relation: Relation, left: Scalar, right: Scalar) -> bool:
    if relation is Relation.CASE:
        return isinstance(left, str) and isinstance(right, str) and left.casefold() == right.casefold()
    return _written(left) == _written(right) and type(left) is not type(right)


def _written(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _affixed(relation: Relation, text: str, left: str, right: str) -> bool:
    match relation:
        case Relation.PREFIX_ADDED:
            return right == text + left
        case Relation.PREFIX_REMOVED:
            return left == text + right
        case Relation.SUFFIX_ADDED:
            return right == left + text
        case _:
            return left == right + text


def _affix_of(left: str, right: str) -> set[tuple[Relation, str]]:
    """Which text in front or at the end makes the one of the other."""
    found: set[tuple[Relation, str]] = set()
    if left and right.endswith(left):
        found.add((Relation.PREFIX_ADDED, right[: len(right) - len(left)]))
    if left and right.startswith(left):
        found.add((Relation.SUFFIX_ADDED, right[len(left) :]))
    if right and left.endswith(right):
        found.add((Relation.PREFIX_REMOVED, left[: len(left) - len(right)]))
    if right and left.startswith(right):
        found.add((Relation.SUFFIX_REMOVED, left[len(right) :]))
    return found


class SeenState:
    """Gathers what is seen of one finding. A few values and some numbers, however many trials show it."""

    __slots__ = ("_affixes", "_differs", "_forms", "_numbers", "_order", "_same_text", "_values", "changed", "kind", "place")

    def __init__(self, kind: Kind, place: str) -> None:
        self.kind = kind
        self.place = place
        """A concrete place: by its names redaction knows what is secret."""
        self.changed = 0
        """Requests sent for the first time that show it."""
        self._forms: dict[str, None] = {}
        self._values: dict[tuple[type, Scalar, type, Scalar], None] | None = {}
        """None: too many."""
        self._numbers: dict[Relation, tuple[float, float] | None] = {
            Relation.RATIO: (math.inf, -math.inf),
            Relation.DIFFERENCE: (math.inf, -math.inf),
        }
        self._affixes: set[tuple[Relation, str]] | None = None
        """None: none was looked for yet."""
        self._order = True
        """All pairs differ in case only."""
        self._same_text = True
        self._differs: dict[tuple[type, Scalar], tuple[type, Scalar]] = {}
        """What the candidate made of each of stable's values."""

    def observe(self, difference: Difference) -> None:
        """Take a difference in."""
        if len(self._forms) <= SEEN_FORMS_MAX:
            self._forms[forms_of(difference)] = None
        if self.kind in _FORMS_ONLY:
            return
        left, right = difference.left, difference.right
        if self._values is not None:
            self._values[type(left), left, type(right), right] = None
            was = self._differs.setdefault((type(left), left), (type(right), right))
            always_new = was != (type(right), right) and self.kind not in _EXACT
            if len(self._values) > SEEN_VALUES_MAX or always_new:
                self._values = None  # the next run would have others
        for relation, span in self._numbers.items():
            if span is not None:
                number = _number(relation, left, right)
                self._numbers[relation] = None if number is None else (min(span[0], number), max(span[1], number))
        affixes = _affix_of(left, right) if isinstance(left, str) and isinstance(right, str) else set()
        self._affixes = affixes if self._affixes is None else self._affixes & affixes
        self._order = self._order and _holds(Relation.CASE, left, right)
        self._same_text = self._same_text and _holds(Relation.SAME_TEXT, left, right)

    def seen(self) -> Seen:
        """What it comes to. A relation needs two pairs of values at least: with one, the values themselves are meant."""
        forms = tuple(sorted(self._forms)) if len(self._forms) <= SEEN_FORMS_MAX else ()
        if self.kind in _FORMS_ONLY:
            return Seen(forms=forms)
        several = self._values is None or len(self._values) > 1
        if several and self.kind not in _EXACT and (found := self._relation(forms)) is not None:
            return found
        if self._values is not None:
            pairs = sorted(((a, b) for _, a, _, b in self._values), key=repr)
            return Seen(forms=forms, relation=Relation.VALUES, values=tuple(pairs))
        if self.kind not in _EXACT:
            for relation, span in self._numbers.items():
                if span is not None and span[0] <= span[1]:
                    return Seen(forms=forms, relation=relation, low=span[0], high=span[1])
        return Seen(forms=forms)

    def _relation(self, forms: tuple[str, ...]) -> Seen | None:
        """The same relation in all pairs."""
        for relation, span in self._numbers.items():
            if span is not None and span[0] <= span[1] and _between(span[0], span[1], span[0]):
                return Seen(forms=forms, relation=relation, low=span[0], high=span[1])
        if self._affixes:
            affix, text = min(self._affixes)
            return Seen(forms=forms, relation=affix, text=text)
        if self._order:
            return Seen(forms=forms, relation=Relation.CASE)
        return Seen(forms=forms, relation=Relation.SAME_TEXT) if self._same_text else None


class SeenBook:
    """What is seen of each finding of a run: one owner, bounded."""

    def __init__(self) -> None:
        self._states: dict[str, SeenState] = {}

    def observe(self, bets: TrialBets, comparison: Comparison) -> None:
        """Take a trial in: of each place where the candidate stands alone, accepted or not, what the differences there are."""
        alone = {(bet.aspect, bet.path, bet.kind) for bet in (*bets.bets, *bets.expected) if bet.odd is Role.CANDIDATE}
        if not alone:
            return
        first = bets.pass_index == 0 and not bets.repeat
        counted: set[tuple[Aspect, str, Kind]] = set()
        for difference in comparison.stable_candidate:
            key = (difference.aspect, difference.path, difference.kind)
            if key not in alone:
                continue
            state = self._state(bets.endpoint, difference)
            if state is None:
                continue
            if first and key not in counted:
                counted.add(key)
                state.changed += 1
            for one in elements_of(difference):
                state.observe(one)

    def recall(self, bets: TrialBets, comparison: Comparison | None) -> None:
        """Take a trial in that is folded again; what differed is known of those that were kept only, that something did of all."""
        if comparison is not None:
            self.observe(bets, comparison)
        elif bets.pass_index == 0 and not bets.repeat:
            for bet in {(bet.aspect, bet.path, bet.kind) for bet in (*bets.bets, *bets.expected) if bet.odd is Role.CANDIDATE}:
                state = self._states.get(finding_id(bets.endpoint, *bet))
                if state is not None:  # without a difference that was seen, nothing is known of it
                    state.changed += 1

    def states(self) -> Mapping[str, SeenState]:
        """By the finding's id."""
        return self._states

    def _state(self, endpoint: str, difference: Difference) -> SeenState | None:
        name = finding_id(endpoint, difference.aspect, difference.path, difference.kind)
        state = self._states.get(name)
        if state is None and len(self._states) < SEEN_FINDINGS_MAX:
            state = self._states[name] = SeenState(difference.kind, difference.where or difference.path)
        return state


def seen_of(noted: Noted, *, ratio: bool = False) -> Seen:
    """What was seen of a finding that no single difference shows: of noisy values, of speed (`ratio`), of determinism."""
    if noted.median is not None:
        relation = Relation.RATIO if ratio else Relation.DIFFERENCE
        low, high, median = (None if number is None else float(f"{number:.12g}") for number in (noted.low, noted.high, noted.median))
        return Seen(relation=relation, low=low, high=high, median=median, unit=noted.unit)
    return Seen(
        requests=noted.looks,
        changed=noted.hits,
        rate_low=round(noted.rate_low, 6),
        rate_high=round(noted.rate_high, 6),
        still_high=round(noted.still_high, 6),
    )


def values_of(seen: Seen) -> Iterable[Scalar]:
    """Everything in it that comes from traffic."""
    if seen.text:
        yield seen.text
    for pair in seen.values:
        yield from pair
