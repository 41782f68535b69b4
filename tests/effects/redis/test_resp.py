"""RESP, whole and in any pieces, and what is not RESP."""

import contextlib
import hashlib
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import limits_collectors
from harness.effects.redis.resp import Command, Cut, Garbage, Item, Reply, ReplyParser, RequestParser
from tests.effects.redis.conftest import packed


def _requests(pieces: Sequence[bytes]) -> list[Command]:
    parser = RequestParser()
    return [command for piece in pieces for command in parser.feed(piece)]


def _replies(pieces: Sequence[bytes]) -> list[Reply]:
    parser = ReplyParser()
    return [reply for piece in pieces for reply in parser.feed(piece)]


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(places)]


REQUESTS = [
    (packed("SET", "k", b"\r\n*1\r\n\x00"), [(b"SET", b"k", b"\r\n*1\r\n\x00")]),
    (b"*0\r\n*-1\r\n\r\n" + packed("PING"), [(b"PING",)]),
    (packed("ECHO", ""), [(b"ECHO", b"")]),
    (b'set "a b" \'c\\\'d\' "\\x41\\n\\q"\r\nget  x \n', [(b"set", b"a b", b"c'd", b"A\nq"), (b"get", b"x")]),
    (b"PING\r\n" + packed("PING") + b"PING\n", [(b"PING",)] * 3),
]


@pytest.mark.parametrize(("data", "expected"), REQUESTS)
def test_requests_whole_and_byte_by_byte(data: bytes, expected: list[tuple[bytes, ...]]) -> None:
    wanted = [Command(args) for args in expected]
    assert _requests([data]) == wanted
    assert _requests([bytes([byte]) for byte in data]) == wanted


@given(st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=5), max_size=5), st.lists(st.integers(0, 1000), max_size=8))
def test_requests_in_any_pieces(sent: list[list[bytes]], cuts: list[int]) -> None:
    data = b"".join(packed(*args) for args in sent)
    assert _requests(_cut(data, cuts)) == [Command(tuple(args)) for args in sent]


@given(
    st.integers(limits_collectors.REDIS_ARGUMENT_BYTES_MAX - 2, limits_collectors.REDIS_ARGUMENT_BYTES_MAX + 2),
    st.lists(st.integers(0, 2**17), max_size=8),
)
def test_long_arguments_are_cut_and_digested(size: int, cuts: list[int]) -> None:
    value = bytes(index % 251 for index in range(size))
    got = _requests(_cut(packed("SET", "k", value, "NX") + packed("PING"), cuts))
    expected = (
        value
        if size <= limits_collectors.REDIS_ARGUMENT_BYTES_MAX
        else Cut(value[: limits_collectors.REDIS_ARGUMENT_BYTES_MAX], size, hashlib.sha256(value).hexdigest())
    )
    assert got == [Command((b"SET", b"k", expected, b"NX")), Command((b"PING",))]


def test_a_huge_value_is_not_kept() -> None:
    parser = RequestParser()
    piece = b"x" * 2**20
    assert list(parser.feed(b"*2\r\n$4\r\nECHO\r\n$%d\r\n" % (512 * 2**20))) == []
    for _ in range(511):
        assert list(parser.feed(piece)) == []
        assert len(parser._rest) == 0
    (command,) = parser.feed(piece + b"\r\n")
    assert command.kept_bytes < 2 * limits_collectors.REDIS_ARGUMENT_BYTES_MAX


def test_arguments_beyond_the_bound_are_counted_and_digested() -> None:
    values = [str(index) for index in range(limits_collectors.REDIS_ARGUMENTS_MAX + 10)]
    (one,) = _requests([packed("DEL", *values)])
    (other,) = _requests([packed("DEL", *values[:-1], "x")])
    assert (len(one.args), one.more) == (limits_collectors.REDIS_ARGUMENTS_MAX, 11)
    assert one.digest != other.digest
    assert _requests([packed("DEL", *values), packed("PING")])[1] == Command((b"PING",))


@pytest.mark.parametrize(
    "data",
    [
        b"*x\r\n",
        b"*1\r\n+PING\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$1_0\r\n",
        b"*1\r\n$\r\n",
        b"*" + b"1" * 30 + b"\r\n",
        b"a" * (limits_collectors.REDIS_LINE_BYTES_MAX + 2),
    ],
)
def test_garbage_of_a_client(data: bytes) -> None:
    with pytest.raises(Garbage):
        _requests([data])


