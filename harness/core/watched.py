"""What was watched of effects over a whole run, as values: for the verdict, the report and the run store.

What belongs to one trial travels in the trial (`Arm.effects`); here is what does not: how much each collector saw, what could
not be attributed, what could not be seen, and how the stored state ended.
"""

from collections import Counter
from collections.abc import Mapping

import msgspec


class LapseFact(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a collector could not see or gave up."""

    what: str
    count: int
    role: str = ""
    """Empty where it concerns all targets."""
    blind: bool = True
    """Effects may have been missed by it."""


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """One collector over the run. Counts are by role."""

    collector: str
    version: str
    mode: str = ""
    """How it took part, where it has modes: `observe`, `virtualise`, `record`, `tape`."""
    seen: dict[str, int] = {}
    """Effects attributed to a trial."""
    unattributed: dict[str, int] = {}
    late: dict[str, int] = {}
    """Effects that came after their trial had been judged; they are among the unattributed."""
    lapses: tuple[LapseFact, ...] = ()


class Unattributed(msgspec.Struct, frozen=True, kw_only=True):
    """Effects of one operation that belong to no trial that was known, by role."""

    collector: str
    operation: str
    counts: dict[str, int]


class TableDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A table that ended otherwise at the candidate than at stable, or at secondary than at stable (then it is noise)."""

    collector: str
    table: str
    column: str = ""
    """Empty where the number of rows differs or the table is missing somewhere."""
    noisy: bool = False
    """Stable and secondary differ here as well."""
    values: dict[str, str] = {}
    """Role -> number of rows, or a short digest of the column; `absent` where the target has no such table."""
    passes: int = 1
    """In how many passes it was so, of `passes_compared`."""
    passes_compared: int = 1
    rows: tuple[dict[str, str], ...] = ()
    """First rows that differ, role -> row as text (redacted); of the first pass that shows it."""


class EffectsFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about effects that a run knows beside its trials."""

    watched: tuple[Watched, ...] = ()
    """Empty where effects were not watched."""
    complete: int = 0
    """Trials judged with all their effects."""
    timed_out: int = 0
    """Trials judged when the bounded time had passed."""
    unattributed: tuple[Unattributed, ...] = ()
    tables: tuple[TableDifference, ...] = ()
    tables_compared: int = 0
    """Tables whose final state was compared, over all passes."""


def joined(before: EffectsFacts, now: EffectsFacts) -> EffectsFacts:
    """What two processes saw of one live run, the one after the other: counts add up. States are not compared there."""
    watched = {one.collector: one for one in before.watched}
    for one in now.watched:
        earlier = watched.get(one.collector)
        watched[one.collector] = one if earlier is None else _joined(earlier, one)
    rest: dict[tuple[str, str], Counter[str]] = {}
    for each in (*before.unattributed, *now.unattributed):
        rest.setdefault((each.collector, each.operation), Counter()).update(each.counts)
    return msgspec.structs.replace(
        now,
        watched=tuple(watched.values()),
        complete=before.complete + now.complete,
        timed_out=before.timed_out + now.timed_out,
        unattributed=tuple(Unattributed(collector=key[0], operation=key[1], counts=dict(counts)) for key, counts in rest.items()),
    )


def _joined(before: Watched, now: Watched) -> Watched:
    lapses: dict[tuple[str, str, bool], int] = {}
    for lapse in (*before.lapses, *now.lapses):
        key = (lapse.what, lapse.role, lapse.blind)
        lapses[key] = lapses.get(key, 0) + lapse.count
    return msgspec.structs.replace(
        now,
        seen=_sum(before.seen, now.seen),
        unattributed=_sum(before.unattributed, now.unattributed),
        late=_sum(before.late, now.late),
        lapses=tuple(LapseFact(what=what, role=role, blind=blind, count=count) for (what, role, blind), count in lapses.items()),
    )


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in (*one, *(name for name in other if name not in one))}
