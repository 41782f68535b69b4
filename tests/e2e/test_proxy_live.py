"""`shadowdiff proxy` as a process of its own before real builds: clients are served, others look on, a signal ends it in order."""

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.live import WAIT_S, build, get, proxy, report_of
from tests.e2e.support import SHADOWDIFF, shadowdiff

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def path_of(number: int) -> str:
    """Three kinds of requests in turn; each is another one, since the same answer to the same URL is evidence only once."""
    weight_kg = 1 + number / 10
    return (f"/shipping?region=ap-south&weight={weight_kg}", f"/shipping?region=eu-north&weight={weight_kg}", f"/no/such/page{number}")[
        number % 3
    ]


def test_clients_get_stables_answer_while_others_look_on_and_the_candidate_dies(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with build("stable", "a") as (stable, _), build("stable", "b") as (secondary, _), build("candidate", "c") as (candidate, dying):
        record = tmp_path / "traffic.gor"
        targets = ["--stable", f"http://127.0.0.1:{stable}", "--secondary", f"http://127.0.0.1:{secondary}"]
        with proxy(out, *targets, "--candidate", f"http://127.0.0.1:{candidate}", "--record", str(record)) as running:
            for number in range(60):
                assert get(running.address + path_of(number))[0] == get(f"http://127.0.0.1:{stable}{path_of(number)}")[0]
            running.until_compared(60)
            dying.kill()
            dying.wait()
            for number in range(60, 90):
                assert get(running.address + path_of(number))[0] == get(f"http://127.0.0.1:{stable}{path_of(number)}")[0]
            answer = running.until_compared(90)
            assert answer["verdict"] == "fail"
            assert answer["code"] == 0
            assert get(f"{running.admin}/healthz")[0] == 200
            assert get(f"{running.admin}/readyz")[0] == 200
            metrics = get(f"{running.admin}/metrics")[1].decode()
            assert re.search(r'shadowdiff_trials_total\{outcome="compared"\} 90\.0', metrics)
            assert running.end(signal.SIGTERM) == 0, "a signal is how a proxy is stopped"
    report = report_of(out)
    assert report["totals"]["compared"] == report["totals"]["requests"] == 90
    assert report["errors"]["candidate"] == 30
    found = {(f["aspect"], f["kind"]) for f in report["findings"] if f["class"] == "divergence"}
    assert ("transport", "error") in found
    assert ("body", "value") in found, "the forgotten customs of ap-south"
    info = shadowdiff_info(record)
    assert "90, of which 90 can be sent" in info


def shadowdiff_info(capture: Path) -> str:
    done = subprocess.run([*SHADOWDIFF, "capture", "info", str(capture)], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_a_stable_without_shadows_is_served_and_nothing_passes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with build("stable", "a") as (stable, _), proxy(out, "--stable", f"http://127.0.0.1:{stable}", "--gate") as running:
        assert get(running.address + path_of(0))[0] == 200
        assert running.end(signal.SIGINT) == 3
    report = report_of(out)
    assert report["verdict"] == "inconclusive"
    assert report["totals"]["skipped"] == {"no_shadow": 1}
    assert report["reasons"][0]["code"] == "no_candidate"


def test_a_proxy_with_gate_ends_with_the_verdicts_code_when_its_time_is_up(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with build("stable", "a") as (stable, _), build("candidate", "c") as (candidate, _), build("stable", "b") as (secondary, _):
        targets = ["--stable", f"http://127.0.0.1:{stable}", "--secondary", f"http://127.0.0.1:{secondary}"]
        with proxy(out, *targets, "--candidate", f"http://127.0.0.1:{candidate}", "--gate", "--for", "15s") as running:
            for number in range(20):
                assert get(f"{running.address}/shipping?region=ap-south&weight={1 + number}")[0] == 200
            assert running.process.wait(WAIT_S) == 1
    assert report_of(out)["verdict"] == "fail"


def test_a_port_that_is_taken_is_an_environment_error(tmp_path: Path) -> None:
    with build("stable", "a") as (stable, _), build("candidate", "b") as (taken, _):
        ran = shadowdiff(
            "proxy", "--listen", f"127.0.0.1:{taken}", "--stable", f"http://127.0.0.1:{stable}", "--admin", "", out=tmp_path / "run"
        )
    assert ran.code == 4, ran.explain()
    assert "Traceback" not in ran.stderr


def test_a_target_that_is_the_proxy_itself_is_refused(tmp_path: Path) -> None:
    with build("stable", "a") as (stable, _):
        to = ("--stable", f"http://127.0.0.1:{stable}", "--candidate", "http://localhost:18080")
        ran = shadowdiff("proxy", "--listen", "127.0.0.1:18080", *to, "--admin", "", out=tmp_path / "run")
    assert ran.code == 2, ran.explain()
    assert "targets.candidate: candidate is the proxy itself" in ran.stderr
