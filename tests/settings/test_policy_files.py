"""Policy as code: policies that extend each other, from folders and from refs."""

from pathlib import Path

import pytest

from harness.core.errors import UsageError
from harness.evidence.policy import Policy
from harness.settings.policies import load_policy
from harness.settings.policy_files import POLICY_CHAIN_MAX
from harness.settings.problems import ConfigError
from tests.settings.test_git_ref import commit, git

ROOT = Path(__file__).resolve().parents[2]
PACKAGED = ROOT / "config/policies"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder / f"{next(iter(files))}.yaml"


def problems_of(path: Path, ref: str | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_policy(str(path), folder=PACKAGED, ref=ref)
    return [problem.text().replace(str(path.parent) + "/", "") for problem in caught.value.problems]


def test_a_policy_may_extend_another_by_name_or_by_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub", team="extends: ../base.yaml\ndelta: 0.02\n")
    write(tmp_path, base="extends: strict\nalpha: 0.05\ndelta: 0.03\n")
    loaded = load_policy(str(tmp_path / "sub/team.yaml"), folder=PACKAGED)
    strict = load_policy("strict", folder=PACKAGED).policy
    assert loaded.policy == Policy(
        name="team",
        preset="rollout",
        alpha=0.05,
        delta=0.02,
        delta_status=strict.delta_status,
        latency_tolerance=strict.latency_tolerance,
        completed_share_min=strict.completed_share_min,
    )
    assert loaded.origins["delta"].endswith("sub/team.yaml:2")
    assert loaded.origins["alpha"].endswith("base.yaml:2")
    assert loaded.origins["delta_status"].endswith("strict.yaml:7")
    assert "beta" in loaded.origins
    assert "eps0" not in loaded.origins


def test_the_digest_of_a_child_covers_what_it_extends(tmp_path: Path) -> None:
    child = write(tmp_path, child="extends: base.yaml\ndelta: 0.02\n", base="alpha: 0.05\n")
    first = load_policy(str(child), folder=PACKAGED).digest
    whole = write(tmp_path, whole="name: child\nalpha: 0.05\ndelta: 0.02\n")
    assert load_policy(str(whole), folder=PACKAGED).digest == first
    write(tmp_path, base="alpha: 0.04\n")
    assert load_policy(str(child), folder=PACKAGED).digest != first


def test_a_policy_that_extends_itself_names_the_chain(tmp_path: Path) -> None:
    path = write(tmp_path, a="alpha: 0.05\nextends: b.yaml\n", b="extends: ./c.yaml\n", c="extends: a.yaml\n")
    (found,) = problems_of(path)
    assert found.replace(f"{tmp_path}/", "") == "c.yaml:1: extends: extends itself: a.yaml -> b.yaml -> c.yaml -> a.yaml"
    (found,) = problems_of(write(tmp_path, d="extends: d.yaml\n"))
    assert "extends itself: d.yaml -> d.yaml" in found


def test_chains_are_bounded(tmp_path: Path) -> None:
    for index in range(POLICY_CHAIN_MAX):
        write(tmp_path, **{f"p{index}": f"extends: p{index + 1}.yaml\n"})
    write(tmp_path, **{f"p{POLICY_CHAIN_MAX}": "alpha: 0.05\n"})
    (found,) = problems_of(tmp_path / "p0.yaml")
    assert f"more than {POLICY_CHAIN_MAX} policies extend each other: p0.yaml -> p1.yaml" in found
    assert load_policy(str(tmp_path / "p1.yaml"), folder=PACKAGED).policy.alpha == 0.05


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("extends: rolout\n", 'no policy is called "rolout"; allowed: did you mean "rollout"? known:'),
        ("extends: ./none.yaml\n", "none.yaml: there is no such file"),
        ("extends: [a]\n", "child.yaml:1: extends: one value is expected"),
        ("extends: 7\n", "no policy is called"),
        ("extends: broken.yaml\n", "broken.yaml:1: not YAML"),
    ],
)
def test_what_cannot_be_extended_is_said_with_everything_else(tmp_path: Path, text: str, expected: str) -> None:
    found = problems_of(write(tmp_path, child=text + "alpha: 7\n", broken="a: ["))
    assert [problem for problem in found if expected in problem], found
    assert [problem for problem in found if problem.startswith("child.yaml:2: alpha: 7 is out of range")]


def test_problems_of_all_files_come_at_once(tmp_path: Path) -> None:
    found = problems_of(write(tmp_path, child="extends: base.yaml\nalpha: 7\n", base="# base\nbeta: 0\nbta: 1\n"))
    assert [problem.partition(" ")[0] for problem in sorted(found)] == ["base.yaml:2:", "base.yaml:3:", "child.yaml:2:"]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    write(folder, policy="extends: base.yaml\nlatency_tolerance: 0.02\n", base="extends: rollout\ndelta: 0.001\nlocked: [delta]\n")
    commit(folder)
    git(folder, "checkout", "--quiet", "-b", "change")
    return folder


def test_policy_ref_the_change_under_test_cannot_weaken_its_own_gate(repo: Path) -> None:
    path = repo / "policy.yaml"
    agreed = load_policy(str(path), folder=PACKAGED, ref="main")
    assert (agreed.policy.delta, agreed.policy.preset, agreed.ref) == (0.001, "rollout", "main")
    write(repo, policy="delta: 0.4\n", base="delta: 0.4\n")
    commit(repo)
    assert load_policy(str(path), folder=PACKAGED).policy.delta == 0.4
    assert load_policy(str(path), folder=PACKAGED, ref="main") == agreed
    path.unlink()
    (repo / "base.yaml").unlink()
    assert load_policy(str(path), folder=PACKAGED, ref="main") == agreed


def test_what_a_policy_extends_is_read_at_the_ref_too(repo: Path) -> None:
    write(repo, policy="extends: lax.yaml\n", lax="delta: 0.4\n")
    commit(repo)
    git(repo, "checkout", "--quiet", "main")
    write(repo, policy="extends: lax.yaml\n")
    commit(repo)
    git(repo, "checkout", "--quiet", "change")
    (found,) = problems_of(repo / "policy.yaml", "main")
    assert found.startswith("main:")
    assert "extends: main:lax.yaml: there is no such file at main" in found


def test_problems_at_a_ref_name_it_and_the_line(repo: Path) -> None:
    write(repo, policy="alpha: 1\nextends: base.yaml\ndelta: 0.5\n")
    commit(repo)
    write(repo, policy="alpha: 0.01\n")
    found = problems_of(repo / "policy.yaml", "change")
    assert found[0].startswith("change:policy.yaml:1: alpha: 1 is out of range")
    assert found[1].startswith("change:policy.yaml:3: delta: looser than what change:base.yaml:3 locks")


def test_a_policy_that_comes_with_shadowdiff_is_read_at_no_ref(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_policy("strict", folder=PACKAGED, ref="main")
    assert (loaded.policy.name, loaded.ref) == ("strict", "")


def test_a_ref_that_cannot_be_read_never_passes(repo: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no ref 'mian'"):
        load_policy(str(repo / "policy.yaml"), folder=PACKAGED, ref="mian")
    with pytest.raises(UsageError, match="lies in no Git repository"):
        load_policy(str(write(tmp_path, alone="alpha: 0.05\n")), folder=PACKAGED, ref="main")
    with pytest.raises(UsageError, match="there is no such file at main"):
        load_policy(str(repo / "none.yaml"), folder=PACKAGED, ref="main")
