import itertools
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import CHANNEL_DEPTH, CHANNEL_OF, MIRRORED_KIND, Aspect, Control, Design, EffectsSeen, ErrorKind, Kind, Role
from harness.core.values import Arm, Body, Comparison, Difference, Effect, Exchange, Request, Response, TransportError, Trial
from harness.evidence.bets import Bet, EffectCount, TrialBets, bets_of, decode_bets, design_of, encode_bets, mirrored
from tests.evidence.build import arm, diff, pair, trial


def only(bets: TrialBets) -> Bet:
    (bet,) = bets.bets
    return bet


def three(p: object, s: object, c: object) -> Comparison:
    return pair({"$.x": (p, s, c)})


@pytest.mark.parametrize(
    ("values", "odd", "control", "candidate", "d"),
    [
        (("a", "a", "b"), Role.CANDIDATE, False, True, 1),
        (("a", "b", "a"), Role.SECONDARY, True, False, -1),
        (("b", "a", "a"), Role.STABLE, True, True, -1),
        (("a", "b", "c"), None, True, True, 0),
    ],
)
def test_the_odd_one_of_three(values: tuple[str, str, str], odd: Role | None, control: bool, candidate: bool, d: int) -> None:
    bet = only(bets_of(trial(), three(*values)))
    assert (bet.odd, bet.control_differs, bet.candidate_differs, bet.d, bet.kind) == (odd, control, candidate, d, Kind.VALUE)


def test_no_difference_is_no_bet() -> None:
    assert bets_of(trial(), three("a", "a", "a")).bets == ()


@pytest.mark.parametrize(
    ("values", "odd", "kind"),
    [
        (("a", "a", ...), Role.CANDIDATE, Kind.MISSING),
        ((..., ..., "a"), Role.CANDIDATE, Kind.EXTRA),
        (("a", ..., "a"), Role.SECONDARY, Kind.MISSING),
        ((..., "a", ...), Role.SECONDARY, Kind.EXTRA),
        ((..., "a", "a"), Role.STABLE, Kind.MISSING),
        (("a", ..., ...), Role.STABLE, Kind.EXTRA),
    ],
)
def test_missing_and_extra_are_seen_from_the_odd_one(values: tuple[object, object, object], odd: Role, kind: Kind) -> None:
    for inferred in (False, True):
        bet = only(bets_of(trial(), pair({"$.x": values}, inferred=inferred)))
        assert (bet.odd, bet.kind) == (odd, kind)


def test_the_agreeing_arms_may_differ_in_a_finer_channel() -> None:
    """A UUID that is new in every answer and null in the candidate's."""
    bets = bets_of(trial(), three("u1", "u2", None)).bets
    assert [(bet.kind, bet.odd, bet.control_differs) for bet in bets] == [(Kind.NULL, Role.CANDIDATE, False), (Kind.VALUE, None, True)]


def test_a_coarser_difference_of_the_others_is_no_agreement() -> None:
    """Channels that do not fit together (formats that cannot be told apart) make nobody odd."""
    comparison = Comparison(
        trial="t",
        seq=0,
        stable_candidate=(diff(Kind.FORMAT, "a", "c"),),
        stable_secondary=(diff(Kind.VALUE, "a", "b"),),
        secondary_candidate=(diff(Kind.VALUE, "b", "c"),),
    )
    assert all(bet.odd is None for bet in bets_of(trial(), comparison).bets)


def test_what_is_equal_within_a_tolerance_only_is_not_inferred_when_it_was_compared() -> None:
    """10 ~ 10.05 ~ 10.1, but 10 is not 10.1: the candidate is not odd, and inferring that it is would favour it as a culprit."""
    comparison = Comparison(trial="t", seq=0, stable_candidate=(diff(Kind.VALUE, 10, 10.1),), cross_compared=True)
    assert only(bets_of(trial(), comparison)).odd is None


ROLES = (Role.STABLE, Role.SECONDARY, Role.CANDIDATE)
VALUES = st.sampled_from(["a", "b", "c", None, ...])


