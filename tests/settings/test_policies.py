"""Policies: the packaged ones, files of one's own, and everything that is refused."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from harness.core.errors import UsageError
from harness.core.labels import RunMode
from harness.core.limits import EFFECTS_PER_ARM_MAX
from harness.evidence.hard_rules import EFFECT_RULES_MAX
from harness.evidence.policy import EffectRule, Policy, digest_of
from harness.settings.policies import DEFAULT_POLICY, EFFECT_RANGES, RANGES, ROLLOUT_POLICY, load_policy, policy_name
from harness.settings.problems import ConfigError

ROOT = Path(__file__).resolve().parents[2]
PACKAGED = ROOT / "config/policies"


def test_packaged_policies_load_under_their_file_names() -> None:
    found = {file.stem: load_policy(file.stem, folder=PACKAGED) for file in PACKAGED.glob("*.yaml")}
    assert {"default", "rollout", "strict"} <= set(found)
    assert all(loaded.policy.name == name and loaded.file.stem == name for name, loaded in found.items())
    assert found["default"].policy == Policy()
    assert found["rollout"].policy.preset == "rollout"
    assert len({loaded.digest for loaded in found.values()}) == len(found)


def test_default_file_shows_every_key() -> None:
    text = (PACKAGED / "default.yaml").read_text(encoding="utf-8")
    assert [name for name in Policy.__struct_fields__ if f"\n{name}: " not in text] == []


def test_every_number_has_a_range_and_the_defaults_are_in_it() -> None:
    kind = inspect.type_info(Policy)
    assert isinstance(kind, inspect.StructType)
    numbers = {field.name for field in kind.fields if isinstance(field.type, inspect.FloatType | inspect.IntType)}
    assert numbers == set(RANGES)
    assert all(RANGES[name].admits(getattr(Policy(), name)) for name in numbers)


def test_a_file_takes_its_name_and_defaults(tmp_path: Path) -> None:
    path = tmp_path / "team.yaml"
    path.write_text("alpha: 0.05\n")
    loaded = load_policy(str(path), folder=PACKAGED)
    assert loaded.policy == Policy(name="team", alpha=0.05)
    assert loaded.file == path


def test_digest_is_of_the_content_and_not_of_the_writing(tmp_path: Path) -> None:
    one, two, other = (tmp_path / f"{name}.yaml" for name in ("one", "two", "other"))
    one.write_text("name: p\nalpha: 0.05\nbeta: 0.05\n")
    two.write_text("# the same\nbeta: 5.0e-2\nname: p\nalpha: 0.050\n")
    other.write_text("name: p\nalpha: 0.04\n")
    digests = [load_policy(str(path), folder=PACKAGED).digest for path in (one, two, other)]
    assert digests[0] == digests[1] != digests[2]
    assert len(digests[0]) == 64


def test_unknown_names_get_the_closest() -> None:
    with pytest.raises(UsageError) as caught:
        load_policy("rolout", folder=PACKAGED)
    assert 'no policy is called "rolout"' in str(caught.value)
    assert 'did you mean "rollout"? known: default, rollout, strict' in caught.value.fix
    with pytest.raises(UsageError) as caught:
        load_policy("zzzzz", folder=PACKAGED)
    assert caught.value.fix.startswith("known: ")


def test_all_problems_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("alpha: 0\nbeta: 0.6\npreset: captur\npasses_min: 9\npasses_max: 3\ndelta: .inf\nbta: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_policy(str(path), folder=PACKAGED)
    assert "problems in the policy" in str(caught.value)
    found = [problem.text().replace(str(path), "P") for problem in caught.value.problems]
    assert any(problem.startswith("P:7: bta: unknown key") and 'did you mean "beta"?' in problem for problem in found)
    assert "P:1: alpha: 0 is out of range; allowed: above 0 up to 0.5" in found
    assert "P:2: beta: 0.6 is out of range; allowed: above 0 up to 0.5" in found
    assert any(problem.startswith("P:6: delta: .inf is not a number") for problem in found)


def test_relations_are_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("preset: captur\npasses_min: 9\npasses_max: 3\n")
    with pytest.raises(ConfigError) as caught:
        load_policy(str(path), folder=PACKAGED)
    assert [problem.text().replace(str(path), "P") for problem in caught.value.problems] == [
        'P:1: preset: "captur" is not allowed; allowed: capture or rollout; did you mean "capture"?',
        "P:2: passes_min: 9 is more than passes_max, 3",
    ]


def test_unreadable_policies_never_pass(tmp_path: Path) -> None:
    for data in (b"", b"[1]", b"\xff", b"a: ["):
        path = tmp_path / "p.yaml"
        path.write_bytes(data)
        with pytest.raises(UsageError):
            load_policy(str(path), folder=PACKAGED)
    with pytest.raises(UsageError, match="there is no such file"):
        load_policy("./none.yaml", folder=PACKAGED)


def test_the_policy_of_a_run_that_names_none() -> None:
    assert policy_name(None, RunMode.GATE) == policy_name(None, RunMode.REPLAY) == policy_name(None, RunMode.DEMO) == DEFAULT_POLICY
    assert policy_name(None, RunMode.PROXY) == ROLLOUT_POLICY
    assert policy_name("strict", RunMode.PROXY) == "strict"


@given(st.sampled_from(sorted(RANGES)), st.floats(0, 1), st.floats(0, 1))
def test_digest_tells_different_numbers_apart(name: str, one: float, two: float) -> None:
    policies = [msgspec.structs.replace(Policy(), **{name: value}) for value in (one, two)]
    assert (digest_of(policies[0]) == digest_of(policies[1])) is (one == two)


def problems_of(path: Path, text: str) -> list[str]:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_policy(str(path), folder=PACKAGED)
    return [problem.text().replace(str(path), "P") for problem in caught.value.problems]


RULES = """
effects:
  - effect: POST payments.example/*
    endpoint: POST /orders*
    at_most: 1
    at_least: 1
    why: each order is paid once
  - effect: "redis SET session:*"
    at_most: 0
require_effects: [http, redis]
effects_seen_share_min: 0.9
"""


def test_rules_on_effects_are_read(tmp_path: Path) -> None:
    path = tmp_path / "team.yaml"
    path.write_text(RULES, encoding="utf-8")
    assert load_policy(str(path), folder=PACKAGED).policy == Policy(
        name="team",
        effects=(
            EffectRule(effect="POST payments.example/*", endpoint="POST /orders*", at_most=1, at_least=1, why="each order is paid once"),
            EffectRule(effect="redis SET session:*", at_most=0),
        ),
        require_effects=("http", "redis"),
        effects_seen_share_min=0.9,
    )


def test_everything_that_is_wrong_with_rules_on_effects_at_once(tmp_path: Path) -> None:
    found = problems_of(
        tmp_path / "bad.yaml",
        """\
alpha: 0
effects:
  - efect: "*"
    at_most: 0
  - effect: "*"
  - effect: " "
    at_most: -1
  - effect: "*"
    at_least: 0
    at_most: 1.5
  - effect: "*"
    at_least: 3
    at_most: 2
  - just text
require_effects: ["Http", ""]
effects_seen_share_min: 2
""",
    )
    for expected in (
        "P:1: alpha: 0 is out of range",
        'P:3: effects[0].efect: unknown key; allowed: effect, endpoint, at_most, at_least, why; did you mean "effect"?',
        "effects[0].effect: is missing",
        "P:5: effects[1]: says neither at_most nor at_least; allowed: at_most, at_least or both",
        "P:6: effects[2].effect: is empty",
        "P:7: effects[2].at_most: -1 is out of range; allowed: from 0 up to 511",
        "P:9: effects[3].at_least: 0 is out of range; allowed: from 1 up to 511",
        "P:10: effects[3].at_most: 1.5 is not a whole number",
        "P:12: effects[4].at_least: 3 is more than at_most, 2",
        "effects[5]: keys and values are expected here",
        'require_effects[0]: "Http" is no name of a collector; allowed: names as in effects.collect, such as http or postgres',
        'require_effects[1]: "" is no name of a collector',
        "P:16: effects_seen_share_min: 2 is out of range; allowed: above 0 up to 1",
    ):
        assert [problem for problem in found if expected in problem], (expected, found)


def test_rules_on_effects_are_bounded(tmp_path: Path) -> None:
    rules = ["  - {effect: x, at_most: 0}\n"] * (EFFECT_RULES_MAX + 1)
    found = problems_of(tmp_path / "many.yaml", "effects:\n" + "".join(rules))
    assert found == [f"P:1: effects: {EFFECT_RULES_MAX + 1} rules are too many; allowed: up to {EFFECT_RULES_MAX}"]


@pytest.mark.parametrize("text", ["effects: POST *", "effects: {effect: x}", "require_effects: http", "require_effects: [[http]]"])
def test_lists_are_asked_for(tmp_path: Path, text: str) -> None:
    assert problems_of(tmp_path / "bad.yaml", text + "\n")


def test_a_count_beyond_what_is_kept_of_one_request_could_not_be_told() -> None:
    assert all(bounds.high < EFFECTS_PER_ARM_MAX for bounds in EFFECT_RANGES.values())


def test_a_policy_without_effects_keeps_the_digest_it_had() -> None:
    """Reports of earlier runs name it."""
    assert digest_of(Policy()) == "3a0c343a315b5701b562271bd23792b6324af4b9a3cf85be4d8e19d4b16af7b6"


def test_the_digest_covers_what_is_said_of_effects() -> None:
    rule = EffectRule(effect="x", at_most=0)
    policies = [
        Policy(),
        Policy(effects=(rule,)),
        Policy(effects=(msgspec.structs.replace(rule, at_most=1),)),
        Policy(effects=(msgspec.structs.replace(rule, why="y"),)),
        Policy(effects=(rule, rule)),
        Policy(require_effects=("http",)),
        Policy(effects_seen_share_min=0.9),
    ]
    assert len({digest_of(policy) for policy in policies}) == len(policies)
