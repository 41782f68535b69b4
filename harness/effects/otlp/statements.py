"""Query texts without their values, so that the same statement reads the same from request to request. Pure.

It knows how texts are written (quotes, comments, lists), never what a statement means to a database.
"""

import re
from functools import lru_cache
from typing import Any, Final

import msgspec
import orjson

from harness.core import limits
from harness.core.shapes import label_of

_CACHED_CHARS_MAX: Final = 2_048
_VALUE: Final = "?"
_DISTINCT_MAX: Final = 16
_BACKSLASHES: Final = frozenset({"mysql", "mariadb", "clickhouse", "bigquery", "gcp.bigquery", "hive", "spanner", "gcp.spanner"})
"""Systems whose texts know escapes by a backslash and comments that begin with `#`."""

_STRING: Final = r"[eE]'(?:[^'\\]|\\(?:.|\Z)|'')*(?:'|\Z)|\b[xXbBnN]?'(?:[^']|'')*(?:'|\Z)|'(?:[^']|'')*(?:'|\Z)"
_ESCAPED: Final = r"'(?:[^'\\]|\\(?:.|\Z)|'')*(?:'|\Z)|\"(?:[^\"\\]|\\(?:.|\Z)|\"\")*(?:\"|\Z)"
_NUMBER: Final = r"0[xX][0-9a-fA-F]+|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_TOKENS: Final = (
    r"(?P<skip>\s+|--[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/|\Z){hash})"
    r"|(?P<value>\$(?P<tag>[A-Za-z_]\w*|)\$(?:[^$]|\$(?!(?P=tag)\$))*(?:\$(?P=tag)\$|\Z)|{strings}"
    r"|\$[0-9]+|%s|%\([^)]{{0,64}}\)s|(?<![:\w]):[A-Za-z_]\w*|@[A-Za-z_]\w*|\?(?![|&])|{number}(?!\w))"
    r"|(?P<name>`[^`]*`|\"(?:[^\"]|\"\")*\"|[^\W\d][\w$]*)"
    r"|(?P<mark>::|<=|>=|<>|!=|\|\||->>|->|#>>|#>|@>|<@|&&|.)"
)
_PLAIN: Final = re.compile(_TOKENS.format(hash="", strings=_STRING, number=_NUMBER), re.DOTALL)
_WITH_BACKSLASHES: Final = re.compile(_TOKENS.format(hash=r"|\#[^\n]*", strings=_ESCAPED, number=_NUMBER), re.DOTALL)

_KEYWORDS_TEXT: Final = """
    ADD ALL ALTER ANALYZE AND ANY ARRAY AS ASC BEGIN BETWEEN BY CALL CASCADE CASE CAST COMMIT CONFLICT CONSTRAINT COPY CREATE CROSS
    CURRENT_DATE CURRENT_TIMESTAMP DATABASE DEFAULT DELETE DESC DESCRIBE DISTINCT DO DROP DUPLICATE ELSE END ESCAPE EXCEPT EXEC EXECUTE
    EXISTS EXPLAIN FALSE FETCH FIRST FOR FOREIGN FROM FULL GRANT GROUP HAVING IF IGNORE ILIKE IN INDEX INNER INSERT INTERSECT INTO IS
    JOIN KEY LATERAL LEFT LIKE LIMIT LOCK LOCKED MATCHED MERGE NATURAL NEXT NO NOT NOTHING NOWAIT NULL NULLS OF OFFSET ON ONLY OR ORDER
    OUTER OVER PARTITION PRAGMA PRIMARY READ RECURSIVE REFERENCES RELEASE REPLACE RETURNING REVOKE RIGHT ROLLBACK ROW ROWS SAVEPOINT
    SELECT SET SHARE SHOW SIMILAR SKIP SOME START TABLE TEMP TEMPORARY THEN TO TRANSACTION TRIGGER TRUE TRUNCATE UNION UNIQUE UPDATE
    USE USING VACUUM VALUES VIEW WHEN WHERE WINDOW WITH WRITE"""
_KEYWORDS: Final = frozenset(_KEYWORDS_TEXT.split())
_NO_SPACE_BEFORE: Final = frozenset({",", ")", ";", ".", "]", "::"})
_NO_SPACE_AFTER: Final = frozenset({"(", ".", "[", "::"})
_LIST: Final = re.compile(r"(\bIN |\bARRAY(?=\[))([(\[])\?(?:, \?)+([)\]])")
_SAVEPOINT: Final = re.compile(r"^((?:RELEASE |ROLLBACK (?:WORK |TRANSACTION )?TO )?SAVEPOINT|RELEASE|ROLLBACK TO) (?!SAVEPOINT\b).+$")
_VERBS: Final = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "VALUES", "TABLE"})
_WRITING: Final = frozenset({"INSERT", "DELETE", "MERGE", "UPDATE"})
_READING_TEXT: Final = """
    SELECT SHOW EXPLAIN DESCRIBE DESC PRAGMA VALUES TABLE FETCH DECLARE CLOSE BEGIN START COMMIT END ROLLBACK SAVEPOINT RELEASE
    USE SET RESET DISCARD DEALLOCATE PREPARE ABORT CHECKPOINT LISTEN UNLISTEN KILL"""
