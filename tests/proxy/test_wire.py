"""Heads and framing as pure functions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import ErrorKind, RefusedReason
from harness.proxy import wire
from harness.proxy.wire import BrokenAnswer, Framing, Refused
from tests.proxy.rig import _dechunk

HOST = (("Host", "h"),)


def head(method: str = "GET", target: str = "/", headers: tuple[tuple[str, str], ...] = HOST, version: str = "1.1") -> wire.RequestHead:
    return wire.request_head(method, target, headers, version=version, keep_alive=True, upgrade=True)


@pytest.mark.parametrize(
    ("target", "origin", "authority"),
    [
        ("/a?b", "/a?b", "h"),
        ("//a", "//a", "h"),
        ("http://A.b", "/", "a.b"),
        ("HTTPS://a:1/b?c=http://d/", "/b?c=http://d/", "a:1"),
        ("http://u@a?x/y", "/?x/y", "a"),
        ("http://[::1]:80/x", "/x", "[::1]:80"),
    ],
)
def test_targets_in_origin_form(target: str, origin: str, authority: str) -> None:
    got = head(target=target)
    assert (got.target, got.authority) == (origin, authority)


@pytest.mark.parametrize("target", ["*", "a", "http://", "http://[::1/", "ftp://a/", "http:///x"])
def test_targets_that_are_none(target: str) -> None:
    with pytest.raises(Refused) as caught:
        head(target=target)
    assert (caught.value.status, caught.value.reason) == (400, RefusedReason.BAD_REQUEST)


def test_http_1_0_needs_no_host() -> None:
    assert head(headers=(), version="1.0").authority == ""


@pytest.mark.parametrize(("value", "expected"), [("websocket", True), ("h2c", False), ("h2c, websocket", True), ("", False)])
def test_which_upgrades_are_relayed(value: str, expected: bool) -> None:
    assert head(headers=(*HOST, ("Upgrade", value))).upgrade is expected
    assert not head(headers=(*HOST, ("Upgrade", value), ("Content-Length", "3"))).upgrade
    assert not head(headers=(*HOST, ("Upgrade", value)), version="1.0").upgrade


def test_framing_header_keeps_its_place_and_case() -> None:
    headers = (("A", "1"), ("content-LENGTH", "9"), ("B", "2"), ("Connection", "close, b"), ("Host", "x"))
    assert wire.forwarded(headers, framing=Framing.LENGTH, length=5, host="y") == [("A", "1"), ("content-LENGTH", "5"), ("Host", "y")]
    assert wire.forwarded(headers, framing=Framing.CHUNKED) == [("A", "1"), ("Host", "x"), ("Transfer-Encoding", "chunked")]
    assert wire.forwarded(headers, framing=Framing.UNTIL_CLOSE) == [("A", "1"), ("Host", "x")]
    assert wire.forwarded(headers, framing=Framing.NONE) == [("A", "1"), ("content-LENGTH", "9"), ("Host", "x")]
    assert wire.forwarded((), framing=Framing.LENGTH, length=3, host="y") == [("Host", "y"), ("Content-Length", "3")]
    twice = (
        ("Transfer-Encoding", "chunked"),
        ("Transfer-Encoding", "x"),
        ("Content-Length", "1"),
        ("Content-Length", "2"),
        ("Host", "a"),
        ("Host", "b"),
    )
    assert wire.forwarded(twice, framing=Framing.CHUNKED, host="z") == [("Transfer-Encoding", "chunked"), ("Host", "z")]
    assert wire.forwarded(twice, framing=Framing.LENGTH, length=1) == [("Content-Length", "1"), ("Host", "a"), ("Host", "b")]


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_chunks_join_to_the_body(pieces: list[bytes]) -> None:
    raw = b"".join(map(wire.chunk, pieces)) + wire.last_chunk((("X-T", "1"), ("Content-Length", "5"), ("Connection", "close")))
    assert _dechunk(raw) == (b"".join(pieces), [(b"X-T", b"1")], b"")


def test_an_answer_in_another_version_or_coding_is_broken() -> None:
    def check(headers: tuple[tuple[str, str], ...], version: str = "1.1") -> None:
        wire.answer_head(200, "OK", headers, request_method="GET", version=version, keep_alive=True)

    for headers, version in [((), "2.0"), ((("Transfer-Encoding", "br"),), "1.1"), ((("Content-Length", "x"),), "1.1")]:
        with pytest.raises(BrokenAnswer) as caught:
            check(headers, version)
        assert caught.value.kind is ErrorKind.GARBAGE
    old = wire.answer_head(200, "", (("Transfer-Encoding", "chunked"),), request_method="GET", version="1.0", keep_alive=True)
    assert (old.framing, old.keep_alive) == (Framing.CHUNKED, False)
