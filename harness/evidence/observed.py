"""What effects say to the gate beside the bets: hard rules that were broken, what was not observed, what belongs to no request,
and how stored tables ended. Pure.

Only a broken rule fails a run. All else here keeps a run from passing, or is said: a table is looked at once a pass, and
what belongs to no request cannot be told from what happens by itself.
"""

import math
import re
from collections.abc import Iterable
from typing import Final

from harness.core.labels import ReasonCode, Role
from harness.core.values import Totals
from harness.core.watched import EffectsFacts, TableDifference, Unattributed, Watched
from harness.evidence.hard_rules import EffectPattern
from harness.evidence.policy import Policy
from harness.evidence.snapshot import BrokenRule, Reason, Snapshot
from harness.evidence.words import NAMES_SHOWN_MAX, count_of, listed, percent, reason

CHANCE_LEVEL: Final = 0.01
"""Chance, over all operations together, that what belongs to no request is called more at the candidate where it is as often everywhere."""
HARD_REASONS_MAX: Final = 20
"""Broken rules that get a reason each; the rest is counted."""
_COLLECTOR: Final = re.compile(r"[a-z][a-z0-9_-]*")


def failures(snapshot: Snapshot, effects: EffectsFacts) -> tuple[BrokenRule, ...]:
    """The hard rules that were broken beyond dispute: each of them fails the run."""
    return tuple(rule for rule in snapshot.hard if rule.trials and not _disputed(rule, effects))


def failed_words(broken: tuple[BrokenRule, ...]) -> list[Reason]:
    """A reason for each broken rule, up to a bound."""
    reasons = [reason(ReasonCode.HARD_RULE, _broken_words(rule)) for rule in broken[:HARD_REASONS_MAX]]
    if (more := len(broken) - HARD_REASONS_MAX) > 0:
        reasons.append(reason(ReasonCode.HARD_RULE, f"{more:,} more of the policy's rules on effects were broken, by endpoint."))
    return reasons


def doubts_of(snapshot: Snapshot, totals: Totals, policy: Policy, effects: EffectsFacts) -> list[Reason]:
    """Everything about effects that keeps a run from passing."""
    return [
        *_not_observed(totals, policy, effects),
        *_blindfolded(policy, effects),
        *_untold(snapshot, effects),
        *_beyond_chance(effects),
        *_limited_elsewhere(policy, effects),
        *_final_state(effects.tables),
    ]


def notes_of(snapshot: Snapshot, effects: EffectsFacts) -> list[Reason]:
    """What a reader must know of effects whatever the verdict is."""
    notes = []
    totals = {str(role): sum(each.counts.get(role, 0) for each in effects.unattributed) for role in Role}
    if any(totals.values()) and not _beyond_chance(effects):
        counts = ", ".join(f"{role} {count:,}" for role, count in totals.items())
        names = listed(_operation(each) for each in effects.unattributed)
        notes.append(reason(ReasonCode.EFFECTS_UNATTRIBUTED, f"Effects that belong to no request that was known: {counts} ({names})."))
    if effects.watched and snapshot.rules_unmet:
        unmet = count_of(len(snapshot.rules_unmet), "rule")
        message = f"{unmet} on effects matched the endpoint of no request: {listed(snapshot.rules_unmet)}."
        notes.append(reason(ReasonCode.UNUSED_RULES, message))
    return notes


def compared_words(effects: EffectsFacts) -> str:
    """With which collectors effects were compared, and which of them may not have seen all or saw none; empty where they were not."""
    if not effects.watched or not effects.complete:
        return ""
    return f"effects compared: {listed(each.collector + _in_part(each) for each in effects.watched)}"


def _in_part(watched: Watched) -> str:
    if not sum(watched.seen.values()):
        return " (none that belongs to a known request)" if sum(watched.unattributed.values()) else " (saw none)"
    return " (in part)" if _blind(watched) else ""


def _broken_words(rule: BrokenRule) -> str:
    asked = f"asks for at least {rule.limit}" if rule.missing else f"allows at most {rule.limit}"
    did = f"{'as few as' if rule.missing else 'up to'} {rule.candidate:,}"
    stable = f"{rule.stable_min:,}" + (f" to {rule.stable_max:,}" if rule.stable_max > rule.stable_min else "")
    too = f"; stable breaks the rule too in {rule.stable_broke:,} of them" if rule.stable_broke else ""
    why = f" Why it is a rule: {rule.why}." if rule.why else ""
    seen = f"in {rule.trials:,} of {count_of(rule.judged, 'request')}, first in trial {rule.exemplars[0]}"
    return (
        f"{rule.endpoint}: the policy {asked} of `{rule.effect}` for each request; the candidate did {did} ({seen}), "
        f"stable {stable} in the same requests{too}.{why}"
    )


