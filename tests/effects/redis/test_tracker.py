"""A connection followed without any socket: what was sent, what was answered, and what is taken for done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import limits_collectors
from harness.effects.redis.tracker import Tracker
from tests.effects.redis.conftest import packed

OK, QUEUED, NIL = b"+OK\r\n", b"+QUEUED\r\n", b"*-1\r\n"
MULTI, EXEC, DISCARD = packed("MULTI"), packed("EXEC"), packed("DISCARD")


class _Line:
    """A tracker and what it told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bool]] = []
        self.tracker = Tracker(lambda what, blind: self.told.append((what, blind)))
        self.keys: list[str] = []

    def ask(self, *data: bytes) -> "_Line":
        self.keys += [done.write.key for done in self.tracker.requests(b"".join(data))]
        return self

    def say(self, *data: bytes) -> "_Line":
        self.keys += [done.write.key for done in self.tracker.replies(b"".join(data))]
        return self


def _set(key: str) -> bytes:
    return packed("SET", key, "v")


def _mode(mode: str) -> bytes:
    return packed("CLIENT", "REPLY", mode)


def test_a_write_is_done_when_its_reply_says_so() -> None:
    line = _Line().ask(_set("a"))
    assert (line.keys, line.tracker.waiting) == ([], 1)
    line.say(OK)
    assert (line.keys, line.tracker.waiting) == (["a"], 0)


def test_pipelined_replies_belong_to_their_commands() -> None:
    line = _Line().ask(_set("a"), packed("GET", "x"), packed("INCR", "bad"), _set("b"))
    line.say(OK, b"$1\r\nx\r\n-ERR not an integer\r\n", OK)
    assert line.keys == ["a", "b"]
    assert line.told == []


@pytest.mark.parametrize(
    ("asked", "said", "keys"),
    [
        ([MULTI, _set("a"), packed("GET", "x"), _set("b"), EXEC], [OK, QUEUED * 3, b"*3\r\n+OK\r\n$1\r\nx\r\n+OK\r\n"], ["a", "b"]),
        ([MULTI, _set("a"), packed("INCR", "n"), _set("b"), EXEC], [OK, QUEUED * 3, b"*3\r\n+OK\r\n-ERR\r\n+OK\r\n"], ["a", "b"]),
        ([MULTI, _set("a"), EXEC], [OK, QUEUED, NIL], []),
        ([MULTI, _set("a"), EXEC], [OK, QUEUED, b"_\r\n"], []),
        ([MULTI, _set("a"), DISCARD, _set("b")], [OK, QUEUED, OK, OK], ["b"]),
        ([MULTI, packed("SET", "a"), _set("b"), EXEC, _set("c")], [OK, b"-ERR args\r\n", QUEUED, b"-EXECABORT\r\n", OK], ["c"]),
        ([MULTI, packed("LPOP", "a"), packed("SPOP", "b", 2), EXEC], [OK, QUEUED * 2, b"*2\r\n$-1\r\n*1\r\n$1\r\nx\r\n"], ["b"]),
        ([MULTI, _set("a"), packed("RESET"), _set("b")], [OK, QUEUED, b"+RESET\r\n", OK], ["b"]),
        ([EXEC, _set("a")], [b"-ERR EXEC without MULTI\r\n", OK], ["a"]),
    ],
)
def test_transactions(asked: list[bytes], said: list[bytes], keys: list[str]) -> None:
    line = _Line().ask(*asked).say(*said)
    assert (line.keys, line.told, line.tracker.waiting) == (keys, [], 0)


