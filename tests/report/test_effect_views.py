import msgspec
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Aspect, Role
from harness.core.limits import REPORT_EFFECT_CHARS_MAX, REPORT_EFFECTS_CHARS_MAX, REPORT_EFFECTS_MAX
from harness.core.values import Effect, Trial
from harness.report.effect_views import ShownEffects, effect_times, effect_views
from harness.report.model import EffectMark
from tests.report import samples
from tests.report.effect_samples import effect

BARE = samples.trial(
    "x", "POST /orders", samples.POST_ORDER, samples.response(201, {}), samples.response(201, {}), samples.response(201, {})
)
CHARGE = "$['http POST a.test/charge']"


def trial(stable: list[Effect], candidate: list[Effect], secondary: list[Effect] | None = None) -> Trial:
    return samples.doing(BARE, tuple(stable), tuple(candidate), tuple(stable if secondary is None else secondary))


def shown(of: Trial, aspect: Aspect = Aspect.EFFECTS, path: str = CHARGE) -> ShownEffects:
    return effect_views(of, aspect, path)


def table(views: ShownEffects) -> dict[int, dict[str, tuple[int, str]]]:
    """Row -> target -> position and mark."""
    found: dict[int, dict[str, tuple[int, str]]] = {}
    for role, listed in views.views.items():
        for view in listed:
            found.setdefault(view.row, {})[role.value] = (view.position, view.mark.value)
    return dict(sorted(found.items()))


def charge(amount: int, key: str = "k", note: str = "") -> Effect:
    return effect("http", "POST a.test/charge", {"amount": amount, "key": key}, note)


STORE = effect("sqlite", "INSERT orders", {"new": {"id": 1}})


def test_a_call_that_is_made_twice_is_marked_once() -> None:
    assert table(shown(trial([charge(1), STORE], [charge(1), charge(1), STORE]))) == {
        0: {"stable": (1, "same"), "candidate": (1, "same"), "secondary": (1, "same")},
        1: {"candidate": (2, "duplicated")},
        2: {"stable": (2, "same"), "candidate": (3, "same"), "secondary": (2, "same")},
    }


def test_what_is_not_done_and_what_stable_does_not() -> None:
    assert table(shown(trial([charge(1)], [STORE], [charge(1), STORE]))) == {
        0: {"candidate": (1, "extra"), "secondary": (2, "extra")},
        1: {"stable": (1, "missing"), "secondary": (1, "same")},
    }


def test_the_likest_of_several_are_beside_each_other() -> None:
    views = shown(trial([charge(1, "a"), charge(2, "b")], [charge(2, "y"), charge(1, "x"), charge(1, "a")]))
    candidate = {view.row: (view.position, view.mark) for view in views.views[Role.CANDIDATE]}
    assert candidate == {0: (3, EffectMark.SAME), 1: (1, EffectMark.CHANGED), 2: (2, EffectMark.DUPLICATED)}


def test_the_order_of_keys_is_no_difference() -> None:
    other = Effect(collector="http", operation="POST a.test/charge", document=b'{"key": "k", "amount": 1}')
    assert {mark for row in table(shown(trial([charge(1)], [other]))).values() for _, mark in row.values()} == {"same"}


def test_generated_values_are_told_from_others() -> None:
    one, other = "2c2b3c92-71d2-4a38-9d0e-5a1f3c8e7b10", "b7e0a3d4-90aa-4c1b-8f52-0e6d9a7c3f21"
    note = "answered from stable's call, though its content differs"
    views = shown(trial([charge(1, one)], [charge(2, other, note)], [charge(1, other, note)])).views
    (candidate,), (secondary,) = views[Role.CANDIDATE], views[Role.SECONDARY]
    assert (candidate.mark, candidate.note) == (EffectMark.CHANGED, note)
    assert (secondary.mark, secondary.note) == (EffectMark.GENERATED, "answered from stable's call")
    inserted = [
        Effect(collector="sqlite", operation="INSERT a", document=b'{"row":{"n":%d}}' % number, keys=keys)
        for number, keys in ((1, ()), (2, ("n",)), (2, ()))
    ]
    marks = [shown(trial([inserted[0]], [other])).views[Role.CANDIDATE][0].mark for other in inserted]
    assert marks == [EffectMark.SAME, EffectMark.GENERATED, EffectMark.CHANGED]


def test_how_often_each_target_did_it() -> None:
    of = trial([charge(1), STORE], [charge(1), charge(2)], [STORE])
    assert effect_times(of, CHARGE) == {Role.STABLE: 1, Role.SECONDARY: 0, Role.CANDIDATE: 2}
    assert effect_times(of, f"{CHARGE}.amount") == effect_times(of, "$") == effect_times(of, "$['http POST b.test']") == {}


