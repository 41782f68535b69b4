"""The parts of the live path's benchmarks measure what they say: load, processes, counts, tables, the document."""

import itertools
import math
import re
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.values import Totals
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.metrics import MetricsState
from tests.bench.live import documents, openloop, processes, programs, report, wrk
from tests.bench.live.lab import lab
from tests.bench.live.outcome import Outcome, Table, markdown, number, percent, percentile, show
from tests.bench.live.project import Counts, counts_of
from tests.bench.live.upstreams import LIVE, PLANTED

FIRST_ANSWER_MS = 200.0
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


def table() -> Table:
    return Table(title="Speeds", columns=("way", "ms"), rows=(("direct", "1.00"), ("a|b", "12.00")), notes=("rough",))


def test_an_outcome_is_printed_and_judged(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(Outcome(tables=(table(),))) == 0
    assert show(Outcome(tables=(table(),), missed=("too slow",), absent=("envoy",))) == 1
    said = capsys.readouterr().out
    assert "  direct   1.00\n  a|b     12.00\n  rough" in said
    assert "MISSED: too slow" in said
    assert "not measured: envoy" in said


def test_markdown_says_what_is_missing() -> None:
    said = markdown(Outcome(tables=(table(),), missed=("too slow",), absent=("envoy",)))
    assert "| way | ms |\n|---|---:|\n| direct | 1.00 |\n| a\\|b | 12.00 |" in said
    assert said.endswith("- not measured: envoy\n- **missed:** too slow")


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.01, 0.25, 0.5, 0.75, 0.99, 1.0]))
def test_a_percentile_is_the_least_value_that_covers_the_share(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_nothing_is_not_zero() -> None:
    assert math.isnan(percentile([], 0.5))
    assert [number(math.nan), percent(0, 0), number(12_345.6), percent(1, 3)] == ["-", "-", "12,346", "33.3 %"]


def test_wrk_is_read() -> None:
    load = wrk.load_of("Running 1s test\nfigures 5000 2000000 10485760 1500 20000 3 4\n")
    assert (load.rate, load.p50_ms, load.p99_ms, load.bad, load.broken) == (2500, 1.5, 20, 3, 4)
    with pytest.raises(ValueError, match="unable to connect"):
        wrk.load_of("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_counts_are_those_of_the_projects_own_metrics() -> None:
    state = MetricsState(run="r1")
    assert counts_of(state.render().decode()) == Counts()
    totals = Totals(requests=12, compared=5, shed={"in_flight": 3, "queue_full": 1}, skipped={"write": 2}, refused={"connect": 1})
    state.set_snapshot(Ledger(Policy()).snapshot(), None, totals)
    counts = counts_of(state.render().decode())
    assert counts == Counts(compared=5, shed=4, skipped=2, refused=1, reasons={"in_flight": 3, "queue_full": 1})
    assert counts.total == 12
    assert counts.why_shed() == "in_flight 3, queue_full 1"
    assert counts.since(Counts(compared=1, shed=3, reasons={"in_flight": 3})) == Counts(
        compared=4, shed=1, skipped=2, refused=1, reasons={"queue_full": 1}
    )
    with pytest.raises(KeyError):
        counts_of("# HELP nothing\n")


@pytest.mark.parametrize("size", [1_000, 2_000, 50_000])
def test_documents_have_their_size_and_stay_the_same(size: int, tmp_path: Path) -> None:
    documents.write(tmp_path, "/x", size)
    files = [tmp_path / f"{path.lstrip('/')}.json" for path in documents.paths("/x", size)]
    assert len(files) == len(documents.KINDS) * documents.NUMBERS
    assert all(size - 5 <= file.stat().st_size < size + 250 for file in files)
    assert len({file.read_bytes() for file in files}) == len(files)
    assert orjson.loads(files[0].read_bytes()) == documents.document("orders", 1, size)


def test_large_documents_are_few() -> None:
    assert documents.paths("/big", 50_000_000) == ("/big/orders/1", "/big/items/1", "/big/customers/1", "/big/carts/1")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["/usr/bin/python3", "-P", "-m", "harness.cli.main", "proxy", "--listen", "x"], "shadowdiff proxy"),
        (["python", "-m", "harness.cli.main", "--help"], "shadowdiff"),
        (["python", "-m", "harness.app.worker", "4"], "app.worker"),
        (["/usr/sbin/nginx", "-c", "x"], "nginx"),
        (["prog", "-m"], "prog"),
        ([], "?"),
    ],
)
def test_a_process_has_a_name(command: list[str], name: str) -> None:
    assert processes.name_of(command) == name


