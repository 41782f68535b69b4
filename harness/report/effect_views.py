"""What the targets did in one trial, lined up: stable's effects with the candidate's and the secondary's. Pure.

For showing only: it decides nothing, and knows no rules and no noise. Effects of the same collector and operation are paired,
equal documents first, then those with the most lines in common.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec

from harness.core.labels import Aspect, Role
from harness.core.limits import REPORT_EFFECT_CHARS_MAX, REPORT_EFFECT_LINES_MAX, REPORT_EFFECTS_CHARS_MAX, REPORT_EFFECTS_MAX
from harness.core.values import Effect, Trial
from harness.report.bodies import Lines, read_document, view_bodies
from harness.report.effect_words import named_place, note_words, without_difference
from harness.report.generated import are_the_same_change, differ_in_generated_values_only
from harness.report.model import BodyView, EffectMark, EffectView
from harness.report.text import clean

_PAIRS_MAX: Final = 1024
"""Pairs of effects of one operation that are looked at for likeness."""


_ALIKE: Final = (EffectMark.SAME, EffectMark.GENERATED, EffectMark.SHIFTED)


class ShownEffects(msgspec.Struct, frozen=True):
    """The effects of one trial as an exemplar has them."""

    views: dict[Role, tuple[EffectView, ...]] = {}
    left_out: int = 0


class _Row(msgspec.Struct):
    """Effects that stand beside each other, as indices into those of their targets."""

    at: dict[Role, int]
    marks: dict[Role, EffectMark] = {}


def effect_views(trial: Trial, aspect: Aspect, path: str) -> ShownEffects:
    """The trial's effects in rows, bounded; the finding's own operation and what differs are kept first."""
    done = {arm.role: arm.effects for arm in trial.arms()}
    if not any(done.values()):
        return ShownEffects()
    rows = _aligned(done)
    for row in rows:
        row.marks = _marks(row, done)
    place = named_place(path) if aspect is Aspect.EFFECTS else None
    own = None if place is None else f"{place.collector} {place.operation}"
    ranked = sorted(range(len(rows)), key=lambda number: (_rank(rows[number], done, own), number))[:REPORT_EFFECTS_MAX]
    views: dict[Role, list[EffectView]] = {role: [] for role in done}
    documents = _documents([rows[number] for number in ranked], done)
    for number, shown in sorted(zip(ranked, documents, strict=True), key=lambda pair: pair[0]):
        row = rows[number]
        for role, index in row.at.items():
            views[role].append(_view(done[role][index], index, number, shown[role], row.marks[role]))
    left_out = sum(map(len, done.values())) - sum(map(len, views.values()))
    return ShownEffects({role: tuple(listed) for role, listed in views.items()}, left_out)


def effect_times(trial: Trial, path: str) -> dict[Role, int]:
    """How often each target did the operation that a path of aspect effects names; empty where none did, or it names none."""
    place = named_place(path)
    if place is None or not place.whole:
        return {}
    own = place.collector, place.operation
    times = {arm.role: sum(_key(effect) == own for effect in arm.effects) for arm in trial.arms()}
    return times if any(times.values()) else {}


def _key(effect: Effect) -> tuple[str, str]:
    return effect.collector, effect.operation


def _aligned(done: dict[Role, tuple[Effect, ...]]) -> list[_Row]:
    """One row for each of stable's effects; what others do beside them stands after what came before it there."""
    stable = done[Role.STABLE]
    rows = [_Row({Role.STABLE: index}) for index in range(len(stable))]
    placed = [(index, 0, 0) for index in range(len(stable))]
    alone: dict[tuple[str, str], list[int]] = defaultdict(list)
    for role in (Role.CANDIDATE, Role.SECONDARY):
        partners = _paired(stable, done.get(role, ()))
        waiting = {key: list(numbers) for key, numbers in alone.items()}
        before = -1
        for index, effect in enumerate(done.get(role, ())):
            if (partner := partners.get(index)) is not None:
                rows[partner].at[role] = index
                before = partner
            elif mates := waiting.get(_key(effect)):
                rows[mates.pop(0)].at[role] = index
            else:
                alone[_key(effect)].append(len(rows))
                rows.append(_Row({role: index}))
                placed.append((before, 1, index))
    return [rows[number] for number in sorted(range(len(rows)), key=lambda number: (placed[number], number))]