def _disputed(rule: BrokenRule, effects: EffectsFacts) -> str:
    """Why what is missing may not have been seen; empty where nothing speaks against it."""
    if not rule.missing or not effects.watched:
        return ""
    in_charge = [each for each in effects.watched if each.collector in rule.collectors]
    if not rule.collectors:
        first, space, _ = rule.effect.partition(" ")
        named = [each for each in effects.watched if each.collector == first]
        if not named and space and _COLLECTOR.fullmatch(first):
            return f"it was seen at no target, and no collector called {first} watched"
        in_charge = named or list(effects.watched)
    blind = [f"{each.collector}: {what}" for each in in_charge for what in _blind(each, Role.CANDIDATE)]
    return f"not everything could be seen ({listed(blind)})" if blind else ""


def _blind(watched: Watched, role: Role | None = None) -> list[str]:
    """What a collector could not see, at one target or at any."""
    lapses = [each for each in watched.lapses if each.blind and each.count and (role is None or each.role in ("", role))]
    return [f"{each.what}, {each.count:,} times" if each.count > 1 else each.what for each in lapses]


def _not_observed(totals: Totals, policy: Policy, effects: EffectsFacts) -> list[Reason]:
    if not (policy.require_effects or policy.effects):
        return _none_observed(totals, effects)
    code = ReasonCode.EFFECTS_NOT_OBSERVED
    if not effects.watched:
        asked = [f"the policy requires {listed(policy.require_effects)}"] if policy.require_effects else []
        asked += [f"it has {count_of(len(policy.effects), 'rule')} on them"] if policy.effects else []
        return [reason(code, f"Effects were not watched, and {' and '.join(asked)}.")]
    reasons = []
    by_name = {each.collector: each for each in effects.watched}
    for name in dict.fromkeys(policy.require_effects):
        if name not in by_name:
            message = f"The policy requires the collector {name}, which did not watch (those that did: {listed(by_name)})."
            reasons.append(reason(code, message))
        elif wrong := _wanting(by_name[name], policy):
            reasons.append(reason(code, f"The policy requires the collector {name}: {'; '.join(wrong)}."))
    trials = max(effects.complete + effects.timed_out, totals.compared)
    share = effects.complete / trials if trials else 0.0
    if share < policy.effects_seen_share_min:
        needed = percent(policy.effects_seen_share_min)
        message = (
            f"Only {percent(share, up=False)} of {count_of(trials, 'request')} were judged with all their effects; {needed} are needed "
            f"(in {effects.timed_out:,} the time to wait ended first, or a collector failed)."
        )
        reasons.append(reason(code, message))
    return reasons


def _none_observed(totals: Totals, effects: EffectsFacts) -> list[Reason]:
    """Whoever names collectors asks for effects, whether the policy requires them or not: a run that had all the effects of not one
    request has compared answers only."""
    trials = max(effects.complete + effects.timed_out, totals.compared)
    if not effects.watched or effects.complete or not trials:
        return []
    named = listed(each.collector for each in effects.watched)
    message = (
        f"Effects were asked for ({named}), and none of {count_of(trials, 'request')} was judged with all of them: the time to wait "
        "ended first, or a collector failed."
    )
    return [reason(ReasonCode.EFFECTS_NOT_OBSERVED, message)]


def _blindfolded(policy: Policy, effects: EffectsFacts) -> list[Reason]:
    """Whoever names a collector wants it to see: nothing at all is no observation, whether the policy requires it or not."""
    nothing = [each for each in effects.watched if not sum(each.seen.values()) + sum(each.unattributed.values())]
    return [
        reason(ReasonCode.EFFECTS_NOT_OBSERVED, f"The collector {each.collector} saw nothing at any target ({listed(lost)}).")
        for each in nothing
        if each.collector not in policy.require_effects and (lost := _blind(each))
    ]


def _wanting(watched: Watched, policy: Policy) -> list[str]:
    """What is wrong with the observations of a collector that is required."""
    if not sum(watched.seen.values()) + sum(watched.unattributed.values()):
        return ["it saw nothing at any target", *_blind(watched)]
    wrong = []
    seen, lost = watched.seen.get(Role.CANDIDATE, 0), watched.unattributed.get(Role.CANDIDATE, 0)
    if seen < policy.effects_seen_share_min * (seen + lost):
        share = percent(seen / (seen + lost), up=False)
        needed = percent(policy.effects_seen_share_min)
        wrong.append(f"only {share} of the candidate's {seen + lost:,} effects belong to a request that was known, {needed} are needed")
    if blind := _blind(watched):
        wrong.append(f"not everything could be seen ({listed(blind)})")
    return wrong


