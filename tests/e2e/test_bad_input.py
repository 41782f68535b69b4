"""Bad input never gives a traceback and never passes: captures, targets, configuration, signals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.support import CAPTURES, SHADOWDIFF, shadowdiff

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SERVICE = f"cmd:{sys.executable} -P -m scenarios.demo.service --port {{port}} --build stable"


def lines_of_gor(count: int) -> bytes:
    record = "1 {0:032x} {1} 0\nGET /shipping?region=eu-west&weight=2 HTTP/1.1\r\nHost: shop.example\r\nX-Tenant: harbor\r\n\r\n\n🐵🙈🙉\n"
    return "".join(record.format(n + 1, 1_700_000_000_000_000_000 + n) for n in range(count)).encode()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cut.har", (CAPTURES / "httpbin.har").read_bytes()[:9000], "cut.har"),
        ("noise.bin", bytes(range(256)) * 4, "noise.bin"),
        ("empty.gor", b"", "empty.gor"),
        ("list.har", b"[1, 2, 3]", "list.har"),
    ],
)
def test_what_is_no_capture_is_named_and_exits_4(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    ran = shadowdiff("gate", str(path), "--stable", SERVICE, "--candidate", SERVICE, out=tmp_path / "run")
    assert ran.code == 4, ran.explain()
    assert words in ran.stderr
    assert "hint" in ran.stderr
    assert "Traceback" not in ran.stderr + ran.stdout


def test_a_broken_entry_stops_the_run_unless_it_may_be_skipped(tmp_path: Path) -> None:
    path = tmp_path / "broken.gor"
    path.write_bytes(lines_of_gor(3) + "1 zz 12 0\nnot http at all\n🐵🙈🙉\n".encode() + lines_of_gor(3))
    strict = shadowdiff("gate", str(path), "--stable", SERVICE, "--candidate", SERVICE, out=tmp_path / "strict")
    assert strict.code == 4, strict.explain()
    assert "entry 3" in strict.stderr
    lenient = shadowdiff("gate", str(path), "--stable", SERVICE, "--candidate", SERVICE, "--skip-broken", out=tmp_path / "lenient")
    assert lenient.code in {0, 3}, lenient.explain()
    assert lenient.report["totals"]["skipped"] == {"broken_entry": 1}
    assert any(reason["code"] == "broken_entries" for reason in lenient.report["reasons"])


def test_a_target_that_never_becomes_ready_exits_4_with_its_last_words(tmp_path: Path) -> None:
    path = tmp_path / "few.gor"
    path.write_bytes(lines_of_gor(3))
    broken = f"cmd:{sys.executable} -c \"print('no database at {{port}}'); raise SystemExit(7)\""
    ran = shadowdiff("gate", str(path), "--stable", SERVICE, "--candidate", broken, out=tmp_path / "run")
    assert ran.code == 4, ran.explain()
    assert "no database at" in ran.stderr
    assert "candidate" in ran.stderr


def test_an_unknown_configuration_key_exits_2(tmp_path: Path) -> None:
    (tmp_path / "shadowdiff.yaml").write_text("replay:\n  concurency: 4\n", encoding="utf-8")
    ran = shadowdiff("gate", "x.gor", "--stable", SERVICE, "--candidate", SERVICE, out=tmp_path / "run")
    assert ran.code == 2, ran.explain()
    assert "concurrency" in ran.stderr
    assert not (tmp_path / "run").exists()


def test_ctrl_c_reports_what_was_done_and_exits_130(tmp_path: Path) -> None:
    path = tmp_path / "many.gor"
    path.write_bytes(lines_of_gor(4000))
    out = tmp_path / "run"
    command = [*SHADOWDIFF, "gate", str(path), "--stable", SERVICE, "--candidate", SERVICE, "--concurrency", "2", "--out", str(out)]
    log = tmp_path / "stderr"
    with log.open("w") as sink:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink, text=True, env={**os.environ, "NO_COLOR": "1"})
    try:
        deadline = time.monotonic() + 60
        while not re.search(r"pass 1: [1-9]\d* (of 4000|compared)", log.read_text(encoding="utf-8")):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, "the run never began"
            time.sleep(0.05)
        started = descendants(process.pid)
        assert len(started) >= 3, "three builds, each with its guard"
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    stderr = log.read_text(encoding="utf-8")
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    report = json.loads((out / "report.json").read_bytes())
    assert report["verdict"] != "pass"
    assert any(reason["code"] == "interrupted" for reason in report["reasons"])
    totals = report["totals"]
    assert totals["requests"] == totals["compared"] + sum(totals["skipped"].values())
    assert totals["compared"] > 0
    assert totals["skipped"]["interrupted"] > 0
    assert "interrupted" in stdout
    deadline = time.monotonic() + 60
    while left := [pid for pid in started if Path(f"/proc/{pid}").exists()]:  # what has ended is there until its parent has looked
        assert time.monotonic() < deadline, f"a build was left behind: {left}"
        time.sleep(0.05)


def descendants(pid: int) -> list[int]:
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
        found += [int(child), *descendants(int(child))]
    return found
