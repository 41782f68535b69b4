"""Which commands write, and what they say: the tables agree with a real server's own."""

import asyncio
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.effects.redis import commands
from harness.effects.redis.commands import did_nothing, is_known, is_write, verb_of, write_of
from harness.effects.redis.resp import Command, Cut, Item
from tests.effects.redis.conftest import Failed, connected

NOT_FLAGGED = {"PUBLISH", "SPUBLISH", "EVAL", "EVALSHA", "FCALL"}
"""They change something, and the server does not flag them as writing."""


def _command(*args: object) -> Command:
    return Command(tuple(arg if isinstance(arg, bytes) else str(arg).encode() for arg in args))


def _flat(answer: list[Any]) -> dict[str, set[str]]:
    """Verb -> flags, subcommands by their containers."""
    found: dict[str, set[str]] = {}
    for name, _, flags, *rest in answer:
        subcommands = rest[6] if len(rest) > 6 else []
        if subcommands:
            found.update(_flat(subcommands))
        else:
            found[name.decode().upper().replace("|", " ")] = set(flags)
    return found


def test_a_real_server_agrees_on_what_writes(redis_server: str) -> None:
    async def ask() -> list[Any]:
        client = await connected(redis_server)
        answer: list[Any] = await client.do("COMMAND")
        await client.close()
        return answer

    flags = _flat(asyncio.run(ask()))
    assert len(flags) > 300
    internal = {"EVALM", "EVALSHAM", "FCALLM"}
    unknown = {verb for verb in flags if not is_known(verb)} - internal
    assert unknown == set()
    for verb, its in flags.items():
        words = verb.split()
        command = _command(*words, "a", "1", "b", "STORE", "d")
        assert is_write(verb_of(command), command) == ("write" in its or verb in NOT_FLAGGED), verb


KEYS = [
    "SET k v", "DEL a b c", "UNLINK a", "MSET a 1 b 2", "RENAME a b", "COPY a b DB 1", "LMOVE a b LEFT RIGHT", "BLPOP a b 0",
    "BLMPOP 0 2 a b LEFT", "LMPOP 2 a b LEFT", "ZMPOP 1 a MIN", "BZMPOP 1 2 a b MAX COUNT 3", "ZUNIONSTORE d 2 a b WEIGHTS 1 2",
    "ZINTERSTORE d 1 a", "ZDIFFSTORE d 2 a b", "SUNIONSTORE d a b", "BITOP AND d a b", "EVAL x 2 a b c", "EVALSHA x 0", "FCALL f 1 a b",
    "XREADGROUP GROUP g c COUNT 1 STREAMS a b > >", "XGROUP CREATE s g $", "XADD s * f v", "GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 km",
    "ZRANGESTORE d s 0 -1", "PFMERGE d a b", "SMOVE a b m", "BRPOPLPUSH a b 0", "GETEX k EX 1", "BZPOPMIN a b 0", "XCLAIM s g c 0 1-1",
    "MIGRATE h 1 k 0 1000 AUTH secret", "RESTORE k 0 x", "HSET h f v", "SORT l STORE d", "GEORADIUS g 0 0 1 km STORE d",
]  # fmt: skip


def test_a_real_server_agrees_on_where_keys_are(redis_server: str) -> None:
    async def ask() -> list[Any]:
        client = await connected(redis_server)
        answers = [await client.do("COMMAND", "GETKEYS", *line.split()) for line in KEYS]
        await client.close()
        return answers

    for line, answer in zip(KEYS, asyncio.run(ask()), strict=True):
        command = _command(*line.split())
        expected = [] if isinstance(answer, Failed) else [key.decode() for key in answer]
        got = commands._KEYS[verb_of(command)](command.args)
        assert sorted(set(got)) == sorted(set(expected)), line
        assert is_write(verb_of(command), command), line