@given(
    st.dictionaries(st.sampled_from(["$.x", "$.y", "$.z[*]"]), st.tuples(VALUES, VALUES, VALUES)), st.permutations(range(3)), st.booleans()
)
def test_permuting_the_arms_permutes_the_odd_one(
    values: dict[str, tuple[object, object, object]], order: list[int], inferred: bool
) -> None:
    """The property behind every three-arm bet. Keys do not change either."""
    moved = {path: (v[order[0]], v[order[1]], v[order[2]]) for path, v in values.items()}
    before = {(b.path, b.kind, b.odd, b.key) for b in bets_of(trial(), pair(values, inferred=inferred)).bets if b.odd is not None}
    after = {
        (b.path, b.kind, ROLES[order[ROLES.index(b.odd)]], b.key)
        for b in bets_of(trial(), pair(moved, inferred=inferred)).bets
        if b.odd is not None
    }
    assert before == after


@given(st.dictionaries(st.sampled_from(["$.x", "$.y"]), st.tuples(VALUES, VALUES, VALUES)))
def test_swapping_candidate_and_secondary_turns_a_two_arm_bet_round(values: dict[str, tuple[object, object, object]]) -> None:
    two = trial(design=Design.TWO_ARM)
    swapped = {path: (p, c, s) for path, (p, s, c) in values.items()}
    before = {(b.path, b.kind, b.d, b.key) for b in bets_of(two, pair(values)).bets if b.d}
    after = {(b.path, b.kind, -b.d, b.key) for b in bets_of(two, pair(swapped)).bets if b.d}
    assert before == after


def test_two_arms_that_both_differ_from_stable_are_no_bet() -> None:
    bet = only(bets_of(trial(design=Design.TWO_ARM), three("a", "b", "c")))
    assert (bet.odd, bet.control_differs, bet.candidate_differs) == (None, True, True)


def test_two_arms_that_differ_in_different_kinds_are_a_bet_each() -> None:
    bets = bets_of(trial(design=Design.TWO_ARM), three("a", "b", None)).bets
    assert [(bet.kind, bet.odd) for bet in bets] == [(Kind.NULL, Role.CANDIDATE), (Kind.VALUE, Role.SECONDARY)]


def test_elements_that_pairs_name_differently_are_found_by_their_path() -> None:
    """Unordered arrays: the index in `where` is the left side's, and says nothing."""
    comparison = Comparison(
        trial="t",
        seq=0,
        stable_candidate=(diff(Kind.VALUE, 1, 9, "$.x[*]", "$.x[0]"),),
        secondary_candidate=(diff(Kind.VALUE, 1, 9, "$.x[*]", "$.x[4]"),),
        cross_compared=True,
    )
    assert only(bets_of(trial(), comparison)).odd is Role.CANDIDATE


def places(*events: tuple[int, Role]) -> Comparison:
    """An array in which, at each index given, one arm stands alone; as comparators report it: the first index of a pair."""
    found: dict[tuple[int, int], list[int]] = {(0, 2): [], (0, 1): [], (1, 2): []}
    for index, odd in events:
        for ends, indices in found.items():
            if ROLES.index(odd) in ends:
                indices.append(index)
    shown = {
        ends: (diff(Kind.VALUE, f"{ends[0]}", f"{ends[1]}", "$.x[*]", f"$.x[{min(indices)}]"),) if indices else ()
        for ends, indices in found.items()
    }
    return Comparison(
        trial="t",
        seq=0,
        stable_candidate=shown[0, 2],
        stable_secondary=shown[0, 1],
        secondary_candidate=shown[1, 2],
        cross_compared=True,
    )


def test_only_the_first_place_of_a_path_counts() -> None:
    """An element that was split before the new one hides the candidate's next difference, so it hides the control's too."""
    for first, second in itertools.permutations(ROLES, 2):
        assert only(bets_of(trial(), places((3, first), (12, second)))).odd is first
    two = trial(design=Design.TWO_ARM)
    for first, second in itertools.permutations((Role.SECONDARY, Role.CANDIDATE), 2):
        bets = [bet for bet in bets_of(two, places((3, first), (12, second))).bets if bet.odd is not None]
        assert [bet.odd for bet in bets] == [first]


def test_without_a_candidate_only_the_noise_is_seen() -> None:
    bets = bets_of(trial(roles=(Role.STABLE, Role.SECONDARY)), Comparison(trial="t", seq=0, stable_secondary=(diff(Kind.VALUE, 1, 2),)))
    assert (only(bets).odd, only(bets).control_differs) == (None, True)
    assert bets.candidate is None


