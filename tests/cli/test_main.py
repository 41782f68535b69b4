"""Whatever a command ends with: one exit code, one clear message, never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from harness.core.errors import CaptureError, SetupError, ShadowdiffError, UsageError
from tests.cli.recorder import App, install, run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> App:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return install(monkeypatch, tmp_path)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 130, 143])
def test_the_wirings_code_is_the_exit_code(app: App, code: int) -> None:
    app.code = code
    assert run("demo") == code


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("is wrong", where="--x", fix="mend it"), 2, "error: --x: is wrong\nhint: mend it\n"),
        (SetupError("never became ready"), 4, "error: never became ready\n"),
        (CaptureError("entry 3 is broken", where="a.har"), 4, "error: a.har: entry 3 is broken\n"),
        (ShadowdiffError("planted fault missed"), 5, "error: planted fault missed\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (click.Abort(), 130, "error: interrupted\n"),
        (click.ClickException("no"), 2, "error: no\n"),
        (
            ExceptionGroup("tasks", [ExceptionGroup("more", [SetupError("a")]), UsageError("b", fix="c")]),
            4,
            "error: a\nerror: b\nhint: c\n",
        ),
        (BaseExceptionGroup("tasks", [SetupError("a"), KeyboardInterrupt()]), 130, "error: interrupted\n"),
    ],
)
def test_errors_have_their_code_and_message(
    app: App, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    app.error = error
    assert run("capture", "info", "x") == code
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize(
    "error", [KeyError("k"), BrokenPipeError(32, "Broken pipe"), ExceptionGroup("tasks", [SetupError("a"), ValueError("b")])]
)
def test_an_unexpected_error_is_one_line_and_a_file(app: App, tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    app.error = error
    assert run("demo") == 5
    said = capsys.readouterr().err
    assert said.startswith(f"internal error: {type(error).__name__}: ")
    assert "Traceback" not in said
    (file,) = tmp_path.glob("shadowdiff-error-*.txt")
    assert f"hint: the details are in {file}\n" in said
    assert "Traceback" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_file_lies_with_the_run(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setattr(
        sys.modules["harness.app.captures"], "capture_info", lambda paths, ui: (ui.use_folder(folder), 1 // 0)[1], raising=True
    )
    assert run("capture", "info", "x") == 5
    assert len(list(folder.glob("shadowdiff-error-*.txt"))) == 1


def test_debug_shows_the_traceback(app: App, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app.error = RuntimeError()
    assert run("demo", "--debug") == 5
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.endswith("internal error: RuntimeError\n")
    assert list(tmp_path.glob("shadowdiff-error-*")) == []


def test_where_no_file_can_be_written_the_hint_says_how_to_see_it(
    app: App, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app.error = RuntimeError("x")
    monkeypatch.setattr("harness.cli.crash.write_report", lambda error, folder: None)
    assert run("demo") == 5
    assert capsys.readouterr().err == "internal error: RuntimeError: x\nhint: run it again with --debug for the details\n"


@pytest.mark.parametrize(
    ("arguments", "said", "path"),
    [
        ((), "Missing command.", "shadowdiff"),
        (("gat",), "gat", "shadowdiff"),
        (("gate",), "CAPTURE", "shadowdiff gate"),
        (("gate", "a.har", "--sped", "2"), "--sped", "shadowdiff gate"),
        (("demo", "--seed", "x"), "--seed", "shadowdiff demo"),
        (("report", "nowhere"), "nowhere", "shadowdiff report"),
        (("report", ".", "--format", "pdf"), "pdf", "shadowdiff report"),
        (("capture",), "Missing command.", "shadowdiff capture"),
        (("config", "chek"), "chek", "shadowdiff config"),
    ],
)
def test_wrong_usage_is_two(app: App, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str, path: str) -> None:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, hint = err.splitlines()
    assert first.startswith("error: ")
    assert said in first
    assert hint == f"hint: `{path} --help` shows what it takes"


def environment() -> dict[str, str]:
    """Without variables of ours, and with the buffering that people have."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SHADOWDIFF_") and name != "PYTHONUNBUFFERED"}


def in_a_process(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness.cli.main", *arguments],
        cwd=ROOT,
        env=environment() | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_runs_as_a_program() -> None:
    done = in_a_process("config", "show", SHADOWDIFF_BUILD="b\x1b[31m")
    assert done.returncode == 0
    assert "SHADOWDIFF_BUILD" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("words", [("config", "schema"), ("--version",), ("gate", "--help")])
def test_a_reader_who_leaves_early_hears_no_complaint(words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "harness.cli.main", *words]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_help_needs_nothing_heavy_and_is_there_at_once() -> None:
    """What it takes is the time for its imports, so these are counted: a clock would test the machine."""
    code = (
        "import sys; before = set(sys.modules); from harness.cli.main import main; code = main(['gate', '--help']);"
        " new = set(sys.modules) - before;"
        " heavy = {'pandas', 'mitmproxy', 'aiohttp', 'asyncio', 'rich', 'yaml', 'jinja2', 'deepdiff', 'uvloop'} & new;"
        " print(code, sorted(heavy), len(new), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    status, heavy, count = done.stderr.strip().split(" ")
    assert (status, heavy) == ("0", "[]")
    assert int(count) < 150


def test_nor_where_something_was_left_unwritten() -> None:
    code = (
        "import sys; from harness.cli import main as module;"
        " module.run = lambda arguments, session: sys.stdout.write('left') and 3;"
        " sys.exit(module.main([]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 3


def test_a_full_disk_is_an_error_of_the_environment() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "harness.cli.main", "config", "schema"]
        done = subprocess.run(command, cwd=ROOT, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == 4
    assert done.stderr == "error: standard output cannot be written to: No space left on device\n"
