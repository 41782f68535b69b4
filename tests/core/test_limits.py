"""Every maximum has a name, a unit, a sentence, and fits the others."""

import ast
from pathlib import Path

from harness.core import limits

TREE = ast.parse(Path(limits.__file__).read_text(encoding="utf-8"))
NUMBERS = {name: value for name, value in vars(limits).items() if name.isupper() and not isinstance(value, str)}


def silent_in(tree: ast.Module) -> list[str]:
    """Limits without a sentence."""
    silent = []
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign):
            said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)
            if not said and ast.unparse(node.target) != "OTHER_ENDPOINT":
                silent.append(ast.unparse(node.target))
    return silent


def test_each_limit_is_said_in_a_sentence() -> None:
    assert silent_in(TREE) == []


def test_each_limit_is_named_once_and_is_a_positive_number() -> None:
    names = [ast.unparse(node.target) for node in TREE.body if isinstance(node, ast.AnnAssign)]
    assert len(names) == len(set(names))
    assert all(value > 0 for value in NUMBERS.values())
    assert all(isinstance(value, int) for name, value in NUMBERS.items() if "BYTES" in name or "CHARS" in name)


def test_a_trial_that_was_sent_finds_a_place_in_the_queue() -> None:
    assert limits.SHADOW_TRIALS_IN_FLIGHT_MAX < limits.COMPARE_QUEUE_MAX
    assert limits.COMPARE_QUEUE_MAX <= limits.SEQUENCER_WINDOW_MAX


def test_what_is_kept_of_a_message_fits_what_holds_it() -> None:
    assert limits.CAPTURE_BODY_BYTES_MAX <= limits.DECODED_BODY_BYTES_MAX
    assert limits.CAPTURE_BODY_BYTES_MAX <= limits.REQUEST_BODY_BYTES_MAX <= limits.CAPTURE_RECORD_BYTES_MAX
    assert limits.CAPTURE_RECORD_BYTES_MAX <= limits.STORE_FRAME_BYTES_MAX <= limits.STORED_BYTES_MAX
    assert limits.CAPTURE_BODY_BYTES_MAX < limits.COMPARE_QUEUE_BYTES_MAX
    assert limits.STORE_BUFFER_BYTES_MAX < limits.STORE_FRAME_BYTES_MAX


def test_a_report_holds_at_least_one_example_of_each_finding_in_sight() -> None:
    assert limits.REPORT_TABLE_ROWS_MAX <= limits.REPORT_EXEMPLARS_MAX <= limits.REPORT_FINDINGS_MAX
    assert limits.REPORT_LINE_CHARS_MAX <= limits.REPORT_BODY_CHARS_MAX
