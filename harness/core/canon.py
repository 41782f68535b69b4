"""The rules that change what counts as a difference, and where they apply. Pure: values in, values out.

A rule's path is compiled once to steps; a walk over a document carries a `Place`, the state of a lazily built automaton
over all rules, so that the cost of a rule does not grow with the document. Nothing here compares anything.
"""

import math
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec

from harness.core import limits
from harness.core.errors import UsageError
from harness.core.labels import Aspect


class RuleAction(StrEnum):
    """What a rule does to the places it matches."""

    IGNORE = "ignore"
    """No difference is reported there or below."""
    UNORDERED = "unordered"
    """An array is compared without order: by `key` where given, else as a multiset."""
    TOLERANCE = "tolerance"
    """Numbers within `absolute` or `relative`, times within `seconds`, are equal."""
    FORMAT_ONLY = "format_only"
    """Only presence, type and format are compared, not the value."""
    NORMALISE = "normalise"
    """`pattern` (regular expression) is replaced by `replace` in text before comparison."""
    INT_IS_FLOAT = "int_is_float"
    """1 and 1.0 are equal."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule of the configuration. It applies where endpoint, aspect and path all match."""

    action: RuleAction
    path: str = "**"
    """`$.a.b`, `*` for one step, `[*]` for any index, `**` for any depth; for headers a name with `*` allowed; for effects first
    the operation in quotes, `*` allowed, with its collector or without: `$["INSERT public.*"].row.id`."""
    endpoint: str = "*"
    """Endpoint with `*` allowed, e.g. `GET /orders/*`."""
    aspect: Aspect = Aspect.BODY
    key: str | None = None
    absolute: float | None = None
    relative: float | None = None
    seconds: float | None = None
    pattern: str | None = None
    replace: str = ""
    why: str = ""
    """For people: shown where the rule is listed."""


Step = str | int
"""One step of a concrete path: an object key or an array index."""

_Positions = tuple[tuple[int, int], ...]
"""Pairs of a rule's index and how many of its steps were taken."""

_NO_RULE: Final = -1
_ANY_INDEX: Final = -1


class _Deep(msgspec.Struct, frozen=True):
    """Any number of steps, none included."""


class _Any(msgspec.Struct, frozen=True):
    """One step of either sort."""


class _Index(msgspec.Struct, frozen=True):
    """Any index, or the one given."""

    number: int | None = None


class _Glob(msgspec.Struct, frozen=True):
    """A key that a pattern matches."""

    regex: re.Pattern[str]


_PatternStep = str | _Deep | _Any | _Index | _Glob

_TOKEN: Final = re.compile(
    r"""(?P<deep>\*\*)
      | \[(?P<index>\*|\d+)\]
      | \['(?P<single>(?:[^'\\]|\\.)*)'\]
      | \["(?P<double>(?:[^"\\]|\\.)*)"\]
      | (?P<dots>\.\.?)
      | (?P<name>[^.\[\]'"]+)""",
    re.VERBOSE | re.DOTALL,
)

_ASPECTS: Final[dict[RuleAction, frozenset[Aspect]]] = {
    RuleAction.IGNORE: frozenset({Aspect.STATUS, Aspect.HEADERS, Aspect.BODY, Aspect.TRANSPORT, Aspect.EFFECTS}),
    RuleAction.UNORDERED: frozenset({Aspect.BODY, Aspect.EFFECTS}),
    RuleAction.TOLERANCE: frozenset({Aspect.BODY, Aspect.HEADERS, Aspect.EFFECTS}),
    RuleAction.FORMAT_ONLY: frozenset({Aspect.BODY, Aspect.HEADERS, Aspect.EFFECTS}),
    RuleAction.NORMALISE: frozenset({Aspect.BODY, Aspect.HEADERS, Aspect.EFFECTS}),
    RuleAction.INT_IS_FLOAT: frozenset({Aspect.BODY, Aspect.EFFECTS}),
}

