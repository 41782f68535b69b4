"""`shadowdiff demo` as people run it: what was planted is found, noise is not called divergence, no secret is kept."""

import json
import re
from pathlib import Path
from typing import Any, Final

import jsonschema
import msgspec
import pytest

from harness.core.labels import Aspect, Kind
from harness.frames import FrameReader
from harness.store import MAGIC, TRIALS_FILE, read_trials
from scenarios.demo.faults import FAULTS
from scenarios.demo.traffic import plan
from tests.e2e.support import ROOT, Ran, shadowdiff

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DEMO_TIMEOUT_S: Final = 500
NOTES_TOKENS: Final = """
import os, sys

if "scenarios.demo.service" in sys.orig_argv:
    from scenarios.demo.store import Store

    log_in = Store.log_in

    def noted(self, customer):
        token = log_in(self, customer)
        with open(os.environ["TOKENS_NOTED_IN"], "a") as file:
            file.write(token + "\\n")
        return token

    Store.log_in = noted
"""
"""Makes every process of the service note the tokens it gives out, so that one knows what to look for."""


def demo(folder: Path, *options: str) -> Ran:
    """Run it, in a folder of its own; the tokens given out are in `tokens` beside it."""
    noting = folder / "noting"
    noting.mkdir()
    (noting / "sitecustomize.py").write_text(NOTES_TOKENS, encoding="utf-8")
    environment = {"PYTHONPATH": str(noting), "TOKENS_NOTED_IN": str(folder / "tokens")}
    return shadowdiff("demo", *options, out=folder / "demo", timeout_s=DEMO_TIMEOUT_S, environment=environment)


def report_of(ran: Ran, run: str) -> dict[str, Any]:
    """report.json of the `live` or the `gate` part; it must be as its schema says."""
    report: dict[str, Any] = json.loads((ran.out / run / "report.json").read_bytes())
    schema = json.loads((ROOT / "config" / "schemas" / "report-1.json").read_bytes())
    jsonschema.validate(report, schema)
    return report


def divergences(*reports: dict[str, Any]) -> list[tuple[str, Aspect, str, Kind]]:
    """The keys of what was called divergence."""
    named = [f for report in reports for f in report["findings"] if f["class"] == "divergence"]
    return [(f["endpoint"], Aspect(f["aspect"]), f["path"], Kind(f["kind"])) for f in named]


def check_planted(ran: Ran) -> None:
    """All planted faults were found, and nothing else."""
    assert ran.code == 0, ran.explain()
    assert ran.stdout.rstrip().splitlines()[-1] == f"Demo worked: {len(FAULTS)} of {len(FAULTS)} planted faults found"
    live, gate = report_of(ran, "live"), report_of(ran, "gate")
    assert gate["verdict"] == "fail"
    named = divergences(live, gate)
    assert [fault.name for fault in FAULTS if not any(fault.shown_by(*key) for key in named)] == []
    assert [key for key in named if not any(fault.explains(*key) for fault in FAULTS)] == []
    check_calls(ran, gate)


def check_calls(ran: Ran, gate: dict[str, Any]) -> None:
    """All calls were watched, each belongs to a request, and none but stable's reached the services."""
    (watched,) = gate["effects"]["watched"]
    assert (watched["collector"], watched["mode"], watched.get("unattributed", {}), watched.get("lapses", [])) == (
        "http",
        "virtualise",
        {},
        [],
    )
    made = watched["seen"]
    assert made["stable"] == made["secondary"] >= 20 * gate["passes"]
    assert f"The payment and mail services got {made['stable']:,}, all of them stable's" in ran.stderr


def unpacked(path: Path) -> bytes:
    """All that a file holds, the packed trials expanded."""
    data = path.read_bytes()
    if path.name == TRIALS_FILE:
        trials = [msgspec.msgpack.encode(stored) for stored in read_trials(FrameReader(path, MAGIC[TRIALS_FILE]))]
        assert len(trials) > 100
        data += b"".join(trials)
    return data


def check_secrets(ran: Ran, seed: int, tokens: list[str]) -> None:
    """Nothing that was sent or answered in confidence is in any file of the demo, or on the terminal."""
    customers = [session.customer for session in plan(seed)]
    assert len(set(tokens)) >= 3 * len(customers), "each arm of each pass gives out tokens of its own"
    secrets = {*tokens, *(f"open sesame {n}" for n in customers), *(f"customer{n}@shop.example" for n in customers)}
    pattern = re.compile("|".join(map(re.escape, sorted(secrets))).encode())
    places = {str(path.relative_to(ran.out)): unpacked(path) for path in ran.out.rglob("*") if path.is_file()}
    places |= {"stdout": ran.stdout.encode(), "stderr": ran.stderr.encode()}
    assert {"traffic.gor", "gate/report.json", f"gate/{TRIALS_FILE}", f"live/{TRIALS_FILE}"} <= places.keys()
    assert b"Bearer redacted-" in places["traffic.gor"]
    assert {place: found[0] for place, data in places.items() if (found := pattern.search(data))} == {}


def check_private(folder: Path) -> None:
    """Nobody else can look into it."""
    for path in [folder, *folder.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_the_demo_finds_what_was_planted_and_keeps_no_secret(tmp_path: Path) -> None:
    ran = demo(tmp_path, "--seed", "1")
    check_planted(ran)
    check_secrets(ran, 1, (tmp_path / "tokens").read_text(encoding="utf-8").split())
    check_private(ran.out)


def test_the_stable_build_against_itself_does_not_fail(tmp_path: Path) -> None:
    ran = demo(tmp_path, "--candidate-is-stable", "--seed", "2")
    assert ran.code == 0, ran.explain()
    assert "Demo worked" in ran.stdout
    live, gate = report_of(ran, "live"), report_of(ran, "gate")
    assert gate["verdict"] in {"pass", "inconclusive"}
    assert gate["passes"] >= 2
    assert divergences(live, gate) == []
    check_calls(ran, gate)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 6))
def test_the_demo_finds_what_was_planted_for_every_seed(seed: int, tmp_path: Path) -> None:
    check_planted(demo(tmp_path, "--seed", str(seed)))