def test_without_a_control_every_difference_is_the_candidates() -> None:
    alone = trial(roles=(Role.STABLE, Role.CANDIDATE), control=Control.NONE)
    bets = bets_of(alone, Comparison(trial="t", seq=0, stable_candidate=(diff(Kind.VALUE, 1, 2),)))
    assert bets.design is Design.NO_CONTROL
    assert only(bets).odd is Role.CANDIDATE


@pytest.mark.parametrize(
    ("control", "design", "expected"),
    [
        (Control.SECONDARY, Design.THREE_ARM, Design.THREE_ARM),
        (Control.SECONDARY, Design.TWO_ARM, Design.TWO_ARM),
        (Control.SELF, Design.THREE_ARM, Design.TWO_ARM),
        (Control.NONE, Design.THREE_ARM, Design.NO_CONTROL),
        (Control.RECORDED, Design.TWO_ARM, Design.NO_CONTROL),
    ],
)
def test_the_design_a_trial_supports(control: Control, design: Design, expected: Design) -> None:
    assert design_of(trial(control=control, design=design)) is expected


def key(t: Trial, *values: object, secret: bytes = b"") -> int:
    return only(bets_of(t, pair({"$.x": values}), secret)).key


def test_a_key_is_the_answer_and_its_values() -> None:
    base = key(trial(), "a", "a", "b")
    assert key(trial(seq=7), "a", "a", "b") == base, "another trial of the same answer"
    assert key(trial(entity="/2"), "a", "a", "b") != base
    assert key(trial(), "a", "a", "c") != base
    assert key(trial(), "a", "a", "b", secret=b"of this run") != base
    assert key(trial(pass_index=3), "a", "a", "b") == base, "the state was not fresh"
    assert key(trial(pass_index=3, fresh=True), "a", "a", "b") != key(trial(pass_index=4, fresh=True), "a", "a", "b")
    assert key(trial(method="POST"), "a", "a", "b") != base
    assert key(trial(body=b"1"), "a", "a", "b") != key(trial(body=b"2"), "a", "a", "b")