def test_the_processes_of_a_tree_are_read() -> None:
    busy = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\nsys.stdin.read()"
    nest = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {busy!r}])"
    with subprocess.Popen([sys.executable, "-c", nest], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"done\n"
        uses = processes.tree(process.pid)
        process.stdin.close()
    assert len(uses) == 2
    child = max(uses.values(), key=lambda use: use.cpu_s)
    assert child.cpu_s >= 0.25
    assert 1 << 20 < child.rss_bytes <= child.peak_bytes
    assert processes.cpu_between({}, uses)[child.name] >= child.cpu_s
    assert processes.cpu_between(uses, uses) == {child.name: 0.0}
    assert processes.tree(process.pid) == {}


@contextmanager
def server(answer: bytes = OK, *, first_ms: float = 0.0, most: int = 1_000_000) -> Iterator[int]:
    """A server on a thread of its own, its port: the first answer takes `first_ms`; after `most` answers it only closes."""
    turns = itertools.count(1)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline():
                if line != b"\r\n":
                    continue
                turn = next(turns)
                if turn > most:
                    return
                time.sleep(first_ms / 1000 if turn == 1 else 0)
                # In two pieces, so that an answer is not always one read.
                self.wfile.write(answer[:20])
                self.wfile.write(answer[20:])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield int(listening.server_address[1])
        finally:
            listening.shutdown()
            thread.join()


def test_open_loop_does_not_leave_out_the_wait() -> None:
    """With one connection a slow first answer delays those that were due meanwhile, and each says so."""
    requests = openloop.paths_in_turn(("/a", "/b"))
    with server(first_ms=FIRST_ANSWER_MS) as port:
        load = openloop.drive(port, requests, rate=100, count=10, connections=1)
    assert (load.due, len(load.latencies_ms), load.bad, load.unanswered) == (10, 10, 0, 0)
    # The n-th was due n * 10 ms after the first, and none can be answered before the first is.
    assert all(latency >= FIRST_ANSWER_MS - 10 * turn - 15 for turn, latency in enumerate(load.latencies_ms))
    assert load.late_ms[1] >= FIRST_ANSWER_MS - 10 - 15


def test_open_loop_counts_what_went_wrong() -> None:
    with server(OK.replace(b"200 OK", b"503 No")) as port:
        load = openloop.drive(port, lambda _: openloop.request_of("/a"), rate=500, count=5, connections=2)
    assert (load.bad, load.unanswered, load.latencies_ms) == (5, 0, [])
    with server(most=3) as port:
        load = openloop.drive(port, lambda _: openloop.request_of("/a"), rate=500, count=8, connections=2)
    assert (load.bad, load.unanswered, len(load.latencies_ms)) == (5, 0, 3)
    with server(b"HTTP/1.1 200 OK\r\n\r\n") as port:
        load = openloop.drive(port, lambda _: openloop.request_of("/a"), rate=500, count=2, connections=2)
    assert load.bad == 2


def test_open_loop_sends_requests_by_number() -> None:
    turn = openloop.paths_in_turn(("/a", "/b"))
    assert [re.findall(rb"GET (\S+)", turn(number)) for number in (0, 1, 2)] == [[b"/a"], [b"/b"], [b"/a"]]
    assert openloop.request_of("/x", "A: 1").endswith(b"\r\nA: 1\r\n\r\n")


def test_the_targets_count_and_vary_as_they_say() -> None:
    try:
        programs.program("nginx")
    except programs.AbsentError as absent:
        pytest.skip(str(absent))
    with lab() as place:
        targets = place.targets
        before = targets.asked()
        once = {
            arm: openloop.drive(port, openloop.paths_in_turn(documents.paths()), rate=1000, count=40) for arm, port in targets.ports.items()
        }
        assert {arm: count - before[arm] for arm, count in targets.asked().items()} == {"stable": 40, "secondary": 40, "candidate": 40}
        assert {load.bad + load.unanswered for load in once.values()} == {0}
        stable, candidate = (targets.url(arm) for arm in ("stable", "candidate"))
        assert _json(f"{stable}/orders/3") == _json(f"{candidate}/orders/3") == documents.document("orders", 3)
        first, second = _json(f"{stable}{LIVE}/orders/100"), _json(f"{candidate}{LIVE}/orders/100")
        assert {key for key in first if first[key] != second[key]} == {"trace"}
        assert first["id"] == "orders/100"
        first, second = _json(f"{stable}{PLANTED}/orders/100"), _json(f"{candidate}{PLANTED}/orders/100")
        assert {key for key in first if first[key] != second[key]} == {"trace", "state"}
        assert _json(f"{candidate}{PLANTED}/orders/101")["state"] == "paid"


def _json(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        found: dict[str, object] = orjson.loads(answer.read())
        return found


def test_a_program_that_ends_at_once_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such option')"]
    with pytest.raises(programs.StartError, match="no such option"), programs.running(command, port=1, log=tmp_path / "log"):
        pass


def test_an_absent_program_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(programs.AbsentError, match="Debian package wrk"):
        programs.program("wrk")
    assert programs.version("wrk") == "no wrk"


@given(st.text(), st.text())
def test_a_section_is_replaced_and_nothing_else(before: str, section: str) -> None:
    rest = "# Title\n<!-- bench other -->\nkept\n<!-- end other -->\n"
    document = f"{rest}<!-- bench one -->\nold\n<!-- end one -->\nmore\n"
    new = report.replaced(document, "one", f"{section}")
    assert new.startswith(rest)
    assert new.endswith("<!-- end one -->\nmore\n")
    assert section.strip() in new
    assert "\nold\n" not in new or "old" in section


def test_a_section_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no single section two"):
        report.replaced("<!-- bench one -->\n<!-- end one -->\n", "two", "")
    document = tmp_path / "x.md"
    document.write_text("<!-- bench one -->\n\n<!-- end one -->\n")
    assert report.main(["two", "--to", str(document)]) == 2
    assert "no section for: two; there are: one" in capsys.readouterr().err


def test_the_document_has_a_section_for_each_benchmark_of_the_live_path() -> None:
    document = report.DOCUMENT.read_text(encoding="utf-8")
    names = report.names_in(document)
    assert set(report.THOROUGH) == set(report.QUICK) <= set(names)
    for name in names:
        assert report.replaced(document, name, "x") != document
        assert (report.DOCUMENT.parent.parent / "tests" / "bench" / f"bench_{name}.py").exists()
