"""Live trials wait for what their arms did: until all is told, or the time is up; in their order, and nothing is mixed up."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.app import effects_desk
from harness.app.effects_desk import EffectsDesk, last_ended_ns, with_effects
from harness.bus.messages import EffectsOrders, SeenEffects
from harness.core import limits
from harness.core.labels import EffectsSeen, Role
from harness.core.plain import PlainArm, PlainTrial
from harness.core.values import Arm, Effect, Exchange, Request, Response, Trial

ORDERS = EffectsOrders(wait_ns=1_000, delay_ns=10)


def trial(name: str, ended_ns: int = 100, stable_trace: str = "", started_ns: int = 0) -> Trial:
    def arm(role: Role) -> Arm:
        request, answer = Request("GET", "/"), Response(200)
        exchange = Exchange(request=request, response=answer, started_ns=started_ns, ended_ns=ended_ns - len(role))
        return Arm(role=role, exchange=exchange)

    return Trial(
        id=name,
        seq=0,
        endpoint="GET /",
        request=Request("GET", "/"),
        stable=arm(Role.STABLE),
        candidate=arm(Role.CANDIDATE),
        trace=name,
        stable_trace=stable_trace,
    )


def effect(operation: str = "SET a", at_ns: int = 0) -> Effect:
    return Effect(collector="redis", operation=operation, at_ns=at_ns)


def seen(*effects: tuple[str, Role, Effect], until_ns: int = 0) -> SeenEffects:
    return SeenEffects(effects, until_ns)


def test_a_trial_is_judged_once_everything_up_to_its_end_is_told() -> None:
    desk: EffectsDesk[str] = EffectsDesk(ORDERS)
    desk.hold("me", b"payload", trial("a"), now_ns=110)
    assert len(desk) == 1
    desk.tell(seen(("a", Role.CANDIDATE, effect()), until_ns=99))
    assert list(desk.ready(200)) == []
    desk.tell(seen(until_ns=100 - len(Role.STABLE) + 10))
    ((held, state),) = desk.ready(200)
    assert (held.owner, held.payload, state) == ("me", b"payload", EffectsSeen.COMPLETE)
    assert desk.effects_of(held.trial) == {Role.CANDIDATE: (effect(),)}
    assert desk.effects_of(held.trial) == {}, "what was taken is gone"
    assert len(desk) == 0


def test_it_is_judged_without_when_the_time_is_up() -> None:
    desk: EffectsDesk[str] = EffectsDesk(ORDERS)
    desk.hold("me", b"", trial("a"), now_ns=110)
    assert list(desk.ready(110 + ORDERS.wait_ns - 1)) == []
    assert [state for _, state in desk.ready(110 + ORDERS.wait_ns)] == [EffectsSeen.TIMED_OUT]


def test_trials_leave_in_the_order_in_which_they_came() -> None:
    desk: EffectsDesk[str] = EffectsDesk(ORDERS)
    desk.hold("me", b"late", trial("a", ended_ns=500), now_ns=600)
    desk.hold("me", b"early", trial("b", ended_ns=100), now_ns=601)
    desk.tell(seen(until_ns=200))
    assert list(desk.ready(700)) == [], "the second is complete, and waits for the first"
    desk.tell(seen(until_ns=600))
    assert [held.payload for held, _ in desk.ready(700)] == [b"late", b"early"]


def test_what_is_told_never_goes_back() -> None:
    desk: EffectsDesk[str] = EffectsDesk(ORDERS)
    desk.tell(seen(until_ns=1_000))
    desk.tell(seen(until_ns=0))
    desk.hold("me", b"", trial("a"), now_ns=100)
    assert [state for _, state in desk.ready(100)] == [EffectsSeen.COMPLETE]


def test_stables_effects_are_found_under_the_senders_trace() -> None:
    desk: EffectsDesk[str] = EffectsDesk(ORDERS)
    one = trial("a", stable_trace="theirs")
    desk.hold("me", b"", one, now_ns=100)
    desk.tell(seen(("theirs", Role.STABLE, effect("1", 2)), ("a", Role.CANDIDATE, effect("2")), ("theirs", Role.STABLE, effect("0", 1))))
    assert desk.effects_of(one) == {Role.STABLE: (effect("0", 1), effect("1", 2)), Role.CANDIDATE: (effect("2"),)}


def test_trials_of_one_senders_trace_cannot_be_told_apart_so_nothing_is_said_of_them() -> None:
    desk: EffectsDesk[str] = EffectsDesk(ORDERS)
    one, other = trial("a", stable_trace="theirs"), trial("b", stable_trace="theirs")
    desk.hold("me", b"", one, now_ns=100)
    desk.hold("me", b"", other, now_ns=100)
    desk.tell(seen(("theirs", Role.STABLE, effect()), ("a", Role.CANDIDATE, effect()), ("b", Role.CANDIDATE, effect())))
    assert desk.effects_of(one) == {}
    assert desk.effects_of(other) == {}
    last = trial("c", stable_trace="theirs")
    desk.hold("me", b"", last, now_ns=100)
    desk.tell(seen(("theirs", Role.STABLE, effect())))
    assert desk.effects_of(last) == {Role.STABLE: (effect(),)}, "it is the only one with that trace now"


def test_effects_that_nobody_asks_for_are_bounded_the_oldest_go_first() -> None:
    desk: EffectsDesk[str] = EffectsDesk(ORDERS)
    for number in range(limits.EFFECTS_KEPT_MAX + 5):
        desk.tell(seen((f"t{number}", Role.CANDIDATE, effect())))
    assert desk.effects_of(trial("t4")) == {}
    assert desk.effects_of(trial("t5")) == {Role.CANDIDATE: (effect(),)}


def test_an_owner_that_is_gone_is_forgotten() -> None:
    desk: EffectsDesk[str] = EffectsDesk(ORDERS)
    desk.hold("me", b"", trial("a"), now_ns=100)
    desk.hold("you", b"", trial("b"), now_ns=100)
    desk.forget("me")
    desk.tell(seen(until_ns=10_000))
    assert [held.owner for held, _ in desk.ready(0)] == ["you"]


def test_a_sender_s_trace_is_forgotten_with_its_owner() -> None:
    desk: EffectsDesk[str] = EffectsDesk(ORDERS)
    desk.hold("me", b"", trial("a", stable_trace="theirs"), now_ns=100)
    desk.forget("me")
    one = trial("b", stable_trace="theirs")
    desk.hold("you", b"", one, now_ns=100)
    desk.tell(seen(("theirs", Role.STABLE, effect())))
    assert desk.effects_of(one) == {Role.STABLE: (effect(),)}


def test_of_a_trial_that_is_older_than_the_desk_nothing_is_said() -> None:
    desk: EffectsDesk[str] = EffectsDesk(ORDERS, since_ns=50)
    older, newer = trial("a"), trial("b", started_ns=60)
    for one in (older, newer):
        desk.hold("me", b"", one, now_ns=110)
        desk.tell(seen((one.trace, Role.CANDIDATE, effect()), until_ns=10_000))
    assert [state for _, state in desk.ready(120)] == [EffectsSeen.TIMED_OUT, EffectsSeen.COMPLETE]
    assert desk.effects_of(older) == {}, "what stable did may have been told before"
    assert desk.effects_of(newer) == {Role.CANDIDATE: (effect(),)}


def test_large_documents_that_nobody_asks_for_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects_desk, "KEPT_BYTES_MAX", 100)
    desk: EffectsDesk[str] = EffectsDesk(ORDERS)
    large = Effect(collector="redis", operation="SET a", document=bytes(40))
    for name in ("a", "b", "c"):
        desk.tell(seen((name, Role.CANDIDATE, large)))
    assert desk.effects_of(trial("a")) == {}
    assert desk.effects_of(trial("b")) == {Role.CANDIDATE: (large,)}


def test_effects_are_put_on_the_arms_that_are_there() -> None:
    found = with_effects(trial("a"), {Role.CANDIDATE: (effect(),), Role.SECONDARY: (effect(),)}, EffectsSeen.COMPLETE)
    assert found.candidate is not None
    assert (found.stable.effects, found.candidate.effects, found.secondary) == ((), (effect(),), None)
    assert found.effects_seen is EffectsSeen.COMPLETE


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=3))
def test_the_end_of_a_plain_trial_is_that_of_its_last_answer(ends: list[int]) -> None:
    stable, *others = (PlainArm(b"", b"", 0, False, 0, 0, 0, end) for end in ends)
    secondary, candidate = (*others, None, None)[:2]
    example = trial("a")
    plain = PlainTrial(
        "a",
        0,
        "GET /",
        b"",
        "",
        b"",
        stable,
        secondary,
        candidate,
        example.control,
        example.design,
        (),
        "",
        "",
        1,
        False,
    )
    assert last_ended_ns(plain) == max(ends)


def test_a_trial_that_began_before_a_collector_failed_is_not_complete_and_keeps_what_others_saw() -> None:
    desk: EffectsDesk[str] = EffectsDesk(ORDERS)
    for name, started_ns in (("a", 49), ("b", 50)):
        desk.hold("me", b"", trial(name, started_ns=started_ns), now_ns=110)
    desk.tell(msgspec.structs.replace(seen(("a", Role.CANDIDATE, effect()), until_ns=200), blind_ns=50))
    (first, timed_out), (_, complete) = desk.ready(200)
    assert (timed_out, complete) == (EffectsSeen.TIMED_OUT, EffectsSeen.COMPLETE)
    assert desk.effects_of(first.trial) == {Role.CANDIDATE: (effect(),)}
