"""The wheel as a stranger gets it: built from the source distribution, installed into an empty environment, run from elsewhere."""

import email
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.e2e.support import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400), pytest.mark.xdist_group("wheel")]

DEPENDENCIES = ROOT / ".cache" / "dependencies"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==[0-9][A-Za-z0-9.!+]*")


def run(*command: str, cwd: Path, timeout_s: float = 300) -> "subprocess.CompletedProcess[str]":
    """A command that must succeed, away from the checkout and without anything of this environment in its search path."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE", "SHADOWDIFF", "VIRTUAL_ENV"))
    }
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=timeout_s)
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made from the source distribution, so that both are whole."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", str(out), str(ROOT), cwd=out)
    assert len(list(out.glob("*.tar.gz"))) == 1
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment that holds the wheel and what it depends on, and nothing else."""
    if not (DEPENDENCIES / ".ready").exists():
        pytest.skip("the dependencies are not installed apart: run sh tests/prepare.sh")
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    site = Path(run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).stdout.strip())
    (site / "dependencies.pth").write_text(f"{DEPENDENCIES}\n", encoding="utf-8")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python))
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel), cwd=home)
    run(*pip, "check", cwd=home)
    return home / "bin"


def test_the_wheel_holds_the_packages_and_their_data_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    top = {name.split("/")[0] for name in names}
    assert top == {"harness", "comparators", "replay", "scenarios", f"shadowdiff-{PROJECT['version']}.dist-info"}
    for folder, target in (("config", "harness/_config"), ("harness", "harness"), ("scenarios", "scenarios")):
        kept = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        missing = {f"{target}/{path.relative_to(ROOT / folder).as_posix()}" for path in kept} - names
        assert not missing
    assert "harness/_config/policies/default.yaml" in names
    assert "harness/_config/schemas/report-1.json" in names
    assert any(name.startswith("harness/report/templates/") for name in names)
    assert not [name for name in names if name.endswith((".pyc", ".orig", ".rej")) or "/." in name]


def test_the_wheel_declares_what_the_project_declares(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        folder = f"shadowdiff-{PROJECT['version']}.dist-info"
        metadata = email.message_from_bytes(packed.read(f"{folder}/METADATA"))
        declared = packed.read(f"{folder}/entry_points.txt").decode("utf-8")
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert len(needed) == len(PROJECT["dependencies"])
    assert not [line for line in needed if "==" in line.split(";")[0] or "@" in line], "an installation is not bound to one version"
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert f"[console_scripts]\nshadowdiff = {PROJECT['scripts']['shadowdiff']}" in declared
    for group, points in PROJECT["entry-points"].items():
        assert f"[{group}]" in declared
        assert all(f"{name} = {value}" in declared for name, value in points.items())


def test_the_demo_works_from_an_unrelated_folder(installed: Path, tmp_path: Path) -> None:
    where = run(
        str(installed / "python"), "-c", "import harness.resources as r; print(r.config_path('policies/default.yaml'))", cwd=tmp_path
    )
    assert Path(where.stdout.strip()).is_relative_to(installed.parent)
    assert run(str(installed / "shadowdiff"), "--version", cwd=tmp_path).stdout.strip() == f"shadowdiff {PROJECT['version']}"
    done = run(str(installed / "shadowdiff"), "demo", "--seed", "3", "--out", "kept", cwd=tmp_path)
    assert "Demo worked" in done.stdout
    assert "Traceback" not in done.stderr
    assert {path.name for path in (tmp_path / "kept" / "gate").iterdir()} >= {"report.json", "report.html", "junit.xml", "summary.md"}
    assert [path.name for path in tmp_path.iterdir()] == ["kept"], "nothing is written anywhere else"


@pytest.mark.parametrize("path", sorted((ROOT / "constraints").glob("*.txt")), ids=lambda path: path.stem)
def test_constraints_are_exact_versions_of_all_that_is_declared(path: Path) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    pinned = {match[1].lower().replace("_", "-") for line in lines if (match := PIN.fullmatch(line))}
    assert len(pinned) == len(lines), "a name and one version on each line; no file, no address"
    declared = [*PROJECT["dependencies"], *(need for needs in PROJECT["optional-dependencies"].values() for need in needs)]
    names = {re.split(r"[^A-Za-z0-9._-]", need)[0].lower().replace("_", "-") for need in declared}
    assert names <= pinned
    assert "shadowdiff" not in pinned
