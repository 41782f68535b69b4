"""One trial in, its comparison out: pair by pair, as the evidence needs them."""

from comparators.exchange import Bodies, Side, compare_sides
from comparators.plan import Plan
from harness.core.labels import Design
from harness.core.values import Arm, Comparison, Difference, Trial


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
    to_candidate = () if candidate is None else compare_sides(stable, candidate, endpoint, used, bodies)
    to_secondary = () if secondary is None else compare_sides(stable, secondary, endpoint, used, bodies)
    across: tuple[Difference, ...] = ()
    differs = bool(to_candidate or to_secondary) and trial.design is Design.THREE_ARM
    cross_compared = differs and secondary is not None and candidate is not None
    if cross_compared and secondary is not None and candidate is not None:
        across = compare_sides(secondary, candidate, endpoint, used, bodies)
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
