import msgspec

from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.evidence.snapshot import Snapshot
from tests.evidence.test_ledger import passes
from tests.sim.world import fold_all


def test_a_snapshot_can_be_stored_and_read_again() -> None:
    for preset in ("capture", "rollout"):
        ledger = Ledger(Policy(preset=preset))
        fold_all(ledger, passes(10))
        snapshot = ledger.snapshot()
        assert msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot) == snapshot


def test_a_snapshot_holds_no_values_of_traffic() -> None:
    ledger = Ledger(Policy())
    answers = [a for a in passes(3) if a.values.update({"$.token": ("hunter2", "hunter2", "correct horse")}) is None]
    fold_all(ledger, answers)
    text = msgspec.json.encode(ledger.snapshot()).decode()
    assert "$.token" in text
    assert "hunter2" not in text
    assert "correct horse" not in text
