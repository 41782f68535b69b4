"""Side effects in plain words: places, kinds, and what was watched. Pure; knows the values of core, no report."""

from collections.abc import Iterable, Mapping
from typing import Final

from harness.core.effect_paths import EffectPlace, effect_place
from harness.core.labels import Kind, Role
from harness.core.watched import EffectsFacts, LapseFact, TableDifference, Watched
from harness.report.text import clean, count_of, percent

EFFECT_WORDS: Final[dict[Kind, str]] = {
    Kind.MISSING: "not done",
    Kind.EXTRA: "done though stable does not",
    Kind.DUPLICATED: "done more often",
    Kind.FEWER: "done less often",
    Kind.ORDER: "done in another order",
    Kind.VALUE: "done with another value",
}
"""What a difference of a whole effect is called; other kinds are called as they are elsewhere."""

_SOME_WORDS: Final[dict[Kind, str]] = {Kind.MISSING: "not all of them done", Kind.EXTRA: "more of them done"}
"""The same where both do the operation, and one does it with something unlike all that the other does it with."""

EFFECT_VALUE_WORDS: Final[dict[Kind, str]] = {
    Kind.MISSING: "done without this value",
    Kind.EXTRA: "done with this value, which stable leaves out",
    Kind.TYPE: "done with a value of another type",
    Kind.FORMAT: "done with a value in another format",
    Kind.LENGTH: "done with a value of another length",
    Kind.VALUE: "done with another value",
}
"""The same inside an effect's document."""

NOUNS: Final[dict[str, str]] = {"http": "call", "otlp": "span", "postgres": "row", "sqlite": "row", "redis": "command"}
"""What one effect of a collector is called; elsewhere `effect`."""


_NO_MATCH: Final = "no counterpart among stable's calls or on the tape, so"
NOTE_WORDS: Final[dict[str, str]] = {
    "no match: failed": f"{_NO_MATCH} the harness answered with status 599",
    "no match: stub": f"{_NO_MATCH} the stub answered",
    "no match: passed on": f"{_NO_MATCH} it was passed on to the service",
}
"""What collectors note in short, for people."""
_THOUGH_IT_DIFFERS: Final = ", though its content differs"


def note_words(note: str) -> str:
    """What is noted of an effect, for people; several things stand with `; ` between them."""
    return "; ".join(NOTE_WORDS.get(part, part) for part in note.split("; "))


def without_difference(note: str) -> str:
    """The note without the remark that the document is not its partner's: for those that are alike but for generated values."""
    return note.removesuffix(_THOUGH_IT_DIFFERS)


def times_words(times: Mapping[Role, int]) -> str:
    """`stable does it once, candidate never, secondary once`; nothing of stable where it does not: the kind says so."""
    told = [role for role in (Role.STABLE, Role.CANDIDATE, Role.SECONDARY) if role in times and (times[role] or role is not Role.STABLE)]
    return ", ".join(f"{role}{'' if index else ' does it'} {_times(times[role])}" for index, role in enumerate(told))


def often_words(kind: Kind, times: Mapping[Role, int]) -> str:
    """What a difference of a whole effect is called beside its counts: `not done`, `not all of them done`."""
    both = times.get(Role.STABLE, 0) > 0 and times.get(Role.CANDIDATE, 0) > 0
    return _SOME_WORDS[kind] if both and kind in _SOME_WORDS else EFFECT_WORDS[kind]


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count) or f"{count:,} times"


def named_place(path: str) -> EffectPlace | None:
    """A path of aspect effects taken apart; None for one that names no operation."""
    place = effect_place(path)
    return place if place.operation else None


def inside_words(place: EffectPlace) -> str:
    """The place in an effect's document: `body.amount`; empty for the effect as a whole."""
    return place.inside.removeprefix(".")


def effect_place_words(path: str) -> str:
    """Such a path for people: "effect `POST payments.test/charge` (http): body.amount"."""
    place = named_place(path)
    if place is None:
        return "effects" if path in ("", "$") else f"effects {path}"
    words = f"effect `{place.operation}` ({place.collector})"
    return words if place.whole else f"{words}: {inside_words(place)}"


