"""Policies: the packaged ones, files of one's own, and everything that is refused."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from harness.core.errors import UsageError
from harness.core.labels import RunMode
from harness.evidence.policy import Policy
from harness.settings.policies import DEFAULT_POLICY, RANGES, ROLLOUT_POLICY, digest_of, load_policy, policy_name
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