def test_messages_and_confirmations_are_no_replies() -> None:
    line = _Line().ask(packed("SUBSCRIBE", "a", "b"))
    line.say(b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n")
    line.say(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n").ask(
        packed("UNSUBSCRIBE"), _set("k"), packed("LRANGE", "l", 0, -1), _set("m")
    )
    line.say(b"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:0\r\n", OK)
    line.say(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n", OK)
    assert (line.keys, line.told) == (["k", "m"], [])


def test_pushes_of_resp3_come_between_replies() -> None:
    push = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"
    confirm = b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
    line = _Line().ask(packed("HELLO", 3), packed("SUBSCRIBE", "a"), _set("k"), packed("GET", "x"), _set("m"))
    line.say(b"%1\r\n+proto\r\n:3\r\n", confirm, push, OK, push, b"_\r\n", push, OK)
    assert (line.keys, line.told) == (["k", "m"], [])


def test_a_subscription_that_is_refused() -> None:
    line = _Line().ask(packed("SUBSCRIBE", "a"), _set("k"), packed("PSUBSCRIBE"), _set("m")).say(b"-NOPERM\r\n", OK, b"-ERR\r\n", OK)
    assert (line.keys, line.told) == (["k", "m"], [])


def test_replies_that_are_switched_off() -> None:
    line = _Line().ask(_set("a"), _mode("OFF"), _set("b"), packed("GET", "x"), MULTI, _set("c"), EXEC, MULTI, _set("lost"), DISCARD)
    assert line.keys == ["b", "c"]
    line.ask(_mode("ON"), _set("d")).say(OK, OK, OK)
    assert line.keys == ["b", "c", "a", "d"]
    line.ask(_mode("SKIP"), _set("e"), _set("f")).say(OK)
    assert (line.keys[4:], line.told) == (["e", "f"], [])
    assert [done.note for done in Tracker(lambda *_: None).requests(_mode("OFF") + _set("a"))] == ["its reply was switched off"]


@pytest.mark.parametrize("verb", ["MONITOR", "SYNC", "PSYNC"])
def test_clients_that_only_listen_are_left_alone(verb: str) -> None:
    line = _Line().ask(packed(verb)).say(OK, b'+123 [0 unix] "get"\r\n', b"\x00rubbish")
    line.tracker.ended()
    assert (line.keys, line.told) == ([], [])


def test_the_database_is_the_one_selected() -> None:
    line = _Line().ask(packed("SELECT", 3), packed("SELECT", 99)).say(OK, b"-ERR DB index is out of range\r\n")
    assert line.tracker.database == 3
    line.ask(MULTI, packed("SELECT", 5), EXEC).say(OK, QUEUED, b"*1\r\n+OK\r\n")
    assert line.tracker.database == 5
    line.ask(packed("RESET")).say(b"+RESET\r\n")
    assert line.tracker.database == 0


@pytest.mark.parametrize(
    ("asked", "said", "told"),
    [
        (b"*x\r\n", b"", "what is not RESP"),
        (packed("PING"), b"HTTP/1.1 400\r\n", "what is not RESP"),
        (b"", OK, "belongs to no command"),
        (MULTI + packed("SUBSCRIBE", "a"), b"", "subscribed inside MULTI"),
        (MULTI + packed("CLIENT", "REPLY", "OFF"), b"", "inside MULTI"),
    ],
)
def test_what_cannot_be_followed_ends_the_watching_once(asked: bytes, said: bytes, told: str) -> None:
    line = _Line().ask(asked).say(said).ask(_set("a")).say(OK)
    line.tracker.ended()
    assert line.keys == []
    ((what, blind),) = line.told
    assert told in what
    assert blind


def test_unknown_commands_and_other_nodes_are_told_of() -> None:
    line = _Line().ask(packed("MYMODULE.DO", "secret"), packed("nope"), packed(b"\xffsecret"), _set("a"))
    line.say(OK, b"-ERR unknown command\r\n", OK, b"-MOVED 3999 127.0.0.1:6381\r\n")
    assert [what for what, _ in line.told] == [
        "command MYMODULE.DO is not known: whether it writes is not seen",
        "command with an odd name is not known: whether it writes is not seen",
        "the server sent the build to another node, which is not seen: give the relay the node itself",
    ]
    assert line.keys == []


def test_pending_commands_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_collectors, "REDIS_PENDING_MAX", 10)
    line = _Line().ask(packed("PING") * 10)
    assert line.told == []
    assert "more commands waited" in line.ask(packed("PING")).told[0][0]
    monkeypatch.setattr(limits_collectors, "REDIS_PENDING_BYTES_MAX", 10_000)
    monkeypatch.setattr(limits_collectors, "REDIS_PENDING_MAX", 1000)
    line = _Line()
    for _ in range(100):
        line.ask(packed("SET", "k", "v" * 1000)).say(OK)
    assert (len(line.keys), line.told) == (100, [])
    line.ask(MULTI).say(OK)
    for _ in range(100):
        line.ask(packed("SET", "k", "v" * 1000)).say(QUEUED)
    assert "more commands waited" in line.told[0][0]


def test_a_connection_that_ends_with_writes_under_way() -> None:
    line = _Line().ask(_set("a"))
    line.tracker.ended()
    assert [blind for _, blind in line.told] == [True]
    blocked = _Line().ask(packed("BLPOP", "l", 0))
    assert blocked.tracker.waiting == 0
    blocked.tracker.ended()
    assert blocked.told == []


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=60)), max_size=6))
def test_no_bytes_make_it_raise(traffic: list[tuple[bool, bytes]]) -> None:
    tracker = Tracker(lambda *_: None)
    for asked, data in traffic:
        if asked:
            tracker.requests(data)
        else:
            tracker.replies(data)
    tracker.ended()