@pytest.mark.parametrize("value", ["2024-05-01T10:00:00Z", "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "deadbeefdeadbeef01", 1714557600])
def test_times_and_identifiers_name_themselves(value: object) -> None:
    assert key(trial(entity="/1"), value, value, "b") == key(trial(entity="/2"), value, value, "b")


def test_a_request_is_known_again() -> None:
    assert (
        bets_of(trial(entry=4, pass_index=0), three(1, 1, 1)).request
        == bets_of(trial(entry=4, pass_index=1, seq=9), three(1, 1, 1)).request
    )
    assert bets_of(trial(entry=4), three(1, 1, 1)).request != bets_of(trial(entry=5), three(1, 1, 1)).request
    assert bets_of(trial(), three(1, 1, 1)).request == bets_of(trial(seq=1), three(1, 1, 1)).request
    cut = Body(data=b"x", size=9, digest="ab")
    assert bets_of(trial(sent=cut), three(1, 1, 1)).request != bets_of(trial(body=b"x"), three(1, 1, 1)).request


def test_errors_and_time_outs_are_outcomes() -> None:
    def failing(kind: ErrorKind | None) -> Exchange:
        error = None if kind is None else TransportError(kind)
        return Exchange(request=Request("GET", "/"), error=error, started_ns=0, ended_ns=30_000_000_000)

    hanging = bets_of(trial(candidate=failing(ErrorKind.TIMEOUT)), three(1, 1, 1)).candidate
    refused = bets_of(trial(candidate=failing(ErrorKind.REFUSED)), three(1, 1, 1)).candidate
    nothing = bets_of(trial(candidate=failing(None)), three(1, 1, 1)).candidate
    assert hanging is not None
    assert refused is not None
    assert nothing is not None
    assert (hanging.status, hanging.latency_ms, hanging.error) == (0, 30_000.0, ErrorKind.TIMEOUT)
    assert (refused.status, refused.latency_ms) == (0, None)
    assert (nothing.status, nothing.latency_ms) == (0, None)


def test_what_is_stored_is_what_was_said() -> None:
    bets = bets_of(trial(entry=1, recorded=Response(204), session="s"), pair({"$.x": ("a", "a", None), "$.y": ("1", "2", "2")}))
    assert decode_bets(encode_bets(bets)) == bets
    assert bets.recorded_status == 204
    assert bets.session


def test_the_order_of_bets_does_not_depend_on_the_order_of_differences() -> None:
    values = {f"$.f{i}": ("a", "a", "b") for i in range(9)}
    shuffled = list(values.items())
    random.Random(1).shuffle(shuffled)
    assert bets_of(trial(), pair(values)).bets == bets_of(trial(), pair(dict(shuffled))).bets


def test_a_mirror_is_its_own_inverse() -> None:
    for kind in Kind:
        difference = Difference(Aspect.BODY, "$", kind, 1, 2)
        assert mirrored(mirrored(difference)) == difference
        assert CHANNEL_DEPTH[CHANNEL_OF[MIRRORED_KIND.get(kind, kind)]] == CHANNEL_DEPTH[CHANNEL_OF[kind]]


def test_arms_are_built_as_the_tests_think() -> None:
    assert arm(Role.STABLE).exchange.latency_ms == 5.0


def done(role: Role, *operations: str, collector: str = "http") -> Arm:
    effects = tuple(Effect(collector=collector, operation=operation, document=b'{"secret": 1}') for operation in operations)
    return msgspec.structs.replace(arm(role), effects=effects)


def test_effects_are_counted_by_operation_for_each_arm() -> None:
    seen = msgspec.structs.replace(
        trial(effects_seen=EffectsSeen.COMPLETE),
        stable=done(Role.STABLE, "POST b/", "GET a/"),
        secondary=done(Role.SECONDARY, "POST b/"),
        candidate=done(Role.CANDIDATE, "POST b/", "POST b/", "SET k"),
    )
    bets = bets_of(seen, three(1, 1, 1))
    assert bets.effects_seen is EffectsSeen.COMPLETE
    assert bets.effects == (
        EffectCount("http", "GET a/", 1, 0, 0),
        EffectCount("http", "POST b/", 1, 1, 2),
        EffectCount("http", "SET k", 0, 0, 1),
    )
    assert decode_bets(encode_bets(bets)) == bets
    assert b"secret" not in encode_bets(bets)
    turned = msgspec.structs.replace(seen, stable=msgspec.structs.replace(seen.stable, effects=seen.stable.effects[::-1]))
    assert bets_of(turned, three(1, 1, 1)).effects == bets.effects


def test_the_same_operation_of_another_collector_is_another_effect() -> None:
    seen = msgspec.structs.replace(trial(effects_seen=EffectsSeen.TIMED_OUT), secondary=None)
    seen = msgspec.structs.replace(seen, stable=done(Role.STABLE, "GET a/"), candidate=done(Role.CANDIDATE, "GET a/", collector="otlp"))
    assert bets_of(seen, three(1, 1, 1)).effects == (EffectCount("http", "GET a/", 1, 0, 0), EffectCount("otlp", "GET a/", 0, 0, 1))


def test_effects_that_were_not_watched_cost_nothing() -> None:
    bets = bets_of(msgspec.structs.replace(trial(), candidate=done(Role.CANDIDATE, "GET a/")), three(1, 1, 1))
    assert (bets.effects_seen, bets.effects) == (EffectsSeen.NONE, ())


OLD = bytes.fromhex(
    "dc001307a27437aa474554202f7b696e747da974687265655f61726da97365636f6e6461727902c3c2c2c2cf74840ae19114466fc3cfe64984c3aacf6ede00"
    "93ccc8cb4014000000000000c093ccc8cb4014000000000000c093ccc8cb4014000000000000c0cccc9197a4626f6479a3242e78a46e756c6ca963616e6469"
    "64617465c2c3cf6dfd552a65ebb3e1"
)
"""A trial's bets as they were stored before effects were counted."""


def test_bets_of_earlier_runs_can_be_read() -> None:
    seen = trial(seq=7, entry=1, recorded=Response(204), session="s", pass_index=2, fresh=True)
    now = bets_of(seen, pair({"$.x": ("a", "a", None)}))
    read = decode_bets(OLD)
    # Hashes are of the version that wrote them.
    bets = tuple(msgspec.structs.replace(bet, key=read.bets[0].key) for bet in now.bets)
    now = msgspec.structs.replace(now, noise=())
    assert read == msgspec.structs.replace(now, request=read.request, session=read.session, bets=bets)
    assert (read.effects_seen, read.effects, read.noise) == (EffectsSeen.NONE, (), ())
    later = len(("effects", "expected", "attributes", "sampled", "noise", "restless", "alone", "askable", "stable_kept", "at_hand"))
    assert len(encode_bets(now)) - len(OLD) == 1 + len("none") + later, "a word, and one byte for each thing that was not seen"
