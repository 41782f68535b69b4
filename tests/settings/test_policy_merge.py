"""A policy that extends another cannot loosen what that locks, neither by its keys nor by its conditions."""

from pathlib import Path

import pytest

from harness.settings.policies import load_policy
from tests.settings.test_policy_files import PACKAGED, problems_of, write


def test_a_locked_key_may_get_stricter_and_not_looser(tmp_path: Path) -> None:
    base = "delta: 0.01\ncompleted_share_min: 0.99\nlocked: [delta, completed_share_min]\n"
    path = write(tmp_path, child="extends: base.yaml\ndelta: 0.001\ncompleted_share_min: 0.999\nbeta: 0.4\n", base=base)
    policy = load_policy(str(path), folder=PACKAGED).policy
    assert (policy.delta, policy.completed_share_min, policy.beta) == (0.001, 0.999, 0.4)
    assert policy.locked == ("completed_share_min", "delta")


def test_all_that_is_looser_is_said_at_once_with_file_and_line(tmp_path: Path) -> None:
    base = (
        "preset: rollout\nlocked: [preset, alpha, delta, passes_min, effects, blocks, coverage, eps0]\n"
        "effects: [{effect: x, at_most: 0}]\ncoverage: {methods: [POST]}\n"
    )
    child = (
        "extends: base.yaml\npreset: capture\nalpha: 0.001\ndelta: 0.02\npasses_min: 1\neffects: []\n"
        "blocks: [{block: false}]\ncoverage: {}\neps0: 0.001\nbta: 1\n"
    )
    found = problems_of(write(tmp_path, child=child, base=base))
    assert [one for one in found if "looser" not in one] == [
        next(one for one in found if one.startswith("child.yaml:10: bta: unknown key"))
    ]
    looser = [one.replace(f"{tmp_path}/", "") for one in found if "looser" in one]
    assert looser[0] == 'child.yaml:2: preset: looser than what base.yaml:2 locks: "capture" is not "rollout"'
    assert [one.split(":")[2].strip() for one in looser] == ["preset", "alpha", "delta", "passes_min", "effects", "blocks", "coverage"]


def test_what_is_locked_stays_locked_below(tmp_path: Path) -> None:
    path = write(tmp_path, a="extends: b.yaml\nlocked: []\ndelta: 0.02\n", b="extends: c.yaml\nlocked: []\n", c="locked: [delta]\n")
    (found,) = problems_of(path)
    assert "delta: looser than what" in found
    assert "c.yaml:1 locks" in found


def test_a_policy_may_change_what_it_locks_itself(tmp_path: Path) -> None:
    path = write(tmp_path, a="extends: b.yaml\ndelta: 0.4\nlocked: [delta]\n", b="delta: 0.01\n")
    assert load_policy(str(path), folder=PACKAGED).policy.delta == 0.4


@pytest.mark.parametrize(
    ("base", "child"),
    [
        ("locked: [delta]\n", "when: [{labels: {a: b}, set: {delta: 0.02}}]\n"),
        ("locked: [delta]\n", "when: [{labels: {a: b}, set: {delta: 0.005}}, {labels: {a: '*'}, set: {delta: 0.02}}]\n"),
        # A condition of the base makes it stricter than the base is without labels; that is part of what is locked.
        ("locked: [delta]\nwhen: [{labels: {kind: ai}, set: {delta: 0.001}}]\n", "when: []\n"),
        (
            "locked: [delta]\nwhen: [{labels: {kind: ai}, set: {delta: 0.001}}]\n",
            "when: [{labels: {kind: ai}, set: {delta: 0.001}}, {labels: {x: y}, set: {delta: 0.005}}]\n",
        ),
        ("locked: [when]\nwhen: [{labels: {kind: ai}, set: {delta: 0.001}}]\n", "when: []\n"),
        (
            "locked: [when]\nwhen: [{labels: {kind: ai}, set: {delta: 0.001}}]\n",
            "when: [{labels: {x: y}, set: {beta: 0.01}}, {labels: {kind: ai}, set: {delta: 0.001}}]\n",
        ),
        (
            "locked: [when]\nwhen: [{labels: {kind: ai}, set: {delta: 0.001}}]\n",
            "when: [{labels: {kind: ai}, set: {delta: 0.001}}, {labels: {x: y}, set: {delta: 0.002}}]\n",
        ),
    ],
)
def test_a_when_of_a_child_cannot_loosen_what_is_locked(tmp_path: Path, base: str, child: str) -> None:
    found = problems_of(write(tmp_path, child="extends: base.yaml\n" + child, base=base))
    assert len(found) == 1
    assert found[0].startswith("child.yaml:2: when")
    assert "looser than what" in found[0]


