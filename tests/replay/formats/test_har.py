import json
from typing import Any

import pytest

from harness.core.errors import CaptureError
from replay.entry import ONE_PERSON, BrokenKind
from replay.formats.har import FORMAT
from tests.replay.build import CAPTURES, bad, good, read


def raw(url: str = "http://shop.test/a", started: str = "2026-01-01T00:00:00.000Z", **request: Any) -> dict[str, Any]:
    return {"startedDateTime": started, "request": {"method": "GET", "url": url, **request}, "response": {"status": 200}}


def har(*entries: object, creator: str = "mitmproxy", **log: Any) -> bytes:
    return json.dumps({"log": {"version": "1.2", "creator": {"name": creator}, "entries": list(entries), **log}}).encode()


def targets(data: bytes) -> list[str]:
    return [item.request.target for item in good(read(data, "t.har"))]


def test_the_real_capture_is_read_whole() -> None:
    items = read((CAPTURES / "httpbin.har").read_bytes(), "httpbin.har")
    entries = good(items)
    assert len(items) == len(entries) == 48
    assert not any(item.request.body.truncated for item in entries)
    assert all(item.recorded is not None for item in entries)
    assert all(name.lower() != "content-encoding" for item in entries if item.recorded for name, _ in item.recorded.headers)
    (binary,) = [item for item in entries if b"x.bin" in item.request.body.data]
    assert bytes(range(256)) in binary.request.body.data


@pytest.mark.parametrize("encode", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_byte_order_marks_are_no_hindrance(encode: str) -> None:
    data = har(raw()).decode().encode(encode)
    data = b"\xff\xfe" + data if encode == "utf-16-le" else data
    assert targets(data) == ["/a"]


def test_bad_utf8_and_lone_surrogates_are_read() -> None:
    assert targets(har(raw("http://shop.test/X")).replace(b"/X", b"/\xff")) == ["/%EF%BF%BD"]
    assert len(targets(har(raw("http://shop.test/\ud800")))) == 1
    assert targets(har(raw(), comment=float("nan"))) == ["/a"]
    assert targets(har(raw("http://shop.test/X")).replace(b"/X", b"/\tY")) == ["/%09Y"]


def test_entries_are_put_in_the_order_of_their_times() -> None:
    moments = ["2026-01-01T00:00:02Z", "2026-01-01T00:00:00.5+00:00", "", "2026-01-01T02:00:02+02:00", "2026-01-01T00:00:01"]
    entries = [raw(f"http://shop.test/{at}", moment) for at, moment in enumerate(moments)]
    del entries[2]["startedDateTime"]
    items = good(read(har(*entries), "t.har"))
    assert [(item.request.target, item.offset_s, item.index) for item in items] == [
        ("/1", 0.0, 1),
        ("/2", 0.0, 2),
        ("/4", 0.5, 4),
        ("/0", 1.5, 0),
        ("/3", 1.5, 3),
    ]


def test_without_any_times_the_order_of_the_file_holds() -> None:
    items = good(read(har(raw("http://a/1", "never"), raw("http://a/2", "x")), "t.har"))
    assert [(item.request.target, item.offset_s) for item in items] == [("/1", 0.0), ("/2", 0.0)]


@pytest.mark.parametrize("creator", ["WebInspector", "WebKit Web Inspector", "Firefox", "Insomnia REST Client"])
def test_one_persons_program_is_one_client(creator: str) -> None:
    assert {item.client for item in good(read(har(raw(), raw(), creator=creator), "t.har"))} == {ONE_PERSON}


def test_a_proxys_log_names_connections() -> None:
    entries = [{**raw(), "connection": "7"}, {**raw(), "connection": ""}, {**raw(), "_clientAddress": "10.0.0.1"}]
    assert [item.client for item in good(read(har(*entries, creator="Charles Proxy"), "t.har"))] == ["7", "", "10.0.0.1"]
    assert good(read(har(raw(), browser={"name": "x"}), "t.har"))[0].client == ONE_PERSON
    assert good(read(har(raw()).replace(b'{"name": "mitmproxy"}', b"[]"), "t.har"))[0].client == ""


@pytest.mark.parametrize("entry", [7, None, {}, {"request": 7}, {"request": {"method": "GET"}}, {"request": {"url": "http://a/"}}])
def test_a_broken_entry_is_named_by_its_key_path(entry: object) -> None:
    items = read(har(raw(), entry, raw()), "t.har")
    assert len(good(items)) == 2
    (broken,) = bad(items)
    assert (broken.index, broken.where) == (1, "log.entries[1]")


@pytest.mark.parametrize("url", ["data:text/plain,hi", "chrome-extension://x/y", "about:blank"])
def test_urls_of_other_schemes_are_not_http(url: str) -> None:
    assert bad(read(har(raw(url)), "t.har"))[0].kind is BrokenKind.NOT_HTTP


def test_connect_is_not_http() -> None:
    assert bad(read(har(raw(method="CONNECT")), "t.har"))[0].kind is BrokenKind.NOT_HTTP


def test_a_cut_file_gives_its_whole_entries() -> None:
    data = har(*[raw(f"http://shop.test/{at}") for at in range(5)])
    third = data.index(b"/3")
    items = read(data[:third], "t.har")
    assert [item.request.target for item in good(items)] == ["/0", "/1", "/2"]
    (broken,) = bad(items)
    assert (broken.kind, broken.index) == (BrokenKind.TRUNCATED, 3)
    between = read(data[: data.index(b', {"startedDateTime"', 200)], "t.har")
    assert bad(between)[0].what == "the file ends after this entry"


def test_broken_json_in_the_middle_costs_one_entry() -> None:
    data = har(*[raw(f"http://shop.test/{at}") for at in range(4)], creator="Firefox").replace(b'/1"', b"/1", 1)
    items = read(data, "t.har")
    assert [item.request.target for item in good(items)] == ["/0", "/2", "/3"]
    assert {item.client for item in good(items)} == {ONE_PERSON}
    first, last = bad(items)
    assert (first.index, first.kind) == (1, BrokenKind.MALFORMED)
    assert "after the entries" in last.what


def test_broken_json_without_end_of_trouble_is_one_broken_tail() -> None:
    data = har(raw()).rstrip(b"}]") + b"," + b'{"x":[' * 50
    items = read(data, "t.har")
    assert len(bad(items)) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"log": 7}', "no `log` object"),
        (b"[1, 2]", "no `log` object"),
        (b'{"log": {"entries": {}}}', "not a list"),
        (b'{"log": [2,1,3] "request:"}', "broken JSON"),
        (b'{"log": ' + b"[" * 100_000, "broken JSON"),
        (b"\x00\x01", "broken JSON"),
    ],
)
def test_what_is_no_archive_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(CaptureError, match=message):
        read(data, "t.har")


def test_sniffing_knows_an_archive_by_its_first_key() -> None:
    assert FORMAT.sniff(b' { "log" : {')
    assert FORMAT.sniff(b'\xef\xbb\xbf{"comment": "x", "log": {')
    assert not FORMAT.sniff(b'{"a": 1}')
    assert not FORMAT.sniff(b"")