_READING: Final = frozenset(_READING_TEXT.split())
"""First words of statements that change no rows, transactions' borders among them."""


class Statement(msgspec.Struct, frozen=True, gc=False):
    """What a query text says without its values."""

    text: str
    """Literals and parameters as `?`, one space, keywords in capitals, IN lists of one, no comments."""
    verb: str = ""
    """`INSERT`; empty where the text tells none."""
    table: str = ""
    """The first that it is about; empty where there is none."""
    writes: bool = True


def statement(text: str, system: str = "") -> Statement:
    """A query text of a database system (`postgresql`, `redis`, ...). Total; linear in the text's length."""
    if len(text) <= _CACHED_CHARS_MAX:
        return _cached(text, system)
    return _read(text[: limits.SPAN_STATEMENT_CHARS_MAX], system)


def _read(text: str, system: str) -> Statement:
    bare = text.strip()
    if bare[:1] in {"{", "["}:
        return Statement(_json_text(bare))
    if system in {"redis", "valkey", "memcached"}:
        return _command(bare)
    tokens = _tokens(bare, system)
    return _sql(tokens)


_cached = lru_cache(maxsize=limits.NAMES_CACHE_MAX)(_read)


def _tokens(text: str, system: str) -> list[str]:
    pattern = _WITH_BACKSLASHES if system in _BACKSLASHES else _PLAIN
    tokens: list[str] = []
    for found in pattern.finditer(text):
        sort = found.lastgroup if found.lastgroup != "tag" else "value"
        if sort == "skip":
            continue
        token = found.group()
        if sort == "value" or found["value"] is not None:
            token = _VALUE
            while tokens and tokens[-1] in {"-", "+"} and (len(tokens) < 2 or _ends_none(tokens[-2])):
                tokens.pop()
        elif sort == "name" and token[0] not in '"`':
            upper = token.upper()
            # Behind a point stands a name, whatever it is called.
            token = upper if upper in _KEYWORDS and not (tokens and tokens[-1] == ".") else token
        tokens.append(token)
    while tokens and tokens[-1] == ";":
        tokens.pop()
    return tokens


def _ends_none(token: str) -> bool:
    """Whether a sign behind this token belongs to the number that follows it."""
    return token in _KEYWORDS or not (token[-1].isalnum() or token[-1] in '_)]"`?')


def _sql(tokens: list[str]) -> Statement:
    parts: list[str] = []
    previous = ""
    for token in tokens:
        glued = not previous or token in _NO_SPACE_BEFORE or previous in _NO_SPACE_AFTER
        glued = glued or (token in "([" and previous not in _KEYWORDS and (previous[-1].isalnum() or previous[-1] in '_"`'))
        glued = glued or (token == "[" and previous == "ARRAY")
        parts.append(token if glued else f" {token}")
        previous = token
    text = _LIST.sub(r"\1\2?\3", "".join(parts))
    text = _SAVEPOINT.sub(r"\1 ?", text)
    verb = _verb(tokens)
    first = tokens[0] if tokens else ""
    writes = any(token in _WRITING and _does(tokens, index) for index, token in enumerate(tokens)) or (
        bool(first) and first.upper() not in _READING and first != "WITH"
    )
    return Statement(text, verb, _table(tokens, verb), writes)


def _does(tokens: list[str], index: int) -> bool:
    """Whether a writing word is a statement's own: not `FOR UPDATE`, nor what a trigger or a conflict clause is about."""
    before = tokens[index - 1] if index else "("
    behind = tokens[index + 1] if index + 1 < len(tokens) else ""
    return before in {"(", ";", ")", "AS", "EXPLAIN", "ANALYZE"} and behind not in {"", ",", ")", "="}


def _verb(tokens: list[str]) -> str:
    """The first word; behind WITH the verb outside of all brackets."""
    if not tokens or not tokens[0][0].isalpha():
        return next((token for token in tokens if token in _VERBS), "")
    if tokens[0] != "WITH":
        return tokens[0].upper()
    depth = 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if depth == 0 and token in _VERBS:
            return token
    return "WITH"


