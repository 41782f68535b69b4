"""The parsers told in pieces, and the differences between a whole and a split input."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import ErrorKind
from harness.core.limits import HEAD_BYTES_MAX
from harness.core.plain import PlainAnswer
from harness.core.values import Headers
from harness.proxy.parsing import AnswerParser, RequestParser
from harness.proxy.plain import read_head
from harness.proxy.wire import AnswerHead, BrokenAnswer, Refused, RequestHead


@dataclass
class Told:
    """Writes down what a parser tells, bodies joined."""

    events: list[object] = field(default_factory=list)

    def _body(self, data: bytes) -> None:
        if self.events and isinstance(self.events[-1], bytes):
            data = self.events.pop() + data  # type: ignore[operator]  # both are bytes
        self.events.append(data)

    def request_head(self, head: RequestHead) -> None:
        self.events.append(head)

    def request_body(self, data: bytes) -> None:
        self._body(data)

    def request_end(self, trailers: Headers) -> None:
        self.events.append(("end", trailers))

    def answer_interim(self, head: AnswerHead) -> None:
        self.events.append(("interim", head.status))

    def answer_head(self, head: AnswerHead) -> None:
        self.events.append(head)

    def answer_body(self, data: bytes) -> None:
        self._body(data)

    def answer_end(self, trailers: Headers) -> None:
        self.events.append(("end", trailers))

    def answer_plain(self, answer: PlainAnswer) -> None:
        self.events += [read_head(answer), answer.data[answer.head_bytes :], ("end", ())]


REQUESTS = (
    b"\r\nGET /a HTTP/1.1\r\nHost: h\r\nX-Empty:\r\nX-Pad: b  \r\n\r\n"
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: 1\r\nX-U:\r\n\r\n"
    b"POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\nwxyz"
    b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /held HTTP/1.1\r\nHost: h\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\nX-T: 1\r\n\r\n"
)


def split(raw: bytes, cuts: list[int]) -> list[bytes]:
    return [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


def told_of_requests(pieces: list[bytes]) -> tuple[list[object], bytes]:
    told = Told()
    parser = RequestParser(told)
    for piece in pieces:
        parser.feed(piece)
    return told.events, parser.release()


@given(st.lists(st.integers(0, len(REQUESTS)), max_size=20).map(sorted))
def test_requests_are_the_same_however_split(cuts: list[int]) -> None:
    assert told_of_requests(split(REQUESTS, cuts)) == told_of_requests([REQUESTS])


def test_requests_byte_by_byte_and_what_they_are() -> None:
    events, held = told_of_requests([REQUESTS[i : i + 1] for i in range(len(REQUESTS))])
    assert (events, held) == told_of_requests([REQUESTS])
    heads = [event for event in events if isinstance(event, RequestHead)]
    assert [head.target for head in heads] == ["/a", "/", "/", "/ws"]
    assert heads[0].headers == (("Host", "h"), ("X-Empty", ""), ("X-Pad", "b"))
    assert [event for event in events if isinstance(event, bytes)] == [b"abcde", b"wxyz"]
    assert ("end", (("X-T", "1"), ("X-U", ""))) in events
    assert held == b"GET /held HTTP/1.1\r\nHost: h\r\n\r\n"


def test_held_bytes_can_be_read_after_all() -> None:
    told = Told()
    parser = RequestParser(told)
    parser.feed(REQUESTS)
    held = parser.release()
    parser.feed(held)
    assert held
    assert not parser.holding
    assert isinstance(told.events[-2], RequestHead)
    assert told.events[-2].target == "/held"


def test_nothing_is_read_after_the_last_request() -> None:
    told = Told()
    parser = RequestParser(told)
    parser.feed(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nnonsense \x00")
    parser.feed(b"more nonsense")
    assert len(told.events) == 2
    assert parser.has_ended()


@given(st.lists(st.integers(0, len(ANSWER)), max_size=20).map(sorted))
def test_answers_are_the_same_however_split(cuts: list[int]) -> None:
    whole, parts = Told(), Told()
    for told, pieces in ((whole, [ANSWER]), (parts, split(ANSWER, cuts))):
        parser = AnswerParser()
        parser.expect("GET", told)
        for piece in pieces:
            parser.feed(piece)
        assert parser.reusable
    assert parts.events == whole.events
    assert whole.events[0] == ("interim", 103)
    assert whole.events[2:] == [b"abcd", ("end", (("X-T", "1"),))]


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", ANSWER[:-8], b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"])
)
def test_any_bytes_are_an_answer_or_broken(noise: bytes, start: bytes) -> None:
    parser, told = AnswerParser(), Told()
    parser.expect("GET", told)
    caught: list[BrokenAnswer] = []
    try:
        parser.feed(start + noise)
    except BrokenAnswer as broken:
        caught.append(broken)
    assert all(broken.kind in set(ErrorKind) and not parser.reusable for broken in caught)
    assert sum(isinstance(event, AnswerHead) for event in told.events) <= 1


@given(st.binary(max_size=300), st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: h\r\n", REQUESTS]))
def test_any_bytes_are_requests_or_refused(noise: bytes, start: bytes) -> None:
    caught: list[Refused] = []
    try:
        RequestParser(Told()).feed(start + noise)
    except Refused as refused:
        caught.append(refused)
    assert all(400 <= refused.status < 600 for refused in caught)


def test_an_unasked_answer_is_broken() -> None:
    with pytest.raises(BrokenAnswer, match="after the end"):
        AnswerParser().feed(ANSWER)


def test_the_end_of_a_connection_ends_a_body_without_length_only() -> None:
    for raw, expected in (
        (b"HTTP/1.1 200 OK\r\n\r\nab", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", False),
        (b"HTTP/1.1 2", False),
    ):
        parser, told = AnswerParser(), Told()
        parser.expect("GET", told)
        parser.feed(raw)
        assert parser.feed_eof() is expected
        assert (("end", ()) in told.events) is expected
        assert not parser.feed_eof()


@pytest.mark.parametrize(
    "pieces",
    [
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n" + b"y" * 10, b"y" * 10, b"y" * 80),
        (b"POST / HTT", b"P/1.1\r\nHo", b"st: h\r\nContent-Length: 0\r\n\r\n"),
    ],
    ids=["in its body", "in its head"],
)
def test_a_request_behind_a_large_body_in_one_read_may_come_in_pieces(pieces: tuple[bytes, ...]) -> None:
    """What that read brought of the message before does not count against this one's framing."""
    told = Told()
    parser = RequestParser(told)
    size = 4 * HEAD_BYTES_MAX
    parser.feed(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size + pieces[0])
    for piece in pieces[1:]:
        parser.feed(piece)
    assert told.events.count(("end", ())) == 2


@pytest.mark.parametrize("fields", ["Content-Length: 5", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("status", [100, 103, 199])
def test_an_interim_answer_has_no_body_whatever_it_says(status: int, fields: str) -> None:
    """What follows would reach the client before any head (RFC 9110 8.6, 9112 6.3)."""
    told, parser = Told(), AnswerParser()
    parser.expect("GET", told)
    with pytest.raises(BrokenAnswer):
        parser.feed(f"HTTP/1.1 {status} OK\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n".encode("latin-1"))
    assert [event for event in told.events if isinstance(event, bytes)] == []
    assert not parser.reusable
