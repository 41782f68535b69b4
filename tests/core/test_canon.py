"""Rules: what is wrong with one, where one applies, and that compiled places agree with a plain reading of the pattern."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import canon, limits
from harness.core.canon import NOWHERE, AspectRules, Rule, RuleAction, RuleBook, path_steps, rule_problems
from harness.core.errors import UsageError
from harness.core.labels import Aspect


def ignore(path: str, aspect: Aspect = Aspect.BODY, endpoint: str = "*") -> Rule:
    return Rule(action=RuleAction.IGNORE, path=path, aspect=aspect, endpoint=endpoint)


def rules_of(*rules: Rule) -> AspectRules:
    return AspectRules(enumerate(rules))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (ignore("  "), "`path` is empty"),
        (ignore("$.a['b"), "cannot be read at"),
        (ignore("$.a."), "ends with a dot"),
        (ignore("$", endpoint=""), "`endpoint` is empty"),
        (Rule(action=RuleAction.TOLERANCE), "needs `absolute`"),
        (Rule(action=RuleAction.TOLERANCE, absolute=-1), "`absolute` must be a number of at least 0, not -1"),
        (Rule(action=RuleAction.TOLERANCE, relative=float("nan")), "`relative` must be"),
        (Rule(action=RuleAction.NORMALISE), "needs `pattern`"),
        (Rule(action=RuleAction.NORMALISE, pattern="("), "not a regular expression"),
        (Rule(action=RuleAction.NORMALISE, pattern="a", replace="\\9"), "not a regular expression"),
        (Rule(action=RuleAction.UNORDERED, key=""), "`key` is empty"),
        (Rule(action=RuleAction.IGNORE, key="id"), "`key` belongs to action `unordered`"),
        (Rule(action=RuleAction.IGNORE, seconds=1), "`seconds` belongs to action `tolerance`"),
        (Rule(action=RuleAction.IGNORE, replace="x"), "`replace` belongs to action `normalise`"),
        (Rule(action=RuleAction.UNORDERED, aspect=Aspect.HEADERS), "no meaning for aspect `headers`; it works for: body"),
        (ignore("$", aspect=Aspect.LATENCY), "no meaning for aspect `latency`"),
    ],
)
def test_a_wrong_rule_is_explained(rule: Rule, words: str) -> None:
    assert any(words in problem for problem in rule_problems(rule))
    with pytest.raises(UsageError, match="rule 0"):
        RuleBook((rule,))


def test_all_problems_of_all_rules_are_said_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        RuleBook((Rule(action=RuleAction.TOLERANCE, key="x"), ignore("$.a"), ignore("")))
    assert [line.split(":")[0] for line in caught.value.what.splitlines()] == ["rule 0", "rule 0", "rule 2"]


@pytest.mark.parametrize(
    "rule",
    [
        ignore("$"),
        ignore("$.a[*].b[0]['c.d'].**"),
        ignore("set-cookie.*", Aspect.HEADERS),
        Rule(action=RuleAction.TOLERANCE, seconds=0),
        Rule(action=RuleAction.NORMALISE, pattern=r"(\d+)", replace=r"<\1>"),
        Rule(action=RuleAction.UNORDERED, key="id"),
        Rule(action=RuleAction.INT_IS_FLOAT),
        Rule(action=RuleAction.FORMAT_ONLY, aspect=Aspect.HEADERS),
    ],
)
def test_a_right_rule_has_no_problems(rule: Rule) -> None:
    assert rule_problems(rule) == []


@pytest.mark.parametrize(
    ("pattern", "path", "applies"),
    [
        ("$", "$", True),
        ("$", "$.a", True),
        ("$.a", "$", False),
        ("$.a", "$.a.b[*]", True),
        ("$.a", "$.ab", False),
        ("a.b", "$.a.b", True),
        ("$.*.b", "$.a.b", True),
        ("$.*.b", "$[*].b", True),
        ("$.*.b", "$.b", False),
        ("$[*].b", "$.a.b", False),
        ("$.items[*].price", "$.items[*].price", True),
        ("$.items[3]", "$.items[3].x", True),
        ("$.items[3]", "$.items[4].x", False),
        ("$..at", "$.at", True),
        ("$..at", "$.x[*].y.at", True),
        ("**.at", "$.x.at", True),
        ("$.x.**.at", "$.x.at", True),
        ("$.x.**.at", "$.y.at", False),
        ("**", "$.anything[*]", True),
        ("$.user_*", "$.user_id", True),
        ("$.user_*", "$.USER_id", False),
        ("$['a.b']", "$['a.b'].c", True),
        ('$["it\'s"]', "$['it\\'s']", True),
        ("$.by_id.*.name", "$.by_id.*.name", True),
    ],
)
def test_where_a_rule_applies(pattern: str, path: str, applies: bool) -> None:
    rules = rules_of(ignore(pattern))
    assert (rules.at(path).ignore == 0) is applies
    assert (rules.at(path).ignore == 0) is applies, "the second time, from memory"


def test_header_names_have_no_case() -> None:
    rules = rules_of(ignore("X-Debug", Aspect.HEADERS), ignore("X-Vendor-*", Aspect.HEADERS), ignore("Set-Cookie.Session", Aspect.HEADERS))
    assert rules.at("x-debug").ignore == 0
    assert rules.at("x-vendor-version").ignore == 1
    assert rules.at("set-cookie.Session.max-age").ignore == 2
    assert rules.at("set-cookie.session").ignore == -1


def test_what_a_place_says() -> None:
    rules = rules_of(
        Rule(action=RuleAction.TOLERANCE, path="$.price", absolute=0.1),
        Rule(action=RuleAction.TOLERANCE, path="**", seconds=2),
        Rule(action=RuleAction.NORMALISE, path="$.price", pattern="x"),
        Rule(action=RuleAction.UNORDERED, path="$.tags"),
        Rule(action=RuleAction.FORMAT_ONLY, path="$.id"),
        Rule(action=RuleAction.INT_IS_FLOAT, path="$.price"),
    )
    price = rules.at("$.price")
    assert [t.rule for t in price.tolerances] == [0, 1]
    assert [n.rule for n in price.normalisers] == [2]
    assert price.int_is_float == 5
    tags = rules.at("$.tags")
    assert tags.unordered == canon.Unordered(3, None)
    assert rules.at("$.id").format_only == 4
    assert not rules.step(rules_of(ignore("$.a")).root, "b").tolerances


def test_nothing_applies_below_a_dead_end() -> None:
    rules = rules_of(ignore("$.a.b"))
    assert rules.step(rules.root, "x") is NOWHERE
    assert rules.step(NOWHERE, "a") is NOWHERE


def test_an_index_matters_only_where_a_rule_asks_for_it() -> None:
    rules = rules_of(ignore("$.x[1]"), ignore("$.y[*].z"))
    x, y = rules.step(rules.root, "x"), rules.step(rules.root, "y")
    assert [rules.step(x, i).ignore for i in (0, 1, 2)] == [-1, 0, -1]
    assert rules.step(rules.step(y, 7), "z").ignore == 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RULE_STATES_MAX", 8)
    monkeypatch.setattr(limits, "ENDPOINTS_MAX", 8)
    rules = rules_of(ignore("$.*.x"))
    for number in range(50):
        assert rules.at(f"$.k{number}.x").ignore == 0
    assert len(rules._paths) <= 8
    assert len(rules._next) <= 8
    book = RuleBook((ignore("$"),))
    for number in range(50):
        assert book.for_endpoint(f"GET /{number}").aspect(Aspect.BODY) is not None
    assert len(book._endpoints) <= 9


def test_endpoints_and_aspects() -> None:
    book = RuleBook((ignore("$.a", endpoint="GET /orders/*"), ignore("date", Aspect.HEADERS), ignore("$", endpoint="POST /x[1]")))
    orders = book.for_endpoint("GET /orders/{id}")
    assert orders is book.for_endpoint("GET /orders/{id}")
    body = orders.aspect(Aspect.BODY)
    assert body is not None
    assert body.at("$.a").ignore == 0
    assert orders.aspect(Aspect.STATUS) is None
    assert book.for_endpoint("GET /users").aspect(Aspect.BODY) is None
    exact = book.for_endpoint("POST /x[1]").aspect(Aspect.BODY)
    assert exact is not None
    assert exact.at("$").ignore == 2


def test_steps_of_a_path() -> None:
    assert path_steps("$.a[*].b[3]['c.d'].*") == ("a", -1, "b", 3, "c.d", "*")
    assert path_steps("$") == ()
    assert path_steps("$['$x']") == ("$x",)


STEPS = st.lists(st.sampled_from(["a", "b", "cc"]) | st.integers(0, 2), max_size=5)
PATTERNS = st.lists(st.sampled_from(["a", "b", "c*", "*", "**", "[*]", "[1]"]), min_size=1, max_size=5)


def reads(pattern: tuple[str, ...], steps: tuple[str | int, ...]) -> bool:
    """The meaning of a pattern, spelled out."""
    if not pattern:
        return not steps
    head, rest = pattern[0], pattern[1:]
    if head == "**":
        return any(reads(rest, steps[i:]) for i in range(len(steps) + 1))
    if not steps:
        return False
    step = steps[0]
    fits = {
        "*": True,
        "[*]": isinstance(step, int),
        "[1]": step == 1,
        "c*": isinstance(step, str) and step.startswith("c"),
    }.get(head, head == step)
    return fits and reads(rest, steps[1:])


@given(PATTERNS, STEPS)
def test_places_agree_with_a_plain_reading(pattern: list[str], steps: list[str | int]) -> None:
    path = "$" + "".join(part if part.startswith("[") else f".{part}" for part in pattern)
    rules = rules_of(Rule(action=RuleAction.FORMAT_ONLY, path=path))
    place = rules.root
    for step in steps:
        place = rules.step(place, step)
    assert (place.format_only == 0) is reads(tuple(pattern), tuple(steps))


EFFECT = "$['http POST payments.test/charge'].body.amount"


@pytest.mark.parametrize(
    ("path", "matches"),
    [
        (EFFECT, True),
        ('$["http POST payments.test/*"].body.amount', True),
        ('$["POST payments.test/charge"].body.amount', True),
        ('["POST *"].**', True),
        ('**["* payments.test/*"].body.*', True),
        ('$["postgres *"].body.amount', False),
        ('$["ttp POST *"].body.amount', False),
        ('$["POST payments.test"].body.amount', False),
        ('$["POST *"]["body*"].amount', False),
        ("$.*.body.amount", True),
        ("**.amount", True),
        ("**", True),
    ],
)
def test_operations_of_effects(path: str, matches: bool) -> None:
    """Named with the collector or without, `*` allowed; further keys in quotes are taken as they are."""
    rule = ignore(path, Aspect.EFFECTS)
    assert rule_problems(rule) == []
    assert (rules_of(rule).at(EFFECT).ignore == 0) is matches
    assert rule_problems(ignore("", Aspect.EFFECTS))


def test_an_operation_with_an_asterisk_is_its_own_pattern() -> None:
    rule = ignore("$['otlp SELECT * FROM t WHERE a = ?']", Aspect.EFFECTS)
    assert rules_of(rule).at("$['otlp SELECT * FROM t WHERE a = ?'].rows").ignore == 0
    assert rules_of(rule).at("$['otlp SELECT b FROM u WHERE a = ?']").ignore == -1


def test_every_action_has_a_meaning_for_effects() -> None:
    fields: dict[RuleAction, dict[str, object]] = {RuleAction.TOLERANCE: {"seconds": 1.0}, RuleAction.NORMALISE: {"pattern": "a"}}
    for action in RuleAction:
        assert rule_problems(msgspec.convert({"action": action, "aspect": "effects", **fields.get(action, {})}, Rule)) == []


@pytest.mark.parametrize(("path", "steps"), [("$.a['b c…", ("a",)), ("$.a.b…", ("a", "b…")), ("$['x y'][0…", ("x y",)), ("", ())])
def test_a_path_that_was_cut_can_still_be_looked_up(path: str, steps: tuple[str, ...]) -> None:
    assert path_steps(path) == steps
    assert rules_of(ignore("$.never")).at(path).ignore == -1
