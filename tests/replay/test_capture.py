import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import CaptureError
from harness.core.labels import SkipReason
from replay import capture as module
from replay.capture import describe, load_captures, normal_host
from replay.formats.gor import SEPARATOR, GorEncoder
from tests.replay.build import CAPTURES, request, response

HTTPBIN = [str(CAPTURES / name) for name in ("httpbin.gor", "httpbin.har", "httpbin.mitm")]


def write(path: Path, *targets: str, host: str = "shop.test") -> str:
    encoder = GorEncoder()
    data = [encoder.pair(request(target=target, host=host), response(), time_ns=at * 10**9) for at, target in enumerate(targets)]
    path.write_bytes(b"".join(data))
    return str(path)


def har(path: Path, *entries: dict[str, Any]) -> str:
    path.write_text(json.dumps({"log": {"entries": entries}}))
    return str(path)


def raw(url: str, **more: Any) -> dict[str, Any]:
    return {"request": {"method": "GET", "url": url, **more}, "response": {"status": 200}}


@pytest.mark.parametrize("path", HTTPBIN)
def test_the_real_captures_load(path: str) -> None:
    capture = load_captures([path])
    assert len(capture.entries) == capture.requests == 48
    assert capture.hosts == ("127.0.0.1:7600",)
    assert capture.skipped == {}
    assert load_captures([path]).digest == capture.digest


def test_files_follow_one_another(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.gor", "/1", "/2"), write(tmp_path / "b.gor", "/3", "/4")
    capture = load_captures([first, second])
    assert [(item.request.target, item.offset_s) for item in capture.entries] == [("/1", 0.0), ("/2", 1.0), ("/3", 1.0), ("/4", 2.0)]
    assert [(item.file, item.index) for item in capture.entries] == [(first, 0), (first, 1), (second, 0), (second, 1)]


def test_times_that_go_back_are_put_in_order(tmp_path: Path) -> None:
    encoder = GorEncoder()
    path = tmp_path / "t.gor"
    path.write_bytes(b"".join(encoder.pair(request(target=f"/{at}"), None, time_ns=at * 10**9) for at in (5, 3, 9)))
    capture = load_captures([str(path)])
    assert [(item.request.target, item.offset_s, item.index) for item in capture.entries] == [
        ("/3", 0.0, 1),
        ("/5", 2.0, 0),
        ("/9", 6.0, 2),
    ]


def test_other_hosts_are_left_out_and_counted(tmp_path: Path) -> None:
    path = har(tmp_path / "t.har", raw("https://shop.test/1"), raw("https://cdn.test/x"), raw("https://Shop.Test:443/2"))
    capture = load_captures([path])
    assert [item.request.target for item in capture.entries] == ["/1", "/2"]
    assert capture.hosts == ("shop.test",)
    assert capture.skipped == {SkipReason.OTHER_HOST: 1}
    assert capture.other_hosts == {"cdn.test": 1}
    both = load_captures([path], hosts=["CDN.test", "shop.test:443"])
    assert len(both.entries) == 3
    assert capture.requests == 3


def test_a_host_that_is_not_there_is_said(tmp_path: Path) -> None:
    path = har(tmp_path / "t.har", raw("https://shop.test/1"))
    with pytest.raises(CaptureError) as caught:
        load_captures([path], hosts=["other.test"])
    assert "shop.test" in caught.value.fix
    assert caught.value.exit_code == 4


def test_hosts_are_normalised() -> None:
    assert normal_host(" Shop.Test:443 ") == normal_host("shop.test.") == normal_host("shop.test:80") == "shop.test"
    assert normal_host("shop.test:8080") == "shop.test:8080"


def test_upgrades_and_cut_requests_are_skipped(tmp_path: Path) -> None:
    websocket = raw("wss://shop.test/ws", headers=[{"name": "Upgrade", "value": "websocket"}])
    path = har(
        tmp_path / "t.har",
        raw("http://shop.test/1", headers=[{"name": "Upgrade", "value": "h2c"}]),
        websocket,
        {**raw("http://shop.test/ws2"), "response": {"status": 101}},
        raw("http://shop.test/cut", bodySize=99),
    )
    capture = load_captures([path])
    assert [item.request.target for item in capture.entries] == ["/1"]
    assert capture.skipped == {SkipReason.UPGRADE: 2, SkipReason.TRUNCATED_REQUEST: 1}


def test_a_broken_entry_names_file_and_entry_unless_skipped(tmp_path: Path) -> None:
    path = tmp_path / "t.gor"
    whole = Path(write(path, "/1", "/2")).read_bytes()
    path.write_bytes(whole + b"nonsense" + SEPARATOR + whole)
    with pytest.raises(CaptureError) as caught:
        load_captures([str(path)])
    assert f"{path}, entry 2" in caught.value.where
    assert "--skip-broken" in caught.value.fix
    capture = load_captures([str(path)], skip_broken=True)
    assert len(capture.entries) == 4
    assert capture.skipped == {SkipReason.BROKEN_ENTRY: 1}
    assert len(capture.broken) == 1


@pytest.mark.parametrize("source", HTTPBIN)
def test_a_truncated_capture_is_refused_and_can_be_used_in_part(source: str, tmp_path: Path) -> None:
    data = Path(source).read_bytes()
    path = tmp_path / Path(source).name
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CaptureError, match="ends inside"):
        load_captures([str(path)])
    capture = load_captures([str(path)], skip_broken=True)
    assert 10 < len(capture.entries) < 40
    assert capture.skipped == {SkipReason.BROKEN_ENTRY: 1}


def test_flows_that_are_not_http_never_stop_the_reading(tmp_path: Path) -> None:
    path = har(tmp_path / "t.har", raw("data:text/plain,x"), raw("http://shop.test/1"))
    capture = load_captures([path])
    assert capture.skipped == {SkipReason.BROKEN_ENTRY: 1}
    assert len(capture.entries) == 1


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    empty = tmp_path / "empty.har"
    empty.write_bytes(b"")
    nothing = har(tmp_path / "none.har")
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    for path, message in (
        (str(tmp_path / "missing.har"), "No such file"),
        (str(tmp_path), "cannot be read"),
        ("a\0b", "cannot be read"),
        (str(empty), "is empty"),
        (nothing, "no request in it"),
        (str(text), "not a capture"),
    ):
        with pytest.raises(CaptureError, match=message) as caught:
            load_captures([path])
        assert path in caught.value.where
        assert caught.value.fix
    with pytest.raises(CaptureError, match="no capture file"):
        load_captures([])


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAPTURE_ENTRIES_MAX", 2)
    with pytest.raises(CaptureError, match="more than 2 entries"):
        load_captures([write(tmp_path / "t.gor", "/1", "/2", "/3")])


def test_compressed_files_load(tmp_path: Path) -> None:
    path = tmp_path / "httpbin.gor.gz"
    path.write_bytes(gzip.compress((CAPTURES / "httpbin.gor").read_bytes()))
    assert len(load_captures([str(path)]).entries) == 48


def test_a_capture_in_numbers() -> None:
    info = describe(load_captures(HTTPBIN[:1]))
    assert (info.requests, info.sendable) == (48, 48)
    assert info.methods["GET"] == 39
    assert info.hosts == {"127.0.0.1:7600": 48}
    assert info.statuses["none"] == 1
    assert sum(info.statuses.values()) == 48
    assert 10 < info.sessions < 48
    assert info.span_s > 0
    assert info.request_bytes > 500
    assert info.response_bytes > 5000
    assert info.broken == ()
