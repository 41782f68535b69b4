"""Which Redis commands change something, with which keys, and what their documents say. Pure.

Commands that are spelled in two ways and do the same are told in one (SETEX as SET, UNLINK as DEL, EVALSHA as EVAL), so that a build
that changes its client library does not seem to do something else.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import orjson

from harness.effects.naming import text_of
from harness.effects.redis.resp import Argument, Command, Item

Fields = dict[str, Any]
Keys = Callable[[Sequence[Argument]], list[str]]


class Write(msgspec.Struct, frozen=True):
    """What a command that writes did."""

    verb: str
    place: str
    """What its operation names beside the verb and the first key: a script's digest, a function."""
    key: str
    """The first key or the channel; empty where there is none."""
    document: Fields


def _names(text: str) -> list[str]:
    return text.split()


def verb_of(command: Command) -> str:
    """The command's name in upper case; of a container (XGROUP) with its subcommand."""
    first = _upper(command.args[0])
    if first in _CONTAINERS and len(command.args) > 1:
        return f"{first} {_upper(command.args[1])}"
    return first


def is_write(verb: str, command: Command) -> bool:
    """Whether it changes something if it succeeds."""
    if verb == "GETEX":
        return len(command.args) > 2
    if verb in _ONLY_WITH_STORE:
        return any(_upper(arg) in {"STORE", "STOREDIST"} for arg in command.args[2:])
    return verb in _KEYS


def is_known(verb: str) -> bool:
    """Whether it is known what a command does."""
    first = verb.partition(" ")[0]
    return verb in _KEYS or first in _OTHERS or first in _CONTAINERS or verb in _ONLY_WITH_STORE or verb.startswith(_MODULES)


def blocks(verb: str) -> bool:
    """Whether its reply may take as long as somebody else takes."""
    return verb in _BLOCKING


def did_nothing(verb: str, command: Command, item: Item) -> bool:
    """Whether a reply says that a command found nothing to take or was not allowed by its own condition.

    Loops ask so again and again, as often as time allows. A deletion of what is not there is told of: it was meant.
    """
    if item.is_error:
        return True
    if verb in _TAKING:
        return item.empty
    if verb in {"SETNX", "MSETNX", "HSETNX", "RENAMENX"}:
        return item.text == b"0"
    if verb == "SET":
        options = {_upper(arg) for arg in command.args[3:]}
        return item.empty and bool(options & {"NX", "XX", "IFEQ"}) and "GET" not in options
    return False


def write_of(verb: str, command: Command) -> Write:
    """What a command that writes says; total."""
    args = command.args
    try:
        keys = _KEYS.get(verb, _one)(args)
        shown, place, fields = _SHAPES.get(verb, _plain)(verb, args, keys)
    except (IndexError, ValueError):
        # The server takes more than is known here; or the command is wrong, then its reply is an error and nobody asks.
        keys, shown, place, fields = [], verb, "", {"args": [_value(arg) for arg in args[1:]]}
    if command.more:
        fields["more"] = f"{command.more} arguments, sha256 {command.digest}"
    return Write(shown, place, keys[0] if keys else "", fields)


def _upper(arg: Argument) -> str:
    return arg[:64].upper().decode("ascii", "replace") if isinstance(arg, bytes) else ""


def _text(arg: Argument) -> str:
    if isinstance(arg, bytes):
        return text_of(arg)
    # The cut may go through a character.
    return f"{arg.head.decode('utf-8', 'replace')}… {arg.size} bytes, sha256 {arg.digest}"


def _value(arg: Argument) -> Any:
    """A value as text; one that holds a JSON object or array as that, so that it is compared field by field."""
    if isinstance(arg, bytes) and arg[:1] in {b"{", b"["}:
        try:
            return orjson.loads(arg)
        except orjson.JSONDecodeError:
            pass
    return _text(arg)


