"""What blocks, by severity, aspect and endpoint: what does not can neither fail a run nor keep it from passing."""

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.labels import Aspect, Control, Design, FindingClass, Kind, ReasonCode, Severity, VerdictState
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy, WhatBlocks
from harness.evidence.what_blocks import Blocks
from tests.evidence.test_gate import codes, judged, stream
from tests.evidence.test_ledger import ENDPOINT, RIGHT, WRONG, ledger_of, passes
from tests.sim.world import Answer, fold_all

BODIES = (WhatBlocks(block=False, aspect=Aspect.BODY),)
LAX = Policy(blocks=BODIES)
ALWAYS = passes(9, size=48)


def test_the_first_rule_that_fits_decides_and_everything_else_blocks() -> None:
    blocks = Blocks(
        (
            WhatBlocks(block=True, endpoint="POST *"),
            WhatBlocks(block=False, aspect=Aspect.HEADERS),
            WhatBlocks(block=True, severity=Severity.MAJOR),
            WhatBlocks(block=False, endpoint="GET /old/*"),
        )
    )
    assert blocks.blocks("POST /a", Aspect.HEADERS, "x", Kind.VALUE)
    assert not blocks.blocks("GET /a", Aspect.HEADERS, "x", Kind.VALUE)
    assert blocks.blocks("GET /old/1", Aspect.BODY, "$.x", Kind.VALUE)
    assert not blocks.blocks("GET /old/1", Aspect.BODY, "$.x", Kind.ORDER)
    assert blocks.blocks("GET /new", Aspect.BODY, "$.x", Kind.ORDER)
    assert Blocks(()).blocks("GET /a", Aspect.BODY, "$.x", Kind.VALUE)


def test_what_does_not_block_from_a_severity_on_is_that_one_and_milder_ones() -> None:
    """The example of the documentation must not let everything pass."""
    blocks = Blocks((WhatBlocks(block=False, severity=Severity.MAJOR),))
    assert [blocks.decide("GET /", Aspect.BODY, severity) for severity in Severity] == [True, False, False]


def test_at_least_a_severity_means_that_one_and_graver_ones() -> None:
    blocks = Blocks((WhatBlocks(block=True, severity=Severity.MAJOR), WhatBlocks(block=False)))
    assert [blocks.decide("GET /", Aspect.BODY, severity) for severity in Severity] == [True, True, False]


def test_a_divergence_that_does_not_block_fails_nothing_and_is_shown() -> None:
    assert judged(ALWAYS).state is VerdictState.FAIL
    verdict = judged(ALWAYS, LAX)
    assert verdict.state is VerdictState.PASS
    assert codes(verdict) == [ReasonCode.CLAIM_REACHED, ReasonCode.NOT_BLOCKING]
    snapshot = ledger_of(ALWAYS, LAX).snapshot()
    (finding,) = snapshot.findings
    assert (finding.blocks, finding.finding_class, finding.diverged) == (False, FindingClass.DIVERGENCE, 9)
    assert snapshot.open_questions == 0
    assert (snapshot.proven_at, snapshot.failed_at) == (None, None)
    assert verdict.bound is not None
    assert verdict.bound.rate > judged(passes(9, size=48, wrong=()), LAX).bound.rate  # type: ignore[union-attr]  # both pass


def test_an_undecided_difference_that_does_not_block_keeps_nothing_from_passing() -> None:
    seen_once = passes(1, size=48) + passes(1, size=48, wrong=(), first=1)
    assert judged(seen_once).state is VerdictState.INCONCLUSIVE
    assert judged(seen_once, LAX).state is VerdictState.PASS
    assert ledger_of(seen_once, LAX).snapshot().open_questions == 0


def test_it_makes_no_claim_of_a_rollout_pass() -> None:
    answers = stream(2000, lambda i: WRONG if i % 50 == 0 else RIGHT)
    assert judged(answers, Policy(preset="rollout")).state is not VerdictState.PASS
    lax = Policy(preset="rollout", blocks=BODIES)
    assert judged(answers, lax).state is VerdictState.PASS
    claims = ledger_of(answers, lax, control=Control.SECONDARY, design=Design.TWO_ARM).snapshot().claims
    assert not [claim for claim in claims if "$.x" in claim.hypothesis]


def test_without_a_control_it_fails_nothing_either() -> None:
    answers = [Answer(entity=f"/{i}", values={"$.x": WRONG}, design=Design.NO_CONTROL, control=Control.NONE) for i in range(400)]
    assert judged(answers, Policy(preset="rollout")).state is VerdictState.FAIL
    assert judged(answers, Policy(preset="rollout", blocks=BODIES)).state is VerdictState.INCONCLUSIVE


def sums(ledger: Ledger) -> tuple[object, ...]:
    snapshot = ledger.snapshot()
    return snapshot.gate_log10, snapshot.pools, snapshot.claims, snapshot.open_questions


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([RIGHT, WRONG, ("1", "2", "1"), ("1", "2", "3")]), min_size=12, max_size=12), st.booleans())
def test_it_takes_no_part_in_sum_pools_claims_and_weights(values: list[tuple[str, str, str]], rollout: bool) -> None:
    """Whatever happens at places that do not block, all that blocks stands exactly where it would without them."""
    policy = Policy(preset="rollout" if rollout else "capture", blocks=BODIES)

    def run(with_it: bool) -> Ledger:
        found = [
            Answer(
                entity=f"/{i % 6}",
                entry=i % 6,
                values={"$.x": value if with_it else RIGHT},
                status=(200, 200, 500) if i % 6 == 0 else (200, 200, 200),
                pass_index=i // 6,
                fresh=True,
            )
            for i, value in enumerate(values)
        ]
        return ledger_of(found, policy)

    assert sums(run(with_it=True)) == sums(run(with_it=False))


def test_latency_that_does_not_block_has_no_say() -> None:
    ledger = Ledger(Policy(blocks=(WhatBlocks(block=False, aspect=Aspect.LATENCY),)), endpoints=(ENDPOINT,))
    strict = Ledger(Policy(), endpoints=(ENDPOINT,))
    answers = [
        Answer(entity=f"/{i}", entry=i, pass_index=p, fresh=True, latency_ms=(10.0, 10.0, 30.0), at_s=(400 * p + i) / 10)
        for p in range(6)
        for i in range(400)
    ]
    for one in (ledger, strict):
        fold_all(one, answers)
    found = [finding for finding in ledger.snapshot().findings if finding.aspect is Aspect.LATENCY]
    assert [finding for finding in strict.snapshot().findings if finding.aspect is Aspect.LATENCY]
    assert found
    assert not any(finding.blocks for finding in found)
    assert ledger.snapshot().proven_at is None
    assert strict.snapshot().proven_at is not None
    assert not ledger.snapshot().endpoints[0].latency_gates