_BEFORE_TABLE: Final = {
    "SELECT": "FROM",
    "DELETE": "FROM",
    "INSERT": "INTO",
    "REPLACE": "INTO",
    "MERGE": "INTO",
    "UPDATE": "UPDATE",
    "TRUNCATE": "TRUNCATE",
    "TABLE": "TABLE",
    "COPY": "COPY",
    "CALL": "CALL",
    "EXEC": "EXEC",
    "CREATE": "TABLE",
    "DROP": "TABLE",
    "ALTER": "TABLE",
}
_PASSED_OVER: Final = frozenset({"TABLE", "ONLY", "IF", "NOT", "EXISTS", "IGNORE", "OR", "ROLLBACK", "REPLACE", "LATERAL"})


def _table(tokens: list[str], verb: str) -> str:
    before = _BEFORE_TABLE.get(verb)
    start = tokens.index(verb) if verb in tokens else 0
    if tokens and tokens[0] == "WITH":
        start = _outside(tokens, verb)
    if before is None or before not in tokens[start:]:
        return ""
    at = tokens.index(before, start) + 1
    while at < len(tokens) and tokens[at] in _PASSED_OVER:
        at += 1
    name = ""
    while at < len(tokens) and (tokens[at][0].isalpha() or tokens[at][0] in '_"`') and tokens[at] not in _KEYWORDS:
        name += tokens[at].strip('"`')
        at += 1
        if at >= len(tokens) or tokens[at] != ".":
            break
        name, at = f"{name}.", at + 1
    return name


def _outside(tokens: list[str], verb: str) -> int:
    depth = 0
    for index, token in enumerate(tokens):
        depth += (token == "(") - (token == ")")
        if depth == 0 and token == verb:
            return index
    return 0


_REDIS_READS_TEXT: Final = """
    GET MGET STRLEN GETRANGE SUBSTR EXISTS TTL PTTL TYPE KEYS SCAN RANDOMKEY DBSIZE HGET HMGET HGETALL HEXISTS HKEYS HVALS HLEN HSCAN
    HSTRLEN LRANGE LLEN LINDEX LPOS SMEMBERS SISMEMBER SMISMEMBER SCARD SSCAN SINTER SUNION SDIFF SRANDMEMBER ZRANGE ZREVRANGE
    ZRANGEBYSCORE ZREVRANGEBYSCORE ZRANGEBYLEX ZSCORE ZMSCORE ZCARD ZCOUNT ZRANK ZREVRANK ZSCAN ZLEXCOUNT XRANGE XREVRANGE XLEN XREAD
    XINFO XPENDING PING ECHO INFO CLIENT AUTH HELLO SELECT COMMAND CONFIG TIME OBJECT MEMORY BITCOUNT BITPOS GETBIT PFCOUNT GEOPOS
    GEODIST GEOHASH GEOSEARCH DUMP WATCH UNWATCH MULTI WAIT SUBSCRIBE PSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE QUIT GETS VERSION STATS"""
_REDIS_READS: Final = frozenset(_REDIS_READS_TEXT.split())


def _command(text: str) -> Statement:
    """Commands of a key-value store, one a line in a pipeline: the verb, the key without identifiers, the rest as values."""
    lines: list[Statement] = []
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        verb = words[0].upper()
        key = _key(words[1]) if len(words) > 1 else ""
        rest = _VALUE if len(words) > 2 else ""
        lines.append(Statement(" ".join(part for part in (verb, key, rest) if part), verb, key.strip(_VALUE), verb not in _REDIS_READS))
    if not lines:
        return Statement("", writes=False)
    verb = lines[0].verb if len(lines) == 1 else "PIPELINE"
    table = lines[0].table if len(lines) == 1 else ""
    return Statement("\n".join(line.text for line in lines), verb, table, any(line.writes for line in lines))


def _key(text: str) -> str:
    return "".join(label_of(part) or part for part in re.split(r"([:/.|{}#]+)", text))


_LOOSE: Final = re.compile(
    rf'"(?:[^"\\]|\\(?:.|\Z))*(?:"|\Z)(?P<colon>\s*:)?|\'(?:[^\'\\]|\\(?:.|\Z))*(?:\'|\Z)|\b(?:{_NUMBER})\b', re.DOTALL
)


def _json_text(text: str) -> str:
    try:
        return orjson.dumps(_shape(orjson.loads(text), 0), option=orjson.OPT_SORT_KEYS).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        # Cut, or not JSON: strings that name nothing, and numbers, still go.
        return _LOOSE.sub(lambda found: found.group() if found["colon"] else _VALUE, text)


def _shape(value: Any, depth: int) -> Any:
    """Keys stay, values go, and an array is its distinct elements."""
    if depth < limits.CONFIG_DEPTH_MAX and isinstance(value, dict):
        return {key: _shape(item, depth + 1) for key, item in value.items()}
    if depth < limits.CONFIG_DEPTH_MAX and isinstance(value, list):
        distinct: list[Any] = []
        for shape in (_shape(item, depth + 1) for item in value):
            if len(distinct) < _DISTINCT_MAX and shape not in distinct:
                distinct.append(shape)
        return distinct
    return _VALUE