_FIELDS: Final[dict[str, RuleAction]] = {
    "key": RuleAction.UNORDERED,
    "absolute": RuleAction.TOLERANCE,
    "relative": RuleAction.TOLERANCE,
    "seconds": RuleAction.TOLERANCE,
    "pattern": RuleAction.NORMALISE,
    "replace": RuleAction.NORMALISE,
}


class Tolerance(msgspec.Struct, frozen=True):
    """How far apart two values may be; None where nothing was said."""

    rule: int
    absolute: float | None
    relative: float | None
    seconds: float | None


class Normaliser(msgspec.Struct, frozen=True):
    """A replacement made in text before it is compared."""

    rule: int
    regex: re.Pattern[str]
    replace: str


class Unordered(msgspec.Struct, frozen=True):
    """An array without order; `key` names the member that identifies an element, None means a multiset."""

    rule: int
    key: str | None


class Place(msgspec.Struct, frozen=True, eq=False):
    """What the rules say about one place, and what they may still say below it. Rules are named by index, -1 is none."""

    positions: _Positions = ()
    ignore: int = _NO_RULE
    format_only: int = _NO_RULE
    int_is_float: int = _NO_RULE
    unordered: Unordered | None = None
    tolerances: tuple[Tolerance, ...] = ()
    normalisers: tuple[Normaliser, ...] = ()
    live: bool = False
    """Whether a rule applies here or could apply below."""
    indexed: bool = False
    """Whether a rule asks for one index by number."""


NOWHERE: Final = Place()
"""Where no rule applies, here or below."""


def rule_problems(rule: Rule) -> list[str]:
    """What is wrong with a rule, one sentence each; an empty list means that it can be compiled."""
    problems = [
        f"`{name}` belongs to action `{action}`, not to `{rule.action}`"
        for name, action in _FIELDS.items()
        if getattr(rule, name) not in (None, "") and rule.action is not action
    ]
    allowed = _ASPECTS[rule.action]
    if rule.aspect not in allowed:
        names = ", ".join(sorted(allowed))
        problems.append(f"action `{rule.action}` has no meaning for aspect `{rule.aspect}`; it works for: {names}")
    try:
        _steps(rule.path, rule.aspect)
    except ValueError as error:
        problems.append(str(error))
    if not rule.endpoint:
        problems.append("`endpoint` is empty; `*` means every endpoint")
    if rule.action is RuleAction.TOLERANCE:
        problems += _tolerance_problems(rule)
    if rule.action is RuleAction.NORMALISE:
        problems += _pattern_problems(rule)
    if rule.key == "":
        problems.append("`key` is empty; leave it out to compare as a multiset")
    return problems


def _tolerance_problems(rule: Rule) -> list[str]:
    bounds = {"absolute": rule.absolute, "relative": rule.relative, "seconds": rule.seconds}
    if all(bound is None for bound in bounds.values()):
        return ["a tolerance needs `absolute`, `relative` or `seconds`"]
    return [
        f"`{name}` must be a number of at least 0, not {bound}"
        for name, bound in bounds.items()
        if bound is not None and not (math.isfinite(bound) and bound >= 0)
    ]


def _pattern_problems(rule: Rule) -> list[str]:
    if not rule.pattern:
        return ["a normalisation needs `pattern`, a regular expression"]
    try:
        re.compile(rule.pattern).sub(rule.replace, "")
    except (re.error, IndexError) as error:
        return [f"`pattern` or `replace` is not a regular expression: {error}"]
    return []


def path_steps(path: str) -> tuple[Step, ...]:
    """The steps of a difference's path or concrete address. A collapsed step comes back as the key `*`.

    Never fails: a path that was cut at its bound ends before the step that cannot be read.
    """
    steps: list[Step] = []
    for step in _readable_steps(path):
        if isinstance(step, str):
            steps.append(step)
        elif isinstance(step, _Index) and step.number is not None:
            steps.append(step.number)
        elif isinstance(step, _Index):
            steps.append(_ANY_INDEX)
        else:
            steps.append("*")
    return tuple(steps)


