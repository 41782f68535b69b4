import msgspec

from harness.core.labels import Aspect, EffectsSeen, ErrorKind, Kind, Role
from harness.core.values import Comparison, Difference, Effect, Request, TransportError, body_of
from harness.report.exemplars import build_exemplar
from harness.report.model import Exemplar
from tests.report import samples
from tests.report.effect_samples import effect

FINDING = samples.FINDINGS[0]
TRIAL = samples.trial(
    "x",
    "GET /orders/{int}",
    samples.GET_ORDER,
    samples.response(200, {"total": {"amount": "1"}}),
    samples.response(200, {"total": {"amount": "1.00"}}),
)


def comparison(*differences: Difference) -> Comparison:
    return Comparison(trial="t-x", seq=7, stable_candidate=differences)


def test_the_difference_at_the_findings_place_explains_it() -> None:
    other = Difference(Aspect.BODY, "$.elsewhere", Kind.VALUE, 1, 2)
    wrong_kind = Difference(Aspect.BODY, "$.total.amount", Kind.FORMAT, "a", "b")
    right = Difference(Aspect.BODY, "$.total.amount", Kind.VALUE, "1", "1.00", "$.total.amount", "two decimals")
    made = build_exemplar(FINDING, TRIAL, comparison(other, wrong_kind, right), stable=samples.STABLE, candidate=samples.CANDIDATE)
    assert made.explanation == 'Another value: stable "1", candidate "1.00" (two decimals).'
    assert made.where == "$.total.amount"
    assert made.stable.status == 200
    assert made.candidate is not None
    assert '"amount": "1.00"' in made.candidate.body.text
    assert "step_1" in made.command
    assert made.stable.latency_ms == 11.2


def test_without_a_difference_the_kind_speaks() -> None:
    made = build_exemplar(FINDING, TRIAL, None, stable=samples.STABLE, candidate=samples.CANDIDATE)
    assert made.explanation == "Another value."
    assert made.where == FINDING.path


def test_an_explanation_that_is_given_is_used_and_cleaned() -> None:
    made = build_exemplar(FINDING, TRIAL, None, stable=samples.STABLE, candidate=samples.CANDIDATE, explanation="a\u202eb\nc")
    assert made.explanation == "Another value.\na\\u202eb\nc"


def test_errors_take_the_place_of_an_answer() -> None:
    error = TransportError(ErrorKind.TIMEOUT, "after 30 s")
    broken = msgspec.structs.replace(TRIAL, candidate=samples.arm(Role.CANDIDATE, samples.GET_ORDER, None, 30_000, error), secondary=None)
    finding = samples.FINDINGS[5]
    made = build_exemplar(
        finding,
        broken,
        comparison(Difference(Aspect.TRANSPORT, "$", Kind.ERROR, None, "timeout")),
        stable=samples.STABLE,
        candidate=samples.CANDIDATE,
    )
    assert made.candidate is not None
    assert made.candidate.error == "candidate did not answer in time: after 30 s"
    assert made.candidate.status is None
    assert made.secondary is None
    assert made.explanation == 'An answer on one side only: stable an answer, candidate "timeout".'


def test_values_of_other_types_and_absent_ones() -> None:
    missing = Difference(Aspect.BODY, "$.total.amount", Kind.MISSING, 12.5, None)
    made = build_exemplar(FINDING, TRIAL, comparison(missing), stable=samples.STABLE, candidate=samples.CANDIDATE)
    assert made.explanation == "Another value: stable 12.5, candidate nothing."


def test_a_trial_without_candidate_and_with_a_body() -> None:
    request = Request("POST", "/x", (), body_of(b'{"a":1}'))
    alone = msgspec.structs.replace(TRIAL, candidate=None, request=request, mapped_ids=3)
    made = build_exemplar(FINDING, alone, None, stable=samples.STABLE, candidate=samples.CANDIDATE)
    assert made.candidate is None
    assert made.request.body.text == '{\n  "a": 1\n}'
    assert "3 identifiers" in made.command