SCRIPT = hashlib.sha1(b"return(1)").hexdigest()
DOCUMENTS = [
    ("SET cart:7 v", ("SET", "", "cart:7"), {"key": "cart:7", "value": "v"}),
    ("set k v ex 30 NX GET", ("SET", "", "k"), {"key": "k", "value": "v", "ex": 30, "nx": True, "get": True}),
    ("SETEX k 30 v", ("SET", "", "k"), {"key": "k", "value": "v", "ex": 30}),
    ("PSETEX k 30 v", ("SET", "", "k"), {"key": "k", "value": "v", "px": 30}),
    ("SETNX k v", ("SET", "", "k"), {"key": "k", "value": "v", "nx": True}),
    ('SET k {"a":[1]}', ("SET", "", "k"), {"key": "k", "value": {"a": [1]}}),
    ("SET k {not", ("SET", "", "k"), {"key": "k", "value": "{not"}),
    ("SET k v EX", ("SET", "", ""), {"args": ["k", "v", "EX"]}),
    ("DEL k", ("DEL", "", "k"), {"key": "k"}),
    ("UNLINK k l", ("DEL", "", "k"), {"keys": ["k", "l"]}),
    ("EXPIRE k 60 NX", ("EXPIRE", "", "k"), {"key": "k", "ex": 60, "nx": True}),
    ("PEXPIREAT k 60", ("PEXPIREAT", "", "k"), {"key": "k", "pxat": 60}),
    ("GETEX k EX 5", ("GETEX", "", "k"), {"key": "k", "ex": 5}),
    ("HMSET h a 1 b 2", ("HSET", "", "h"), {"key": "h", "fields": {"a": "1", "b": "2"}}),
    ("HSET h a", ("HSET", "", ""), {"args": ["h", "a"]}),
    ("MSET a 1 b 2", ("MSET", "", "a"), {"fields": {"a": "1", "b": "2"}}),
    ("ZADD z XX CH 1 a 2.5 b", ("ZADD", "", "z"), {"key": "z", "scores": {"a": "1", "b": "2.5"}, "xx": True, "ch": True}),
    ("XADD s MAXLEN ~ 100 * f v", ("XADD", "", "s"), {"key": "s", "maxlen": 100, "id": "*", "fields": {"f": "v"}}),
    (
        "XADD s NOMKSTREAM MINID 5 LIMIT 1 1-1 f v",
        ("XADD", "", "s"),
        {"key": "s", "nomkstream": True, "minid": 5, "limit": 1, "id": "1-1", "fields": {"f": "v"}},
    ),
    ("PUBLISH c hello", ("PUBLISH", "", "c"), {"channel": "c", "message": "hello"}),
    ("EVAL return(1) 1 k x", ("EVAL", SCRIPT[:12], "k"), {"script": SCRIPT, "keys": ["k"], "args": ["x"]}),
    ("EVALSHA ABCDEF 0", ("EVAL", "abcdef", ""), {"script": "abcdef", "keys": [], "args": []}),
    ("FCALL f 1 k x", ("FCALL", "f", "k"), {"function": "f", "keys": ["k"], "args": ["x"]}),
    ("MIGRATE h 1 k 0 5 AUTH secret", ("MIGRATE", "", "k"), {"keys": ["k"]}),
    ("FLUSHALL", ("FLUSHALL", "", ""), {"args": []}),
    ("LPUSH l a b", ("LPUSH", "", "l"), {"key": "l", "args": ["a", "b"]}),
    ("INCR n", ("INCR", "", "n"), {"key": "n"}),
    ("RENAME a b", ("RENAME", "", "a"), {"args": ["a", "b"]}),
    ("XGROUP CREATE s g $", ("XGROUP CREATE", "", "s"), {"key": "s", "args": ["g", "$"]}),
]


@pytest.mark.parametrize(("line", "shown", "fields"), DOCUMENTS, ids=[line for line, _, _ in DOCUMENTS])
def test_documents(line: str, shown: tuple[str, str, str], fields: dict[str, object]) -> None:
    command = _command(*line.split())
    write = write_of(verb_of(command), command)
    assert ((write.verb, write.place, write.key), write.document) == (shown, fields)


def test_the_server_names_a_script_alike(redis_server: str) -> None:
    async def ask() -> Any:
        client = await connected(redis_server)
        digest = await client.do("SCRIPT", "LOAD", "return redis.call('SET', KEYS[1], 1)")
        await client.close()
        return digest.decode()

    command = _command("EVAL", "return redis.call('SET', KEYS[1], 1)", 1, "k")
    assert write_of("EVAL", command).document["script"] == asyncio.run(ask())


def test_binary_and_long_values() -> None:
    assert write_of("SET", _command("SET", b"\xff", b"\xfe\x00")).document == {"key": "hex:ff", "value": "hex:fe00"}
    command = Command((b"SET", b"k", Cut(b"abc", 99, "d" * 64)), more=3, digest="e")
    assert write_of("SET", command).document == {"key": "k", "value": f"abc… 99 bytes, sha256 {'d' * 64}", "more": "3 arguments, sha256 e"}


@pytest.mark.parametrize(
    ("line", "item", "nothing"),
    [
        ("SET k v", Item("+", b"OK"), False),
        ("SET k v", Item("-", b"ERR"), True),
        ("SET k v NX", Item("$", empty=True), True),
        ("SET k v NX GET", Item("$", empty=True), False),
        ("SET k v GET", Item("_", empty=True), False),
        ("SETNX k v", Item(":", b"0"), True),
        ("SETNX k v", Item(":", b"1"), False),
        ("DEL k", Item(":", b"0"), False),
        ("LPOP k", Item("_", empty=True), True),
        ("LPOP k", Item("$", b"x"), False),
        ("XREADGROUP GROUP g c STREAMS s >", Item("*", empty=True), True),
    ],
)
def test_what_a_reply_says_was_not_done(line: str, item: Item, nothing: bool) -> None:
    command = _command(*line.split())
    assert did_nothing(verb_of(command), command, item) is nothing


@pytest.mark.parametrize(
    ("line", "write"),
    [
        ("GETEX k", False),
        ("GETEX k PERSIST", True),
        ("SORT l BY w", False),
        ("SORT store", False),
        ("GEORADIUS g 0 0 1 km STOREDIST d", True),
        ("JSON.GET k", False),
        ("JSON.SET k $ 1", True),
        ("AUTH STORE STORE", False),
    ],
)
def test_commands_that_write_only_sometimes(line: str, write: bool) -> None:
    command = _command(*line.split())
    assert is_write(verb_of(command), command) is write
    assert is_known(verb_of(command))


@given(
    st.sampled_from(sorted(commands._KEYS)),
    st.lists(st.sampled_from([b"a", b"1", b"2", b"STREAMS", b"KEYS", b"EX", b"MAXLEN", b"~", b"NX", b"", b"-1", b"\xff"]), max_size=8),
)
def test_writes_of_any_arguments(verb: str, args: list[bytes]) -> None:
    command = Command((*(word.encode() for word in verb.split()), *args))
    assert isinstance(write_of(verb, command).document, dict)
