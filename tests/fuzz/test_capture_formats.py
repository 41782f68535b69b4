"""Every input gives entries and broken entries, or one CaptureError with what, where and fix."""

import gzip
import json
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.core.errors import CaptureError
from harness.core.http import header_values
from replay.entry import BrokenEntry, CaptureEntry, Item
from replay.formats.registry import read_capture
from replay.sessions import group_sessions
from tests.replay.build import CAPTURES, FORMATS, good

NAMES = ("httpbin.gor", "httpbin.har", "httpbin.mitm")
WHOLE = {name: (CAPTURES / name).read_bytes() for name in NAMES}
SMALL = {
    "httpbin.gor": WHOLE["httpbin.gor"][:9_000],
    "httpbin.har": json.dumps({"log": {"entries": json.loads(WHOLE["httpbin.har"])["log"]["entries"][3:9]}}).encode(),
    "httpbin.mitm": WHOLE["httpbin.mitm"][:14_000],
}


def check(data: bytes, name: str) -> None:
    """The invariant, and that what comes out is well-formed."""
    try:
        items = list(read_capture([data[:777], data[777:]], name, FORMATS))
    except CaptureError as error:
        refusal = error
    else:
        check_items(items, name)
        return
    assert refusal.what
    assert name in refusal.where
    assert refusal.fix


def check_items(items: list[Item], name: str) -> None:
    assert len({item.index for item in items}) == len(items)
    for item in items:
        assert item.file == name
        if isinstance(item, BrokenEntry):
            assert item.what
            continue
        request = item.request
        assert request.target.isascii()
        assert request.target.startswith(("/", "*"))
        assert " " not in request.target
        assert request.method
        assert " " not in request.method
        assert all("\n" not in name + value and "\r" not in name + value for name, value in request.headers)
        assert len(header_values(request.headers, "transfer-encoding")) == 0 or not request.body.data
        assert item.recorded is None or 100 <= item.recorded.status <= 999
    group_sessions(good(items))


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=300))
@example(data=b"9999999999:")
@example(data=b"1:" * 20)
@example(data=b"0:~")
@example(data=b"2:{}}")
@example(data=b'{"log": {"entries": [')
@example(data=b'{"log": {"entries": [{"request": {"url": "http://[::1", "method": "GET"}}]}}')
@example(data=b"1 aaaaaaaa 99999999999999999999 0\nGET / HTTP/1.1\n\n")
@example(data=b"\x1f\x8b")
def test_any_bytes(name: str, data: bytes) -> None:
    check(data, name)
    check(SMALL[name][:40] + data, name)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=150)
def test_mutated_captures(name: str, data: st.DataObject) -> None:
    whole = bytearray(SMALL[name])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, max(0, len(whole) - 1)))
        action = data.draw(st.sampled_from(["flip", "cut", "insert", "double", "digit"]))
        if action == "flip" and whole:
            whole[at] ^= 1 << data.draw(st.integers(0, 7))
        elif action == "cut":
            del whole[at : at + data.draw(st.integers(1, 400))]
        elif action == "insert":
            whole[at:at] = data.draw(st.binary(min_size=1, max_size=12))
        elif action == "double":
            whole[at:at] = whole[at : at + data.draw(st.integers(1, 600))]
        elif whole:
            whole[at] = data.draw(st.sampled_from(b'0123456789:,;"{}[]\r\n~^#!'))
    check(bytes(whole), name)


@pytest.mark.parametrize("name", NAMES)
def test_every_prefix_keeps_what_came_before(name: str) -> None:
    """A file cut anywhere never loses an entry that is whole in it."""
    data = SMALL[name]
    counts = []
    for cut in range(1, len(data), 61):
        check(data[:cut], name)
        try:
            counts.append(len(good(read_capture([data[:cut]], name, FORMATS))))
        except CaptureError:
            counts.append(0)
    assert all(left <= right for left, right in pairwise(counts))
    assert counts[-1] >= len(good(read_capture([data], name, FORMATS))) - 1


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 700)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["GET", "http://a/", "base64", "gzip"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "value", "text", "encoding"]), inner, max_size=3),
    max_leaves=6,
)
messages = st.dictionaries(
    st.sampled_from(["headers", "cookies", "postData", "content", "bodySize", "statusText"]), json_values, max_size=5
)


@given(messages, messages, json_values, json_values, json_values)
def test_archives_of_odd_types(
    request: dict[str, object], response: dict[str, object], status: object, url: object, moment: object
) -> None:
    entry = {
        "startedDateTime": moment,
        "request": {"method": "POST", "url": url if isinstance(url, dict | list) else "http://a/b", **request},
        "response": {"status": status, **response},
        "connection": status,
    }
    data = json.dumps({"log": {"creator": url, "entries": [entry, moment]}}).encode()
    check(data, "x.har")


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=40)
def test_mutated_gzip(name: str, data: st.DataObject) -> None:
    folded = bytearray(gzip.compress(SMALL[name]))
    for _ in range(data.draw(st.integers(0, 3))):
        folded[data.draw(st.integers(2, len(folded) - 1))] = data.draw(st.integers(0, 255))
    del folded[data.draw(st.integers(2, len(folded))) :]
    check(bytes(folded), name)


def test_the_whole_captures_hold() -> None:
    for name, data in WHOLE.items():
        check(data, name)
        assert all(isinstance(item, CaptureEntry) for item in read_capture([data], name, FORMATS))
