"""What effects say to the gate: only a broken rule fails, all else keeps from passing or is a note."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import EffectsSeen, ReasonCode
from harness.core.values import Totals
from harness.core.watched import EffectsFacts, LapseFact, TableDifference, Unattributed, Watched
from harness.evidence import observed
from harness.evidence.hard_rules import HardRules
from harness.evidence.ledger import Ledger
from harness.evidence.policy import EffectRule, Policy
from harness.evidence.snapshot import BrokenRule, Reason, Snapshot
from harness.evidence.words import NAMES_SHOWN_MAX
from tests.evidence.test_hard_rules import CHARGE, FORBIDDEN, REQUIRED, watched

EVEN = {"stable": 40, "secondary": 40, "candidate": 40}
HTTP = Watched(collector="http", version="1", seen=EVEN)
TOTALS = Totals(requests=40, compared=40)
EMPTY = Ledger(Policy()).snapshot()


def facts(*collectors: Watched, complete: int = 40, **changes: Any) -> EffectsFacts:
    return EffectsFacts(watched=collectors or (HTTP,), complete=complete, **changes)


def snapshot(rule: EffectRule, *trials: Any) -> Snapshot:
    ledger = Ledger(Policy(effects=(rule,)))
    for trial in trials:
        ledger.fold(trial)
    return ledger.snapshot()


def doubts(policy: Policy, effects: EffectsFacts, seen: Snapshot = EMPTY, totals: Totals = TOTALS) -> list[Reason]:
    return observed.doubts_of(seen, totals, policy, effects)


def only(reasons: list[Reason], code: ReasonCode) -> str:
    (found,) = reasons
    assert found.code is code
    return found.message


def lapse(role: str = "", *, blind: bool = True, count: int = 3) -> Watched:
    return msgspec.structs.replace(HTTP, lapses=(LapseFact(what="calls that were not HTTP", count=count, role=role, blind=blind),))


def test_a_broken_rule_says_what_how_often_and_what_stable_did() -> None:
    seen = snapshot(FORBIDDEN, watched(0, 0, 0), watched(1, 0, 2), watched(2, 1, 1))
    (said,) = observed.failed_words(observed.failures(seen, facts()))
    assert said.code is ReasonCode.HARD_RULE
    assert said.message == (
        "POST /orders: the policy allows at most 0 of `http POST payments.example/*` for each request; "
        "the candidate did up to 2 (in 2 of 3 requests, first in trial t1), stable 0 to 1 in the same requests; "
        "stable breaks the rule too in 1 of them. Why it is a rule: no real money."
    )
    assert said.next_step


def test_a_required_effect_that_is_missing_says_so() -> None:
    (said,) = observed.failed_words(observed.failures(snapshot(REQUIRED, watched(0, 1, 0)), facts()))
    assert "asks for at least 1 of" in said.message
    assert "the candidate did as few as 0 (in 1 of 1 request, first in trial t0), stable 1 in the same requests." in said.message


def test_reasons_are_bounded() -> None:
    hard = HardRules((FORBIDDEN,))
    for seq in range(observed.HARD_REASONS_MAX + 7):
        hard.fold(msgspec.structs.replace(watched(seq, 0, 1), endpoint=f"GET /{seq}"), seq + 1)
    said = observed.failed_words(hard.broken())
    assert len(said) == observed.HARD_REASONS_MAX + 1
    assert said[-1].message.startswith("7 more")


@pytest.mark.parametrize("role", ["", "candidate"])
def test_what_is_missing_fails_nobody_where_the_collector_was_blind(role: str) -> None:
    seen = snapshot(REQUIRED, watched(0, 1, 0), watched(1, 1, 1))
    effects = facts(lapse(role))
    assert observed.failures(seen, effects) == ()
    message = only(doubts(Policy(), effects, seen), ReasonCode.EFFECTS_NOT_OBSERVED)
    assert "did less in 1 of 2, which is no proof: not everything could be seen (http: calls that were not HTTP, 3 times)" in message


@pytest.mark.parametrize(
    "collectors",
    [
        (lapse("stable"),),
        (lapse(blind=False),),
        (lapse(count=0),),
        (HTTP, msgspec.structs.replace(lapse(), collector="redis")),
    ],
)
def test_a_lapse_that_cannot_hide_it_changes_nothing(collectors: tuple[Watched, ...]) -> None:
    assert len(observed.failures(snapshot(REQUIRED, watched(0, 1, 0)), facts(*collectors))) == 1


def test_too_much_is_too_much_however_blind_the_collector() -> None:
    assert len(observed.failures(snapshot(FORBIDDEN, watched(0, 0, 1)), facts(lapse()))) == 1


def test_an_effect_that_no_target_showed_may_be_of_a_collector_that_did_not_watch() -> None:
    rule = EffectRule(effect="postgres INSERT *", at_least=1)
    seen = snapshot(rule, watched(0, 0, 0))
    assert observed.failures(seen, facts()) == ()
    assert "no collector called postgres watched" in only(doubts(Policy(), facts(), seen), ReasonCode.EFFECTS_NOT_OBSERVED)
    there = facts(HTTP, msgspec.structs.replace(HTTP, collector="postgres"))
    assert len(observed.failures(seen, there)) == 1
    of_any = snapshot(EffectRule(effect="INSERT *", at_least=1), watched(0, 0, 0))
    assert len(observed.failures(of_any, facts())) == 1
    assert observed.failures(of_any, facts(HTTP, msgspec.structs.replace(lapse(), collector="redis"))) == ()


def test_trials_that_prove_nothing_are_a_doubt() -> None:
    seen = snapshot(REQUIRED, watched(0, 1, 0, seen=EffectsSeen.TIMED_OUT), watched(1, 1, 1))
    message = only(doubts(Policy(), facts(), seen), ReasonCode.EFFECTS_NOT_OBSERVED)
    assert "did less in 1 of 2, which is no proof: its effects had not all come" in message
    rule = BrokenRule(
        rule=0,
        effect="x",
        limit=1,
        missing=True,
        why="",
        endpoint="",
        judged=1,
        trials=0,
        untold=1,
        candidate=0,
        stable_min=0,
        stable_max=0,
        stable_broke=0,
    )
    many = msgspec.structs.replace(EMPTY, hard=(rule,) * (observed.HARD_REASONS_MAX + 2))
    assert doubts(Policy(), facts(), many)[-1].message.startswith("2 more")


def test_nothing_is_asked_where_the_policy_asks_nothing() -> None:
    assert doubts(Policy(), EffectsFacts()) == []
    assert doubts(Policy(), facts(lapse(), complete=1, timed_out=39)) == []
    assert observed.notes_of(EMPTY, EffectsFacts()) == []


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Policy(require_effects=("http", "redis")), "Effects were not watched, and the policy requires http, redis."),
        (Policy(effects=(FORBIDDEN,)), "Effects were not watched, and it has 1 rule on them."),
    ],
)
def test_a_policy_that_asks_for_effects_needs_them_watched(policy: Policy, words: str) -> None:
    assert only(doubts(policy, EffectsFacts()), ReasonCode.EFFECTS_NOT_OBSERVED) == words


NEEDS_HTTP = Policy(require_effects=("http",))


@pytest.mark.parametrize(
    ("effects", "words"),
    [
        (facts(msgspec.structs.replace(HTTP, collector="redis")), "which did not watch (those that did: redis)"),
        (facts(Watched(collector="http", version="1")), "it saw nothing at any target"),
        (
            facts(msgspec.structs.replace(HTTP, unattributed={"candidate": 3})),
            "only 93 % of the candidate's 43 effects belong to a request that was known, 95 % are needed",
        ),
        (facts(lapse("stable")), "not everything could be seen (calls that were not HTTP, 3 times)"),
        (facts(complete=37, timed_out=3), "Only 92 % of 40 requests were judged with all their effects; 95 % are needed (in 3"),
        (facts(complete=30), "Only 75 % of 40 requests were judged with all their effects"),
    ],
)
def test_what_is_required_and_was_not_observed(effects: EffectsFacts, words: str) -> None:
    assert words in only(doubts(NEEDS_HTTP, effects), ReasonCode.EFFECTS_NOT_OBSERVED)


def test_what_is_required_and_was_observed_is_no_doubt() -> None:
    assert doubts(NEEDS_HTTP, facts()) == []
    assert doubts(NEEDS_HTTP, facts(msgspec.structs.replace(HTTP, unattributed={"candidate": 2}), complete=39, timed_out=1)) == []
    lax = msgspec.structs.replace(NEEDS_HTTP, effects_seen_share_min=0.5)
    assert doubts(lax, facts(msgspec.structs.replace(HTTP, unattributed={"candidate": 30}), complete=20, timed_out=20)) == []
    # A candidate that does nothing is no gap in what was watched: the comparison says it.
    assert doubts(NEEDS_HTTP, facts(msgspec.structs.replace(HTTP, seen={"stable": 40}))) == []


def test_a_share_is_asked_for_where_there_are_only_rules() -> None:
    policy = Policy(effects=(FORBIDDEN,))
    assert only(doubts(policy, facts(complete=20, timed_out=20)), ReasonCode.EFFECTS_NOT_OBSERVED).startswith("Only 50 %")


def unattributed(stable: int, secondary: int, candidate: int, operation: str = CHARGE) -> Unattributed:
    counts = {"stable": stable, "secondary": secondary, "candidate": candidate}
    return Unattributed(collector="http", operation=operation, counts={role: count for role, count in counts.items() if count})


@pytest.mark.parametrize(("stable", "secondary", "candidate"), [(3, 0, 0), (40, 38, 45), (0, 0, 6), (0, 30, 40), (100, 100, 101)])
def test_what_belongs_to_no_request_is_a_note(stable: int, secondary: int, candidate: int) -> None:
    effects = facts(unattributed=(unattributed(stable, secondary, candidate),))
    assert doubts(Policy(), effects) == []
    (note,) = observed.notes_of(EMPTY, effects)
    assert note.code is ReasonCode.EFFECTS_UNATTRIBUTED
    assert f"stable {stable}, secondary {secondary}, candidate {candidate} (http {CHARGE})" in note.message


@pytest.mark.parametrize(("stable", "secondary", "candidate"), [(0, 0, 7), (5, 2, 25), (100, 100, 150)])
def test_what_the_candidate_does_more_often_than_chance_allows_is_a_doubt(stable: int, secondary: int, candidate: int) -> None:
    effects = facts(unattributed=(unattributed(stable, secondary, candidate),))
    message = only(doubts(Policy(), effects), ReasonCode.EFFECTS_UNATTRIBUTED)
    assert f"http {CHARGE} (stable {stable}, secondary {secondary}, candidate {candidate})" in message
    assert observed.notes_of(EMPTY, effects) == []


def test_the_level_is_shared_out_over_the_operations() -> None:
    quiet = [unattributed(5, 5, 5, f"GET /{index}") for index in range(50)]
    assert doubts(Policy(), facts(unattributed=(unattributed(0, 0, 7), *quiet))) == []
    assert doubts(Policy(), facts(unattributed=(unattributed(0, 0, 13), *quiet)))


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_chance_is_the_exact_tail(candidate: int, other: int) -> None:
    total = candidate + other
    exact = sum(math.comb(total, hits) for hits in range(candidate, total + 1)) / 2**total
    found = observed._tail(candidate, other)
    assert found == pytest.approx(exact if candidate > other else 1.0)


def test_large_counts_are_no_trouble() -> None:
    assert observed._tail(50_000, 49_990) > 0.4
    assert observed._tail(50_000, 40_000) < 1e-100


def test_what_a_rule_limits_must_not_happen_beside_the_requests_either() -> None:
    policy = Policy(effects=(FORBIDDEN, REQUIRED))
    message = only(doubts(policy, facts(unattributed=(unattributed(0, 0, 1),))), ReasonCode.EFFECTS_UNATTRIBUTED)
    assert "at most 0 of `http POST payments.example/*`" in message
    assert doubts(policy, facts(unattributed=(unattributed(0, 1, 1), unattributed(0, 0, 1, "GET other.example/")))) == []


def table(**changes: Any) -> TableDifference:
    return msgspec.structs.replace(
        TableDifference(collector="postgres", table="public.orders", values={"stable": "12", "secondary": "12", "candidate": "13"}),
        **changes,
    )


def test_tables_that_ended_otherwise_are_a_doubt() -> None:
    effects = facts(tables=(table(passes=1, passes_compared=2), table(column="total", values={})))
    message = only(doubts(Policy(), effects), ReasonCode.FINAL_STATE)
    assert "postgres public.orders, rows (stable 12, secondary 12, candidate 13), in 1 of 2 passes" in message
    assert "postgres public.orders, column total, in 1 of 1 pass" in message


def test_tables_in_which_the_stable_instances_differ_say_nothing() -> None:
    assert doubts(Policy(), facts(tables=(table(noisy=True),))) == []
    assert doubts(Policy(), facts(tables=(table(noisy=True), table()))) == [], "they agreed in another pass by chance"
    assert doubts(Policy(), facts(tables=(table(noisy=True, column="at"), table())))


def test_many_tables_are_counted() -> None:
    tables = tuple(table(table=f"t{index}") for index in range(NAMES_SHOWN_MAX + 4))
    assert "and 4 more" in only(doubts(Policy(), facts(tables=tables)), ReasonCode.FINAL_STATE)


def test_rules_of_endpoints_that_were_not_there_are_a_note() -> None:
    seen = snapshot(EffectRule(effect="x", endpoint="GET /typo", at_most=0), watched(0, 0, 0))
    (note,) = observed.notes_of(seen, facts())
    assert note.code is ReasonCode.UNUSED_RULES
    assert "at most 0 of `x` for GET /typo" in note.message
    assert observed.notes_of(seen, EffectsFacts()) == []


def test_a_collector_that_is_blind_and_saw_nothing_keeps_a_run_from_passing_though_no_policy_requires_it() -> None:
    nothing = dict.fromkeys(EVEN, 0)
    lapses = (LapseFact(what="the database is gone", count=3),)
    deaf = Watched(collector="redis", version="1", seen=nothing, lapses=lapses)
    message = only(doubts(Policy(), facts(HTTP, deaf)), ReasonCode.EFFECTS_NOT_OBSERVED)
    assert "The collector redis saw nothing at any target (the database is gone, 3 times)" in message
    assert len(doubts(Policy(require_effects=("redis",)), facts(HTTP, deaf))) == 1, "said once"
    assert doubts(Policy(), facts(HTTP, msgspec.structs.replace(deaf, lapses=()))) == [], "there may be nothing to see"
    assert doubts(Policy(), facts(HTTP, msgspec.structs.replace(deaf, seen=EVEN))) == [], "it saw a part"


def test_what_was_compared_in_words() -> None:
    assert observed.compared_words(facts(HTTP, msgspec.structs.replace(HTTP, collector="redis"))) == "effects compared: http, redis"
    assert observed.compared_words(facts(complete=0)) == ""
    blind = msgspec.structs.replace(HTTP, lapses=(LapseFact(what="lost", count=2),))
    known = msgspec.structs.replace(HTTP, lapses=(LapseFact(what="answered", count=2, blind=False),))
    idle = msgspec.structs.replace(HTTP, collector="redis", seen={"stable": 0, "candidate": 0})
    assert observed.compared_words(facts(blind, idle)) == "effects compared: http (in part), redis (saw none)"
    assert observed.compared_words(facts(known)) == "effects compared: http"
    stray = msgspec.structs.replace(idle, unattributed=EVEN)
    assert observed.compared_words(facts(stray)) == "effects compared: redis (none that belongs to a known request)"
    assert observed.compared_words(EffectsFacts()) == ""


@pytest.mark.parametrize("effects", [facts(complete=0, timed_out=40), facts(lapse(), complete=0)])
def test_effects_that_were_asked_for_and_not_seen_whole_in_any_request_are_a_doubt_whatever_the_policy(effects: EffectsFacts) -> None:
    message = only(doubts(Policy(), effects), ReasonCode.EFFECTS_NOT_OBSERVED)
    assert message.startswith("Effects were asked for (http), and none of 40 requests was judged with all of them:")
    assert len(doubts(NEEDS_HTTP, facts(complete=0, timed_out=40))) == 1, "said once"
    assert doubts(Policy(), EffectsFacts(timed_out=40)) == [], "nobody asked for them"
    assert doubts(Policy(), facts(complete=0), totals=Totals()) == [], "there was no request"
