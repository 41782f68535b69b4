import random
from collections.abc import Iterable

import msgspec
import pytest

from harness.core import limits
from harness.core.labels import Aspect, Control, Design, FindingClass, Kind, Role
from harness.evidence import ledger as ledger_module
from harness.evidence.bets import Bet, decode_bets, encode_bets
from harness.evidence.confirm import Questions
from harness.evidence.findings import finding_id
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.evidence.snapshot import Evidence, Snapshot
from tests.sim.world import Answer, Three, bets, flips, fold_all

WRONG: Three = ("1", "1", "2")
RIGHT: Three = ("1", "1", "1")
ENDPOINT = "GET /items/{int}"
ID = finding_id(ENDPOINT, Aspect.BODY, "$.x", Kind.VALUE)


def passes(
    count: int, *, size: int = 10, wrong: Iterable[int] = (3,), fresh: bool = True, first: int = 0, **changes: object
) -> list[Answer]:
    """A capture sent again and again; some of its requests differ in the candidate."""
    odd = set(wrong)
    return [
        Answer(
            entity=f"/{entry}",
            entry=entry,
            values={"$.x": WRONG if entry in odd else RIGHT},
            pass_index=index,
            fresh=fresh,
            **changes,  # type: ignore[arg-type]  # of a test's choice
        )
        for index in range(first, first + count)
        for entry in range(size)
    ]


def ledger_of(answers: Iterable[Answer], policy: Policy | None = None, **options: object) -> Ledger:
    ledger = Ledger(policy or Policy(), **{"endpoints": (ENDPOINT,), **options})  # type: ignore[arg-type]  # of a test's choice
    fold_all(ledger, answers)
    return ledger


def only(snapshot: Snapshot) -> Evidence:
    (finding,) = snapshot.findings
    return finding


def test_an_empty_ledger_says_so() -> None:
    snapshot = Ledger(Policy(), control=Control.SELF, design=Design.TWO_ARM).snapshot()
    assert (snapshot.seq, snapshot.passes, snapshot.gate_log10, snapshot.open_questions) == (0, 0, 0.0, 0)
    assert (snapshot.control, snapshot.design, snapshot.gate_log10_threshold) == (Control.SELF, Design.TWO_ARM, 2.0)


def test_a_difference_that_always_comes_back_is_named() -> None:
    snapshot = ledger_of(passes(9)).snapshot()
    finding = only(snapshot)
    assert finding.id == ID
    assert finding.finding_class is FindingClass.DIVERGENCE
    assert snapshot.failed_at is not None
    assert snapshot.failed_pass is not None
    assert snapshot.failed_pass < 9
    assert finding.decided_pass is not None
    assert (finding.diverged, finding.control_diverged, finding.compared) == (9, 0, 90)
    assert finding.interval.low <= finding.rate <= finding.interval.high
    assert finding.rate == pytest.approx(0.1)
    assert snapshot.open_questions == 0
    assert finding.more_requests is None


def test_a_named_finding_has_the_evidence_that_its_threshold_asks_for() -> None:
    finding = only(ledger_of(passes(20)).snapshot())
    assert finding.log10_e >= finding.log10_threshold or finding.log10_confirmation > 2.0
    assert finding.confirmed == finding.repeats > 0


def test_repeats_count_from_fresh_state_only() -> None:
    snapshot = ledger_of(passes(9, fresh=False)).snapshot()
    finding = only(snapshot)
    assert finding.finding_class is FindingClass.UNDECIDED
    assert (finding.repeats, snapshot.open_questions, snapshot.fresh) == (0, 0, False)
    assert finding.more_requests is not None


def test_the_answer_that_raised_a_question_is_not_counted_for_it() -> None:
    assert only(ledger_of(passes(1)).snapshot()).repeats == 0
    assert only(ledger_of(passes(2)).snapshot()).repeats == 1


