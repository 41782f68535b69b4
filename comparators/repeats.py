"""The same request asked again from fresh state: what one arm said then and what it says now.

Arms that do the same each time say the same each time, but for what is drawn anew (ids, times), which all of them draw alike. One
that does not is looked at here, arm by arm, for the evidence of `harness.evidence.determinism`.

Passes go in pairs, the first with the second, the third with the fourth: no answer takes part in two comparisons. With the second
compared to the third as well, an arm that happened to answer oddly in the second would be expected to change once more, which is
no fair game. The second of a pair may be sent one request at a time (harness/app/alone.py), for all arms alike: then they are
compared under load and without it.
"""

from typing import Final

from comparators.exchange import Bodies, Side, compare_sides
from comparators.plan import Plan
from harness.core.limits import REPEATED_BYTES_MAX, REPEATED_REQUESTS_MAX
from harness.core.values import Again, Arm, CaptureRef, Trial

_ARM_BYTES: Final = 2048
"""What an answer takes beside its body, roughly."""


class Repeats:
    """Answers of the pass before, kept until their request comes again. Bounded: what is beyond the bounds is not looked at."""

    def __init__(self, *, requests_max: int = REPEATED_REQUESTS_MAX, bytes_max: int = REPEATED_BYTES_MAX) -> None:
        self._kept: dict[CaptureRef, tuple[int, tuple[Arm, ...], int]] = {}
        """Request -> pass, arms, bytes."""
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self._bytes = 0

    def compare(self, trial: Trial, plan: Plan) -> tuple[Again, ...]:
        """Of each arm that answered otherwise than in the pass before: how. Empty where there is nothing to compare with."""
        entry = trial.capture
        if entry is None or not trial.fresh or trial.tainted or trial.repeat_of is not None:
            return ()
        kept = self._kept.pop(entry, None)
        if kept is not None:
            self._bytes -= kept[2]
        if trial.pass_index % 2 == 0:
            self._keep(entry, trial)
            return ()
        if kept is None or kept[0] != trial.pass_index - 1:
            return ()
        before, now = {arm.role: arm for arm in kept[1]}, tuple(trial.arms())
        if before.keys() != {arm.role for arm in now}:
            return ()  # all arms, or the comparison would not be one of equals
        endpoint, used = plan.for_endpoint(trial.endpoint), set[int]()
        bodies: Bodies = {}
        found = (Again(arm.role, compare_sides(Side(before[arm.role].exchange), Side(arm.exchange), endpoint, used, bodies)) for arm in now)
        return tuple(again for again in found if again.differences)

    def _keep(self, entry: CaptureRef, trial: Trial) -> None:
        arms = tuple(trial.arms())
        size = sum(_bytes_of(arm) for arm in arms)
        if len(self._kept) < self._requests_max and self._bytes + size <= self._bytes_max:
            self._kept[entry] = trial.pass_index, arms, size
            self._bytes += size


def _bytes_of(arm: Arm) -> int:
    response = arm.exchange.response
    return _ARM_BYTES + (0 if response is None else len(response.body.data))