def test_a_when_of_a_child_may_make_it_stricter(tmp_path: Path) -> None:
    base = "locked: [delta, when]\nwhen: [{labels: {kind: ai}, set: {delta: 0.005}}]\n"
    child = (
        "extends: base.yaml\nwhen: [{labels: {kind: ai}, set: {delta: 0.005}}, {labels: {kind: ai, size: '>=500'}, set: {delta: 0.001}}]\n"
    )
    assert len(load_policy(str(write(tmp_path, child=child, base=base)), folder=PACKAGED).policy.when) == 2


def test_conditions_are_checked_like_the_policy_all_errors_at_once(tmp_path: Path) -> None:
    text = """\
when:
  - labels: {}
    set: {delta: 7}
  - labels: {"no good": x, Ai: y, ai: z}
    set: {dlta: 1, name: x, when: []}
  - set: {effects: [{effect: x}]}
    wen: 1
  - just text
  - labels: {a: b}
    set: {}
"""
    found = problems_of(write(tmp_path, bad=text))
    for expected in (
        "bad.yaml:2: when[0].labels: 0 labels; allowed: from 1 up to 64",
        "bad.yaml:3: delta: 7 is out of range",
        "bad.yaml:4: when[1].labels.no good: is no name of a label",
        "bad.yaml:5: when[1].set.dlta: unknown key",
        "bad.yaml:5: when[1].set.name: unknown key",
        "bad.yaml:5: when[1].set.when: unknown key",
        "when[2].labels: is missing",
        "effects[0]: says neither at_most nor at_least",
        "bad.yaml:7: when[2].wen: unknown key",
        "when[3]: keys and values are expected here",
        "when[4].set: keys of the policy and values are expected here",
    ):
        assert [one for one in found if expected in one], (expected, found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("locked: [name]\n", 'locked[0]: "name" cannot be locked'),
        ("locked: [dleta]\n", 'locked[0]: "dleta" is no key of a policy'),
        ("locked: delta\n", "locked: a list is expected"),
        ("when: {labels: {a: b}}\n", "when: a list of conditions is expected"),
        ("blocks: [{}]\n", "blocks[0].block: is missing"),
        ("blocks: [{block: maybe}]\n", "is not true or false"),
        ("blocks: [{block: false, aspect: bdy}]\n", 'did you mean "body"?'),
        ("blocks: [{block: false, severity: huge}]\n", "critical or major or minor"),
        ("blocks: [{block: false, endpoint: ' '}]\n", "blocks[0].endpoint: is empty"),
        ("coverage: {endpoint: [a]}\n", 'did you mean "endpoints"?'),
        ("coverage: {endpoints: ['']}\n", "coverage.endpoints[0]: is empty"),
        ("coverage: {methods: [get]}\n", '"get" is no method'),
        ("coverage: {requests_min: -1}\n", "-1 is out of range"),
    ],
)
def test_an_unknown_key_or_an_impossible_value_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = problems_of(write(tmp_path, bad=text))
    assert [one for one in found if expected in one], found


def test_the_digest_covers_blocks_coverage_locks_and_conditions_and_not_how_they_are_written(tmp_path: Path) -> None:
    texts = (
        "name: p\n",
        "name: p\nblocks: [{block: false, aspect: headers}]\n",
        "name: p\ncoverage: {requests_min: 10}\n",
        "name: p\nlocked: [delta]\n",
        "name: p\nwhen: [{labels: {a: b}, set: {delta: 0.001}}]\n",
        "name: p\nwhen: [{labels: {a: b}, set: {delta: 0.001, alpha: 0.02}}]\n",
    )
    digests = [load_policy(str(write(tmp_path, p=text)), folder=PACKAGED).digest for text in texts]
    assert len(set(digests)) == len(digests)
    again = "when:\n  - set: {alpha: 2.0e-2, delta: 0.0010}\n    labels: {A: b}\nname: p\n"
    assert load_policy(str(write(tmp_path, p=again)), folder=PACKAGED).digest == digests[-1]