def test_a_repeat_says_nothing_about_control_and_design_of_the_traffic() -> None:
    ledger = Ledger(Policy(), live=True)
    ledger.fold(bets(0, Answer(design=Design.TWO_ARM)))
    ledger.fold(bets(1, Answer(design=Design.THREE_ARM, control=Control.SELF, repeat=True, fresh=True)))
    snapshot = ledger.snapshot()
    assert (snapshot.design, snapshot.control, snapshot.fresh) == (Design.TWO_ARM, Control.SECONDARY, False)
    assert (snapshot.seq, snapshot.repeats, snapshot.repeats_of_stable, snapshot.requests_distinct) == (2, 1, 1, 1)


def test_what_nobody_can_ask_raises_no_question() -> None:
    """Else it would stand in the way of those that are asked, and make their thresholds higher."""
    one = bets(0, Answer(values={"$.x": WRONG}, design=Design.TWO_ARM))
    for askable in (True, False):
        ledger = Ledger(Policy(), live=True)
        ledger.fold(msgspec.structs.replace(one, askable=askable))
        assert ledger.questions.about(one.request) is askable
        assert len(ledger.questions) == askable


def test_a_repeat_counts_for_its_question_and_nothing_else() -> None:
    ledger = ledger_of(passes(1))
    before = ledger.snapshot()
    again = Answer(entity="/3", entry=3, values={"$.x": WRONG}, fresh=True, repeat=True)
    fold_all(ledger, [again] * 4, 10)
    after = ledger.snapshot()
    assert only(after).repeats == only(after).confirmed == 4
    assert only(after).log10_e == only(before).log10_e
    assert only(after).compared == only(before).compared
    assert after.repeats == 4
    assert after.compared_in_passes == before.compared_in_passes


def test_a_difference_that_never_comes_back_leaves_its_question_settled_and_stays_undecided_without_noise_of_the_control() -> None:
    ledger = ledger_of(passes(1) + passes(12, wrong=(), first=1))
    assert len(ledger.questions) == 0
    assert only(ledger.snapshot()).finding_class is FindingClass.UNDECIDED


def test_it_is_noise_once_the_control_shows_it_too() -> None:
    answers = passes(1) + passes(12, wrong=(), first=1)
    answers[25] = Answer(entity="/5", entry=5, values={"$.x": ("1", "2", "1")}, pass_index=2, fresh=True)
    snapshot = ledger_of(answers).snapshot()
    assert snapshot.findings == ()
    assert snapshot.noise[0].finding_class is FindingClass.NOISE
    assert snapshot.open_questions == 0


def test_an_excess_of_delta_can_be_excluded_by_the_first_sends() -> None:
    answers = passes(1, size=2000) + passes(6, size=10, wrong=(), first=1)
    assert ledger_of(answers).snapshot().findings == ()


def test_noise_of_all_arms_is_never_a_finding() -> None:
    rng = random.Random(1)

    def answer(entry: int) -> Answer:
        return Answer(entity=f"/{entry}", entry=entry, values={"$.id": (rng.random(), rng.random(), rng.random())}, fresh=True)

    snapshot = ledger_of(answer(entry) for entry in range(100)).snapshot()
    assert snapshot.findings == ()
    assert (snapshot.noise[0].control_diverged, snapshot.noise[0].noisy, snapshot.noise[0].log10_threshold) == (100, True, 0.0)


def test_a_null_in_a_noisy_field_is_found_all_the_same() -> None:
    rng = random.Random(1)

    def answer(entry: int, index: int) -> Answer:
        candidate = None if entry % 4 == 0 else rng.random()
        values: dict[str, Three] = {"$.id": (rng.random(), rng.random(), candidate)}
        return Answer(entity=f"/{entry}", entry=entry, values=values, pass_index=index, fresh=True)

    finding = only(ledger_of(answer(entry, index) for index in range(8) for entry in range(100)).snapshot())
    assert (finding.kind, finding.finding_class) == (Kind.NULL, FindingClass.DIVERGENCE)


