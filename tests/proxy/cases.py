"""What a proxy must do with HTTP/1.1, as bytes: what a client sends, what stable answers, what each of them must get.

Each case names its section. What bytes alone cannot say (time, resets, several connections) stands in tests of its own:
ELSEWHERE names them.
"""

from dataclasses import dataclass, field
from typing import Any

from harness.proxy.address import HostRule
from harness.proxy.forwarding import ForwardingOptions

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
STABLE_AUTHORITY = b"{stable}"
"""Stands for host and port of stable in what it must see."""


@dataclass(frozen=True)
class Refusal:
    """The harness answers itself, and closes."""

    status: int
    reason: str = "bad_request"
    closes: bool = True


@dataclass(frozen=True)
class Case:
    """One request. `upstream` None: nothing that is a request may reach stable."""

    section: str
    name: str
    request: bytes
    upstream: bytes | None
    answer: bytes = OK
    client: bytes | Refusal = OK
    closes: bool = False
    """The client's connection ends with the answer."""
    answer_closes: bool = False
    """Stable ends its connection after the answer."""
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.section}: {self.name}"


def request(*lines: str, method: str = "GET", target: str = "/", version: str = "1.1", host: str = "Host: h", body: bytes = b"") -> bytes:
    """A raw request."""
    head = [f"{method} {target} HTTP/{version}", *([host] if host else []), *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def answer(*lines: str, status: str = "200 OK", version: str = "1.1", body: bytes = b"") -> bytes:
    """A raw answer."""
    return "\r\n".join([f"HTTP/{version} {status}", *lines, "", ""]).encode("latin-1") + body


def post_chunked(body: bytes, *lines: str, coding: str = "Transfer-Encoding: chunked") -> bytes:
    """A raw request with a chunked body, given as it stands on the wire."""
    return request(*lines, coding, method="POST", body=body)


POST_5 = request("Content-Length: 5", method="POST", body=b"hello")
CHUNKED_5 = b"5\r\nhello\r\n0\r\n\r\n"
POST_CHUNKED = post_chunked(CHUNKED_5)
CLOSING = answer("Content-Length: 5", "Connection: close", body=b"hello")
VIA = {"forwarding": ForwardingOptions(via=True)}
FORWARDED = {"forwarding": ForwardingOptions(forwarded_for=True)}
FORWARDED_LINES = ("X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: h")
REWRITE = {"stable_host": HostRule.REWRITE}
HEAD = request(method="HEAD")
HTTP_1_0 = request(version="1.0")


def same(section: str, name: str, raw: bytes, **more: Any) -> Case:
    """A request that reaches stable unchanged."""
    return Case(section, name, raw, raw, **more)


def refused(section: str, name: str, raw: bytes, status: int, reason: str = "bad_request") -> Case:
    """A request that the harness refuses."""
    return Case(section, name, raw, None, client=Refusal(status, reason))


def broken(section: str, name: str, raw: bytes) -> Case:
    """An answer that stable may not give; the client's connection lives on."""
    return Case(section, name, GET, GET, answer=raw, client=Refusal(502, "upstream_broken", closes=False), answer_closes=True)


def passed(section: str, name: str, raw: bytes, client: bytes | None = None, **more: Any) -> Case:
    """An answer to a GET, and what the client gets of it."""
    return Case(section, name, GET, GET, answer=raw, client=raw if client is None else client, **more)


LINES = (
    same("RFC 9112 9.3", "a connection is kept", GET),
    Case("RFC 9112 2.2", "empty lines before a request are skipped", b"\r\n\r\n" + GET, GET),
    same("RFC 9112 3.2.1", "origin form with a query, unusual characters kept", request(target="//a/../b%2f?q=%20&x={1}|'")),
    same("RFC 9112 3.2.4", "asterisk form", request(method="OPTIONS", target="*")),
    Case("RFC 9112 3.2.2", "absolute form with https", request(target="HTTPS://H/x"), request(target="/x")),
    Case("RFC 9112 3", "two spaces in the request line become one", b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", GET),
    refused("RFC 9112 3", "a tab in the request line", b"GET /\tHTTP/1.1\r\nHost: h\r\n\r\n", 400),
    refused("RFC 9112 3", "a word after the version", b"GET / HTTP/1.1 x\r\nHost: h\r\n\r\n", 400),
    refused("RFC 9112 2.3", "the name of the protocol in lower case", b"GET / http/1.1\r\nHost: h\r\n\r\n", 400),
    refused("RFC 9112 3.2.2", "absolute form without a host", request(target="http:///x"), 400),
    refused("RFC 9112 3", "a target beyond the bound", request(target="/" + "a" * 70_000), 414, "head_too_large"),
    refused("RFC 9110 4.2.4", "a user in Host", request(host="Host: u@h"), 400),
    Case("RFC 9112 3.2", "an empty Host is filled in", request(host="Host: "), request(host="Host: {stable}")),
    *(same("RFC 9110 9.1", f"the method {method}", request(method=method)) for method in ("DELETE", "TRACE", "PROPFIND", "PURGE", "QUERY")),
    *(
        refused("RFC 9110 15.6.2", f"the unknown method {method}", request(method=method), 501)
        for method in ("FROBNICATE", "get", "GETX", "PROPFINDER", "X-FOO")
    ),
    refused("RFC 9110 9.3.6", "CONNECT", request(method="CONNECT", target="h:443"), 501, "connect"),
    Case(
        "RFC 9110 7.6.2",
        "Max-Forwards is counted down",
        request("Max-Forwards: 5", method="TRACE"),
        request("Max-Forwards: 4", method="TRACE"),
    ),
    refused("RFC 9110 7.6.2", "Max-Forwards is used up", request("max-forwards: 0", method="OPTIONS"), 501),
    same("RFC 9110 7.6.2", "Max-Forwards of other methods is nobody's", request("Max-Forwards: 0")),
    same("RFC 9110 7.6.2", "Max-Forwards that is no number", request("Max-Forwards: few", method="OPTIONS")),
)
"""The request line, the target and the method."""

FIELDS = (
    same("RFC 9110 5.3", "repeated fields, their order and case", request("x-B: 2", "X-A: 1", "x-b: 1", "Cookie: a=1", "Cookie: b=2")),
    same("RFC 9110 5.5", "empty values, and values beyond ASCII", request("X-Empty:", "X-Latin: caf\xe9", "X-Utf: \xc3\xa9", "X-T: a\tb")),
    Case("RFC 9112 5.1", "space around values goes", request("X-A:  \t b c \t "), request("X-A: b c")),
    refused("RFC 9112 5", "a character in a name that is none of a token", request("X(A): b"), 400),
    refused("RFC 9110 5.5", "a control character in a value", request("X-A: a\x01b"), 400),
    Case(
        "RFC 9110 7.6.1",
        "Connection and what it lists goes",
        request("Connection: close-not, X-B", "X-B: 1", "X-A: 2"),
        request("X-A: 2"),
    ),
    same("RFC 9110 11.6.2", "Authorization is end-to-end", request("Authorization: Basic eDp5", "WWW-Authenticate: Basic")),
    Case("RFC 9110 11.7.2", "Proxy-Authorization is not", request("Proxy-Authorization: Basic eDp5", "X-A: 1"), request("X-A: 1")),
    Case(
        "RFC 9110 10.1.4",
        "TE: trailers is said anew",
        request("TE: trailers, gzip;q=0.1", "Connection: TE"),
        request("TE: trailers", "Connection: TE"),
    ),
    Case("RFC 9110 10.1.4", "other codings in TE go", request("TE: gzip", "Connection: TE"), GET),
    Case(
        "RFC 9110 7.8",
        "an offer of HTTP/2 is not passed on",
        request("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"),
        GET,
    ),
    Case("RFC 9110 7.2", "Host is rewritten", request("X-A: 1"), request("X-A: 1", host="Host: {stable}"), options=REWRITE),
    Case(
        "RFC 9110 7.2",
        "Host is rewritten in its place",
        request("Host: h", host="X-A: 1"),
        request("Host: {stable}", host="X-A: 1"),
        options=REWRITE,
    ),
    Case(
        "RFC 9112 3.2.2",
        "Host is rewritten with absolute form",
        request(target="http://other/x"),
        request(target="/x", host="Host: {stable}"),
        options=REWRITE,
    ),
)

BODIES = (
    same("RFC 9112 6.2", "a body by length", POST_5),
    same("RFC 9112 6.3", "a GET with a body", request("Content-Length: 5", body=b"hello")),
    same("RFC 9112 6.3", "a POST without a body", request(method="POST")),
    same("RFC 9110 8.6", "a POST with a body of nothing", request("Content-Length: 0", method="POST")),
    Case("RFC 9110 8.6", "zeros before a length", request("Content-Length: 005", method="POST", body=b"hello"), POST_5),
    same("RFC 9112 7.1", "a chunked body", POST_CHUNKED),
    same("RFC 9112 7.1", "a chunked body of nothing", post_chunked(b"0\r\n\r\n")),
    Case(
        "RFC 9112 7",
        "the coding in capitals",
        post_chunked(CHUNKED_5, coding="transfer-encoding: CHUNKED"),
        post_chunked(CHUNKED_5, coding="transfer-encoding: chunked"),
    ),
    Case("RFC 9112 7.1", "zeros before a chunk's size", post_chunked(b"0005\r\nhello\r\n000\r\n\r\n"), POST_CHUNKED),
    Case("RFC 9112 7.1.1", "chunk extensions go", post_chunked(b'3;a=b\r\nhel\r\n2;c="d;"\r\nlo\r\n0;e\r\n\r\n'), POST_CHUNKED),
    same("RFC 9112 7.1.2", "trailers stay", post_chunked(b"5\r\nhello\r\n0\r\nX-T: 1\r\nX-U: 2\r\nX-T: 3\r\n\r\n", "Trailer: X-T, X-U")),
    Case(
        "RFC 9110 6.5.1",
        "fields that may not be trailers go",
        post_chunked(b"5\r\nhello\r\n0\r\nHost: evil\r\nConnection: x\r\nX-T: 1\r\n\r\n"),
        post_chunked(b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"),
    ),
    same(
        "RFC 9110 10.1.1",
        "Expect, 100 and the answer",
        request("Expect: 100-continue", "Content-Length: 5", method="POST", body=b"hello"),
        answer=b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        client=b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    ),
)

ANSWERS = (
    Case("RFC 9112 9.6", "the client closes", request("Connection: close"), GET, client=CLOSING, closes=True),
    Case("RFC 9112 9.3", "HTTP/1.0 closes", HTTP_1_0, GET, client=CLOSING, closes=True),
    Case(
        "RFC 9112 9.3",
        "HTTP/1.0 with keep-alive",
        request("Connection: Keep-Alive", version="1.0"),
        GET,
        client=answer("Content-Length: 5", "Connection: keep-alive", body=b"hello"),
    ),
    passed("RFC 9112 9.6", "stable closes, the client's connection stays", CLOSING, OK, answer_closes=True),
    passed(
        "RFC 9110 5.3",
        "repeated fields of an answer, their order and case",
        answer("set-cookie: a=1", "X-B: 2", "Set-Cookie: b=2", "x-b: 1", "Content-Length: 0"),
    ),
    passed("RFC 9112 4", "no reason, and an unusual status", b"HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n"),
    passed(
        "RFC 9110 7.6.1",
        "Connection, Keep-Alive and what is listed goes",
        answer("Keep-Alive: timeout=1", "Connection: X-B, keep-alive", "X-B: 1", "Content-Length: 5", body=b"hello"),
        OK,
    ),
    passed("RFC 9110 15.3.5", "204 has no body", answer("X-A: 1", status="204 No Content")),
    passed("RFC 9110 15.3.6", "205 with a body of nothing", answer("Content-Length: 0", status="205 Reset Content")),
    passed("RFC 9110 15.4.5", "304 has a length and no body", answer('ETag: "x"', "Content-Length: 500", status="304 Not Modified")),
    passed(
        "RFC 9112 6.3",
        "304 with a coding has no body",
        answer('ETag: "x"', "Transfer-Encoding: chunked", status="304 Not Modified"),
        answer('ETag: "x"', status="304 Not Modified"),
    ),
    same(
        "RFC 9110 9.3.2", "HEAD has a length and no body", HEAD, answer=answer("Content-Length: 500"), client=answer("Content-Length: 500")
    ),
    same(
        "RFC 9112 6.3",
        "HEAD with a coding has no body",
        HEAD,
        answer=answer("X-A: 1", "Transfer-Encoding: chunked"),
        client=answer("X-A: 1"),
    ),
    passed(
        "RFC 9112 7.1",
        "a chunked answer",
        answer("Transfer-Encoding: chunked", body=b"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"),
        answer("Transfer-Encoding: chunked", body=CHUNKED_5),
    ),
    passed(
        "RFC 9112 7.1.2",
        "trailers of an answer",
        answer("Trailer: X-T", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"),
    ),
    passed(
        "RFC 9112 6.3",
        "a body until the connection closes",
        answer("X-A: 1", body=b"hello"),
        answer("X-A: 1", "Transfer-Encoding: chunked", body=CHUNKED_5),
        answer_closes=True,
    ),
    passed("RFC 9112 2.3", "an answer of HTTP/1.0", answer("Content-Length: 5", version="1.0", body=b"hello"), OK, answer_closes=True),
    passed("RFC 9110 15.2", "interim answers stay", answer("Link: </a>", status="103 Early Hints") + answer(status="102 Processing") + OK),
    Case(
        "RFC 9110 15.2",
        "interim answers are not for HTTP/1.0",
        HTTP_1_0,
        GET,
        answer=answer(status="103 Early Hints") + OK,
        client=CLOSING,
        closes=True,
    ),
    Case(
        "RFC 9112 7.1",
        "a chunked answer for HTTP/1.0",
        HTTP_1_0,
        GET,
        answer=answer("Transfer-Encoding: chunked", body=CHUNKED_5),
        client=answer("Connection: close", body=b"hello"),
        closes=True,
    ),
    broken("RFC 9112 6.3", "an answer with two lengths", answer("Content-Length: 5", "Content-Length: 6", body=b"hello!")),
    broken("RFC 9112 6.3", "an answer with length and coding", answer("Content-Length: 5", "Transfer-Encoding: chunked", body=CHUNKED_5)),
    broken("RFC 9112 6.1", "an answer in an unknown coding", answer("Transfer-Encoding: gzip, chunked", body=CHUNKED_5)),
    broken("RFC 9112 5.1", "space before the colon of an answer's field", answer("X-A : 1", "Content-Length: 0")),
    broken("RFC 9112 5.2", "a folded field of an answer", answer("X-A: 1", " 2", "Content-Length: 0")),
    broken("RFC 9112 2.2", "bare LF in an answer", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    broken("RFC 9112 2.2", "bare CR in an answer", answer("X-A: 1\rX-B: 2", "Content-Length: 0")),
    broken("RFC 9112 2.3", "an answer of HTTP/2.0", answer("Content-Length: 0", version="2.0")),
    passed(
        "RFC 9110 8.6",
        "a length of an interim answer goes",
        answer("Link: </a>", "Content-Length: 5", status="103 Early Hints") + OK,
        answer("Link: </a>", status="103 Early Hints") + OK,
    ),
    passed(
        "RFC 9112 4",
        "a reason with a control character goes",
        answer("Content-Length: 0", status="200 O\x01K"),
        answer("Content-Length: 0", status="200 "),
    ),
    broken("RFC 9110 15", "a status of zero", answer("Content-Length: 0", status="000 No")),
    broken("RFC 9112 4", "a status of two digits", answer("Content-Length: 0", status="20 OK")),
)

TOLD = (
    same("RFC 9110 7.6.3", "no Via unless asked for", request("Via: 1.0 a")),
    Case("RFC 9110 7.6.3", "Via", GET, request("Via: 1.1 shadowdiff"), options=VIA),
    Case(
        "RFC 9110 7.6.3",
        "Via after others",
        request("via: 1.0 a", "X-A: 1", "Via: 1.1 b"),
        request("via: 1.0 a", "X-A: 1", "Via: 1.1 b, 1.1 shadowdiff"),
        options=VIA,
    ),
    Case("RFC 9110 7.6.3", "Via of HTTP/1.0", HTTP_1_0, request("Via: 1.0 shadowdiff"), client=CLOSING, closes=True, options=VIA),
    Case("RFC 7239 1", "X-Forwarded-*", GET, request(*FORWARDED_LINES), options=FORWARDED),
    Case(
        "RFC 7239 1",
        "X-Forwarded-* that a client claims",
        request("x-forwarded-for: 10.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-A: 1", "X-Forwarded-Proto: https"),
        request("x-forwarded-for: 10.0.0.1, 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: h", "X-A: 1"),
        options=FORWARDED,
    ),
    Case(
        "RFC 9110 7.6.1",
        "X-Forwarded-For cannot be taken away by Connection",
        request("Connection: X-Forwarded-For, Via"),
        request(*FORWARDED_LINES),
        options=FORWARDED,
    ),
    Case(
        "RFC 7239 1",
        "without Host there is no X-Forwarded-Host",
        request(version="1.0", host=""),
        request("X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", host="Host: {stable}"),
        client=CLOSING,
        closes=True,
        options=FORWARDED,
    ),
)
"""What targets are told by option."""

CASES = LINES + FIELDS + BODIES + ANSWERS + TOLD

_BOUNDED = "test_chunked_bodies_beyond_the_bound_and_bodies_that_are_all_framing_are_refused"
_EARLY = "test_an_answer_before_the_request_ends_reaches_the_client_and_closes"
_CUT = "test_an_answer_that_stable_cuts_is_cut_for_the_client_and_compared_as_an_error"
ELSEWHERE = (
    ("RFC 9112 9.3.2", "pipelined requests are answered in order", "test_ingress", "test_many_pipelined_requests_are_answered_in_order"),
    ("RFC 9112 9.3.2", "a refusal waits for its turn", "test_ingress", "test_a_refusal_is_answered_after_the_requests_before_it"),
    ("RFC 9112 2.2, 5, 6, 7", "two readings", "test_ingress", "test_what_could_be_read_in_two_ways_is_refused_and_closed"),
    ("RFC 9110 15.5.14", "413", "test_ingress", "test_large_bodies_are_refused_with_413"),
    ("RFC 9110 15.5.14", "413 within a chunked body", "test_ingress", _BOUNDED),
    ("RFC 6585 5", "431", "test_ingress", "test_large_heads_are_refused_with_431_and_long_targets_with_414"),
    ("RFC 9110 10.1.1", "Expect", "test_ingress", "test_expect_100_continue_is_between_client_and_stable"),
    ("RFC 9112 9.5", "an answer before the request's end", "test_ingress", _EARLY),
    ("RFC 9110 7.6.1", "hop-by-hop fields", "test_ingress", "test_hop_by_hop_headers_go_both_ways"),
    ("RFC 9112 3.2.2", "absolute form overrides Host", "test_ingress", "test_absolute_form_names_the_host"),
    ("RFC 9112 9.3", "HTTP/1.0", "test_ingress", "test_http_1_0_clients"),
    ("RFC 9110 15.5.9", "slow", "test_ingress", "test_a_slow_head_and_a_slow_body_get_408_and_an_idle_connection_is_closed"),
    ("RFC 9110 15.5.9", "a head that trickles", "test_ingress", "test_a_head_that_trickles_is_not_given_more_time"),
    ("RFC 9112 9.6", "clients that go", "test_ingress", "test_clients_that_go_before_their_request_is_complete"),
    ("RFC 9110 7.8", "a WebSocket", "test_ingress", "test_a_websocket_is_relayed_to_stable_and_counted_as_not_mirrored"),
    ("RFC 9110 7.8", "ignored upgrade", "test_ingress", "test_an_upgrade_that_stable_ignores_leaves_the_connection_in_use"),
    ("RFC 9110 15.2.2", "unasked switch", "test_ingress", "test_a_switch_that_nobody_asked_for_is_a_broken_answer"),
    ("RFC 9112 8", "an answer that is cut", "test_relay", _CUT),
    ("RFC 9112 8", "a cut for HTTP/1.0", "test_relay", "test_a_cut_body_without_length_is_a_reset_for_a_client_of_http_1_0"),
    ("RFC 9110 15.6.3, 15.6.5", "502, 504", "test_relay", "test_stable_without_an_answer_is_said_plainly_and_the_connection_lives_on"),
    ("RFC 9112 9.3.1", "one retry", "test_upstream", "test_a_stale_connection_is_retried_once_for_safe_methods_only"),
    ("RFC 9112 9.3.1", "no retry on a new connection", "test_upstream", "test_a_new_connection_that_closes_is_not_retried"),
    ("RFC 9112 9.7", "TLS to targets", "test_tls", "test_targets_are_shown_the_client_certificate_and_asked_by_name"),
    ("RFC 9112 9.7", "TLS with clients", "test_tls", "test_requests_over_tls_are_answered_in_order_and_mirrored"),
)
"""Section, what, module under tests/proxy, test."""
