import math

import pytest

from harness.evidence.claims import Counts, claims_of
from harness.evidence.ledger import Ledger
from harness.evidence.martingale import log_pass
from harness.evidence.policy import Policy
from harness.evidence.snapshot import Claim
from harness.evidence.standing import Standing
from tests.evidence.test_gate import stream
from tests.evidence.test_ledger import ENDPOINT, RIGHT, WRONG
from tests.sim.world import fold_all


def claims(ledger: Ledger) -> dict[str, Claim]:
    return {claim.hypothesis: claim for claim in claims_of(ledger, Standing(ledger))}


def test_counts_are_scaled_together() -> None:
    assert Counts(1, 2, 3, 100).log_pass(0.01, 2.0) == log_pass(2, 4, 6, 200, 0.01)


def test_what_is_claimed_and_how_far_it_is() -> None:
    ledger = Ledger(Policy(preset="rollout"))
    fold_all(ledger, stream(600, lambda i: WRONG if i == 5 else RIGHT))
    found = claims(ledger)
    assert list(found)[-1] == f"{ENDPOINT}: any one field", "what is not reached comes first"
    assert found[f"{ENDPOINT}: any one field"].more_requests == 0
    seen = found[f"{ENDPOINT} body $.x value"]
    assert seen.more_requests is not None
    assert seen.log10_w < seen.log10_needed == pytest.approx(math.log10(20))
    assert found["status of all endpoints"].delta == 0.005


def test_the_number_of_requests_that_are_missing_is_about_right() -> None:
    ledger = Ledger(Policy(preset="rollout"))
    fold_all(ledger, stream(600))
    more = claims(ledger)["status of all endpoints"].more_requests
    assert more is not None
    assert log_pass(0, 0, 0, 600 + more, 0.005) >= math.log(20) > log_pass(0, 0, 0, 600 + more - 3, 0.005)


def test_before_any_request_there_is_a_number_too() -> None:
    more = claims(Ledger(Policy(preset="rollout")))["status of all endpoints"].more_requests
    assert more == pytest.approx(1069, abs=2)
