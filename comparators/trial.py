"""One trial in, its comparison out: pair by pair, as the evidence needs them."""

from comparators.exchange import Side, compare_sides
from comparators.plan import Plan
from harness.core.values import Arm, Comparison, Difference, Trial


def compare_trial(trial: Trial, plan: Plan) -> Comparison:
    """Differences of all three pairs, as far as the arms are there. Never raises.

    Secondary against candidate is compared wherever stable differs from either: with tolerances "equal" is not
    transitive, so the third pair does not follow from the other two.
    """
    stable = Side(trial.stable.exchange)
    secondary, candidate = _side(trial.secondary), _side(trial.candidate)
    endpoint = plan.for_endpoint(trial.endpoint)
    used: set[int] = set()
    to_candidate = () if candidate is None else compare_sides(stable, candidate, endpoint, used)
    to_secondary = () if secondary is None else compare_sides(stable, secondary, endpoint, used)
    across: tuple[Difference, ...] = ()
    cross_compared = secondary is not None and candidate is not None and bool(to_candidate or to_secondary)
    if cross_compared and secondary is not None and candidate is not None:
        across = compare_sides(secondary, candidate, endpoint, used)
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
