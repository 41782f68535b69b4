"""What a run knows of side effects beside its trials, made fit for the report: visible, bounded text. Pure."""

import msgspec

from harness.core.limits import REPORT_EFFECT_CHARS_MAX, REPORT_EFFECT_ROWS_MAX
from harness.core.watched import EffectsFacts, LapseFact, TableDifference, Unattributed, Watched
from harness.report.text import clean


def bounded_facts(facts: EffectsFacts) -> EffectsFacts:
    """The facts with names from traffic cleaned, and REPORT_EFFECT_ROWS_MAX entries of every list. They are redacted already."""
    return msgspec.structs.replace(
        facts,
        watched=tuple(_watched(watched) for watched in facts.watched),
        unattributed=tuple(_unattributed(entry) for entry in facts.unattributed[:REPORT_EFFECT_ROWS_MAX]),
        tables=tuple(_table(difference) for difference in facts.tables[:REPORT_EFFECT_ROWS_MAX]),
    )


def _watched(watched: Watched) -> Watched:
    return msgspec.structs.replace(
        watched,
        collector=clean(watched.collector),
        version=clean(watched.version),
        mode=clean(watched.mode),
        lapses=_lapses(watched.lapses),
    )


def _lapses(lapses: tuple[LapseFact, ...]) -> tuple[LapseFact, ...]:
    """The lapses; those beyond the bound become one."""
    shown = [msgspec.structs.replace(lapse, what=clean(lapse.what)) for lapse in lapses[:REPORT_EFFECT_ROWS_MAX]]
    if rest := lapses[REPORT_EFFECT_ROWS_MAX:]:
        shown.append(LapseFact(what="further ones", count=sum(lapse.count for lapse in rest), blind=any(lapse.blind for lapse in rest)))
    return tuple(shown)


def _unattributed(entry: Unattributed) -> Unattributed:
    return msgspec.structs.replace(entry, collector=clean(entry.collector), operation=clean(entry.operation))


def _table(difference: TableDifference) -> TableDifference:
    return msgspec.structs.replace(
        difference,
        collector=clean(difference.collector),
        table=clean(difference.table),
        column=clean(difference.column),
        values={role: clean(value) for role, value in difference.values.items()},
        rows=tuple({role: clean(row, REPORT_EFFECT_CHARS_MAX) for role, row in rows.items()} for rows in difference.rows),
    )