def _number(arg: Argument) -> int | str:
    """A whole number where it is one: times to live are compared as such."""
    text = _text(arg)
    return int(text) if text.lstrip("-").isdigit() and len(text) < 19 else text


def _texts(args: Sequence[Argument]) -> list[str]:
    return [_text(arg) for arg in args]


# Keys


def _none(args: Sequence[Argument]) -> list[str]:
    del args
    return []


def _one(args: Sequence[Argument]) -> list[str]:
    return [_text(args[1])]


def _two(args: Sequence[Argument]) -> list[str]:
    return _texts(args[1:3])


def _second(args: Sequence[Argument]) -> list[str]:
    return [_text(args[2])]


def _all(args: Sequence[Argument]) -> list[str]:
    return _texts(args[1:])


def _all_but_last(args: Sequence[Argument]) -> list[str]:
    return _texts(args[1:-1])


def _from_second(args: Sequence[Argument]) -> list[str]:
    return _texts(args[2:])


def _every_second(args: Sequence[Argument]) -> list[str]:
    return _texts(args[1::2])


def _counted(at: int) -> Keys:
    """Keys behind their number."""

    def keys(args: Sequence[Argument]) -> list[str]:
        count = int(_text(args[at]))
        return _texts(args[at + 1 : at + 1 + max(0, count)])

    return keys


def _stored(args: Sequence[Argument]) -> list[str]:
    """The destination, then keys behind their number."""
    return [_text(args[1]), *_counted(2)(args)]


