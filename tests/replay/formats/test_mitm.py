import io
import sys

import pytest
from mitmproxy import dns, http, tcp
from mitmproxy.io import FlowWriter, tnetstring
from mitmproxy.test import tflow

from harness.core.errors import CaptureError
from replay.entry import BrokenKind
from replay.formats import mitm
from replay.formats.mitm import FORMAT
from tests.replay.build import CAPTURES, bad, good, read


def flows(*items: http.HTTPFlow | tcp.TCPFlow | dns.DNSFlow) -> bytes:
    out = io.BytesIO()
    writer = FlowWriter(out)
    for item in items:
        writer.add(item)
    return out.getvalue()


def test_the_real_capture_agrees_with_its_archive_twin() -> None:
    items = read((CAPTURES / "httpbin.mitm").read_bytes(), "httpbin.mitm")
    twins = good(read((CAPTURES / "httpbin.har").read_bytes(), "httpbin.har"))
    entries = good(items)
    assert len(items) == len(entries) == 48
    assert len({item.client for item in entries}) == 1
    assert [item.request for item in entries] == [item.request for item in twins]
    assert [item.recorded and item.recorded.status for item in entries] == [item.recorded and item.recorded.status for item in twins]
    assert entries[-1].offset_s == pytest.approx(twins[-1].offset_s, abs=0.001)


@pytest.mark.parametrize("piece_bytes", [1, 1000])
def test_the_pieces_it_comes_in_do_not_matter(piece_bytes: int) -> None:
    data = flows(tflow.tflow(resp=True), tflow.tflow(err=True))
    assert read(data, "x.mitm", piece_bytes=piece_bytes) == read(data, "x.mitm")


def test_flows_that_are_not_http_are_counted() -> None:
    items = read(flows(tflow.ttcpflow(), tflow.tflow(resp=True), tflow.tdnsflow()))
    assert [item.kind for item in bad(items)] == [BrokenKind.NOT_HTTP] * 2
    assert [item.index for item in good(items)] == [1]


def test_a_flow_without_an_answer_has_none() -> None:
    assert good(read(flows(tflow.tflow(err=True))))[0].recorded is None


def test_fields_are_taken_over() -> None:
    flow = tflow.tflow(resp=True)
    flow.request = http.Request.make("POST", "http://Shop.Test:8080/a b?x", b"abc", {"transfer-encoding": "chunked"})
    flow.response = http.Response.make(201, b"ok", {"Transfer-Encoding": "chunked"})
    flow.response.trailers = http.Headers(sum="1")
    (item,) = good(read(flows(flow)))
    assert (item.request.host, item.request.target) == ("shop.test:8080", "/a%20b?x")
    assert dict(item.request.headers)["content-length"] == "3"
    assert item.recorded is not None
    assert (item.recorded.status, item.recorded.body.data, item.recorded.trailers) == (201, b"ok", (("sum", "1"),))
    assert not any(name.lower() == "transfer-encoding" for name, _ in item.recorded.headers)


def test_the_host_of_http2_and_default_ports() -> None:
    flow = tflow.tflow()
    flow.request = http.Request.make("GET", "https://shop.test/")
    assert good(read(flows(flow)))[0].request.host == "shop.test"
    flow.request.authority = "api.test"
    assert good(read(flows(flow)))[0].request.host == "api.test"


def test_contents_that_were_not_kept_are_truncated() -> None:
    flow = tflow.tflow(resp=True)
    flow.request.raw_content = None
    flow.request.headers["content-length"] = "7"
    assert flow.response is not None
    flow.response.raw_content = None
    flow.response.headers["content-length"] = "9"
    (item,) = good(read(flows(flow)))
    assert item.request.body.size == 7
    assert item.recorded is not None
    assert item.recorded.body.size == 9


@pytest.mark.parametrize(("method", "kind"), [("CONNECT", BrokenKind.NOT_HTTP), ("G T", BrokenKind.MALFORMED)])
def test_other_methods_are_broken(method: str, kind: BrokenKind) -> None:
    flow = tflow.tflow()
    flow.request.method = method
    assert bad(read(flows(flow)))[0].kind is kind


def test_a_cut_tail_is_a_broken_entry() -> None:
    first, second = flows(tflow.tflow(resp=True)), flows(tflow.tflow())
    for cut in (3, 6, 500):
        items = read(first + second[:cut], "x.mitm")
        assert len(good(items)) == 1
        (broken,) = bad(items)
        assert (broken.kind, broken.index, broken.where) == (BrokenKind.TRUNCATED, 1, f"byte {len(first)}")


def test_damage_inside_a_flow_costs_that_flow() -> None:
    first, second = flows(tflow.tflow(resp=True)), flows(tflow.tflow(resp=True))
    harmed = bytearray(first)
    harmed[len(first) // 2 : len(first) // 2 + 40] = b"\xff" * 40
    items = read(second + bytes(harmed) + second)
    assert [item.index for item in good(items)] == [0, 2]
    assert bad(items)[0].kind is BrokenKind.MALFORMED


def test_damage_between_flows_loses_the_rest() -> None:
    first = flows(tflow.tflow(resp=True))
    items = read(first + b"garbage garbage" + first)
    assert len(good(items)) == 1
    assert "rest of the file" in bad(items)[0].what


def test_a_flow_beyond_the_bound_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    large = tflow.tflow(resp=True)
    large.request.raw_content = b"x" * 50_000
    small = flows(tflow.tflow(resp=True))
    monkeypatch.setattr(mitm, "CAPTURE_RECORD_BYTES_MAX", 20_000)
    for piece_bytes in (100, 1_000_000):
        items = read(small + flows(large) + small, piece_bytes=piece_bytes)
        assert [item.index for item in good(items)] == [0, 2]
        assert bad(items)[0].kind is BrokenKind.TOO_LARGE
    cut = read(small + flows(large)[:30_000], piece_bytes=100)
    assert bad(cut)[0].kind is BrokenKind.TOO_LARGE


def test_another_file_is_refused() -> None:
    with pytest.raises(CaptureError, match="not a mitmproxy flow file"):
        list(FORMAT.read([b"something else"], "x.mitm"))


def test_mitmproxy_is_imported_only_for_flow_files() -> None:
    assert "mitmproxy" not in vars(mitm)
    assert "mitmproxy" in sys.modules  # by this test


@pytest.mark.parametrize("state", [[1], {b"version": 7}, {b"version": [0, 18]}, {b"version": [0, 11], "version": 5}, {"version": None}, {}])
def test_a_file_version_that_would_be_upgraded_for_ever_is_refused(state: object) -> None:
    (broken,) = bad(read(tnetstring.dumps(state), "x.mitm"))
    assert broken.kind is BrokenKind.MALFORMED


def test_fields_of_other_types_are_said() -> None:
    state = tflow.tflow(resp=True).get_state()
    state["request"]["path"] = 7
    state["request"]["timestamp_start"] = "soon"
    (broken,) = bad(read(tnetstring.dumps(state), "x.mitm"))
    assert broken.kind is BrokenKind.MALFORMED
