import pytest

from harness.core.labels import FindingClass
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.evidence.standing import Standing
from tests.evidence.test_ledger import ENDPOINT, ID, WRONG, passes
from tests.sim.world import Answer, fold_all


def standing(answers: list[Answer], policy: Policy | None = None) -> tuple[Ledger, FindingClass]:
    ledger = Ledger(policy or Policy(), endpoints=(ENDPOINT,))
    fold_all(ledger, answers)
    return ledger, Standing(ledger).class_of(ledger.endpoints[ENDPOINT], ledger.by_id[ID])


def test_looking_changes_nothing() -> None:
    ledger, _ = standing(passes(4))
    assert ledger.snapshot() == ledger.snapshot()


@pytest.mark.parametrize(("count", "found"), [(1, FindingClass.UNDECIDED), (4, FindingClass.UNDECIDED), (10, FindingClass.DIVERGENCE)])
def test_a_difference_that_comes_back_is_undecided_until_it_is_proven(count: int, found: FindingClass) -> None:
    assert standing(passes(count))[1] is found


def test_an_open_question_keeps_it_from_being_noise() -> None:
    answers = [
        *passes(1),
        Answer(entity="/5", entry=5, values={"$.x": ("1", "2", "1")}, pass_index=1, fresh=True),
    ]
    ledger, found = standing(answers)
    assert found is FindingClass.UNDECIDED
    assert ledger.snapshot().open_questions == 1


def test_a_difference_that_could_not_be_asked_about_is_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.evidence.confirm.QUESTIONS_MAX", 0)
    answers = [*passes(1), *passes(8, wrong=(), first=1)]
    answers[15] = Answer(entity="/5", entry=5, values={"$.x": ("1", "2", "1")}, pass_index=1, fresh=True)
    assert standing(answers)[1] is FindingClass.UNDECIDED


def test_how_many_more_requests_it_needs_follows_how_often_it_is_seen() -> None:
    def more(wrong: tuple[int, ...], *, fresh: bool) -> int:
        found = standing(passes(1, size=100, wrong=wrong, fresh=fresh))[0].snapshot().findings[0].more_requests
        assert found is not None
        return found

    assert more((1, 2, 3), fresh=False) < more((1,), fresh=False) / 3
    assert more((1, 2, 3), fresh=True) == pytest.approx(more((1,), fresh=True), abs=100), "a pass from fresh state is one sighting"
    two_arms = standing([Answer(entity="/1", values={"$.x": WRONG}, tainted=True)])[0].snapshot().findings[0]
    assert two_arms.more_requests is None


def test_endpoints_have_a_bound_where_nothing_diverged() -> None:
    clean = standing([*passes(2), *passes(2, size=30, wrong=(), endpoint="GET /clean")])[0].snapshot()
    by_name = {endpoint.endpoint: endpoint for endpoint in clean.endpoints}
    assert by_name[ENDPOINT].bound is None
    assert by_name["GET /clean"].bound == pytest.approx(0.095, abs=0.001)
    assert by_name["GET /clean"].requests == 30
    assert clean.thin_endpoints == (ENDPOINT,)