def test_commands_before_garbage_are_given_out() -> None:
    parser = RequestParser()
    commands = iter(parser.feed(packed("PING") + b"*x\r\n"))
    assert next(commands) == Command((b"PING",))
    with pytest.raises(Garbage):
        next(commands)


OK = Item("+", b"OK")
REPLIES = [
    (b"+OK\r\n", [Reply(OK)]),
    (b"-ERR no\r\n", [Reply(Item("-", b"ERR no"))]),
    (b"$-1\r\n*-1\r\n_\r\n", [Reply(Item("$", empty=True)), Reply(Item("*", empty=True)), Reply(Item("_", empty=True))]),
    (b"$0\r\n\r\n$3\r\na\r\n\r\n", [Reply(Item("$", empty=True)), Reply(Item("$", b"a\r\n"))]),
    (b"$100\r\n" + b"\r" * 100 + b"\r\n:1\r\n", [Reply(Item("$")), Reply(Item(":", b"1"))]),
    (b"*0\r\n%0\r\n", [Reply(Item("*", empty=True)), Reply(Item("%", empty=True))]),
    (
        b"*4\r\n+OK\r\n-ERR\r\n*2\r\n:1\r\n*1\r\n:2\r\n$-1\r\n",
        [Reply(Item("*"), (OK, Item("-", b"ERR"), Item("*"), Item("$", empty=True)))],
    ),
    (b"%1\r\n+a\r\n*1\r\n:1\r\n", [Reply(Item("%"), (Item("+", b"a"), Item("*")))]),
    (b"|1\r\n+ttl\r\n*1\r\n:1\r\n+OK\r\n", [Reply(OK)]),
    (b"*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n+OK\r\n", [Reply(Item("*"), (Item(":", b"1"), OK))]),
    (
        b">2\r\n+message\r\n$1\r\nx\r\n#t\r\n,1.5\r\n(123\r\n",
        [
            Reply(Item(">"), (Item("+", b"message"), Item("$", b"x"))),
            Reply(Item("#", b"t")),
            Reply(Item(",", b"1.5")),
            Reply(Item("(", b"123")),
        ],
    ),
    (
        b"!6\r\nERR no\r\n=6\r\ntxt:ab\r\n~1\r\n:1\r\n",
        [Reply(Item("!", b"ERR no")), Reply(Item("=", b"txt:ab")), Reply(Item("~"), (Item(":", b"1"),))],
    ),
]


@pytest.mark.parametrize(("data", "expected"), REPLIES)
def test_replies_whole_and_byte_by_byte(data: bytes, expected: list[Reply]) -> None:
    assert _replies([data]) == expected
    assert _replies([bytes([byte]) for byte in data]) == expected


@given(st.lists(st.sampled_from(REPLIES), max_size=6), st.lists(st.integers(0, 1000), max_size=10))
def test_replies_in_any_pieces(chosen: list[tuple[bytes, list[Reply]]], cuts: list[int]) -> None:
    data = b"".join(data for data, _ in chosen)
    assert _replies(_cut(data, cuts)) == [reply for _, replies in chosen for reply in replies]


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 200\r\n", b"*?\r\n", b"$x\r\n", b"*1\r\n" * 200, b"+" + b"a" * (limits_collectors.REDIS_LINE_BYTES_MAX + 1)]
)
def test_garbage_of_a_server(data: bytes) -> None:
    with pytest.raises(Garbage):
        _replies([data])


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for parser in (RequestParser(), ReplyParser()):
        with contextlib.suppress(Garbage):
            list(parser.feed(data))


@given(
    st.lists(st.one_of(st.none(), st.binary(max_size=100)), min_size=1, max_size=12),
    st.integers(0, 4),
    st.lists(st.integers(0, 1000), max_size=8),
)
def test_texts_that_nobody_asks_about_are_skipped(texts: list[bytes | None], looked_at: int, cuts: list[int]) -> None:
    inner = b"*%d\r\n" % len(texts) + b"".join(b"$-1\r\n" if text is None else b"$%d\r\n%b\r\n" % (len(text), text) for text in texts)
    parser = ReplyParser(lambda: looked_at)
    replies = [reply for piece in _cut(inner + b"*2\r\n" + inner + b"+OK\r\n" + b":7\r\n", cuts) for reply in parser.feed(piece)]
    assert [reply.item.kind for reply in replies] == ["*", "*", ":"]
    assert [len(reply.items) for reply in replies[:2]] == [min(looked_at, len(texts)), min(looked_at, 2)]
    assert [item.empty for item in replies[0].items] == [not text for text in texts[:looked_at]]
