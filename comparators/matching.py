"""Which element of one array belongs to which of another where a rule says that order means nothing.

By key: elements with the same key value. As a multiset: equal elements first, then the rest by likeness, for which
deepdiff's unordered matching is asked.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

from deepdiff import DeepDiff

from comparators.api import RuleUse
from comparators.json_canon import canonical_text
from comparators.json_parse import Flat
from harness.core import limits
from harness.core.canon import Place

Pairs = list[tuple[int, int]]


def match(left: list[Any], right: list[Any], place: Place, use: RuleUse, flat: Flat) -> tuple[Pairs, list[int], list[int]]:
    """Pairs of indices (in an order that swapping the sides keeps), then the indices left alone on each side."""

    def text(values: list[Any], index: int) -> bytes:
        return canonical_text(values[index], use.step(place, index), use, set(), flat)

    indices_left, indices_right = list(range(len(left))), list(range(len(right)))
    pairs: Pairs = []
    key = None if place.unordered is None else place.unordered.key
    if key is not None:
        names_left = {i: flat(left[i][key]) for i in indices_left if isinstance(left[i], dict) and key in left[i]}
        names_right = {j: flat(right[j][key]) for j in indices_right if isinstance(right[j], dict) and key in right[j]}
        pairs, alone_left, alone_right = _join(names_left, names_right)
        indices_left = [i for i in indices_left if i not in names_left]
        indices_right = [j for j in indices_right if j not in names_right]
    else:
        alone_left, alone_right = [], []
    texts_left = {i: text(left, i) for i in indices_left}
    texts_right = {j: text(right, j) for j in indices_right}
    equal, rest_left, rest_right = _join(texts_left, texts_right)
    rest_left.sort(key=lambda i: texts_left[i])
    rest_right.sort(key=lambda j: texts_right[j])
    size = sum(len(texts_left[i]) for i in rest_left) + sum(len(texts_right[j]) for j in rest_right)
    alike = _by_likeness([left[i] for i in rest_left], [right[j] for j in rest_right], size)
    pairs += equal + [(rest_left[i], rest_right[j]) for i, j in alike]
    paired_left, paired_right = {i for i, _ in pairs}, {j for _, j in pairs}
    alone_left = sorted(alone_left + [i for i in rest_left if i not in paired_left])
    alone_right = sorted(alone_right + [j for j in rest_right if j not in paired_right])

    def order(pair: tuple[int, int]) -> tuple[int, int, list[bytes]]:
        return min(pair), max(pair), sorted((flat(left[pair[0]]), flat(right[pair[1]])))

    return sorted(pairs, key=order), alone_left, alone_right


def _join(left: dict[int, bytes], right: dict[int, bytes]) -> tuple[Pairs, list[int], list[int]]:
    """Pair indices of the same text, in order; what repeats is paired as often as both sides have it."""
    waiting: defaultdict[bytes, deque[int]] = defaultdict(deque)
    for index, text in right.items():
        waiting[text].append(index)
    pairs: Pairs = []
    alone: list[int] = []
    for index, text in left.items():
        if waiting[text]:
            pairs.append((index, waiting[text].popleft()))
        else:
            alone.append(index)
    return pairs, alone, sorted(index for queue in waiting.values() for index in queue)


def _by_likeness(left: Sequence[Any], right: Sequence[Any], size_bytes: int) -> Pairs:
    """Pairs of positions in two sequences without common elements, both in canonical order; the same pairs when swapped."""
    if len(left) > len(right) or (len(left) == len(right) and repr(left) > repr(right)):
        return [(j, i) for i, j in _by_likeness(right, left, size_bytes)]
    pairs: Pairs = []
    structured = all(any(isinstance(item, (dict, list)) for item in side) for side in (left, right))
    few = len(right) <= limits.UNORDERED_PAIRS_MAX and size_bytes <= limits.UNORDERED_BYTES_MAX
    if structured and few and len(right) > 1:
        pairs = _ask_deepdiff(left, right)
    paired_left, paired_right = {i for i, _ in pairs}, {j for _, j in pairs}
    rest_left = [i for i in range(len(left)) if i not in paired_left]
    rest_right = [j for j in range(len(right)) if j not in paired_right]
    return pairs + list(zip(rest_left, rest_right, strict=False))


def _ask_deepdiff(left: Sequence[Any], right: Sequence[Any]) -> Pairs:
    positions_left = {id(item): i for i, item in enumerate(left)}
    positions_right = {id(item): j for j, item in enumerate(right)}
    tree = DeepDiff(
        list(left),
        list(right),
        ignore_order=True,
        view="tree",
        cutoff_distance_for_pairs=1,
        cutoff_intersection_for_pairs=1,
        max_diffs=10_000,
        max_passes=100,
    )
    pairs: dict[int, int] = {}
    for levels in tree.values():
        for level in levels:
            first = level.all_up.down
            i = positions_left.get(id(first.t1)) if first is not None else None
            j = positions_right.get(id(first.t2)) if first is not None else None
            if i is not None and j is not None and i not in pairs and j not in pairs.values():
                pairs[i] = j
    return list(pairs.items())
