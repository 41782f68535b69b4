"""The plug-in contract of body comparators (entry point group `shadowdiff.comparators`), and what they are given.

An entry point names an object that satisfies `BodyComparator`. It is pure and stateless: the same two views and rules
give the same differences, and swapping the views swaps left and right and mirrors the kinds (`MIRRORED_KIND`).
Views are whole, decoded bodies: truncated ones are compared elsewhere. Rules that ignore a path are applied to what a
comparator returns, so a comparator only needs to look at the rules where they change the structure of its answer.
"""

from collections.abc import Iterable
from typing import Final, Protocol, runtime_checkable

from harness.core.canon import NOWHERE, AspectRules, Place, Step
from harness.core.labels import Aspect, Kind
from harness.core.values import Difference

Places = frozenset[tuple[Aspect, str, Kind]]
NO_PLACES: Final[Places] = frozenset()


class BodyView:
    """A decoded body as a comparator sees it.

    `data` is the body without content coding, `media_type` is in lower case (empty when unknown), `parameters` those of
    the Content-Type. `memo` keeps what was derived from the bytes, under the comparator's name, so that a body is parsed
    once however many pairs it is in; it is the only thing that changes.
    """

    __slots__ = ("data", "media_type", "memo", "parameters")

    def __init__(self, data: bytes, media_type: str = "", parameters: dict[str, str] | None = None) -> None:
        self.data = data
        self.media_type = media_type
        self.parameters = parameters or {}
        self.memo: dict[str, object] = {}


class RuleUse:
    """The rules of one endpoint and aspect during one comparison, and which of them had an effect."""

    __slots__ = ("every", "rules", "used")

    def __init__(self, rules: AspectRules | None = None, used: set[int] | None = None, every: Places = NO_PLACES) -> None:
        self.rules = rules
        self.used: set[int] = set() if used is None else used
        self.every = every
        """Where every differing element of an array is wanted, and not only the first one (a `Sink` knows how)."""

    @property
    def root(self) -> Place:
        """The place of the whole body."""
        return NOWHERE if self.rules is None else self.rules.root

    def step(self, place: Place, step: Step) -> Place:
        """The place one step below."""
        return NOWHERE if self.rules is None else self.rules.step(place, step)

    def at(self, path: str) -> Place:
        """The place of a difference's path; an ignored place above counts."""
        return NOWHERE if self.rules is None else self.rules.at(path)


@runtime_checkable
class BodyComparator(Protocol):
    """Compares bodies of some media types."""

    @property
    def name(self) -> str:
        """Unique, short; kept in the run together with the version."""
        ...

    @property
    def version(self) -> int:
        """Raised whenever the same bodies may give other differences."""
        ...

    @property
    def priority(self) -> int:
        """Higher is asked first: 0 for a fallback, 10 for a family of types, 20 for one format."""
        ...

    def matches(self, media_type: str) -> bool:
        """Whether it compares bodies of this type (lower case, without parameters)."""
        ...

    def compare(self, left: BodyView, right: BodyView, rules: RuleUse) -> Iterable[Difference]:
        """Differences of aspect `body`, paths under `$`. Must be symmetric."""
        ...


class Absent:
    """The type of ABSENT."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "absent"


ABSENT: Final = Absent()
"""Stands for a member that one side has not; null is a value."""
