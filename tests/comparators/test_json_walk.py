"""The walk: symmetry, paths, arrays, rules, and agreement with deepdiff on which leaves differ."""

import json
from collections import Counter
from typing import Any

from deepdiff import DeepDiff
from hypothesis import given, settings
from hypothesis import strategies as st

from comparators.paths import key_step
from harness.core.canon import Rule, RuleAction
from tests.comparators.support import json_differences, mirrored, pairs, plain, use_of

IGNORED = "name"
IGNORE_RULE = Rule(action=RuleAction.IGNORE, path=f"$..{IGNORED}")
INT_RULE = Rule(action=RuleAction.INT_IS_FLOAT)
TOLERANCE_RULE = Rule(action=RuleAction.TOLERANCE, absolute=0.5)


def text_of(value: Any, *, ignoring: bool, numbers: bool) -> str:
    """Canonical text: equal for values that are strictly equal (under the rules that are on)."""
    if isinstance(value, dict):
        members = (
            f"{json.dumps(k)}:{text_of(v, ignoring=ignoring, numbers=numbers)}"
            for k, v in sorted(value.items())
            if not (ignoring and k == IGNORED)
        )
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(text_of(item, ignoring=ignoring, numbers=numbers) for item in value) + "]"
    if isinstance(value, float) and (numbers or value == 0):
        # 0.0 and -0.0 are one value; with int_is_float, 1 and 1.0 are too.
        return json.dumps(int(value) if numbers and value.is_integer() else abs(value) if value == 0 else value)
    return json.dumps(value)


class Oracle:
    """deepdiff's leaf paths, with the three places where our definition is another one made explicit.

    1. Arrays of different length: `length` at the array; elements are aligned by their common prefix and suffix, and the
       rest of the longer middle is left out (deepdiff pairs by position from the start and lists every extra element).
    2. Arrays with the same elements in another order: `order` at the array and nothing below it.
    3. A boolean is never a number: deepdiff's option for mixed numbers takes false for 0, `int_is_float` does not.
    """

    def __init__(self, *, ignoring: bool = False, numbers: bool = False, epsilon: float | None = None) -> None:
        self.ignoring = ignoring
        self.numbers = numbers
        self.epsilon = epsilon
        self.paths: set[str] = set()

    def text(self, value: Any) -> str:
        return text_of(value, ignoring=self.ignoring, numbers=self.numbers)

    def leaf_paths(self, left: Any, right: Any) -> set[str]:
        self.paths = set()
        left, right = self.aligned(left, right, "$")
        options: dict[str, Any] = {"math_epsilon": self.epsilon} if self.epsilon is not None else {}
        tree = DeepDiff(
            left,
            right,
            view="tree",
            ignore_order=False,
            zip_ordered_iterables=True,
            threshold_to_diff_deeper=0,
            ignore_numeric_type_changes=self.numbers,
            exclude_regex_paths=[rf"\['{IGNORED}'\]"] if self.ignoring else None,
            **options,
        )
        return self.paths | {self.path(level) for levels in tree.values() for level in levels}

    @staticmethod
    def path(level: Any) -> str:
        steps = level.path(output_format="list")
        return "$" + "".join("[*]" if isinstance(step, int) else key_step(step) for step in steps)

    def aligned(self, left: Any, right: Any, path: str) -> tuple[Any, Any]:
        """Both values with deviations 1 and 2 noted in `paths` and taken out."""
        if isinstance(left, dict) and isinstance(right, dict):
            both = {
                k: self.aligned(left[k], right[k], path + key_step(k)) for k in left if k in right and not (self.ignoring and k == IGNORED)
            }
            one = {k: both[k][0] if k in both else v for k, v in left.items()}
            other = {k: both[k][1] if k in both else v for k, v in right.items()}
            return one, other
        if self.numbers and isinstance(left, bool) != isinstance(right, bool) and {type(left), type(right)} <= {bool, int, float}:
            self.paths.add(path)
            return None, None
        if not (isinstance(left, list) and isinstance(right, list)):
            return left, right
        a, b = [self.text(item) for item in left], [self.text(item) for item in right]
        if len(a) == len(b):
            if a != b and Counter(a) == Counter(b):
                self.paths.add(path)
                return [], []
        else:
            self.paths.add(path)
            shorter = min(len(a), len(b))
            start = next((i for i in range(shorter) if a[i] != b[i]), shorter)
            tail = next((i for i in range(shorter - start) if a[-1 - i] != b[-1 - i]), shorter - start)
            left, right = left[start : shorter - tail], right[start : shorter - tail]
        items = [self.aligned(x, y, path + "[*]") for x, y in zip(left, right, strict=True)]
        return [x for x, _ in items], [y for _, y in items]


@settings(max_examples=400, deadline=None)
@given(pairs())
def test_the_same_leaf_paths_as_deepdiff(pair: tuple[Any, Any]) -> None:
    assert {d.path for d in json_differences(*pair)} == Oracle().leaf_paths(*pair)


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_the_same_leaf_paths_as_deepdiff_with_an_ignore_rule(pair: tuple[Any, Any]) -> None:
    assert {d.path for d in json_differences(*pair, IGNORE_RULE)} == Oracle(ignoring=True).leaf_paths(*pair)


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_the_same_leaf_paths_as_deepdiff_with_integers_as_floats(pair: tuple[Any, Any]) -> None:
    assert {d.path for d in json_differences(*pair, INT_RULE)} == Oracle(numbers=True).leaf_paths(*pair)


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_the_same_leaf_paths_as_deepdiff_with_a_tolerance(pair: tuple[Any, Any]) -> None:
    found = {d.path for d in json_differences(*pair, TOLERANCE_RULE, INT_RULE)}
    assert found == Oracle(numbers=True, epsilon=0.5).leaf_paths(*pair)


@settings(max_examples=300, deadline=None)
@given(pairs(), st.sets(st.sampled_from(["ignore", "int", "unordered", "format", "tolerance"])))
def test_swapping_the_sides_mirrors_the_differences(pair: tuple[Any, Any], names: set[str]) -> None:
    table = {
        "ignore": IGNORE_RULE,
        "int": INT_RULE,
        "unordered": Rule(action=RuleAction.UNORDERED),
        "format": Rule(action=RuleAction.FORMAT_ONLY, path="**.a"),
        "tolerance": TOLERANCE_RULE,
    }
    rules = [table[name] for name in sorted(names)]
    left, right = pair
    there, back = use_of(*rules), use_of(*rules)
    assert mirrored(json_differences(left, right, use=there)) == plain(json_differences(right, left, use=back))
    assert there.used == back.used


@settings(max_examples=200, deadline=None)
@given(pairs())
def test_no_difference_exactly_where_the_values_are_strictly_equal(pair: tuple[Any, Any]) -> None:
    left, right = pair
    equal = text_of(left, ignoring=False, numbers=False) == text_of(right, ignoring=False, numbers=False)
    assert (json_differences(left, right) == ()) is equal


@settings(max_examples=200, deadline=None)
@given(pairs(), st.sampled_from([IGNORE_RULE, INT_RULE, TOLERANCE_RULE, Rule(action=RuleAction.FORMAT_ONLY)]))
def test_a_rule_only_takes_differences_away_and_says_so(pair: tuple[Any, Any], rule: Rule) -> None:
    without, use = json_differences(*pair), use_of(rule)
    found = json_differences(*pair, use=use)
    if not use.used:
        assert plain(found) == plain(without)
    if not without:
        assert not found
