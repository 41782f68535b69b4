"""Effects of two arms: what is found, what it is called, and where."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.api import RuleUse
from comparators.effects import Doings, compare_effects, is_ordered, path_of
from comparators.plan import build_plan
from comparators.trial import compare_trial
from harness.core import limits
from harness.core.canon import Rule, RuleAction
from harness.core.effect_paths import effect_place
from harness.core.labels import Aspect, EffectsSeen, ErrorKind, Kind, Role
from harness.core.values import Arm, Comparison, Difference, Effect, Exchange, Request, Response, TransportError, Trial
from tests.comparators.support import COMPARATORS, kinds, mirrored, plain, use_of

CHARGE = "POST payments.test/charge"
AT_CHARGE = "$['http POST payments.test/charge']"
UUIDS = tuple(f"3f2504e0-4f89-41d3-9a0c-0305e82c330{digit}" for digit in range(10))


def effect(document: Any, operation: str = CHARGE, collector: str = "http", **fields: Any) -> Effect:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Effect(collector=collector, operation=operation, document=data, **fields)


def differences(left: list[Effect], right: list[Effect], *rules: Rule, ordered: tuple[str, ...] = ()) -> tuple[Difference, ...]:
    """Both ways round, which must be mirrors of each other."""
    use = use_of(*rules, aspect=Aspect.EFFECTS)
    found = tuple(compare_effects(tuple(left), tuple(right), use, ordered))
    swapped = compare_effects(tuple(right), tuple(left), use_of(*rules, aspect=Aspect.EFFECTS), ordered)
    assert plain(swapped) == mirrored(found)
    assert all(d.aspect is Aspect.EFFECTS and d.where == d.path for d in found)
    return found


def rule(action: RuleAction, path: str, **fields: Any) -> Rule:
    return Rule(action=action, path=path, aspect=Aspect.EFFECTS, **fields)


def test_what_is_done_on_one_side_only() -> None:
    (found,) = differences([effect({"amount": 5}, note="answered by a stub", late=True)], [])
    assert (found.path, found.kind, found.left, found.right) == (AT_CHARGE, Kind.MISSING, '{"amount":5}', None)
    assert found.note == "answered by a stub; late"
    (twice,) = differences([], [effect({"amount": 5}), effect({"amount": 6})])
    assert (twice.kind, twice.note) == (Kind.EXTRA, "2 times")


def test_what_is_done_more_often() -> None:
    """A key that is new each time does not make it another call."""
    once, again = effect({"amount": 5, "key": UUIDS[0]}), effect({"amount": 5, "key": UUIDS[1]}, late=True)
    (found,) = differences([once], [once, again])
    assert (found.path, found.kind, found.left, found.right) == (AT_CHARGE, Kind.DUPLICATED, 1, 2)
    assert found.note == "2 times against 1; late"
    (fewer,) = differences([once, again, once], [once])
    assert (fewer.kind, fewer.note) == (Kind.FEWER, "1 time against 3; late")


def test_another_one_of_the_same_operation_is_extra() -> None:
    (found,) = differences([effect({"amount": 5})], [effect({"amount": 5}), effect({"amount": 9})])
    assert (found.kind, found.right, found.note) == (Kind.EXTRA, '{"amount":9}', "2 times against 1")


def test_done_twice_and_with_another_amount() -> None:
    found = differences([effect({"amount": 5})], [effect({"amount": 7}), effect({"amount": 7})])
    assert kinds(found) == {(AT_CHARGE, Kind.DUPLICATED), (f"{AT_CHARGE}.amount", Kind.VALUE)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"row": {"id": 17, "sku": "a"}}, {"row": {"id": 18, "sku": "a"}}),
        ({"at": "2024-05-01T10:00:00Z"}, {"at": "2024-05-01T10:00:01Z"}),
        ({"at": 1714557600}, {"at": 1714557601}),
        ({"url": f"/charges/{UUIDS[0]}/void"}, {"url": f"/charges/{UUIDS[1]}/void"}),
        ({"token": "a8Jk29dLq0PzX3mN"}, {"token": "b7Hj38eKr1OyW2nM"}),
        ([UUIDS[0], None, True], [UUIDS[1], None, True]),
        ("cus_9sdf8s7df", "cus_1abc2d3ef"),
    ],
)
def test_values_that_name_themselves(one: Any, other: Any) -> None:
    assert Kind.DUPLICATED in {d.kind for d in differences([effect(one)], [effect(one), effect(other)])}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"count": 17}, {"count": 18}),
        ({"day": "2024-05-01"}, {"day": "2024-05-02"}),
        ({"sku": "tea"}, {"sku": "coffee"}),
        ({"a": 1}, {"b": 1}),
        ({"n": 1}, {"n": 1.0}),
        ({"n": True}, {"n": 1}),
        (b"not JSON", b"nor this"),
        (b"\xff", b"\xfe"),
    ],
)
def test_values_that_do_not(one: Any, other: Any) -> None:
    assert {d.kind for d in differences([effect(one)], [effect(one), effect(other)])} == {Kind.EXTRA}


def test_documents_are_compared_as_json() -> None:
    left = effect({"body": {"amount": 5, "to": None, "items": [{"n": 1}, {"n": 2}]}})
    right = effect({"body": {"amount": 6, "to": "x", "items": [{"n": 1}, {"n": 3}]}}, note="by the tape")
    found = differences([left], [right])
    assert kinds(found) == {
        (f"{AT_CHARGE}.body.amount", Kind.VALUE),
        (f"{AT_CHARGE}.body.to", Kind.NULL),
        (f"{AT_CHARGE}.body.items[*].n", Kind.VALUE),
    }
    assert {d.note for d in found} == {"by the tape"}
    assert differences([effect(b'{"a":1,"b":1e2}')], [effect(b'{ "b": 100.0, "a": 1 }')]) == ()


def test_each_has_the_counterpart_that_is_most_like_it() -> None:
    """Rows of one order whose ids are new in each arm, in whatever order they were seen."""
    skus = ("tea", "milk", "salt", "rice")
    left = [effect({"row": {"id": UUIDS[i], "sku": sku, "n": 1}}) for i, sku in enumerate(skus)]
    right = [effect({"row": {"id": UUIDS[9 - i], "sku": sku, "n": 2 if sku == "salt" else 1}}) for i, sku in enumerate(skus)]
    right.reverse()
    assert kinds(differences(left, right)) == {(f"{AT_CHARGE}.row.id", Kind.VALUE), (f"{AT_CHARGE}.row.n", Kind.VALUE)}


def test_too_many_to_be_looked_at_by_likeness_have_counterparts_nevertheless(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = ([effect({"n": n + shift, "sku": f"s{n % 7}"}) for n in range(40)] for shift in (0, 100))
    assert kinds(differences(left, right)) == {(f"{AT_CHARGE}.n", Kind.VALUE)}
    monkeypatch.setattr(limits, "EFFECT_LIKENESS_BYTES_MAX", 0)
    assert (f"{AT_CHARGE}.n", Kind.VALUE) in kinds(differences(left, right))


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (b"{broken", b'{"a":1}', {(AT_CHARGE, Kind.MALFORMED)}),
        (b"some words of text", b"some other words", {(AT_CHARGE, Kind.VALUE)}),
        (b"", b"text", {(AT_CHARGE, Kind.FORMAT)}),
        (b"\xff", b"\xfe", {(AT_CHARGE, Kind.VALUE)}),
        (b"[" * 500 + b"]" * 500, b"[" * 501 + b"]" * 501, {(AT_CHARGE, Kind.VALUE)}),
        (b"[" * 220 + b"1" + b"]" * 220, b"[" * 220 + b"2" + b"]" * 220, {(AT_CHARGE, Kind.VALUE)}),
        (b'{"a":1,"a":2}', b'{"a":2}', set()),
        (b"[NaN]", b"[1.5]", {(f"{AT_CHARGE}[*]", Kind.FORMAT)}),
        (b"123456789012345678901234567890", b"123456789012345678901234567891", {(AT_CHARGE, Kind.VALUE)}),
    ],
)
def test_documents_that_are_not_quite_json(left: bytes, right: bytes, expected: set[tuple[str, Kind]]) -> None:
    assert kinds(differences([effect(left)], [effect(right)])) == expected
    assert kinds(differences([effect(left)], [effect(left), effect(left)])) == {(AT_CHARGE, Kind.DUPLICATED)}


def test_an_arm_that_was_cut_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EFFECTS_PER_ARM_MAX", 2)
    (found,) = differences([effect({})], [effect({}), effect({})])
    assert "effects of a side were kept" in found.note


def test_differences_are_bounded() -> None:
    left, right = ([effect({f"k{i}": i + shift for i in range(300)}, f"POST x/{n}") for n in range(3)] for shift in (0, 10_000))
    assert len(differences(left, right)) == limits.DIFFERENCES_PER_PAIR_MAX


# Rules


def test_an_ignored_operation_takes_no_part() -> None:
    log = effect({"m": "x"}, "POST logs.test/v1", late=True)
    use = use_of(rule(RuleAction.IGNORE, '$["POST logs.test/*"]'), aspect=Aspect.EFFECTS)
    assert compare_effects((log, effect({})), (effect({}), log, log), use, ("*",)) == ()
    assert use.used == {0}
    unused = use_of(rule(RuleAction.IGNORE, '$["POST logs.test/*"]'), aspect=Aspect.EFFECTS)
    assert compare_effects((log, effect({"a": 1})), (log, effect({"a": 2})), unused) != ()
    assert unused.used == set()
    for everything in ("$", "**", "$.*", '$["*"]'):
        assert differences([log], [], rule(RuleAction.IGNORE, everything)) == ()


@pytest.mark.parametrize(
    ("one", "gone"),
    [
        (rule(RuleAction.IGNORE, '$["http POST payments.test/charge"].body.amount'), True),
        (rule(RuleAction.IGNORE, '$["POST *"].body.amount'), True),
        (rule(RuleAction.IGNORE, "$['* payments.test/charge'].body"), True),
        (rule(RuleAction.IGNORE, "**.amount"), True),
        (rule(RuleAction.IGNORE, '**["POST *"].body.amount'), True),
        (rule(RuleAction.IGNORE, '$["INSERT *"].body.amount'), False),
        (rule(RuleAction.IGNORE, '$["POST"].body.amount'), False),
        (rule(RuleAction.IGNORE, "$.body.amount"), False),
        (rule(RuleAction.TOLERANCE, '$["POST *"].**', absolute=1), True),
        (rule(RuleAction.TOLERANCE, '$["POST *"].**', absolute=0.5), False),
        (rule(RuleAction.FORMAT_ONLY, '$["POST *"].body.*'), True),
    ],
)
def test_rules_apply_inside_documents(one: Rule, gone: bool) -> None:
    found = differences([effect({"body": {"amount": 5}})], [effect({"body": {"amount": 6}})], one)
    assert (found == ()) is gone


def test_the_other_actions() -> None:
    lists = [effect({"l": [1, 2]})], [effect({"l": [2, 1]})]
    assert differences(*lists, rule(RuleAction.UNORDERED, '$["POST *"].l')) == ()
    assert kinds(differences(*lists)) == {(f"{AT_CHARGE}.l", Kind.ORDER)}
    text = rule(RuleAction.NORMALISE, "**.t", pattern="[0-9]+", replace="n")
    assert differences([effect({"t": "a 1"})], [effect({"t": "a 22"})], text) == ()
    assert differences([effect({"n": 1})], [effect({"n": 1.0})], rule(RuleAction.INT_IS_FLOAT, "**")) == ()


def test_rules_count_for_what_is_like_what() -> None:
    first, second = effect({"amount": 5, "ms": 3, "t": "try 1"}), effect({"amount": 5, "ms": 9, "t": "try 2"})
    assert {d.kind for d in differences([first], [first, second])} == {Kind.EXTRA}
    rules = (
        rule(RuleAction.TOLERANCE, "**.ms", absolute=1),
        rule(RuleAction.NORMALISE, "**.t", pattern="[0-9]+", replace="n"),
    )
    assert {d.kind for d in differences([first], [first, second], *rules)} == {Kind.DUPLICATED}


def test_operations_are_found_by_their_paths() -> None:
    for operation in ("GET x/it's", 'GET "x"', r"GET a\b", "SELECT * FROM t WHERE a = ? AND " + "b = ? AND " * 20 + "c", "GET \ud800"):
        path = path_of(f"http {operation}")
        place = effect_place(path)
        assert (place.collector, place.operation.encode("utf-8", "backslashreplace")) == (
            "http",
            operation.encode("utf-8", "backslashreplace"),
        )
        (found,) = differences([effect({}, operation)], [])
        assert found.path == path
        named = rule(RuleAction.IGNORE, path)
        assert "\ud800" in operation or differences([effect({}, operation)], [], named) == ()


# Order


def test_the_order_counts_where_it_is_asked_for() -> None:
    row, call = effect({"id": 1}, "INSERT public.orders", "postgres"), effect({"amount": 5})
    audit = effect({}, "POST audit.test/log")
    assert differences([row, call], [call, row]) == ()
    assert differences([row, call], [call, row], ordered=("http *",)) == ()
    (found,) = differences([audit, row, call], [audit, call, row], ordered=("http POST payments.test/*", "INSERT *"))
    assert (found.path, found.kind, found.left, found.right) == ("$", Kind.ORDER, "postgres INSERT public.orders", f"http {CHARGE}")
    assert found.note == f"place 1: `http {CHARGE}` in place of `postgres INSERT public.orders`"


def test_the_order_is_that_of_what_both_sides_do() -> None:
    a, b, c = (effect({"x": name}, f"POST x/{name}") for name in "abc")
    assert {d.kind for d in differences([a, b], [a, c, b], ordered=("*",))} == {Kind.EXTRA}
    assert {d.kind for d in differences([a, b], [a, b, a], ordered=("*",))} == {Kind.DUPLICATED}
    assert {d.kind for d in differences([a, b, c], [b, a], ordered=("*",))} == {Kind.MISSING, Kind.ORDER}
    assert {d.kind for d in differences([b, a], [a, b, a], ordered=("*",))} == {Kind.DUPLICATED}, "done again before"
    assert {d.kind for d in differences([c, a, b], [a, b, b], ordered=("*",))} == {Kind.MISSING, Kind.DUPLICATED}
    changed = effect({"x": "other"}, "POST x/b")
    assert {d.kind for d in differences([a, b, c], [a, changed, c], ordered=("*",))} == {Kind.VALUE}
    assert {d.kind for d in differences([a, b, c], [changed, a, c], ordered=("*",))} == {Kind.VALUE, Kind.ORDER}
    ignored = rule(RuleAction.IGNORE, '$["POST x/b"]')
    assert differences([a, b, c], [b, a, c], ignored, ordered=("*",)) == ()
    assert differences([a, b], [b, a], rule(RuleAction.FORMAT_ONLY, "**"), ordered=("*",)) != ()


def test_the_order_of_documents_of_one_operation() -> None:
    """Ids that are new each time are no order; who is charged first is."""
    left = [effect({"id": UUIDS[i], "to": to}) for i, to in enumerate("aab")]
    right = [effect({"id": UUIDS[9 - i], "to": to}) for i, to in enumerate("aab")]
    assert Kind.ORDER not in {d.kind for d in differences(left, right, ordered=("*",))}
    found = [d for d in differences(left, [right[2], *right[:2]], ordered=("*",)) if d.kind is Kind.ORDER]
    assert [d.left for d in found] == [json.dumps({"id": UUIDS[0], "to": "a"}, separators=(",", ":"))]
    assert "with the document of another one" in found[0].note


def test_patterns() -> None:
    assert is_ordered("http POST x/y", ("POST *",))
    assert is_ordered("http POST x/y", ("nothing", "http POST x/*"))
    assert not is_ordered("http POST x/y", ("POST",))
    assert not is_ordered("http POST x/y", ())


# Trials


def trial(stable: list[Effect], secondary: list[Effect], candidate: list[Effect], **changes: Any) -> Trial:
    def arm(role: Role, effects: list[Effect]) -> Arm:
        return Arm(role=role, exchange=Exchange(request=Request("GET", "/"), response=Response(200)), effects=tuple(effects))

    fields: dict[str, Any] = {"effects_seen": EffectsSeen.COMPLETE, **changes}
    return Trial(
        id="t",
        seq=0,
        endpoint="POST /orders",
        request=Request("POST", "/orders"),
        stable=arm(Role.STABLE, stable),
        secondary=arm(Role.SECONDARY, secondary),
        candidate=arm(Role.CANDIDATE, candidate),
        **fields,
    )


def of_trial(one: Trial, *rules: Rule, ordered: tuple[str, ...] = ()) -> Comparison:
    return compare_trial(one, build_plan(rules, COMPARATORS, ordered))


def test_all_pairs_of_a_trial() -> None:
    charge = effect({})
    found = of_trial(trial([charge], [charge], [charge, charge]))
    assert kinds(found.stable_candidate) == kinds(found.secondary_candidate) == {(AT_CHARGE, Kind.DUPLICATED)}
    assert found.stable_secondary == ()
    assert found.cross_compared
    assert of_trial(trial([charge], [charge], [charge])) == Comparison(trial="t", seq=0)


def test_effects_that_were_not_watched_are_not_compared() -> None:
    assert of_trial(trial([effect({})], [], [], effects_seen=EffectsSeen.NONE)).stable_candidate == ()


def test_that_not_all_had_come_is_said() -> None:
    found = of_trial(trial([effect({})], [], [], effects_seen=EffectsSeen.TIMED_OUT))
    assert [d.note for d in found.stable_candidate] == ["not all effects had come in time"]


def test_an_arm_that_failed_has_effects_too() -> None:
    one = trial([effect({})], [effect({})], [])
    assert one.candidate is not None
    failed = Exchange(request=Request("POST", "/"), error=TransportError(ErrorKind.TIMEOUT))
    one = msgspec.structs.replace(one, candidate=msgspec.structs.replace(one.candidate, exchange=failed))
    assert {(d.aspect, d.kind) for d in of_trial(one).stable_candidate} == {
        (Aspect.TRANSPORT, Kind.ERROR),
        (Aspect.EFFECTS, Kind.MISSING),
    }


def test_rules_and_order_come_from_the_plan() -> None:
    a, b = effect({}, "POST x/a"), effect({}, "POST x/b")
    assert kinds(of_trial(trial([a, b], [a, b], [b, a]), ordered=("POST x/*",)).stable_candidate) == {("$", Kind.ORDER)}
    found = of_trial(trial([a], [a], [b]), rule(RuleAction.IGNORE, "**"))
    assert (found.stable_candidate, found.rules_used) == ((), (0,))


def test_two_arms_and_one() -> None:
    one = trial([effect({})], [effect({})], [])
    assert kinds(of_trial(msgspec.structs.replace(one, secondary=None)).stable_candidate) == {(AT_CHARGE, Kind.MISSING)}
    assert of_trial(msgspec.structs.replace(one, secondary=None, candidate=None)) == Comparison(trial="t", seq=0)


def test_what_raises_is_uncomparable(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("comparators.effects.pair_up", broken)
    (found,) = of_trial(trial([effect({})], [effect({})], [])).stable_candidate
    assert (found.aspect, found.path, found.kind) == (Aspect.EFFECTS, "$", Kind.UNCOMPARABLE)
    assert "`effects`" in found.note


# Properties

OPERATIONS = st.sampled_from([("http", CHARGE), ("http", "GET rates.test/today"), ("postgres", "INSERT public.orders")])
DOCUMENTS = st.fixed_dictionaries(
    {"n": st.integers(0, 2), "to": st.sampled_from("ab")},
    optional={"key": st.sampled_from(UUIDS[:3]), "deep": st.fixed_dictionaries({"at": st.sampled_from(["2024-05-01T10:00:00Z", None])})},
)
RAW = DOCUMENTS | st.sampled_from([b"not JSON", b'{"n": 1}', b'{"n":1}', b"[1e400]", b'{"n":12345678901234567890123}'])
EFFECTS = st.builds(
    lambda where, document, late, note: effect(document, where[1], where[0], late=late, note=note),
    OPERATIONS,
    RAW,
    st.booleans(),
    st.sampled_from(["", "tape"]),
)
ARMS = st.lists(EFFECTS, max_size=6)
RULES = st.lists(
    st.sampled_from(
        [
            rule(RuleAction.IGNORE, "**.key"),
            rule(RuleAction.IGNORE, '$["GET *"]'),
            rule(RuleAction.TOLERANCE, "**.n", absolute=1),
            rule(RuleAction.FORMAT_ONLY, '$["INSERT *"].deep.at'),
            rule(RuleAction.NORMALISE, "**.to", pattern="b", replace="a"),
            rule(RuleAction.INT_IS_FLOAT, "**"),
        ]
    ),
    max_size=3,
)
ORDERED = st.sampled_from([(), ("*",), ("POST *", "INSERT *")])


@given(ARMS, ARMS, RULES, ORDERED)
def test_swapping_the_sides_mirrors_the_kinds(left: list[Effect], right: list[Effect], rules: list[Rule], ordered: tuple[str, ...]) -> None:
    differences(left, right, *rules, ordered=ordered)
    first, second = use_of(*rules, aspect=Aspect.EFFECTS), use_of(*rules, aspect=Aspect.EFFECTS)
    list(compare_effects(tuple(left), tuple(right), first, ordered))
    list(compare_effects(tuple(right), tuple(left), second, ordered))
    assert first.used == second.used


@given(ARMS, ARMS, RULES, st.randoms(use_true_random=False))
def test_the_order_in_which_they_were_seen_changes_nothing(left: list[Effect], right: list[Effect], rules: list[Rule], random: Any) -> None:
    shuffled = random.sample(right, len(right))
    assert differences(left, shuffled, *rules) == differences(left, right, *rules)


@given(ARMS, RULES, st.randoms(use_true_random=False))
def test_equal_arms_do_not_differ(arm: list[Effect], rules: list[Rule], random: Any) -> None:
    use = use_of(*rules, aspect=Aspect.EFFECTS)
    assert compare_effects(tuple(arm), tuple(random.sample(arm, len(arm))), use) == ()
    other = [msgspec.structs.replace(one, at_ns=9, note="elsewhere", late=not one.late) for one in arm]
    assert compare_effects(tuple(arm), tuple(other), use, ("*",)) == ()
    assert use.used == set()


@given(ARMS, ARMS, RULES)
def test_what_was_parsed_serves_for_all_pairs(left: list[Effect], right: list[Effect], rules: list[Rule]) -> None:
    once, twice = Doings(tuple(left)), Doings(tuple(right))
    for _ in range(2):
        use = use_of(*rules, aspect=Aspect.EFFECTS)
        assert tuple(compare_effects(once, twice, use)) == differences(left, right, *rules)


PLANTED = st.lists(st.builds(lambda where, document: effect(document, where[1], where[0]), OPERATIONS, DOCUMENTS), min_size=1, max_size=6)


def place_of(one: Effect) -> str:
    return path_of(f"{one.collector} {one.operation}")


def is_again(one: Effect, others: list[Effect]) -> bool:
    """Whether there is one that is equal but for its key and its time."""

    def named(which: Effect) -> Any:
        fields = json.loads(which.document)
        deep = fields.get("deep")
        return which.operation, fields["n"], fields["to"], "key" in fields, deep if deep is None else deep["at"] is None

    return any(named(one) == named(other) for other in others)


@given(PLANTED, st.data())
def test_one_that_is_dropped_or_done_again(arm: list[Effect], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(arm) - 1))
    rest = arm[:at] + arm[at + 1 :]
    (found,) = differences(arm, rest)
    assert (found.path, found.kind) == (place_of(arm[at]), Kind.FEWER if is_again(arm[at], rest) else Kind.MISSING)
    (again,) = differences(arm, [*arm, arm[at]])
    assert (again.path, again.kind) == (place_of(arm[at]), Kind.DUPLICATED)


@given(PLANTED, st.data())
def test_a_leaf_that_changes(arm: list[Effect], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(arm) - 1))
    fields = json.loads(arm[at].document)
    changed = [*arm[:at], msgspec.structs.replace(arm[at], document=json.dumps({**fields, "n": 77}).encode()), *arm[at + 1 :]]
    assert kinds(differences(arm, changed, ordered=("*",))) == {(f"{place_of(arm[at])}.n", Kind.VALUE)}


@given(PLANTED, st.data())
def test_one_that_is_done_elsewhere(arm: list[Effect], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(arm) - 1))
    moved = [*arm[:at], msgspec.structs.replace(arm[at], operation="PUT payments.test/charge"), *arm[at + 1 :]]
    found = differences(arm, moved)
    assert {d.path for d in found} == {place_of(arm[at]), place_of(moved[at])}
    assert {d.kind for d in found if d.path == place_of(moved[at])} == {Kind.EXTRA}


@given(PLANTED, st.data())
def test_two_that_change_places(arm: list[Effect], data: st.DataObject) -> None:
    one, other = (data.draw(st.integers(0, len(arm) - 1)) for _ in range(2))
    swapped = list(arm)
    swapped[one], swapped[other] = swapped[other], swapped[one]
    found = differences(arm, swapped, ordered=("*",))
    alike = arm[one].operation == arm[other].operation and is_again(arm[one], [arm[other]])
    assert kinds(found) == (set() if alike else {("$", Kind.ORDER)})
    assert differences(arm, swapped) == ()
    assert alike or f"place {min(one, other) + 1}:" in found[0].note


def test_without_rules_nothing_is_asked_of_them() -> None:
    assert [d.kind for d in compare_effects((effect({"a": 1}),), (effect({"a": 2}),), RuleUse())] == [Kind.VALUE]


def test_a_very_long_operation_has_a_path_within_its_bound() -> None:
    (found,) = differences([effect({}, "GET " + "'" * 700)], [], rule(RuleAction.IGNORE, "$.never"))
    assert len(found.path) == limits.PATH_CHARS_MAX
