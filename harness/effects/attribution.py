"""To which trial an effect belongs. Pure but for its memory.

In this order: the trial that the effect names itself (by trace context, baggage, or what a collector matched it with); else
the one trial that was open since the last look, where trials go one at a time; else none. What belongs to none is counted by
operation and target, never dropped.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable

import msgspec

from harness.core import limits
from harness.core.labels import Role
from harness.core.values import Effect
from harness.core.watched import Unattributed
from harness.effects.api import Observed, OpenTrial


class Attribution:
    """The open trials of a run, and what was seen of each."""

    def __init__(self) -> None:
        self._open: dict[str, dict[Role, list[Effect]]] = {}
        self._closed: OrderedDict[str, None] = OrderedDict()
        self._crowded = False
        """More than one trial was open at some time since the last look."""
        self.seen: Counter[tuple[str, Role]] = Counter()
        """Attributed effects by collector and target."""
        self.late: Counter[tuple[str, Role]] = Counter()
        """Effects of trials that had been judged already; counted among the unattributed too."""
        self.cut: Counter[tuple[str, Role]] = Counter()
        """Effects beyond EFFECTS_PER_ARM_MAX of one arm."""
        self._unattributed: dict[tuple[str, str], Counter[Role]] = {}

    def begin(self, trial: OpenTrial, *, alone: bool = True) -> None:
        """A trial is about to be sent. Not `alone`: another one is, whether it has begun here or not yet."""
        self._crowded = self._crowded or bool(self._open) or not alone
        self._open[trial.trace] = {role: [] for role in trial.roles}

    def file(self, observed: Iterable[Observed], collector: str) -> None:
        """Take what a collector saw since it was last asked."""
        only = next(iter(self._open.values())) if len(self._open) == 1 and not self._crowded else None
        for one in observed:
            arms = self._open.get(one.trace) if one.trace else only
            if arms is None or one.role not in arms:
                self._stray(one, collector)
                continue
            effects = arms[one.role]
            self.seen[collector, one.role] += 1
            if len(effects) >= limits.EFFECTS_PER_ARM_MAX:
                self.cut[collector, one.role] += 1
            else:
                effects.append(one.effect)

    def file_late(self, observed: Iterable[Observed], collector: str) -> None:
        """Take only what names a trial that has been judged: all else was done by nobody's request (builds that start)."""
        self.file([one for one in observed if one.trace in self._closed], collector)

    def looked(self) -> None:
        """All collectors were asked: a trial that is alone from now on is alone."""
        self._crowded = len(self._open) > 1

    def end(self, trial: OpenTrial) -> dict[Role, tuple[Effect, ...]]:
        """A trial is judged: what was seen of it, by target, in the order of time."""
        arms = self._open.pop(trial.trace, {})
        self._closed[trial.trace] = None
        if len(self._closed) > limits.EFFECT_TRIALS_CLOSED_MAX:
            self._closed.popitem(last=False)
        return {role: tuple(sorted(effects, key=_when)) for role, effects in arms.items()}

    def unattributed(self) -> tuple[Unattributed, ...]:
        """What belongs to no trial, by operation, the commonest first."""
        ranked = sorted(self._unattributed.items(), key=lambda item: (-item[1].total(), item[0]))
        return tuple(
            Unattributed(collector=collector, operation=operation, counts={str(role): count for role, count in sorted(counts.items())})
            for (collector, operation), counts in ranked
        )

    def unattributed_of(self, collector: str) -> dict[str, int]:
        """How many effects of a collector belong to no trial, by target."""
        total: Counter[str] = Counter()
        for (name, _), counts in self._unattributed.items():
            if name == collector:
                total.update({str(role): count for role, count in counts.items()})
        return dict(sorted(total.items()))

    def _stray(self, one: Observed, collector: str) -> None:
        if one.effect.late or one.trace in self._closed:
            self.late[collector, one.role] += 1
        key = (collector, one.effect.operation)
        if key not in self._unattributed and len(self._unattributed) >= limits.EFFECT_OPERATIONS_MAX:
            key = (collector, "other")
        self._unattributed.setdefault(key, Counter())[one.role] += 1


def _when(effect: Effect) -> int:
    return effect.at_ns


def as_late(effect: Effect) -> Effect:
    """The effect, marked as one that came after its trial was taken for complete."""
    return msgspec.structs.replace(effect, late=True)
