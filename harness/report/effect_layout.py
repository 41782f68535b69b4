"""Side effects laid out for report.html: one request's in rows beside each other, and a run's tables. Pure; knows no HTML."""

from collections.abc import Mapping
from difflib import SequenceMatcher

import msgspec

from harness.core.effect_paths import EffectPlace
from harness.core.labels import Role
from harness.core.limits import REPORT_EFFECT_CHARS_MAX, REPORT_EFFECT_LINES_MAX
from harness.core.watched import EffectsFacts, TableDifference
from harness.report.bodies import read_document, view_bodies
from harness.report.effect_words import roles_of, table_place
from harness.report.model import EffectMark, EffectView, Exemplar
from harness.report.sidebyside import Row, side_by_side

COLUMNS: tuple[Role, ...] = (Role.STABLE, Role.CANDIDATE, Role.SECONDARY)
"""The order in which a report shows the targets."""

MARK_WORDS: dict[EffectMark, str] = {
    EffectMark.SAME: "",
    EffectMark.GENERATED: "other generated values",
    EffectMark.SHIFTED: "same change, other value before",
    EffectMark.CHANGED: "another value",
    EffectMark.MISSING: "",
    EffectMark.EXTRA: "stable does not",
    EffectMark.DUPLICATED: "once more than stable",
}
"""What is said at the effect of a target other than stable."""
NOT_DONE = "not done"
_ALIKE = tuple(MARK_WORDS[mark] for mark in (EffectMark.SAME, EffectMark.GENERATED, EffectMark.SHIFTED))
"""What is no difference by itself."""


class EffectCell(msgspec.Struct, frozen=True):
    """One target's part in a row; `view` None where it does nothing there."""

    role: Role
    view: EffectView | None
    says: str = ""
    alone: bool = False
    """What is said is the candidate's difference: the secondary does not do so."""
    moved: bool = False
    """It is done earlier or later than stable does it, compared with what else both do; of the candidate: it alone."""


class EffectRow(msgspec.Struct, frozen=True):
    """Effects that stand beside each other."""

    collector: str
    operation: str
    writes: bool
    cells: tuple[EffectCell, ...]
    lines: list[Row]
    own: bool
    """It is the operation that the finding is about."""
    noise: bool
    """The secondary does otherwise than stable as the candidate does."""
    same: bool
    """All targets do it with the same document, and in the same order."""
    cut: bool
    document: str


class TableCard(msgspec.Struct, frozen=True):
    """Stored state that ended otherwise, with the first rows that differ."""

    difference: TableDifference
    place: str
    rows: tuple[list[Row], ...]
    """Each beside the others' in the order of `roles_of`."""


def effect_rows(exemplar: Exemplar, about: EffectPlace | None = None) -> list[EffectRow]:
    """The exemplar's effects, row by row: those of the operation that the finding is about first, and of them what differs."""
    by_row: dict[int, dict[Role, EffectView]] = {}
    for role in columns_of(exemplar):
        for view in exemplar.effects[role]:
            by_row.setdefault(view.row, {})[role] = view
    moved = _moved(by_row)
    rows = [_row(number, by_row[number], columns_of(exemplar), moved, about) for number in sorted(by_row)]
    return sorted(rows, key=lambda row: (not row.own, row.own and not _differs(row)))


def columns_of(exemplar: Exemplar) -> tuple[Role, ...]:
    """The targets whose effects were watched in this request."""
    return tuple(role for role in COLUMNS if role in exemplar.effects)


def differing(rows: list[EffectRow]) -> int:
    """In how many rows the candidate alone does otherwise than stable."""
    return sum(map(_differs, rows))


def _differs(row: EffectRow) -> bool:
    return any(cell.role is Role.CANDIDATE and (cell.alone or cell.moved) for cell in row.cells)


def table_cards(facts: EffectsFacts, *, noisy: bool) -> list[TableCard]:
    """The tables that ended otherwise at the candidate alone, or those that did so at the secondary as well."""
    roles = tuple(roles_of(facts))
    return [
        TableCard(
            difference=difference,
            place=table_place(difference),
            rows=tuple(_stored(rows, roles) for rows in difference.rows),
        )
        for difference in facts.tables
        if difference.noisy is noisy
    ]


def _stored(rows: Mapping[str, str], roles: tuple[Role, ...]) -> list[Row]:
    read = [read_document(rows[role].encode()) if rows.get(role) else None for role in roles]
    texts = [view.text for view in view_bodies(read, chars_max=REPORT_EFFECT_CHARS_MAX, lines_max=REPORT_EFFECT_LINES_MAX)]
    return side_by_side(texts[0], texts[1:])


def _row(
    number: int, views: dict[Role, EffectView], roles: tuple[Role, ...], moved: set[tuple[int, Role]], about: EffectPlace | None
) -> EffectRow:
    first = next(iter(views.values()))
    texts = [views[role].document if role in views else "" for role in roles]
    said = {role: _says(role, views) for role in roles}
    control = said.get(Role.SECONDARY, "")
    cells = tuple(
        EffectCell(
            role,
            views.get(role),
            says,
            alone=role is Role.CANDIDATE and says not in (*_ALIKE, control),
            moved=(number, role) in moved and (role is not Role.CANDIDATE or (number, Role.SECONDARY) not in moved),
        )
        for role, says in said.items()
    )
    return EffectRow(
        collector=first.collector,
        operation=first.operation,
        writes=first.writes,
        cells=cells,
        lines=side_by_side(texts[0], texts[1:]),
        own=about is not None and (first.collector, first.operation) == (about.collector, about.operation),
        noise=control not in _ALIKE and control == said.get(Role.CANDIDATE),
        same=not any(cell.says or cell.moved for cell in cells),
        cut=any(view.cut for view in views.values()),
        document=first.document,
    )


def _says(role: Role, views: Mapping[Role, EffectView]) -> str:
    """What is said of a target in a row; empty where it does as stable does."""
    view = views.get(role)
    if role is Role.STABLE:
        return ""
    if view is None:
        return NOT_DONE if Role.STABLE in views else ""
    if role is Role.CANDIDATE and view.mark is EffectMark.GENERATED and _steady(views):
        return MARK_WORDS[EffectMark.CHANGED]
    return MARK_WORDS[view.mark]


def _steady(views: Mapping[Role, EffectView]) -> bool:
    """The secondary has stable's very values, so that those were not generated anew."""
    control = views.get(Role.SECONDARY)
    return control is not None and control.mark is EffectMark.SAME


def _moved(by_row: Mapping[int, Mapping[Role, EffectView]]) -> set[tuple[int, Role]]:
    """Rows and targets that are out of stable's order, as few as explain the order."""
    found: set[tuple[int, Role]] = set()
    for role in (Role.CANDIDATE, Role.SECONDARY):
        shared = [(number, views) for number, views in by_row.items() if role in views and Role.STABLE in views]
        stable = [number for number, _ in sorted(shared, key=lambda one: one[1][Role.STABLE].position)]
        other = [number for number, _ in sorted(shared, key=lambda one: one[1][role].position)]
        kept = {
            stable[index]
            for at, _, size in SequenceMatcher(None, stable, other, autojunk=False).get_matching_blocks()
            for index in range(at, at + size)
        }
        found.update((number, role) for number in stable if number not in kept)
    return found
