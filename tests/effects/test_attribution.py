"""Whose an effect is: the trial it names, else the only one that is open, else nobody's, and always counted."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from harness.core import limits
from harness.core.labels import Role
from harness.core.values import Effect
from harness.effects.api import Observed, OpenTrial
from harness.effects.attribution import Attribution, as_late

ARMS = (Role.STABLE, Role.SECONDARY, Role.CANDIDATE)


def trial(name: str, roles: tuple[Role, ...] = ARMS) -> OpenTrial:
    return OpenTrial(trace=name, roles=roles, request="r")


def seen(role: Role = Role.CANDIDATE, *, trace: str = "", operation: str = "POST pay/charge", at_ns: int = 0) -> Observed:
    return Observed(role=role, effect=Effect(collector="http", operation=operation, at_ns=at_ns), trace=trace)


def test_an_effect_belongs_to_the_trial_that_it_names() -> None:
    attribution = Attribution()
    attribution.begin(trial("a"))
    attribution.begin(trial("b"))
    attribution.file([seen(trace="b"), seen(Role.STABLE, trace="a")], "http")

    assert attribution.end(trial("a")) == {Role.STABLE: (seen(Role.STABLE).effect,), Role.SECONDARY: (), Role.CANDIDATE: ()}
    assert attribution.end(trial("b"))[Role.CANDIDATE] == (seen().effect,)
    assert attribution.seen == Counter({("http", Role.CANDIDATE): 1, ("http", Role.STABLE): 1})
    assert attribution.unattributed() == ()


def test_without_a_name_it_belongs_to_the_only_trial_that_was_open_since_the_last_look() -> None:
    attribution = Attribution()
    attribution.begin(trial("a"))
    attribution.file([seen()], "http")
    assert attribution.end(trial("a"))[Role.CANDIDATE] == (seen().effect,)

    attribution.begin(trial("b"))
    attribution.begin(trial("c"))
    attribution.end(trial("b"))
    attribution.file([seen()], "http")
    assert attribution.end(trial("c"))[Role.CANDIDATE] == (), "two were open since the last look"
    assert attribution.unattributed_of("http") == {"candidate": 1}

    attribution.looked()
    attribution.begin(trial("d"))
    attribution.file([seen()], "http")
    assert attribution.end(trial("d"))[Role.CANDIDATE] == (seen().effect,)


def test_what_names_a_trial_that_is_over_is_late_and_nobodys() -> None:
    attribution = Attribution()
    attribution.begin(trial("a"))
    attribution.end(trial("a"))
    attribution.file([seen(trace="a"), seen(trace="never heard of")], "http")

    assert attribution.late == Counter({("http", Role.CANDIDATE): 1})
    (one,) = attribution.unattributed()
    assert (one.collector, one.operation, one.counts) == ("http", "POST pay/charge", {"candidate": 2})


def test_an_effect_of_a_target_that_has_no_part_in_the_trial_is_nobodys() -> None:
    attribution = Attribution()
    attribution.begin(trial("a", (Role.STABLE, Role.CANDIDATE)))
    attribution.file([seen(Role.SECONDARY, trace="a")], "http")
    assert attribution.unattributed_of("http") == {"secondary": 1}


def test_effects_of_a_trial_are_in_the_order_of_time_and_bounded() -> None:
    attribution = Attribution()
    attribution.begin(trial("a"))
    attribution.file([seen(at_ns=2), seen(at_ns=1)], "http")
    attribution.file([seen(at_ns=index) for index in range(3, limits.EFFECTS_PER_ARM_MAX + 5)], "http")
    found = attribution.end(trial("a"))[Role.CANDIDATE]
    assert [effect.at_ns for effect in found[:3]] == [1, 2, 3]
    assert len(found) == limits.EFFECTS_PER_ARM_MAX
    assert attribution.cut == Counter({("http", Role.CANDIDATE): 4})


def test_operations_of_nobodys_effects_are_bounded() -> None:
    attribution = Attribution()
    attribution.file([seen(operation=f"GET a/{n}") for n in range(limits.EFFECT_OPERATIONS_MAX + 7)], "http")
    found = {one.operation: one.counts for one in attribution.unattributed()}
    assert found["other"] == {"candidate": 7}
    assert len(found) == limits.EFFECT_OPERATIONS_MAX + 1


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("begin"), st.sampled_from("abc")),
            st.tuples(st.just("end"), st.sampled_from("abc")),
            st.tuples(st.just("look"), st.just("")),
            st.tuples(st.just("see"), st.sampled_from(["", "a", "b", "c", "x"])),
        ),
        max_size=40,
    )
)
def test_nothing_is_lost_whatever_happens_in_whatever_order(steps: list[tuple[str, str]]) -> None:
    attribution = Attribution()
    open_now: set[str] = set()
    given_out = filed = 0
    for what, name in steps:
        if what == "begin" and name not in open_now:
            attribution.begin(trial(name))
            open_now.add(name)
        elif what == "end" and name in open_now:
            given_out += sum(len(effects) for effects in attribution.end(trial(name)).values())
            open_now.discard(name)
        elif what == "look":
            attribution.looked()
        elif what == "see":
            attribution.file([seen(trace=name)], "http")
            filed += 1
    for name in sorted(open_now):
        given_out += sum(len(effects) for effects in attribution.end(trial(name)).values())
    assert given_out + sum(attribution.unattributed_of("http").values()) == filed


def test_a_late_effect_says_so() -> None:
    assert as_late(seen().effect).late


def test_what_was_done_before_a_trial_is_not_its_own_where_another_one_is_about_to_begin() -> None:
    """The other one looks first; the effects that it finds may be older than this trial."""
    attribution = Attribution()
    attribution.begin(trial("b"), alone=False)
    attribution.file([seen()], "http")
    attribution.looked()
    attribution.begin(trial("a"))
    assert attribution.end(trial("b"))[Role.CANDIDATE] == ()
    assert attribution.unattributed_of("http") == {"candidate": 1}


def test_of_what_was_seen_while_no_trial_could_be_open_only_late_effects_are_counted() -> None:
    attribution = Attribution()
    attribution.begin(trial("a"))
    attribution.end(trial("a"))
    attribution.file_late([seen(trace="a"), seen(), seen(trace="of another tracer")], "http")
    assert attribution.unattributed_of("http") == {"candidate": 1}
    assert attribution.late == Counter({("http", Role.CANDIDATE): 1})