def _below_root(path: str) -> str:
    return path[1:] if path.startswith("$") and (len(path) == 1 or path[1] in ".[") else path


def _readable_steps(path: str) -> Iterable[_PatternStep]:
    rest = _below_root(path)
    position = 0
    while position < len(rest) and (match := _TOKEN.match(rest, position)) is not None:
        position = match.end()
        step = _token_step(match, 0)
        if step is not None:
            yield step


def _steps(path: str, aspect: Aspect) -> tuple[_PatternStep, ...]:
    """Pattern steps of a rule's path. Raises ValueError with a sentence for people."""
    if not path.strip():
        raise ValueError("`path` is empty; `**` means every place")
    rest = _below_root(path)
    steps: list[_PatternStep] = []
    position = 0
    while position < len(rest):
        match = _TOKEN.match(rest, position)
        if match is None:
            raise ValueError(f"`path` {path!r} cannot be read at {rest[position : position + 20]!r}")
        position = match.end()
        step = _token_step(match, re.IGNORECASE if aspect is Aspect.HEADERS else 0)
        if aspect is Aspect.EFFECTS and isinstance(step, str) and "]" in match[0] and all(isinstance(s, _Deep) for s in steps):
            step = _Glob(operation_glob(step))
        if step is not None:
            steps.append(step)
    if rest.endswith("."):
        raise ValueError(f"`path` {path!r} ends with a dot")
    if aspect is Aspect.HEADERS and steps and isinstance(steps[0], str):
        steps[0] = steps[0].lower()
    return tuple(steps)


def _token_step(match: re.Match[str], flags: int) -> _PatternStep | None:
    if match["deep"] or match["dots"] == "..":
        return _Deep()
    if match["dots"]:
        return None
    if match["index"]:
        return _Index(None if match["index"] == "*" else int(match["index"]))
    quoted = match["single"] if match["single"] is not None else match["double"]
    if quoted is not None:
        return re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
    name = match["name"]
    if name == "*":
        return _Any()
    return _Glob(_glob(name, flags)) if "*" in name else name


def _glob(text: str, flags: int = 0) -> re.Pattern[str]:
    """`*` stands for any characters, everything else for itself."""
    return re.compile(".*".join(re.escape(part) for part in text.split("*")), re.DOTALL | flags)


def operation_glob(text: str) -> re.Pattern[str]:
    """A pattern of `COLLECTOR VERB PLACE`, `*` allowed; the collector may be left out."""
    return re.compile(rf"(?:\S+ )?{_glob(text).pattern}", re.DOTALL)


def _takes(pattern: _PatternStep, step: Step) -> bool:
    if isinstance(pattern, _Any):
        return True
    if isinstance(pattern, _Index):
        return isinstance(step, int) and pattern.number in (None, step)
    if isinstance(pattern, _Glob):
        return isinstance(step, str) and pattern.regex.fullmatch(step) is not None
    return pattern == step