def effect_kind_words(path: str, kind: Kind) -> str | None:
    """What the candidate does otherwise at such a path; None where a kind has no words of its own there."""
    place = effect_place(path)
    if not place.whole and not place.operation:
        return None
    return (EFFECT_WORDS if place.whole else EFFECT_VALUE_WORDS).get(kind)


def collector_words(watched: Watched) -> str:
    """`http (virtualise) 1,204 calls`, over all targets."""
    mode = f" ({clean(watched.mode)})" if watched.mode else ""
    return f"{clean(watched.collector)}{mode} {count_of(sum(watched.seen.values()), NOUNS.get(watched.collector, 'effect'))}"


def watched_words(facts: EffectsFacts) -> str:
    """`http (virtualise) 1,204 calls, postgres 310 rows; 3 unattributed`; empty where nothing was watched."""
    if not facts.watched:
        return ""
    stray = sum(sum(watched.unattributed.values()) for watched in facts.watched)
    return ", ".join(collector_words(watched) for watched in facts.watched) + (f"; {stray:,} unattributed" if stray else "")


def complete_words(facts: EffectsFacts) -> str:
    """How many requests were judged with all their effects; empty where none was judged."""
    judged = facts.complete + facts.timed_out
    if not judged:
        return ""
    words = f"{facts.complete:,} of {count_of(judged, 'request')} ({_share(facts.complete / judged)}) were judged with all their effects"
    return words if not facts.timed_out else f"{words}; {facts.timed_out:,} when the wait for them was over"


def _share(share: float) -> str:
    """Never all where some are missing."""
    said = percent(share)
    return f"just below {said}" if share < 1.0 and said == percent(1.0) else said


def table_place(difference: TableDifference) -> str:
    """What ended otherwise: `column total of public.orders`, `number of rows of public.orders`."""
    what = f"column {difference.column}" if difference.column else "number of rows"
    return f"{what} of {difference.table}"


def passes_words(difference: TableDifference) -> str:
    """In how many passes it ended so."""
    return f"{difference.passes:,} of {count_of(difference.passes_compared, 'pass', 'passes')}"


def diverged_tables(facts: EffectsFacts) -> list[TableDifference]:
    """The stored state that ended otherwise at the candidate alone."""
    return [difference for difference in facts.tables if not difference.noisy]


def table_lines(facts: EffectsFacts) -> list[str]:
    """A line for each table or column that ended otherwise at the candidate alone; numbers of rows with their values."""
    return [_table_line(difference) for difference in diverged_tables(facts)]


def _table_line(difference: TableDifference) -> str:
    if difference.column:
        what = f"{table_place(difference)} differs at the candidate"
    else:
        what = f"{table_place(difference)}: {', '.join(f'{role} {value}' for role, value in difference.values.items())}"
    return clean(f"{what} ({difference.collector}, in {passes_words(difference)})")


def lapse_words(lapse: LapseFact) -> str:
    """What a collector could not see, and at which target."""
    return f"{lapse.what}{f' ({lapse.role})' if lapse.role else ''}"


def roles_of(facts: EffectsFacts) -> list[Role]:
    """The targets that anything is said about, in the order of the report's columns."""
    counted: list[Mapping[str, object]] = []
    for watched in facts.watched:
        counted += [watched.seen, watched.unattributed, watched.late]
    counted += [entry.counts for entry in facts.unattributed]
    counted += [entry.values for entry in facts.tables]
    known = {role for counts in counted for role in counts}
    return [role for role in (Role.STABLE, Role.CANDIDATE, Role.SECONDARY) if role in known]


def blind_words(facts: EffectsFacts) -> Iterable[tuple[str, int]]:
    """What could not be seen of effects, with how often: for the list of everything that could not be seen."""
    for watched in facts.watched:
        for lapse in watched.lapses:
            if lapse.blind:
                yield f"times that collector {watched.collector} may have missed effects: {lapse_words(lapse)}", lapse.count
        stray = sum(watched.unattributed.values())
        late = sum(watched.late.values())
        if stray:
            some = f", {late:,} of them because they came after their request had been judged" if late else ""
            yield f"effects seen by collector {watched.collector} that belong to no request{some}", stray
    if facts.timed_out:
        yield "requests judged before all their effects had come", facts.timed_out
