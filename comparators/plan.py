"""What a comparison needs to know beforehand: the compiled rules and the body comparators, as one value for a run."""

from collections.abc import Iterable, Mapping

from comparators.api import NO_PLACES, BodyComparator, Places
from harness.core.canon import EndpointRules, Rule, RuleBook


class EndpointPlan:
    """The part of a plan that concerns one endpoint."""

    __slots__ = ("_plan", "every", "rules")

    def __init__(self, plan: "Plan", rules: EndpointRules, every: Places = NO_PLACES) -> None:
        self._plan = plan
        self.rules = rules
        self.every = every
        """Where changes were accepted: every differing element is looked at there."""

    def comparator_for(self, media_type: str) -> BodyComparator | None:
        """The first comparator that takes the type."""
        return self._plan.comparator_for(media_type)

    @property
    def ordered(self) -> tuple[str, ...]:
        """Patterns of the effects whose order matters."""
        return self._plan.ordered


class Plan:
    """Rules and comparators of a run. Build it with `build_plan`."""

    _TYPES_MAX = 256

    def __init__(
        self,
        rules: RuleBook,
        comparators: tuple[BodyComparator, ...],
        ordered: tuple[str, ...] = (),
        every: Mapping[str, Places] | None = None,
    ) -> None:
        self.rules = rules
        self.comparators = comparators
        self.ordered = ordered
        """Patterns of `COLLECTOR OPERATION` (`effects.ordered`): of these effects the order is compared as well."""
        self._every = every or {}
        self._by_type: dict[str, BodyComparator | None] = {}

    def for_endpoint(self, endpoint: str) -> EndpointPlan:
        """The plan for one endpoint; cheap after the first time."""
        return EndpointPlan(self, self.rules.for_endpoint(endpoint), self._every.get(endpoint, NO_PLACES))

    def comparator_for(self, media_type: str) -> BodyComparator | None:
        """The first comparator that takes the type."""
        if media_type not in self._by_type:
            if len(self._by_type) >= self._TYPES_MAX:
                self._by_type.clear()
            self._by_type[media_type] = next((c for c in self.comparators if c.matches(media_type)), None)
        return self._by_type[media_type]


def build_plan(
    rules: Iterable[Rule],
    comparators: tuple[BodyComparator, ...],
    ordered: tuple[str, ...] = (),
    every: Mapping[str, Places] | None = None,
) -> Plan:
    """Compile. Raises UsageError with every problem when a rule is wrong (`rule_problems` lists them beforehand).

    `every` names by endpoint where every differing element of an array is looked at, since a change was accepted there.
    """
    return Plan(RuleBook(tuple(rules)), comparators, ordered, every)
