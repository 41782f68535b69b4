"""One trial in, its comparison out: pair by pair, as the evidence needs them."""

from typing import Final

from comparators.api import RuleUse
from comparators.effects import Doings, compare_effects
from comparators.exchange import Bodies, Side, compare_sides, run_comparator
from comparators.plan import EndpointPlan, Plan
from harness.core.labels import Aspect, Design, EffectsSeen, Role
from harness.core.values import Arm, Comparison, Difference, Trial

_TIMED_OUT: Final = "not all effects had come in time"


def compare_trial(trial: Trial, plan: Plan) -> Comparison:
    """Differences of all three pairs, as far as the arms are there. Never raises.

    Of three arms that are alike, secondary against candidate is compared wherever stable differs from either: with tolerances
    "equal" is not transitive, so the third pair does not follow from the other two. With two arms nothing is asked of it.
    """
    stable = Side(trial.stable.exchange)
    secondary, candidate = _side(trial.secondary), _side(trial.candidate)
    endpoint = plan.for_endpoint(trial.endpoint)
    used: set[int] = set()
    bodies: Bodies = {}
    effects = _Effects(trial, endpoint, used)
    to_candidate = () if candidate is None else compare_sides(stable, candidate, endpoint, used, bodies)
    to_secondary = () if secondary is None else compare_sides(stable, secondary, endpoint, used, bodies)
    if effects.seen:
        to_candidate += effects.between(Role.STABLE, Role.CANDIDATE)
        to_secondary += effects.between(Role.STABLE, Role.SECONDARY)
    across: tuple[Difference, ...] = ()
    differs = bool(to_candidate or to_secondary) and trial.design is Design.THREE_ARM
    cross_compared = differs and secondary is not None and candidate is not None
    if cross_compared and secondary is not None and candidate is not None:
        across = compare_sides(secondary, candidate, endpoint, used, bodies)
        if effects.seen:
            across += effects.between(Role.SECONDARY, Role.CANDIDATE)
    return Comparison(
        trial=trial.id,
        seq=trial.seq,
        stable_candidate=to_candidate,
        stable_secondary=to_secondary,
        secondary_candidate=across,
        cross_compared=cross_compared,
        rules_used=tuple(sorted(used)),
    )


def _side(arm: Arm | None) -> Side | None:
    return None if arm is None else Side(arm.exchange)


class _Effects:
    """The effects of a trial's arms, whatever became of the exchanges."""

    __slots__ = ("_arms", "_endpoint", "_note", "_used", "seen")

    def __init__(self, trial: Trial, endpoint: EndpointPlan, used: set[int]) -> None:
        self.seen = trial.effects_seen is not EffectsSeen.NONE and any(arm.effects for arm in trial.arms())
        """Whether there is anything to compare."""
        self._arms = {arm.role: Doings(arm.effects) for arm in trial.arms()} if self.seen else {}
        self._endpoint = endpoint
        self._used = used
        self._note = _TIMED_OUT if trial.effects_seen is EffectsSeen.TIMED_OUT else ""

    def between(self, left: Role, right: Role) -> tuple[Difference, ...]:
        """Differences of two arms; none where one is not there."""
        if left not in self._arms or right not in self._arms:
            return ()
        a, b = self._arms[left], self._arms[right]
        use = RuleUse(self._endpoint.rules.aspect(Aspect.EFFECTS), self._used, self._endpoint.every)
        ordered, note = self._endpoint.ordered, self._note
        return tuple(run_comparator(Aspect.EFFECTS, "effects", lambda use: compare_effects(a, b, use, ordered, note), use))