def test_documents_are_indented_and_notes_and_lateness_are_told() -> None:
    late = msgspec.structs.replace(charge(1, note="from the tape"), late=True, writes=False)
    (view,) = shown(trial([charge(1)], [late])).views[Role.CANDIDATE]
    assert view.document == '{\n  "amount": 1,\n  "key": "k"\n}'
    assert (view.note, view.late, view.writes, view.cut) == ("from the tape", True, False, False)


def test_a_trial_of_two_arms_has_two_columns() -> None:
    alone = msgspec.structs.replace(trial([charge(1)], [charge(2)]), secondary=None)
    assert set(shown(alone).views) == {Role.STABLE, Role.CANDIDATE}
    only = msgspec.structs.replace(alone, candidate=None)
    assert table(shown(only)) == {0: {"stable": (1, "same")}}
    assert shown(BARE) == ShownEffects()


def test_what_differs_and_the_findings_own_operation_are_kept_first() -> None:
    many = [effect("redis", f"SET k{number}", {"value": number}) for number in range(REPORT_EFFECTS_MAX + 10)]
    views = shown(trial([*many, STORE, charge(1)], [*many, STORE, charge(1), charge(1)]))
    stable = views.views[Role.STABLE]
    assert len({view.row for listed in views.views.values() for view in listed}) == REPORT_EFFECTS_MAX
    assert stable[-1].operation == "POST a.test/charge"
    assert views.views[Role.CANDIDATE][-1].mark is EffectMark.DUPLICATED
    assert views.left_out == 3 * 13
    elsewhere = shown(trial([*many, STORE, charge(1)], [*many, STORE, charge(2)]), Aspect.BODY, "$.x")
    assert elsewhere.views[Role.CANDIDATE][-1].mark is EffectMark.CHANGED
    assert "INSERT orders" not in {view.operation for view in elsewhere.views[Role.STABLE]}


def test_documents_are_bounded_around_the_first_difference() -> None:
    def long(last: str) -> Effect:
        return effect("http", "POST a.test/charge", {**{f"k{number:05}": number for number in range(5_000)}, "last": last})

    views = shown(trial([long("a")] * 10, [long("b")] * 10))
    listed = [view for listed in views.views.values() for view in listed]
    assert len(listed) == 30
    assert sum(len(view.document) for view in listed) <= REPORT_EFFECTS_CHARS_MAX
    assert all(view.cut for view in listed)
    first = views.views[Role.CANDIDATE][0]
    assert '"last": "b"' in first.document
    assert len(first.document) <= REPORT_EFFECT_CHARS_MAX


@given(st.binary(max_size=60), st.text(max_size=30), st.text(max_size=30))
def test_no_document_or_name_is_too_odd(document: bytes, operation: str, note: str) -> None:
    odd = Effect(collector="x", operation=operation, document=document, note=note)
    (view,) = shown(trial([charge(1)], [odd])).views[Role.CANDIDATE]
    assert msgspec.json.decode(msgspec.json.encode(view)) is not None


doings = st.lists(st.builds(charge, st.integers(1, 3), st.sampled_from("ab")) | st.just(STORE), max_size=8)


@given(doings, doings, doings)
def test_every_effect_is_shown_once_in_a_row_of_its_own_operation(
    stable: list[Effect], candidate: list[Effect], secondary: list[Effect]
) -> None:
    views = shown(trial(stable, candidate, secondary))
    assert views.left_out == 0
    for role, done in ((Role.STABLE, stable), (Role.CANDIDATE, candidate), (Role.SECONDARY, secondary)):
        listed = views.views.get(role, ())
        assert sorted(view.position for view in listed) == list(range(1, len(done) + 1))
        assert len({view.row for view in listed}) == len(listed)
        assert all(done[view.position - 1].operation == view.operation for view in listed)
    assert [view.position for view in views.views.get(Role.STABLE, ())] == list(range(1, len(stable) + 1))
    operations: dict[int, set[str]] = {}
    for listed in views.views.values():
        for view in listed:
            operations.setdefault(view.row, set()).add(view.operation)
    assert all(len(names) == 1 for names in operations.values())


@given(doings)
def test_targets_that_do_the_same_are_the_same_throughout(done: list[Effect]) -> None:
    views = shown(trial(done, done))
    assert all(view.mark is EffectMark.SAME and view.row == view.position - 1 for listed in views.views.values() for view in listed)


@given(doings, doings)
def test_marks_count_what_one_side_does_more(stable: list[Effect], candidate: list[Effect]) -> None:
    views = shown(trial(stable, candidate))
    marks = [view.mark for view in views.views.get(Role.CANDIDATE, ())]
    lone = sum(mark in (EffectMark.EXTRA, EffectMark.DUPLICATED) for mark in marks)
    missing = sum(view.mark is EffectMark.MISSING for view in views.views.get(Role.STABLE, ()))
    for name in {one.operation for one in (*stable, *candidate)}:
        more = sum(one.operation == name for one in candidate) - sum(one.operation == name for one in stable)
        lone -= max(0, more)
        missing -= max(0, -more)
    assert (lone, missing) == (0, 0)