def _streams(args: Sequence[Argument]) -> list[str]:
    at = [_upper(arg) for arg in args].index("STREAMS")
    rest = args[at + 1 :]
    return _texts(rest[: len(rest) // 2])


def _store(args: Sequence[Argument]) -> list[str]:
    """SORT, GEORADIUS: the destination behind STORE or STOREDIST first, then the source."""
    upper = [_upper(arg) for arg in args]
    stores = [_text(args[at + 1]) for at, word in enumerate(upper[:-1]) if at > 1 and word in {"STORE", "STOREDIST"}]
    return [*stores[-1:], _text(args[1])]


def _migrate(args: Sequence[Argument]) -> list[str]:
    if args[3]:
        return [_text(args[3])]
    return _texts(args[[_upper(arg) for arg in args].index("KEYS") + 1 :])


_KEYS: Final[dict[str, Keys]] = {
    **dict.fromkeys(
        _names("""
            APPEND BITFIELD DECR DECRBY EXPIRE EXPIREAT GEOADD GETDEL GETEX GETSET HDEL HINCRBY HINCRBYFLOAT
            HMSET HSET HSETNX INCR INCRBY INCRBYFLOAT LINSERT LPOP LPUSH LPUSHX LREM LSET LTRIM MOVE PERSIST
            PEXPIRE PEXPIREAT PFADD PSETEX RESTORE RESTORE-ASKING RPOP RPUSH RPUSHX SADD SET SETBIT SETEX
            SETNX SETRANGE SPOP SREM XACK XADD XAUTOCLAIM XCLAIM XDEL XSETID XTRIM ZADD ZINCRBY ZPOPMAX
            ZPOPMIN ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE PUBLISH SPUBLISH HEXPIRE HEXPIREAT
            HPEXPIRE HPEXPIREAT HPERSIST HGETDEL HGETEX HSETEX XDELEX XACKDEL DELEX DELIFEQ VADD VREM VSETATTR
            JSON.SET JSON.DEL JSON.FORGET JSON.MERGE JSON.NUMINCRBY JSON.NUMMULTBY JSON.STRAPPEND
            JSON.ARRAPPEND JSON.ARRINSERT JSON.ARRPOP JSON.ARRTRIM JSON.TOGGLE JSON.CLEAR BF.ADD BF.MADD
            BF.INSERT BF.RESERVE CF.ADD CF.ADDNX CF.INSERT CF.INSERTNX CF.DEL CF.RESERVE CMS.INITBYDIM
            CMS.INITBYPROB CMS.INCRBY CMS.MERGE TOPK.ADD TOPK.INCRBY TOPK.RESERVE TDIGEST.ADD TDIGEST.CREATE
            TDIGEST.RESET TDIGEST.MERGE TS.ADD TS.CREATE TS.ALTER TS.DEL TS.INCRBY TS.DECRBY FT.CREATE
            FT.ALTER FT.DROPINDEX FT.ALIASADD FT.ALIASUPDATE FT.ALIASDEL
        """),
        _one,
    ),
    **dict.fromkeys(_names("BLMOVE BRPOPLPUSH COPY GEOSEARCHSTORE LMOVE RENAME RENAMENX RPOPLPUSH SMOVE ZRANGESTORE"), _two),
    **dict.fromkeys(_names("TS.CREATERULE TS.DELETERULE"), _two),
    **dict.fromkeys(_names("DEL UNLINK SDIFFSTORE SINTERSTORE SUNIONSTORE PFMERGE"), _all),
    **dict.fromkeys(_names("BLPOP BRPOP BZPOPMAX BZPOPMIN"), _all_but_last),
    **dict.fromkeys(_names("MSET MSETNX"), _every_second),
    **dict.fromkeys(_names("JSON.MSET TS.MADD"), lambda args: _texts(args[1::3])),
    **dict.fromkeys(_names("ZDIFFSTORE ZINTERSTORE ZUNIONSTORE"), _stored),
    **dict.fromkeys(_names("LMPOP ZMPOP MSETEX"), _counted(1)),
    **dict.fromkeys(_names("BLMPOP BZMPOP EVAL EVALSHA FCALL"), _counted(2)),
    **dict.fromkeys(("XGROUP CREATE", "XGROUP CREATECONSUMER", "XGROUP DELCONSUMER", "XGROUP DESTROY", "XGROUP SETID"), _second),
    **dict.fromkeys(("FLUSHALL", "FLUSHDB", "SWAPDB", "FUNCTION DELETE", "FUNCTION FLUSH", "FUNCTION LOAD", "FUNCTION RESTORE"), _none),
    "BITOP": _from_second,
    "PFDEBUG": _second,
    "MIGRATE": _migrate,
    "XREADGROUP": _streams,
    "SORT": _store,
    "GEORADIUS": _store,
    "GEORADIUSBYMEMBER": _store,
}
"""Commands that write -> where their keys are."""

_ONLY_WITH_STORE: Final = frozenset({"SORT", "GEORADIUS", "GEORADIUSBYMEMBER"})
_CONTAINERS: Final = frozenset({"XGROUP", "FUNCTION"})
_BLOCKING: Final = frozenset(_names("BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN XREADGROUP"))
_TAKING: Final = _BLOCKING | frozenset(
    _names("GETDEL GETEX LMOVE LMPOP LPOP RPOP RPOPLPUSH SPOP ZMPOP ZPOPMAX ZPOPMIN XCLAIM HGETDEL HGETEX JSON.ARRPOP")
)
_MODULES: Final = ("JSON.", "BF.", "CF.", "CMS.", "TOPK.", "TDIGEST.", "TS.", "FT.")
"""Prefixes of commands of the modules that Redis comes with: those not among the writing ones read."""
_OTHERS: Final = frozenset(
    _names("""
            BITCOUNT BITFIELD_RO BITPOS DBSIZE DUMP EVAL_RO EVALSHA_RO EXISTS EXPIRETIME FCALL_RO GEODIST
            GEOHASH GEOPOS GEORADIUS_RO GEORADIUSBYMEMBER_RO GEOSEARCH GET GETBIT GETRANGE HEXISTS HGET
            HGETALL HKEYS HLEN HMGET HRANDFIELD HSCAN HSTRLEN HVALS KEYS LCS LINDEX LLEN LOLWUT LPOS LRANGE
            MEMORY MGET OBJECT PEXPIRETIME PFCOUNT PTTL RANDOMKEY SCAN SCARD SDIFF SINTER SINTERCARD SISMEMBER
            SMEMBERS SMISMEMBER SORT_RO SRANDMEMBER SSCAN STRLEN SUBSTR SUNION TOUCH TTL TYPE XINFO XLEN
            XPENDING XRANGE XREAD XREVRANGE ZCARD ZCOUNT ZDIFF ZINTER ZINTERCARD ZLEXCOUNT ZMSCORE ZRANDMEMBER
            ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN
            ZSCORE ZUNION HTTL HPTTL HEXPIRETIME HPEXPIRETIME DIGEST VCARD VDIM VEMB VGETATTR VINFO VISMEMBER
            VLINKS VRANDMEMBER VRANGE VSIM ACL ASKING AUTH BGREWRITEAOF BGSAVE CLIENT CLUSTER COMMAND CONFIG
            DEBUG DISCARD ECHO EXEC FAILOVER HELLO INFO LASTSAVE LATENCY MODULE MONITOR MULTI PFSELFTEST PING
            PSUBSCRIBE PSYNC PUBSUB PUNSUBSCRIBE QUIT READONLY READWRITE REPLCONF REPLICAOF RESET ROLE SAVE
            SCRIPT SELECT SHUTDOWN SLAVEOF SLOWLOG SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE SYNC TIME UNSUBSCRIBE
            UNWATCH WAIT WAITAOF WATCH
        """)
)
"""Commands that read, or whose doings are the connection's or the server's own."""

# Documents: verb as it is told, what the operation names beside the key, fields.
Shape = tuple[str, str, Fields]


def _plain(verb: str, args: Sequence[Argument], keys: list[str]) -> Shape:
    """The key and the other arguments, for commands with one key in front; else all arguments."""
    at = 2 if " " in verb else 1
    if len(keys) == 1 and len(args) > at and _text(args[at]) == keys[0]:
        rest = [_value(arg) for arg in args[at + 1 :]]
        return verb, "", {"key": keys[0], "args": rest} if rest else {"key": keys[0]}
    return verb, "", {"args": [_value(arg) for arg in args[at:]]}


def _only_keys(verb: str, args: Sequence[Argument], keys: list[str]) -> Shape:
    del args
    return "DEL" if verb == "UNLINK" else verb, "", {"key": keys[0]} if len(keys) == 1 else {"keys": keys}


def _set(verb: str, args: Sequence[Argument], keys: list[str]) -> Shape:
    if verb in {"SETEX", "PSETEX"}:
        return "SET", "", {"key": keys[0], "value": _value(args[3]), "ex" if verb == "SETEX" else "px": _number(args[2])}
    fields: Fields = {"key": keys[0], "value": _value(args[2])}
    if verb == "SETNX":
        fields["nx"] = True
    fields.update(_options(args[3:], numbers=("EX", "PX", "EXAT", "PXAT"), texts=("IFEQ",)))
    return "SET", "", fields


def _options(args: Sequence[Argument], *, numbers: Sequence[str], texts: Sequence[str] = ()) -> Fields:
    """Options by name in lower case: those of `numbers` and `texts` with the argument behind them, others as true."""
    fields: Fields = {}
    at = 0
    while at < len(args):
        word = _upper(args[at])
        if word in numbers or word in texts:
            fields[word.lower()] = _number(args[at + 1]) if word in numbers else _value(args[at + 1])
            at += 1
        else:
            fields[word.lower()] = True
        at += 1
    return fields


def _expiry(verb: str, args: Sequence[Argument], keys: list[str]) -> Shape:
    unit = {"EXPIRE": "ex", "PEXPIRE": "px", "EXPIREAT": "exat", "PEXPIREAT": "pxat"}[verb]
    return verb, "", {"key": keys[0], unit: _number(args[2]), **_options(args[3:], numbers=())}


def _getex(verb: str, args: Sequence[Argument], keys: list[str]) -> Shape:
    return verb, "", {"key": keys[0], **_options(args[2:], numbers=("EX", "PX", "EXAT", "PXAT"))}


def _pairs(args: Sequence[Argument]) -> Fields:
    if len(args) % 2:
        raise ValueError("a field without a value")
    return {_text(name): _value(value) for name, value in zip(args[::2], args[1::2], strict=True)}


def _hset(verb: str, args: Sequence[Argument], keys: list[str]) -> Shape:
    return "HSET" if verb == "HMSET" else verb, "", {"key": keys[0], "fields": _pairs(args[2:])}


def _mset(verb: str, args: Sequence[Argument], keys: list[str]) -> Shape:
    del keys
    return verb, "", {"fields": _pairs(args[1:])}


def _zadd(verb: str, args: Sequence[Argument], keys: list[str]) -> Shape:
    at = 2
    while _upper(args[at]) in {"NX", "XX", "GT", "LT", "CH", "INCR"}:
        at += 1
    scores = {member: score for score, member in zip(_texts(args[at::2]), _texts(args[at + 1 :: 2]), strict=True)}
    return verb, "", {"key": keys[0], "scores": scores, **_options(args[2:at], numbers=())}


def _xadd(verb: str, args: Sequence[Argument], keys: list[str]) -> Shape:
    """`~` and `=` of a bound on the length are left out: they say how, not what."""
    fields: Fields = {"key": keys[0]}
    at = 2
    while (word := _upper(args[at])) in {"NOMKSTREAM", "MAXLEN", "MINID", "LIMIT", "KEEPREF", "DELREF", "ACKED"}:
        if word in {"MAXLEN", "MINID", "LIMIT"}:
            at += 1 + (_upper(args[at + 1]) in {"~", "="})
            fields[word.lower()] = _number(args[at])
        else:
            fields[word.lower()] = True
        at += 1
    return verb, "", {**fields, "id": _text(args[at]), "fields": _pairs(args[at + 1 :])}


def _publish(verb: str, args: Sequence[Argument], keys: list[str]) -> Shape:
    return verb, "", {"channel": keys[0], "message": _value(args[2])}


def _script(verb: str, args: Sequence[Argument], keys: list[str]) -> Shape:
    first = args[1]
    if verb == "FCALL":
        name, field = _text(first), "function"
    elif verb == "EVALSHA":
        name, field = _text(first).lower(), "script"
    else:
        # As the server names it, so that EVAL and EVALSHA of one script are one operation.
        whole = first if isinstance(first, bytes) else first.digest.encode()
        name, field = hashlib.sha1(whole, usedforsecurity=False).hexdigest(), "script"
    rest = [_value(arg) for arg in args[3 + len(keys) :]]
    return "FCALL" if verb == "FCALL" else "EVAL", name if verb == "FCALL" else name[:12], {field: name, "keys": keys, "args": rest}


def _moved(verb: str, args: Sequence[Argument], keys: list[str]) -> Shape:
    """MIGRATE: neither where to nor with which password."""
    del args
    return verb, "", {"keys": keys}


_SHAPES: Final[dict[str, Callable[[str, Sequence[Argument], list[str]], Shape]]] = {
    **dict.fromkeys(("DEL", "UNLINK"), _only_keys),
    **dict.fromkeys(("SET", "SETEX", "PSETEX", "SETNX"), _set),
    **dict.fromkeys(("EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"), _expiry),
    **dict.fromkeys(("HSET", "HMSET", "HSETNX"), _hset),
    **dict.fromkeys(("MSET", "MSETNX"), _mset),
    **dict.fromkeys(("PUBLISH", "SPUBLISH"), _publish),
    **dict.fromkeys(("EVAL", "EVALSHA", "FCALL"), _script),
    "GETEX": _getex,
    "ZADD": _zadd,
    "XADD": _xadd,
    "MIGRATE": _moved,
}