def test_effects_are_lined_up_and_the_command_says_that_answers_may_be_alike() -> None:
    exemplar = {made.finding: made for made in samples.exemplars()}["f1c0ffee07"]
    assert exemplar.explanation == (
        "Done more often: stable does it once, candidate twice, secondary once "
        "(no counterpart among stable's calls or on the tape, so the harness answered with status 599)."
    )
    assert exemplar.times == {Role.STABLE: 1, Role.CANDIDATE: 2, Role.SECONDARY: 1}
    assert {role.value: len(views) for role, views in exemplar.effects.items()} == {"stable": 4, "candidate": 5, "secondary": 4}
    assert exemplar.effects_seen is EffectsSeen.COMPLETE
    assert exemplar.effects_left_out == 0
    assert "# POST /orders: effect `POST payments.test/charge` (http): done more often" in exemplar.command
    assert "What differs is a side effect" in exemplar.command
    other = {made.finding: made for made in samples.exemplars()}["f1c0ffee01"]
    assert other.effects == {}
    assert "side effect" not in other.command
    assert other.times == {}


CHARGE = "$['http POST a.test/charge']"


def about_charges(kind: Kind, path: str, stable: int, candidate: int, difference: Difference | None, note: str = "") -> Exemplar:
    """An exemplar of a request in which the targets charge so often."""

    def charges(count: int, said: str = "") -> tuple[Effect, ...]:
        return tuple(effect("http", "POST a.test/charge", {"amount": 5, "number": number}, said) for number in range(count))

    finding = samples.evidence("f", "POST /orders", Aspect.EFFECTS, path, kind)
    trial = samples.doing(TRIAL, charges(stable), charges(candidate, note), charges(stable))
    found = comparison(difference) if difference is not None else None
    return build_exemplar(finding, trial, found, stable=samples.STABLE, candidate=samples.CANDIDATE)


def test_what_is_not_done_is_told_by_how_often_and_not_by_its_document() -> None:
    lost = Difference(Aspect.EFFECTS, CHARGE, Kind.MISSING, '{"url":{"path":"/charge"}}', None)
    made = about_charges(Kind.MISSING, CHARGE, 1, 0, lost)
    assert made.explanation == "Not done: stable does it once, candidate never, secondary once."
    one_of_two = about_charges(Kind.MISSING, CHARGE, 2, 1, msgspec.structs.replace(lost, note="1 time against 2"))
    assert one_of_two.explanation == "Not all of them done: stable does it twice, candidate once, secondary twice."
    fewer = Difference(Aspect.EFFECTS, CHARGE, Kind.FEWER, 3, 1, note="1 time against 3")
    made = about_charges(Kind.FEWER, CHARGE, 3, 1, fewer, "answered from stable's call")
    assert made.explanation == "Done less often: stable does it 3 times, candidate once, secondary 3 times."


def test_counts_are_said_once_and_other_notes_stay() -> None:
    note = "2 times against 1; no match: failed; not all effects had come"
    twice = Difference(Aspect.EFFECTS, CHARGE, Kind.DUPLICATED, 1, 2, note=note)
    made = about_charges(Kind.DUPLICATED, CHARGE, 1, 2, twice, "no match: failed")
    assert made.explanation == (
        "Done more often: stable does it once, candidate twice, secondary once "
        "(no counterpart among stable's calls or on the tape, so the harness answered with status 599; not all effects had come)."
    )
    bare = about_charges(Kind.DUPLICATED, CHARGE, 1, 2, None)
    assert bare.explanation == "Done more often: stable does it once, candidate twice, secondary once."


def test_an_operation_that_cannot_be_counted_is_told_without_its_document() -> None:
    path = "$['http POST cut.test/ch']"
    lost = Difference(Aspect.EFFECTS, path, Kind.MISSING, '{"url":{}}', None)
    assert about_charges(Kind.MISSING, path, 1, 0, lost).explanation == "Not done."


def test_counts_are_of_whole_effects_only() -> None:
    inside = f"{CHARGE}.amount"
    lost = Difference(Aspect.EFFECTS, inside, Kind.MISSING, 5, None, note="no match: stub")
    made = about_charges(Kind.MISSING, inside, 1, 2, lost)
    assert made.times == {}
    assert made.explanation == (
        "Done without this value: stable 5, candidate nothing (no counterpart among stable's calls or on the tape, so the stub answered)."
    )
