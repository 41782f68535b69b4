"""Parts of a policy that types do not say enough about: their bounds. What is refused is in test_policy_merge."""

from pathlib import Path

import pytest

from harness.core.limits import LABEL_CHARS_MAX
from harness.evidence.conditions import CONDITIONS_MAX
from harness.settings.policy_parts import COVERAGE_WANTED_MAX, WHAT_BLOCKS_MAX, label_name
from tests.settings.test_policy_files import problems_of, write


def test_names_of_labels() -> None:
    assert label_name(" Author-Kind ") == "author-kind"
    assert [label_name(text) for text in ("", "a b", "-a", "a" * 65, "ä")] == [None] * 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("blocks: [" + "{block: true}," * (WHAT_BLOCKS_MAX + 1) + "]\n", f"{WHAT_BLOCKS_MAX + 1} rules are too many"),
        ("coverage: {endpoints: [" + "a," * (COVERAGE_WANTED_MAX + 1) + "]}\n", f"{COVERAGE_WANTED_MAX + 1} entries are too many"),
        (
            "when: [" + "{labels: {a: b}, set: {delta: 0.1}}," * (CONDITIONS_MAX + 1) + "]\n",
            f"{CONDITIONS_MAX + 1} conditions are too many",
        ),
        ("when: [{labels: {a: " + "x" * (LABEL_CHARS_MAX + 1) + "}, set: {delta: 0.1}}]\n", f"has {LABEL_CHARS_MAX + 1} characters"),
        ("when: [{labels: {A: x, a: y}, set: {delta: 0.1}}]\n", "names a label twice"),
    ],
)
def test_everything_is_bounded(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = problems_of(write(tmp_path, many=text))
    assert expected in found