def test_once_per_key() -> None:
    same = [Answer(entity="/1", values={"$.x": WRONG})] * 50
    ledger = ledger_of(same)
    assert ledger.by_id[ID].stake.bets == 1
    assert ledger.by_id[ID].alone == 50
    assert ledger.pools[next(iter(ledger.pools))].stake.bets == 0
    assert only(ledger.snapshot()).finding_class is FindingClass.UNDECIDED


def test_fresh_passes_are_answers_of_their_own() -> None:
    assert ledger_of(passes(5)).by_id[ID].stake.bets == 5
    assert ledger_of(passes(5, fresh=False)).by_id[ID].stake.bets == 1


def test_what_one_start_does_again_and_again_is_one_sighting() -> None:
    """An instance that chose otherwise at its start shows it in every answer: three starts prove nothing, nine do."""
    assert ledger_of(passes(3, wrong=range(10))).failed() is None
    assert ledger_of(passes(9, wrong=range(10))).failed() is not None


def test_a_pass_from_fresh_state_is_looked_at_when_it_is_over() -> None:
    """Looked at after each pass or at the end only: the same moments are named."""
    watched, folded = ledger_of([]), ledger_of(passes(9, wrong=range(10)))
    failed_after = []
    for index in range(9):
        fold_all(watched, passes(1, wrong=range(10), first=index), index * 10)
        failed_after.append(watched.snapshot().failed_pass)
    assert watched.snapshot() == folded.snapshot()
    first = next(index for index, failed_pass in enumerate(failed_after) if failed_pass is not None)
    assert failed_after[first:] == [first] * (9 - first)
    assert only(folded.snapshot()).decided_pass is not None


def test_a_pool_bets_where_all_new_answers_agree() -> None:
    ledger = ledger_of(
        [
            Answer(entity="/1", values={"$.x": WRONG, "$.y": WRONG}),
            Answer(entity="/2", values={"$.x": WRONG, "$.y": ("1", "2", "1")}),
            Answer(entity="/3", values={"$.x": ("2", "1", "1")}),
        ]
    )
    stake = {pool.value: state.stake for pool, state in ledger.pools.items()}["body_values"]
    assert (stake.bets, stake.wins) == (2, 1)


def test_many_small_differences_fail_together_without_a_culprit() -> None:
    """Each path differs once only: no single one can be named, the pool can."""
    answers = [Answer(entity=f"/{i}", values={f"$.x{i}": WRONG}) for i in range(14)]
    snapshot = ledger_of(answers).snapshot()
    assert snapshot.failed_at is not None
    assert {finding.finding_class for finding in snapshot.findings} == {FindingClass.UNDECIDED}
    assert [pool.name for pool in snapshot.pools if pool.decided_at is not None] == ["body_values"]


def test_followers_of_a_diverged_creation_are_counted_under_their_root() -> None:
    answers = []
    for index in range(10):
        lost = Answer(endpoint="POST /items", entity="/items", entry=0, status=(201, 201, 500), session="s", pass_index=index, fresh=True)
        follower = Answer(entity="/1", entry=1, values={"$.x": WRONG}, session="s", tainted=True, pass_index=index, fresh=True)
        answers += [lost, follower]
    ledger = ledger_of(answers)
    snapshot = ledger.snapshot()
    by_aspect = {finding.aspect: finding for finding in snapshot.findings}
    root, follower_finding = by_aspect[Aspect.STATUS], by_aspect[Aspect.BODY]
    assert root.finding_class is FindingClass.DIVERGENCE
    assert follower_finding.finding_class is FindingClass.UNDECIDED
    assert (follower_finding.root, follower_finding.followers, follower_finding.diverged) == (root.id, 10, 10)
    assert ledger.by_id[ID].stake.bets == 0
    assert snapshot.open_questions == 0
    assert follower_finding.exemplars


def test_followers_of_noise_are_noise() -> None:
    answers = [
        Answer(endpoint="POST /items", entity="/items", status=(201, 500, 201), session="s"),
        Answer(entity="/1", values={"$.x": WRONG}, session="s", tainted=True),
    ]
    assert ledger_of(answers).snapshot().findings == ()