def _untold(snapshot: Snapshot, effects: EffectsFacts) -> list[Reason]:
    reasons = []
    for rule in snapshot.hard:
        disputed = _disputed(rule, effects)
        count = rule.untold + (rule.trials if disputed else 0)
        if not count:
            continue
        causes = [disputed] if disputed else []
        if rule.untold:
            causes.append("its effects had not all come, it gave no answer, or the session had differed before")
        message = (
            f"{rule.endpoint}: the policy asks for at least {rule.limit} of `{rule.effect}` for each request; the candidate did less in "
            f"{count:,} of {rule.judged:,}, which is no proof: {'; or '.join(causes)}."
        )
        reasons.append(reason(ReasonCode.EFFECTS_NOT_OBSERVED, message))
    if (more := len(reasons) - HARD_REASONS_MAX) > 0:
        message = f"{more:,} more of the policy's rules on effects could not be judged in some requests, by endpoint."
        reasons = [*reasons[:HARD_REASONS_MAX], reason(ReasonCode.EFFECTS_NOT_OBSERVED, message)]
    return reasons


def _beyond_chance(effects: EffectsFacts) -> list[Reason]:
    """Operations that belong to no request and are more frequent at the candidate than at either stable instance."""
    tested = [each for each in effects.unattributed if each.counts.get(Role.CANDIDATE, 0)]
    found = [each for each in tested if _tail(each.counts.get(Role.CANDIDATE, 0), _elsewhere(each)) <= CHANCE_LEVEL / len(tested)]
    if not found:
        return []
    what = listed(f"{_operation(each)} ({_counts(each)})" for each in found)
    more = "effects that belong to no request, more often than chance allows"
    return [reason(ReasonCode.EFFECTS_UNATTRIBUTED, f"The candidate does {more}: {what}.")]


def _limited_elsewhere(policy: Policy, effects: EffectsFacts) -> list[Reason]:
    """Effects that a rule limits and that belong to no request: at the candidate more than elsewhere, they may have broken it."""
    reasons = []
    for rule in policy.effects:
        if rule.at_most is None:
            continue
        pattern = EffectPattern(rule.effect)
        found = [each for each in effects.unattributed if pattern.matches(each.collector, each.operation)]
        found = [each for each in found if each.counts.get(Role.CANDIDATE, 0) > _elsewhere(each)]
        if found:
            what = listed(f"{_operation(each)} ({_counts(each)})" for each in found)
            asked = f"The policy allows at most {rule.at_most} of `{rule.effect}` for each request"
            message = f"{asked}; the candidate did some that belong to no request that was known: {what}."
            reasons.append(reason(ReasonCode.EFFECTS_UNATTRIBUTED, message))
    return reasons[:HARD_REASONS_MAX]


def _elsewhere(each: Unattributed) -> int:
    return max(each.counts.get(Role.STABLE, 0), each.counts.get(Role.SECONDARY, 0))


def _tail(candidate: int, other: int) -> float:
    """The chance of so much or more of the sum at the candidate where each of two is as likely: an exact binomial tail."""
    total = candidate + other
    if candidate <= other:
        return 1.0
    term = chance = math.exp(math.lgamma(total + 1) - math.lgamma(candidate + 1) - math.lgamma(other + 1) - total * math.log(2.0))
    for count in range(candidate + 1, total + 1):
        term *= (total - count + 1) / count
        chance += term
        if term < 1e-18 * chance:
            break
    return chance


def _final_state(tables: Iterable[TableDifference]) -> list[Reason]:
    places: dict[tuple[str, str, str], list[TableDifference]] = {}
    for each in tables:
        places.setdefault((each.collector, each.table, each.column), []).append(each)
    # What differed between the stable instances in any pass is made anew at each target.
    found = [each for group in places.values() if not any(one.noisy for one in group) for each in group]
    if not found:
        return []
    what = "; ".join(_table_words(each) for each in found[:NAMES_SHOWN_MAX])
    more = f"; and {len(found) - NAMES_SHOWN_MAX:,} more" if len(found) > NAMES_SHOWN_MAX else ""
    message = f"Stored state ended otherwise at the candidate than at stable, which one look a pass cannot prove: {what}{more}."
    return [reason(ReasonCode.FINAL_STATE, message)]


def _table_words(each: TableDifference) -> str:
    passes = f"in {each.passes:,} of {count_of(each.passes_compared, 'pass', 'passes')}"
    if each.column:
        return f"{each.collector} {each.table}, column {each.column}, {passes}"
    rows = ", ".join(f"{role} {each.values[role]}" for role in Role if role in each.values)
    return f"{each.collector} {each.table}, rows ({rows}), {passes}"


def _operation(each: Unattributed) -> str:
    return f"{each.collector} {each.operation}"


def _counts(each: Unattributed) -> str:
    return ", ".join(f"{role} {each.counts.get(role, 0):,}" for role in Role)
