import msgspec
import pytest

from harness.core.labels import Aspect, Occurrence
from harness.evidence.snapshot import Occurs
from harness.report.model import FindingView
from harness.report.occurs_words import occurs_detail, occurs_words
from harness.report.words import evidence_words
from tests.report.samples import fail_report

FINDING: FindingView = fail_report().findings[0]


def finding(occurs: Occurs | None, **changes: object) -> FindingView:
    return msgspec.structs.replace(FINDING, occurs=occurs, root=None, **changes)


@pytest.mark.parametrize(
    ("occurs", "words", "detail"),
    [
        (None, "", ""),
        (
            Occurs(when=Occurrence.ONLY_UNDER_LOAD, parallel=9, parallel_shown=9, alone=3),
            "only under load",
            "only under load: in 9 of 9 passes with requests in parallel, in 0 of 3 with one at a time",
        ),
        (
            Occurs(when=Occurrence.ALWAYS, parallel=1, parallel_shown=1, alone=2, alone_shown=2),
            "always",
            "always: in 1 of 1 pass with requests in parallel, in 2 of 2 with one at a time",
        ),
        (
            Occurs(when=Occurrence.SOMETIMES, parallel=4, parallel_shown=2),
            "sometimes",
            "sometimes: in 2 of 4 passes, all in parallel; load was not told apart",
        ),
        (
            Occurs(when=Occurrence.ONLY_ALONE, parallel=5, alone=3, alone_shown=3),
            "only one request at a time",
            "only one request at a time: in 0 of 5 passes with requests in parallel, in 3 of 3 with one at a time",
        ),
        (
            Occurs(when=Occurrence.ALWAYS, alone=7, alone_shown=7),
            "always",
            "always: in 7 of 7 passes, all one request at a time; load was not told apart",
        ),
    ],
)
def test_when_a_finding_happens_is_said_in_words(occurs: Occurs | None, words: str, detail: str) -> None:
    one = finding(occurs, aspect=Aspect.BODY)
    assert (occurs_words(one), occurs_detail(one)) == (words, detail)
    assert evidence_words(one, fail_report()).count(f"; {words}") >= bool(words)


def test_of_a_candidate_that_disagrees_with_itself_pairs_are_counted() -> None:
    one = finding(Occurs(when=Occurrence.SOMETIMES, parallel=3, parallel_shown=2), aspect=Aspect.DETERMINISM)
    assert occurs_detail(one) == "sometimes: in 2 of 3 pairs of passes; load was not told apart"
