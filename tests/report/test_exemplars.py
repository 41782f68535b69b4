import msgspec

from harness.core.labels import Aspect, ErrorKind, Kind, Role
from harness.core.values import Comparison, Difference, Request, TransportError, body_of
from harness.report.exemplars import build_exemplar
from tests.report import samples

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