def _paired(base: Sequence[Effect], others: Sequence[Effect]) -> dict[int, int]:
    """Index among the others -> index of its partner in the base, of the same operation: equal ones first, then the likest."""
    found: dict[int, int] = {}
    offered: dict[tuple[tuple[str, str], bytes], list[int]] = defaultdict(list)
    for index in reversed(range(len(base))):
        offered[_key(base[index]), base[index].document].append(index)
    for index, other in enumerate(others):
        if partners := offered.get((_key(other), other.document)):
            found[index] = partners.pop()
    free: dict[tuple[str, str], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for side, effects, taken in ((0, base, set(found.values())), (1, others, set(found))):
        for index, effect in enumerate(effects):
            if index not in taken:
                free[_key(effect)][side].append(index)
    for ours, theirs in free.values():
        for left, right in _likest([base[index] for index in ours], [others[index] for index in theirs]):
            found[theirs[right]] = ours[left]
    return found


def _likest(left: Sequence[Effect], right: Sequence[Effect]) -> list[tuple[int, int]]:
    """Pairs of indices, those with the most lines in common first; in order where there are too many to look at."""
    if len(left) * len(right) > _PAIRS_MAX or len(left) * len(right) <= 1:
        return list(zip(range(len(left)), range(len(right)), strict=False))
    lines = [[frozenset(read_document(effect.document).lines) for effect in side] for side in (left, right)]
    shared = {(i, j): len(ours & theirs) for i, ours in enumerate(lines[0]) for j, theirs in enumerate(lines[1])}
    pairs: list[tuple[int, int]] = []
    for i, j in sorted(shared, key=lambda pair: (-shared[pair], pair)):
        if all(i != one and j != other for one, other in pairs):
            pairs.append((i, j))
    return pairs


def _marks(row: _Row, done: dict[Role, tuple[Effect, ...]]) -> dict[Role, EffectMark]:
    effects = {role: done[role][index] for role, index in row.at.items()}
    stable = effects.get(Role.STABLE)
    if stable is None:
        key = next(_key(done[role][index]) for role, index in row.at.items())
        again = any(_key(effect) == key for effect in done[Role.STABLE])
        return dict.fromkeys(row.at, EffectMark.DUPLICATED if again else EffectMark.EXTRA)
    marks = {role: _compared(stable, effect) for role, effect in effects.items()}
    if Role.CANDIDATE in done:
        marks[Role.STABLE] = marks.get(Role.CANDIDATE, EffectMark.MISSING)
    return marks


def _compared(stable: Effect, other: Effect) -> EffectMark:
    """How an effect's document compares with its partner's, whatever the order of their keys."""
    left, right = stable.document, other.document
    if left == right or read_document(left).lines == read_document(right).lines:
        return EffectMark.SAME
    keys = (*stable.keys, *other.keys)
    if differ_in_generated_values_only(left, right, keys):
        return EffectMark.GENERATED
    return EffectMark.SHIFTED if are_the_same_change(left, right, keys) else EffectMark.CHANGED


def _rank(row: _Row, done: dict[Role, tuple[Effect, ...]], own: str | None) -> int:
    """What is kept first: the finding's own operation where it differs, then what differs at the candidate, then the rest."""
    effect = next(done[role][index] for role, index in row.at.items())
    differs = Role.CANDIDATE not in row.at or row.marks[Role.CANDIDATE] not in _ALIKE
    mine = f"{effect.collector} {effect.operation}" == own
    return (0 if mine else 1) if differs else (2 if mine else 3)


def _documents(rows: Sequence[_Row], done: dict[Role, tuple[Effect, ...]]) -> list[dict[Role, BodyView]]:
    """The documents of each row, until there is no room left."""
    found: list[dict[Role, BodyView]] = []
    left = REPORT_EFFECTS_CHARS_MAX
    for row in rows:
        texts: list[Lines | None] = [read_document(done[role][index].document) for role, index in row.at.items()]
        room = min(REPORT_EFFECT_CHARS_MAX, left // len(texts))
        shown = dict(zip(row.at, view_bodies(texts, chars_max=room, lines_max=REPORT_EFFECT_LINES_MAX), strict=True))
        left -= sum(len(view.text) for view in shown.values())
        found.append(shown)
    return found


def _view(effect: Effect, index: int, row: int, document: BodyView, mark: EffectMark) -> EffectView:
    return EffectView(
        row=row,
        position=index + 1,
        collector=clean(effect.collector),
        operation=clean(effect.operation),
        document=document.text,
        cut=document.cut,
        writes=effect.writes,
        late=effect.late,
        note=clean(note_words(without_difference(effect.note) if mark in _ALIKE else effect.note)),
        mark=mark,
    )
