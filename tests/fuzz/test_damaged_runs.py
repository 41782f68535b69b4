"""A stored run that is damaged or of a newer version says so, and is never judged as pass: every file of it is cut and flipped."""

import asyncio
import json
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.app.gate import run_gate
from harness.app.stored import judge_run, render_report
from harness.cli.main import main
from harness.core.errors import ShadowdiffError
from harness.settings.schema import ReplaySettings
from harness.store import BETS_FILE, FORMAT_VERSION, RUN_FILE, TRIALS_FILE
from tests.app import support
from tests.app.support import Heard, builds, capture, items, report_in, shop

FILES = (RUN_FILE, BETS_FILE, TRIALS_FILE, "report.json")
CODES = {"passed": 0, "failed": 1, "undecided": 3}
PER_FILE = 12


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run of each verdict."""
    base = tmp_path_factory.mktemp("runs")

    async def body(name: str, candidate: support.Handler, count: int, **replay: object) -> None:
        file = capture(base / f"{name}.gor", items(count))
        async with asyncio.timeout(100), builds(candidate) as urls:
            chosen = ReplaySettings(state="stateless", seed=1, **replay)  # type: ignore[arg-type]  # of the settings
            await run_gate(support.settings(base / name, urls, replay=chosen), [file], Heard(), verdict=True)

    asyncio.run(body("passed", shop(), 30))
    asyncio.run(body("failed", shop(price=11), 30))
    asyncio.run(body("undecided", shop(), 30, passes=1))
    found = {name: base / name for name in CODES}
    assert {name: judge_run(path, None, Heard()) for name, path in found.items()} == CODES
    return found


def copied(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def told(error: ShadowdiffError) -> int:
    """The exit code of an error that says what is wrong, where, and what to do."""
    assert all((error.what, error.where, error.fix)), error
    return error.exit_code


def judged(run: Path) -> int:
    """The exit code, as the command gives it; an error that is not for people fails the test."""
    try:
        return judge_run(run, None, Heard())
    except ShadowdiffError as error:
        return told(error)


def reported(run: Path) -> tuple[int, str]:
    """The exit code of `report` and the verdict that it shows."""
    try:
        for form in ("markdown", "json", "junit", "html"):
            code = render_report(run, form, Heard())
    except ShadowdiffError as error:
        return told(error), ""
    return code, str(report_in(run).verdict)


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("file", FILES)
@settings(max_examples=PER_FILE, deadline=None)
@given(data=st.data())
def test_any_damage_is_an_error_of_the_environment_or_changes_nothing(
    runs: dict[str, Path], name: str, file: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = copied(runs[name], tmp_path_factory.mktemp("damaged") / "run")
    content = bytearray((run / file).read_bytes())
    what = data.draw(st.sampled_from(["cut", "flip", "zero", "repeat"]))
    at = data.draw(st.integers(0, len(content) - 1))
    if what == "cut":
        del content[at:]
    elif what == "flip":
        content[at] ^= data.draw(st.integers(1, 255))
    elif what == "zero":
        end = min(len(content), at + data.draw(st.integers(1, 4096)))
        content[at:end] = bytes(end - at)
    else:
        content += content[at:]
    (run / file).write_bytes(content)
    assert judged(run) in {4, CODES[name]}
    if file != "report.json":
        return  # all that `report` reads
    code, verdict = reported(run)
    assert code in {0, 4}
    assert code == 4 or verdict == {0: "pass", 1: "fail", 3: "inconclusive"}[CODES[name]]


@pytest.mark.parametrize("file", [RUN_FILE, BETS_FILE, "report.json"])
def test_a_missing_file_is_said(runs: dict[str, Path], file: str, tmp_path: Path) -> None:
    run = copied(runs["passed"], tmp_path / "run")
    (run / file).unlink()
    assert judged(run) == 4


@pytest.mark.parametrize("name", CODES)
def test_every_number_of_run_json_counts(runs: dict[str, Path], name: str, tmp_path: Path) -> None:
    """Its digest tells damage from content: a changed alpha, say, would else be believed."""
    text = (runs[name] / RUN_FILE).read_text(encoding="utf-8")
    run = copied(runs[name], tmp_path / "run")
    places = [match.start() for match in re.finditer(r"[0-9]", text)]
    for place in places[:: max(1, len(places) // 12)]:
        other = "7" if text[place] != "7" else "3"
        (run / RUN_FILE).write_text(text[:place] + other + text[place + 1 :], encoding="utf-8")
        assert judged(run) == 4


def test_a_run_of_a_newer_version_says_so(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = copied(runs["passed"], tmp_path / "run")
    record = json.loads((run / RUN_FILE).read_bytes())
    (run / RUN_FILE).write_text(json.dumps({**record, "format_version": FORMAT_VERSION + 1}), encoding="utf-8")
    assert main(["judge", str(run)]) == 4
    said = capsys.readouterr().err
    assert f"run format {FORMAT_VERSION + 1} cannot be read here" in said
    assert "Traceback" not in said
    report = json.loads((run / "report.json").read_bytes())
    (run / "report.json").write_text(json.dumps({**report, "schema": "shadowdiff-report-9"}), encoding="utf-8")
    assert main(["report", str(run)]) == 4
    assert "shadowdiff-report-9" in capsys.readouterr().err