class AspectRules:
    """The rules of one endpoint and aspect as an automaton over steps. Its memory is bounded; it never decides by order of calls."""

    def __init__(self, rules: Iterable[tuple[int, Rule]]) -> None:
        self._rules = dict(rules)
        self._steps = {index: _steps(rule.path, rule.aspect) for index, rule in self._rules.items()}
        self._next: dict[tuple[_Positions, Step], Place] = {}
        self._paths: dict[str, Place] = {}
        self.root = self._place((index, 0) for index in self._rules)

    def step(self, place: Place, step: Step) -> Place:
        """The place one step below."""
        if not place.live:
            return NOWHERE
        if isinstance(step, int) and not place.indexed:
            step = _ANY_INDEX
        key = (place.positions, step)
        found = self._next.get(key)
        if found is None:
            found = self._place(self._moves(place, step))
            if len(self._next) >= limits.RULE_STATES_MAX:
                self._next.clear()
            self._next[key] = found
        return found

    def at(self, path: str) -> Place:
        """The place of a difference's path. An ignored place above counts."""
        found = self._paths.get(path)
        if found is None:
            found = self.root
            for step in path_steps(path):
                if found.ignore != _NO_RULE:
                    break
                found = self.step(found, step)
            if len(self._paths) >= limits.RULE_STATES_MAX:
                self._paths.clear()
            self._paths[path] = found
        return found

    def _moves(self, place: Place, step: Step) -> Iterable[tuple[int, int]]:
        for index, position in place.positions:
            steps = self._steps[index]
            if position == len(steps):
                continue
            if isinstance(steps[position], _Deep):
                yield index, position
            elif _takes(steps[position], step):
                yield index, position + 1

    def _place(self, positions: Iterable[tuple[int, int]]) -> Place:
        closed: set[tuple[int, int]] = set()
        for index, start in positions:
            position = start
            closed.add((index, position))
            while position < len(self._steps[index]) and isinstance(self._steps[index][position], _Deep):
                position += 1
                closed.add((index, position))
        return self._describe(tuple(sorted(closed))) if closed else NOWHERE

    def _describe(self, positions: _Positions) -> Place:
        here = [index for index, position in positions if position == len(self._steps[index])]
        by_action: dict[RuleAction, list[int]] = {}
        for index in here:
            by_action.setdefault(self._rules[index].action, []).append(index)

        def first(action: RuleAction) -> int:
            return by_action.get(action, [_NO_RULE])[0]

        unordered = first(RuleAction.UNORDERED)
        ahead = [self._steps[index][position] for index, position in positions if position < len(self._steps[index])]
        return Place(
            positions=positions,
            ignore=first(RuleAction.IGNORE),
            format_only=first(RuleAction.FORMAT_ONLY),
            int_is_float=first(RuleAction.INT_IS_FLOAT),
            unordered=None if unordered == _NO_RULE else Unordered(unordered, self._rules[unordered].key),
            tolerances=tuple(
                Tolerance(i, self._rules[i].absolute, self._rules[i].relative, self._rules[i].seconds)
                for i in by_action.get(RuleAction.TOLERANCE, ())
            ),
            normalisers=tuple(
                Normaliser(i, re.compile(self._rules[i].pattern or ""), self._rules[i].replace)
                for i in by_action.get(RuleAction.NORMALISE, ())
            ),
            live=True,
            indexed=any(isinstance(step, _Index) and step.number is not None for step in ahead),
        )


class EndpointRules:
    """The rules that concern one endpoint, by aspect."""

    def __init__(self, rules: Iterable[tuple[int, Rule]]) -> None:
        by_aspect: dict[Aspect, list[tuple[int, Rule]]] = {}
        for index, rule in rules:
            by_aspect.setdefault(rule.aspect, []).append((index, rule))
        self._by_aspect = {aspect: AspectRules(members) for aspect, members in by_aspect.items()}

    def aspect(self, aspect: Aspect) -> AspectRules | None:
        """The rules of an aspect; None where there are none."""
        return self._by_aspect.get(aspect)


class RuleBook:
    """All rules of a run, compiled. Raises UsageError at once, with every problem, when one of them is wrong."""

    def __init__(self, rules: tuple[Rule, ...] = ()) -> None:
        problems = [f"rule {index}: {problem}" for index, rule in enumerate(rules) for problem in rule_problems(rule)]
        if problems:
            raise UsageError("\n".join(problems), where="rules", fix="see the comparison guide for what each action takes")
        self.rules = rules
        self._patterns = [_glob(rule.endpoint) for rule in rules]
        self._endpoints: dict[str, EndpointRules] = {}

    def for_endpoint(self, endpoint: str) -> EndpointRules:
        """The rules whose `endpoint` matches."""
        found = self._endpoints.get(endpoint)
        if found is None:
            members = ((i, rule) for i, rule in enumerate(self.rules) if self._patterns[i].fullmatch(endpoint))
            found = EndpointRules(members)
            if len(self._endpoints) > limits.ENDPOINTS_MAX:
                self._endpoints.clear()
            self._endpoints[endpoint] = found
        return found