def test_followers_without_a_known_root_are_undecided() -> None:
    finding = only(ledger_of([Answer(values={"$.x": WRONG}, tainted=True)]).snapshot())
    assert (finding.finding_class, finding.root) == (FindingClass.UNDECIDED, None)


def test_a_noisy_follower_is_no_finding() -> None:
    assert ledger_of([Answer(values={"$.x": ("1", "2", "1")}, tainted=True)]).snapshot().findings == ()


def test_roots_are_remembered_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "EVIDENCE_SESSIONS_MAX", 2)
    answers = [Answer(entity=f"/{i}", values={"$.x": WRONG}, session=f"s{i}") for i in range(3)]
    lost = Answer(entity="/9", values={"$.y": WRONG}, session="s0", tainted=True)
    kept = Answer(entity="/9", values={"$.z": WRONG}, session="s2", tainted=True)
    roots = {finding.path: finding.root for finding in ledger_of([*answers, lost, kept]).snapshot().findings}
    assert roots == {"$.x": None, "$.y": None, "$.z": ID}


def test_a_body_that_differs_with_the_status_follows_from_it() -> None:
    answers = [Answer(entity=f"/{i}", status=(200, 200, 500), values={"$.x": WRONG}) for i in range(3)]
    roots = {finding.aspect: finding.root for finding in ledger_of(answers).snapshot().findings}
    assert roots[Aspect.BODY] == finding_id(ENDPOINT, Aspect.STATUS, "$", Kind.CODE)
    assert roots[Aspect.STATUS] is None
    answers.append(Answer(entity="/9", values={"$.x": WRONG}))
    roots = {finding.aspect: finding.root for finding in ledger_of(answers).snapshot().findings}
    assert roots[Aspect.BODY] is None


def test_examples_are_the_first_and_then_ever_rarer_ones() -> None:
    ledger = Ledger(Policy())
    kept = [ledger.fold(bets(i, Answer(entity=f"/{i}", values={"$.x": WRONG}))) for i in range(20)]
    assert [i for i, ids in enumerate(kept) if ids == (ID,)] == [0, 1, 3]
    assert only(ledger.snapshot()).exemplars == ("t0", "t1", "t3")
    assert limits.EXEMPLARS_PER_FINDING_MAX == 3


def test_hypotheses_beyond_the_bound_are_pooled_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "HYPOTHESES_MAX", 2)
    answers = [Answer(entity=f"/{i}", values={f"$.x{i}": WRONG}) for i in range(14)]
    snapshot = ledger_of(answers).snapshot()
    assert (len(snapshot.findings), snapshot.pooled_hypotheses, snapshot.pooled_candidate) == (2, 12, 12)
    assert snapshot.failed_at is not None


def test_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.evidence.confirm.QUESTIONS_MAX", 4)
    monkeypatch.setattr("harness.evidence.confirm.CONFIRMATIONS_MAX", 2)
    ledger = ledger_of(passes(1, wrong=range(6)), Policy(alpha=1e-9))
    assert len(ledger.questions) == 4
    assert ledger.by_id[ID].unasked
    weights = [q.stake.weight for qs in ledger.questions._by_request.values() for q in qs]
    assert weights == [1 / 2, 1 / 6, 0.0, 0.0]


def test_requests_beyond_the_bound_all_count_as_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.evidence.hypothesis.REQUESTS_PER_HYPOTHESIS_MAX", 2)
    snapshot = ledger_of(passes(1, wrong=range(4)), Policy(alpha=1e-9)).snapshot()
    assert snapshot.requests_diverged is None
    assert ledger_of(passes(2, wrong=range(2)), Policy(alpha=1e-9)).snapshot().requests_diverged == 2


