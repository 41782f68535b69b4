"""What a policy cannot loosen of one that it extends."""

from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Aspect, Severity
from harness.evidence.policy import CoverageWanted, EffectRule, Policy, WhatBlocks
from harness.evidence.what_blocks import Blocks
from harness.settings.policy_locks import NOT_LOCKED, STRICTER, Stricter, loosened


def test_the_table_has_only_keys_of_a_policy() -> None:
    assert set(STRICTER) <= set(Policy.__struct_fields__) - NOT_LOCKED


def test_directions() -> None:
    for key, way in STRICTER.items():
        if way is Stricter.LOWER:
            assert (loosened(key, 0.01, 0.02), loosened(key, 0.01, 0.01), loosened(key, 0.01, 0.001)) == ("0.02 is more than 0.01", "", "")
        elif way is Stricter.HIGHER:
            assert (loosened(key, 3, 2), loosened(key, 3, 3), loosened(key, 3, 4)) == ("2 is less than 3", "", "")
        elif way is Stricter.NEVER:
            assert loosened(key, 0.01, 0.01) == ""
            assert loosened(key, 0.01, 0.02)
            assert loosened(key, 0.02, 0.01)
    assert loosened("preset", "capture", "rollout") == '"rollout" is not "capture"'
    assert loosened("a_key_of_tomorrow", 1, 2) == "2 is not 1"
    assert STRICTER["noisy_share"] is Stricter.HIGHER  # above it a field makes no claim: fewer of them are stricter


def test_lists_may_be_added_to() -> None:
    one, two = EffectRule(effect="a", at_most=0), EffectRule(effect="b", at_most=0)
    assert loosened("effects", (one,), (two, one)) == ""
    assert loosened("effects", (one, two), (two,)) == '{"effect":"a","at_most":0} is taken out'
    assert loosened("require_effects", ("http",), ()) == '"http" is taken out'


def test_coverage_may_be_added_to() -> None:
    before = CoverageWanted(endpoints=("a",), methods=("GET",), requests_min=10)
    assert loosened("coverage", before, CoverageWanted(endpoints=("b", "a"), methods=("GET", "PUT"), requests_min=11)) == ""
    assert (
        loosened("coverage", before, CoverageWanted(endpoints=("b",), methods=("GET",), requests_min=10)) == 'endpoints: "a" is taken out'
    )
    assert "methods" in loosened("coverage", before, CoverageWanted(endpoints=("a",), requests_min=10))
    assert "requests_min" in loosened("coverage", before, CoverageWanted(endpoints=("a",), methods=("GET",), requests_min=9))


RULES = st.builds(
    WhatBlocks,
    block=st.booleans(),
    severity=st.sampled_from([None, *Severity]),
    aspect=st.sampled_from([None, Aspect.HEADERS, Aspect.BODY]),
    endpoint=st.sampled_from(["*", "GET *", "GET /a", "POST *"]),
)
LISTS = st.lists(RULES, max_size=4).map(tuple)


@given(LISTS, LISTS, st.data())
def test_what_a_lock_on_blocks_admits_makes_nothing_not_block_that_blocked(
    before: tuple[WhatBlocks, ...], other: tuple[WhatBlocks, ...], data: st.DataObject
) -> None:
    after = tuple(data.draw(st.permutations([*before, *other]))[: data.draw(st.integers(0, 6))])
    if loosened("blocks", before, after):
        return
    for endpoint in ("GET /a", "GET /b", "POST /a", "PUT /a"):
        for aspect in (Aspect.HEADERS, Aspect.BODY, Aspect.STATUS):
            for severity in Severity:
                if Blocks(before).decide(endpoint, aspect, severity):
                    assert Blocks(after).decide(endpoint, aspect, severity), (endpoint, aspect, severity)


def test_blocks_may_be_made_to_block_more() -> None:
    lax, tight = WhatBlocks(block=False, aspect=Aspect.HEADERS), WhatBlocks(block=True, endpoint="POST *")
    assert loosened("blocks", (tight, lax), (tight, lax)) == ""
    assert loosened("blocks", (lax,), (tight, lax)) == ""
    assert loosened("blocks", (lax,), ()) == ""
    assert loosened("blocks", (), (lax,)) == "rule 0 makes places not block"
    assert "for want of" in loosened("blocks", (tight, lax), (lax,))
