"""A proxy whose processes are killed amid traffic goes on with its run: with its evidence, its alpha, and what was lost counted."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from harness.app.checkpoint import CHECKPOINT_FILE
from harness.app.history import read_history
from harness.app.stored import judge_again
from harness.core.labels import ShedReason, VerdictState
from harness.core.limits import CHECKPOINT_SECONDS
from harness.report.model import Report, decode_report
from harness.store import StoredRun
from tests.e2e.live import WAIT_S, Proxy, build, get, proxy
from tests.e2e.support import SHADOWDIFF
from tests.e2e.workers import processes

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420), pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")]


def family(parent: int) -> list[int]:
    """A process and all that descend from it."""
    found, everybody = [parent], processes()
    for pid in found:
        found += [child for child, (its_parent, _) in everybody.items() if its_parent == pid]
    return found


def kill_all(running: Proxy) -> None:
    """SIGKILL for the supervisor and its workers at once, as a machine that runs out of memory or a container that is removed does."""
    for pid in family(running.process.pid):
        os.kill(pid, signal.SIGKILL)
    running.process.wait(WAIT_S)


@contextmanager
def targets() -> Iterator[list[str]]:
    """Stable, secondary and a candidate that forgot the customs of ap-south, as options."""
    with build("stable", "a") as (stable, _), build("stable", "b") as (secondary, _), build("candidate", "c") as (candidate, _):
        ports = {"--stable": stable, "--secondary": secondary, "--candidate": candidate}
        yield [word for option, port in ports.items() for word in (option, f"http://127.0.0.1:{port}")]


def ask(running: Proxy, numbers: range, region: str) -> None:
    for number in numbers:
        assert get(f"{running.address}/shipping?region={region}&weight={1 + number / 1000}")[0] == 200


def report_in(out: Path) -> Report:
    return decode_report((out / "report.json").read_bytes())


def stored(out: Path) -> int:
    return sum(1 for _ in StoredRun.open(out).bets())


def until_stored(out: Path, count: int) -> None:
    deadline = time.monotonic() + WAIT_S
    while stored(out) < count:
        assert time.monotonic() < deadline, f"{stored(out)} of {count} trials were stored"
        time.sleep(0.05)


def test_a_killed_proxy_goes_on_twice_with_its_evidence_and_its_losses_counted(tmp_path: Path) -> None:
    """The divergence is seen before the first kill only, so a verdict of fail is evidence that outlived two processes."""
    out = tmp_path / "run"
    with targets() as options:
        with proxy(out, *options, "--resume", logs=tmp_path) as first:
            assert "resumed" not in first.stderr, "there was nothing to go on with"
            ask(first, range(30), "ap-south")
            first.until_compared(30)
            until_stored(out, 30)
            ask(first, range(30, 60), "eu-north")  # killed with some of these under way, or not stored yet
            mode = (out / CHECKPOINT_FILE).stat().st_mode
            kill_all(first)
        assert mode & 0o777 == 0o600, "the key of the hashes is its owner's"
        before = stored(out)
        assert 30 <= before <= 60
        assert not (out / "report.json").exists()

        with proxy(out, *options, "--resume", logs=tmp_path) as second:
            answer = second.until_compared(before)
            assert (answer["verdict"], answer["run"]) == ("fail", "run"), "what was seen before the kill still counts"
            assert f"resumed epoch 1 with {before} stored trials: {60 - before} requests lost" in second.stderr
            ask(second, range(100, 130), "eu-north")
            second.until_compared(before + 30)
            metrics = get(f"{second.admin}/metrics")[1].decode()
            assert "shadowdiff_resumes_total 1.0" in metrics
            assert re.search(rf'shadowdiff_shed_total{{reason="killed",stage="compare"}} {60 - before}\.0', metrics)
            (now,) = json.loads(get(f"{second.admin}/api/v1/history")[1])["history"]
            assert (now["resumed"], now["lost"], now["until"]) == (1, 60 - before, None)
            kill_all(second)
        between = stored(out)
        assert before <= between <= before + 30

        with proxy(out, *options, "--resume", logs=tmp_path) as third:
            ask(third, range(200, 230), "eu-north")
            third.until_compared(between + 30)
            assert third.end(signal.SIGTERM) == 0, third.stderr
            assert "Traceback" not in third.stderr
            assert "was killed" in third.stdout

    report = report_in(out)
    assert report.verdict is VerdictState.FAIL
    assert report.totals.requests == 120, "every request has an outcome, those of both lost processes too"
    assert report.totals.compared == between + 30 == stored(out)
    assert report.totals.shed.get(ShedReason.KILLED, 0) == 120 - report.totals.compared
    assert report.epoch is not None
    assert [one.lost for one in report.epoch.resumed] == [60 - before, before + 30 - between]
    assert {one.seconds for one in report.epoch.resumed} == {CHECKPOINT_SECONDS}
    (line,) = read_history(out)
    assert (line.resumed, line.lost, line.requests) == (2, 120 - report.totals.compared, report.totals.compared)
    again, _ = judge_again(out)
    assert again == report, "judged again from what is stored, a run that went on gives its live verdict"
    assert not (out / CHECKPOINT_FILE).exists(), "with the run the key is gone"
    assert sorted(path.name for path in out.iterdir() if "counts" in path.name) == []


def test_little_is_lost_amid_traffic_and_the_torn_tail_is_cut_off(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with targets() as options:
        with proxy(out, *options, "--resume", logs=tmp_path) as first:
            began, sent = time.monotonic(), 0
            while time.monotonic() - began < 2 * CHECKPOINT_SECONDS:
                ask(first, range(sent, sent + 10), "eu-north")
                sent += 10
            rate = sent / (time.monotonic() - began)
            kill_all(first)
        with (out / "bets.msgpack").open("ab") as file:
            file.write(b"\x00\x00\x01\x00torn")
        left = stored(out)
        assert sent - left <= rate * CHECKPOINT_SECONDS, "at most so many seconds are lost"
        with proxy(out, *options, "--resume", logs=tmp_path) as second:
            assert "a torn tail of 8 bytes was cut off" in second.stderr
            ask(second, range(10_000, 10_010), "eu-north")
            second.until_compared(left + 10)
            assert second.end(signal.SIGTERM) == 0, second.stderr
    report = report_in(out)
    assert report.totals.requests == sent + 10
    assert report.totals.compared == left + 10
    assert report.totals.shed.get(ShedReason.KILLED, 0) == sent - left
    assert judge_again(out)[0] == report


def test_a_killed_supervisor_alone_and_the_next_takes_its_port(tmp_path: Path) -> None:
    """Its workers end by themselves; what they counted is kept, and the port is waited for."""
    out = tmp_path / "run"
    with targets() as options:
        with proxy(out, *options, "--resume", logs=tmp_path) as first:
            ask(first, range(20), "eu-north")
            first.until_compared(20)
            port = first.port
            first.process.kill()
            first.process.wait(WAIT_S)
        with proxy(out, "--listen", f"127.0.0.1:{port}", *options, "--resume", logs=tmp_path) as second:
            assert second.port == port
            ask(second, range(20, 30), "eu-north")
            second.until_compared(10)
            assert second.end(signal.SIGTERM) == 0, second.stderr
    totals = report_in(out).totals
    assert totals.requests == 30
    assert totals.compared + totals.shed.get(ShedReason.KILLED, 0) == 30


def refused(out: Path | None, *options: str) -> tuple[int, str]:
    command = [*SHADOWDIFF, "proxy", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--resume", *options]
    done = subprocess.run(
        [*command, *(("--out", str(out)) if out else ())],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    return done.returncode, " ".join(done.stderr.split())


def test_what_is_not_the_same_run_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with targets() as options:
        with proxy(out, *options, "--resume", logs=tmp_path) as first:
            ask(first, range(10), "eu-north")
            first.until_compared(10)
            code, said = refused(out, *options)
            assert (code, "another process runs it" in said) == (4, True), said
            kill_all(first)
        code, said = refused(out, *options[:-1], "http://127.0.0.1:9")
        assert (code, "it was begun with another targets" in said) == (4, True), said
        code, said = refused(out, *options, "--policy", "strict")
        assert (code, "it was begun with another policy" in said) == (4, True), said
        data = (out / "bets.msgpack").read_bytes()
        checkpoint = msgspec.json.decode((out / CHECKPOINT_FILE).read_bytes())
        (out / CHECKPOINT_FILE).write_bytes(msgspec.json.encode({**checkpoint, "flushed": {"bets": len(data), "trials": 0}}))
        (out / "bets.msgpack").write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
        code, said = refused(out, *options)
        assert (code, "damaged" in said) == (4, True), said
        (out / "bets.msgpack").write_bytes(data)
        with proxy(out, *options, "--resume", logs=tmp_path) as second:
            second.until_compared(1)
            assert second.end(signal.SIGTERM) == 0, second.stderr
        code, said = refused(out, *options)
        assert (code, "its last epoch was closed" in said) == (4, True), said
        code, said = refused(None, *options)
        assert (code, "give its folder with --out" in said) == (2, True), said


def test_a_later_epoch_goes_on_and_the_earlier_ones_stay(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with targets() as options:
        with proxy(out, *options, "--resume", logs=tmp_path) as first:
            ask(first, range(20), "ap-south")
            first.until_compared(20)
            end_epoch(first)
            ask(first, range(40, 50), "eu-north")
            first.until_compared(10)
            until_stored(out / "epochs" / "run.2", 10)
            kill_all(first)
        with proxy(out, *options, "--resume", logs=tmp_path) as second:
            assert "resumed epoch 2 with 10 stored trials: 0 requests lost" in second.stderr
            assert second.until_compared(10)["run"] == "run.2"
            end_epoch(second)
            ask(second, range(60, 70), "eu-north")
            second.until_compared(10)
            assert second.end(signal.SIGTERM) == 0, second.stderr
    lines = read_history(out)
    assert [(one.epoch, one.run, one.requests, one.resumed) for one in lines] == [
        (1, "run", 20, 0),
        (2, "run.2", 10, 1),
        (3, "run.3", 10, 0),
    ]
    assert lines[0].verdict is VerdictState.FAIL
    for line, folder in zip(lines, (out, out / "epochs" / "run.2", out / "epochs" / "run.3"), strict=True):
        report = report_in(folder)
        assert report.verdict is line.verdict
        assert report.totals.compared == line.requests
        assert judge_again(folder)[0] == report


def end_epoch(running: Proxy) -> None:
    command = ["curl", "-sS", "--fail", "-X", "POST", "-H", "Content-Type: application/json", "-d", "{}", f"{running.admin}/api/v1/epoch"]
    subprocess.run(command, check=True, capture_output=True, timeout=WAIT_S)
