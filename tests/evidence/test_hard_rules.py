"""Rules on effects: broken, kept, and what proves nothing."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import EffectsSeen, ErrorKind
from harness.core.limits import EFFECTS_PER_ARM_MAX, EXEMPLARS_PER_FINDING_MAX
from harness.evidence.bets import ArmOutcome, EffectCount, TrialBets
from harness.evidence.hard_rules import EffectPattern, HardRules, pattern_of, rule_words
from harness.evidence.ledger import Ledger
from harness.evidence.policy import EffectRule, Policy
from tests.sim.world import Answer, bets

CHARGE = "POST payments.example/charges"
FORBIDDEN = EffectRule(effect="http POST payments.example/*", at_most=0, why="no real money")
REQUIRED = EffectRule(effect=CHARGE, endpoint="POST *", at_least=1)
ORDERS = Answer(endpoint="POST /orders", method="POST")


def watched(
    seq: int,
    stable: int,
    candidate: int,
    *,
    secondary: int = 0,
    answer: Answer = ORDERS,
    seen: EffectsSeen = EffectsSeen.COMPLETE,
    **changes: Any,
) -> TrialBets:
    """A trial in which the arms charged so often; without a mention where none of them did."""
    counts = (EffectCount("http", CHARGE, stable, secondary, candidate),) if stable or secondary or candidate else ()
    return msgspec.structs.replace(bets(seq, answer), effects_seen=seen, effects=counts, **changes)


def folded(rules: tuple[EffectRule, ...], *trials: TrialBets) -> HardRules:
    hard = HardRules(rules)
    for number, trial in enumerate(trials, 1):
        hard.fold(trial, number)
    return hard


def test_what_is_forbidden_breaks_the_rule_at_once() -> None:
    hard = folded((FORBIDDEN,), watched(0, 0, 0), watched(1, 0, 2), watched(2, 0, 1))
    (broken,) = hard.broken()
    assert (broken.rule, broken.limit, broken.missing, broken.endpoint, broken.why) == (0, 0, False, "POST /orders", "no real money")
    assert (broken.judged, broken.trials, broken.untold) == (3, 2, 0)
    assert (broken.candidate, broken.stable_min, broken.stable_max, broken.stable_broke) == (2, 0, 0, 0)
    assert (broken.collectors, broken.exemplars) == (("http",), ("t1", "t2"))
    assert hard.failed == (2, 0)


def test_what_is_required_and_not_done_breaks_the_rule() -> None:
    hard = folded((REQUIRED,), watched(0, 1, 1), watched(1, 2, 0), watched(2, 0, 0))
    (broken,) = hard.broken()
    assert (broken.limit, broken.missing, broken.judged, broken.trials) == (1, True, 3, 2)
    assert (broken.candidate, broken.stable_min, broken.stable_max, broken.stable_broke) == (0, 0, 2, 1)


def test_rules_that_are_kept_say_nothing() -> None:
    hard = folded((FORBIDDEN, REQUIRED, EffectRule(effect="*", at_least=1, at_most=2)), watched(0, 9, 0, answer=Answer()))
    assert [broken.rule for broken in hard.broken()] == [2]
    kept = folded((REQUIRED, EffectRule(effect="*", at_least=1, at_most=2)), watched(0, 0, 2), watched(1, 5, 1))
    assert kept.broken() == ()
    assert kept.failed is None


def test_only_requests_of_the_endpoint_are_judged() -> None:
    rule = EffectRule(effect="*", endpoint="GET /items/*", at_most=0)
    hard = folded((rule,), watched(0, 0, 5))
    assert hard.broken() == ()
    assert hard.unmet() == ("at most 0 of `*` for GET /items/*",)
    assert folded((rule,), watched(0, 0, 5), watched(1, 0, 0, answer=Answer())).unmet() == ()


def test_all_effects_that_match_count_together() -> None:
    trial = msgspec.structs.replace(
        watched(0, 0, 1),
        effects=(
            EffectCount("http", "GET a.example/x", 0, 0, 1),
            EffectCount("http", CHARGE, 1, 1, 1),
            EffectCount("redis", "SET k", 1, 1, 1),
        ),
    )
    assert folded((EffectRule(effect="http *", at_most=2),), trial).broken() == ()
    (broken,) = folded((EffectRule(effect="http *", at_most=1),), trial).broken()
    assert (broken.candidate, broken.stable_max) == (2, 1)


@pytest.mark.parametrize(
    "unsure",
    [
        watched(0, 1, 0, seen=EffectsSeen.TIMED_OUT),
        watched(0, 1, 0, tainted=True),
        msgspec.structs.replace(watched(0, 1, 0), candidate=ArmOutcome(0, 30_000.0, ErrorKind.TIMEOUT)),
        msgspec.structs.replace(watched(0, 1, 0), effects=(EffectCount("redis", "SET k", 0, 0, EFFECTS_PER_ARM_MAX),)),
    ],
)
def test_what_is_missing_proves_nothing_where_not_all_may_have_come(unsure: TrialBets) -> None:
    hard = folded((REQUIRED,), unsure)
    (broken,) = hard.broken()
    assert (broken.trials, broken.untold, broken.exemplars) == (0, 1, ())
    assert hard.failed is None


@pytest.mark.parametrize("changes", [{"seen": EffectsSeen.TIMED_OUT}, {"tainted": True}, {"warm_up": True}, {"repeat": True}])
def test_what_is_too_much_counts_in_every_trial(changes: dict[str, Any]) -> None:
    assert folded((FORBIDDEN,), watched(0, 0, 1, **changes)).failed == (1, 0)


def test_trials_without_a_candidate_or_not_watched_are_not_judged() -> None:
    hard = folded((FORBIDDEN, REQUIRED), watched(0, 0, 1, seen=EffectsSeen.NONE))
    hard.fold(msgspec.structs.replace(watched(1, 1, 0), candidate=None), 2)
    assert hard.broken() == ()
    assert len(hard.unmet()) == 2


def test_examples_are_the_first_second_and_fourth() -> None:
    hard = HardRules((FORBIDDEN,))
    kept = [bool(hard.fold(watched(seq, 0, 1), seq + 1)) for seq in range(40)]
    assert [seq for seq, example in enumerate(kept) if example] == [0, 1, 3]
    assert hard.broken()[0].exemplars == ("t0", "t1", "t3")
    assert EXEMPLARS_PER_FINDING_MAX == 3


def test_each_endpoint_is_counted_by_itself_and_the_order_is_the_policys() -> None:
    rules = (EffectRule(effect="redis *", at_least=1), EffectRule(effect=CHARGE, at_most=0))
    hard = folded(rules, watched(0, 0, 1, answer=Answer(endpoint="POST /b")), watched(1, 0, 1, answer=Answer(endpoint="POST /a")))
    assert [(broken.rule, broken.endpoint) for broken in hard.broken()] == [(0, "POST /a"), (0, "POST /b"), (1, "POST /a"), (1, "POST /b")]


def test_words_of_a_rule() -> None:
    assert rule_words(EffectRule(effect="a", at_least=1, at_most=3)) == "at least 1 and at most 3 of `a`"
    assert rule_words(EffectRule(effect="a", endpoint="GET /x", at_most=0)) == "at most 0 of `a` for GET /x"


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        (CHARGE, True),
        (f"http {CHARGE}", True),
        ("http *", True),
        ("*", True),
        ("POST *", True),
        ("redis POST *", False),
        ("http", False),
        ("POST payments.example", False),
        ("post payments.example/*", False),
    ],
)
def test_an_effect_is_named_with_or_without_its_collector(pattern: str, *, matches: bool) -> None:
    assert EffectPattern(pattern).matches("http", CHARGE) is matches


@given(st.lists(st.text(alphabet="ab*{}.[]+ /", max_size=6), min_size=1, max_size=4))
def test_a_pattern_takes_its_own_text_and_nothing_by_accident(parts: list[str]) -> None:
    text = "*".join(parts)
    assert pattern_of(text).fullmatch(text.replace("*", "any\nthing"))
    if "*" not in text:
        assert not pattern_of(text).fullmatch(text + "x")


COUNTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20)


@given(COUNTS, st.integers(0, 3), st.integers(1, 3))
def test_a_rule_is_broken_just_where_the_counts_say_so(counts: list[tuple[int, int]], most: int, least: int) -> None:
    hard = folded((EffectRule(effect=CHARGE, at_most=most, at_least=least),), *(watched(seq, s, c) for seq, (s, c) in enumerate(counts)))
    found = {broken.missing: broken for broken in hard.broken()}
    for missing, wrong in ((False, [c > most for _, c in counts]), (True, [c < least for _, c in counts])):
        assert (found[missing].trials if missing in found else 0) == sum(wrong)
        if missing in found:
            worst = min if missing else max
            assert found[missing].candidate == worst(c for _, c in counts)
            assert found[missing].exemplars[0] == f"t{wrong.index(True)}"
            stable = [s for (s, _), at in zip(counts, wrong, strict=True) if at]
            assert (found[missing].stable_min, found[missing].stable_max) == (min(stable), max(stable))
    assert (hard.failed is not None) is any(c > most or c < least for _, c in counts)


def test_the_ledger_fails_and_keeps_the_trial() -> None:
    ledger = Ledger(Policy(effects=(FORBIDDEN,)))
    assert ledger.fold(watched(0, 0, 0)) == ()
    assert ledger.fold(watched(1, 0, 1, pass_index=1)) == ("rule-0",)
    snapshot = ledger.snapshot()
    assert (snapshot.failed_at, snapshot.failed_pass, snapshot.proven_at) == (2, 1, None)
    assert [broken.trials for broken in snapshot.hard] == [1]


def test_a_repeat_is_judged_too() -> None:
    ledger = Ledger(Policy(effects=(FORBIDDEN,)))
    assert ledger.fold(watched(0, 0, 1, repeat=True)) == ("rule-0",)
    assert ledger.snapshot().failed_at == 1


def test_roles_are_those_of_the_counts() -> None:
    """Stable and secondary may do what the candidate may not."""
    assert folded((FORBIDDEN,), watched(0, 3, 0, secondary=2)).broken() == ()