def test_a_difference_first_seen_after_enough_clean_passes_raises_no_question() -> None:
    """Five sends from fresh state without it have rejected already that it comes back in half of them."""
    early = ledger_of(passes(4, wrong=()) + passes(1, first=4))
    late = ledger_of(passes(5, wrong=()) + passes(1, first=5))
    assert (len(early.questions), len(late.questions)) == (1, 0)
    assert early.questions.sends_to_settle == 5


def test_a_pass_that_was_not_whole_proves_nothing_clean() -> None:
    answers = passes(5, wrong=())
    del answers[3]
    assert len(ledger_of(answers + passes(1, first=5)).questions) == 1


def test_in_a_stream_a_hypothesis_has_one_question_at_a_time() -> None:
    ledger = ledger_of([Answer(entity=f"/{i}", values={"$.x": WRONG}) for i in range(5)])
    assert len(ledger.questions) == 1
    assert Questions(0.05).unsettled(ledger.by_id[ID]) == 0


def test_a_question_on_a_noisy_path_is_settled_when_the_control_does_it_as_well() -> None:
    rng = random.Random(2)

    def values(index: int) -> Three:
        return flips(rng, 0.5) if index else WRONG

    answers = [
        Answer(entity=f"/{entry}", entry=entry, values={"$.x": values(index)}, pass_index=index, fresh=True)
        for index in range(12)
        for entry in range(12)
    ]
    ledger = ledger_of(answers, Policy(alpha=1e-9))
    assert len(ledger.questions) <= 1
    assert ledger.snapshot().noise or ledger.snapshot().findings


def test_tainted_sends_answer_no_question() -> None:
    ledger = ledger_of(passes(1) + passes(3, first=1, tainted=True))
    assert only(ledger.snapshot()).repeats == 0


def test_without_a_control_a_rate_beyond_eps0_fails() -> None:
    def answers(share: int) -> list[Answer]:
        return [
            Answer(entity=f"/{i}", values={"$.x": WRONG if i % share == 0 else RIGHT}, control=Control.NONE, design=Design.NO_CONTROL)
            for i in range(400)
        ]

    failing, passing = ledger_of(answers(5)).snapshot(), ledger_of(answers(100)).snapshot()
    assert failing.failed_at is not None
    assert only(failing).finding_class is FindingClass.DIVERGENCE
    assert passing.failed_at is None
    assert only(passing).finding_class is FindingClass.UNDECIDED


def test_uncomparable_parts_are_counted() -> None:
    one = bets(0, Answer())
    odd = type(one)(
        **{**{f: getattr(one, f) for f in one.__struct_fields__}, "bets": (Bet(Aspect.BODY, "$", Kind.UNCOMPARABLE, None, True, True),)}
    )
    ledger = Ledger(Policy())
    ledger.fold(odd)
    assert ledger.snapshot().uncomparable == 1


def test_a_stored_run_folds_to_the_same_snapshot() -> None:
    rng = random.Random(4)
    stored = []
    first = Ledger(Policy(), endpoints=(ENDPOINT,))
    for seq in range(300):
        values = {"$.a": flips(rng, 0.1), "$.b": flips(rng, 0.4)}
        latency = (rng.random() + 1, rng.random() + 1, rng.random() + 1.3)
        one = bets(
            seq,
            Answer(entity=f"/{seq % 30}", entry=seq % 30, values=values, pass_index=seq // 30, fresh=True, latency_ms=latency, at_s=seq),
        )
        first.fold(one)
        stored.append(encode_bets(one))
    second = Ledger(Policy(), endpoints=(ENDPOINT,))
    for data in stored:
        second.fold(decode_bets(data))
    assert second.snapshot() == first.snapshot()


def test_a_bet_of_the_candidate_is_one_of_its_own() -> None:
    ledger = ledger_of([Answer(values={"$.x": WRONG})])
    assert ledger.endpoints[ENDPOINT].diverged == 1
    assert {bet.odd for bet in bets(0, Answer(values={"$.x": WRONG})).bets} == {Role.CANDIDATE}
