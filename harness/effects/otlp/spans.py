"""From a span's attributes to what was done: the names of several generations of conventions on one, without noise. Pure.

Left out on purpose, since each target or each run has its own: ports, peer addresses, names of databases, user agents, names
of spans, thread and connection ids, times. Source: OpenTelemetry semantic conventions 1.4x and the tables of what they replace.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from harness.core import limits
from harness.core.endpoint import path_of, split_path
from harness.core.http import SAFE_METHODS
from harness.core.shapes import label_of
from harness.effects.naming import key_template
from harness.effects.otlp.statements import statement

INTERNAL: Final = 1
SERVER: Final = 2
CLIENT: Final = 3
PRODUCER: Final = 4
CONSUMER: Final = 5
KIND_NAMES: Final = {"internal": INTERNAL, "server": SERVER, "client": CLIENT, "producer": PRODUCER, "consumer": CONSUMER}
"""As an OTLP span numbers them."""
_WORDS: Final = {number: name.upper() for name, number in KIND_NAMES.items()}

NEW_NAMES: Final = {
    "db.statement": "db.query.text",
    "db.system": "db.system.name",
    "db.operation": "db.operation.name",
    "db.sql.table": "db.collection.name",
    "db.mongodb.collection": "db.collection.name",
    "db.cassandra.table": "db.collection.name",
    "db.cosmosdb.container": "db.collection.name",
    "http.method": "http.request.method",
    "http.url": "url.full",
    "http.target": "url.path",
    "http.scheme": "url.scheme",
    "http.host": "server.address",
    "http.server_name": "server.address",
    "net.peer.name": "server.address",
    "http.status_code": "http.response.status_code",
    "messaging.destination": "messaging.destination.name",
    "messaging.operation": "messaging.operation.type",
    "messaging.rabbitmq.routing_key": "messaging.rabbitmq.destination.routing_key",
    "messaging.temp_destination": "messaging.destination.temporary",
    "rpc.system": "rpc.system.name",
    "rpc.grpc.status_code": "rpc.response.status_code",
    "peer.service": "service.peer.name",
}
"""Old names of attributes -> those of today. Where a span has both (as in a change-over), the new one counts."""

_READ: Final = frozenset(
    {
        *NEW_NAMES,
        *NEW_NAMES.values(),
        "url.template",
        "url.query",
        "messaging.system",
        "messaging.destination.template",
        "messaging.destination.anonymous",
        "messaging.batch.message_count",
        "rpc.service",
        "rpc.method",
        "aws.dynamodb.table_names",
    }
)
_SYSTEMS: Final = {"postgres": "postgresql", "mssql": "microsoft.sql_server", "oracle": "oracle.db", "spanner": "gcp.spanner"}
"""Old values of `db.system` -> those of `db.system.name`."""
_READING_NAMES: Final = (
    *("get", "list", "describe", "query", "scan", "search", "find", "read", "lookup", "fetch", "count", "head", "watch", "check", "exists"),
    *("aggregate", "distinct", "batchget", "mget", "msearch"),
)
"""How operations begin that change nothing, where nothing better tells."""
_RECEIVING: Final = frozenset({"receive", "process", "settle", "poll", "peek", "ack"})
_TEXT_CHARS_MAX: Final = 2_048


class Doing(msgspec.Struct, gc=False):
    """What one span says was done, the same from arm to arm."""

    family: str
    """`http`, `db`, `messaging`, `rpc` or `other`."""
    verb: str
    """With the kind in front: `CLIENT http POST`."""
    place: str
    fields: dict[str, Any]
    """The attributes that are compared."""
    writes: bool


def is_read(name: str) -> bool:
    """Whether an attribute says anything here; the others need not be decoded."""
    return name in _READ


def renamed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes by today's names."""
    found: dict[str, Any] = {}
    for name, value in attributes.items():
        new = NEW_NAMES.get(name)
        if new is None:
            found[name] = value
        elif new not in attributes and value is not None:
            # Several old names may stand for one: the fullest counts, whatever the order.
            found[new] = max(found.get(new, value), value, key=_fullness)
    return found


def _fullness(value: Any) -> tuple[int, str]:
    text = str(value)
    return len(text), text


def doing_of(kind: int, name: str, attributes: Mapping[str, Any], *, error: bool, statements: bool = True) -> Doing | None:
    """What a span did; None where it did nothing by itself (a connection that was opened). Total: any attributes are taken."""
    given = renamed(attributes)
    family, reading = next(((family, reading) for family, key, reading in _FAMILIES if _text(given, key)), ("other", None))
    read = _other(given, name) if reading is None else reading(given, kind, statements)
    if read is None:
        return None
    system, verb, place, fields, writes = read
    word = _WORDS.get(kind, "SPAN")
    fields = {"kind": word.lower(), **{key: value for key, value in fields.items() if value is not None and value != ""}, "error": error}
    return Doing(family, " ".join(part for part in (word, system, verb) if part), place, fields, writes or kind == PRODUCER)


_Read = tuple[str, str, str, dict[str, Any], bool]
"""System, verb, place, fields, and whether it writes."""


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key, "")
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return text if key == "db.query.text" else text[:_TEXT_CHARS_MAX]


def _http(given: Mapping[str, Any], kind: int, statements: bool) -> _Read:
    del kind, statements
    method = _text(given, "http.request.method").upper()[:32]
    url = _text(given, "url.full")
    scheme, host, path, query = _url(url) if url else ("", "", "", ())
    host = host or host_of(_text(given, "server.address"))
    if not path:
        target = _text(given, "url.path")
        _, _, path, query = _url(target) if target else ("", "", "", ())
        query = query or _query_names(_text(given, "url.query"))
    path = _text(given, "url.template").partition("?")[0] or path
    status = _text(given, "http.response.status_code")
    fields = {
        "http.request.method": method,
        "url.scheme": scheme or _text(given, "url.scheme").lower(),
        "server.address": host,
        "url.path": path,
        "url.query": list(query) or None,
        "http.response.status_code": int(status) if status.isdecimal() and len(status) < 10 else None,
    }
    return "http", method, f"{host}{path}", fields, method not in SAFE_METHODS


def host_of(authority: str) -> str:
    """A host in lower case without its port."""
    bare = authority.strip().lower().rpartition("@")[2]
    if bare.startswith("["):
        return bare.partition("]")[0].lstrip("[")
    return bare.partition(":")[0] if bare.count(":") == 1 else bare


@lru_cache(maxsize=limits.NAMES_CACHE_MAX)
def _url(url: str) -> tuple[str, str, str, tuple[str, ...]]:
    """Scheme, host, templated path and the names in the query."""
    try:
        parts = urlsplit(url)
        scheme, host, query = parts.scheme.lower(), host_of(parts.netloc), parts.query
    except ValueError:
        scheme, host, query = "", "", url.partition("?")[2]
    return scheme, host, path_template(path_of(url)), _query_names(query)


def path_template(path: str) -> str:
    """A path without its identifiers: `/charges/42` is `/charges/{int}`."""
    segments = split_path(path)
    kept = [(label_of(unquote(segment)) or segment) if segment else "" for segment in segments[: limits.TARGET_SEGMENTS_MAX]]
    if len(segments) > len(kept):
        kept.append("**")
    return "/" + "/".join(kept)


def _query_names(query: str) -> tuple[str, ...]:
    return tuple(sorted({pair.partition("=")[0] for pair in query.split("&") if pair}))


def _db(given: Mapping[str, Any], kind: int, statements: bool) -> _Read | None:
    del kind
    system = _text(given, "db.system.name").lower()
    system = _SYSTEMS.get(system, system)
    said = statement(_text(given, "db.query.text"), system)
    verb = _text(given, "db.operation.name").strip() or said.verb
    table = _text(given, "db.collection.name") or said.table or _dynamo_table(given)
    if not (verb or table or said.text):
        return None
    sql = said.verb != ""
    verb = verb.upper() if sql or verb.islower() else verb
    fields = {
        "db.system.name": system,
        "db.operation.name": verb,
        "db.collection.name": table,
        "db.query.text": said.text if statements else "",
    }
    writes = said.writes if sql else not verb.lower().startswith(_READING_NAMES)
    if verb == "SELECT" and not sql:
        writes = False
    return system, verb, key_template(table), fields, writes


def _dynamo_table(given: Mapping[str, Any]) -> str:
    names = given.get("aws.dynamodb.table_names")
    return ",".join(str(name) for name in names) if isinstance(names, list) else ""


def _messaging(given: Mapping[str, Any], kind: int, statements: bool) -> _Read:
    del statements
    system = _text(given, "messaging.system").lower()
    place = _text(given, "messaging.destination.template") or key_template(_text(given, "messaging.destination.name"))
    if given.get("messaging.destination.temporary") is True or given.get("messaging.destination.anonymous") is True:
        place = "(temporary)"
    operation = _text(given, "messaging.operation.type").lower()
    # `send`, `publish` and `create` are names of several generations for the same doing.
    operation = "publish" if operation in {"send", "publish", "create"} else operation
    fields = {
        "messaging.system": system,
        "messaging.destination.name": place,
        "messaging.operation.type": operation,
        "messaging.rabbitmq.destination.routing_key": key_template(_text(given, "messaging.rabbitmq.destination.routing_key")),
        "messaging.batch.message_count": _text(given, "messaging.batch.message_count"),
    }
    verb = "" if kind == PRODUCER else operation
    return system, verb, place, fields, operation not in _RECEIVING


def _rpc(given: Mapping[str, Any], kind: int, statements: bool) -> _Read:
    del kind, statements
    system = _text(given, "rpc.system.name").lower()
    service, method = _text(given, "rpc.service"), _text(given, "rpc.method").strip("/")
    called = method if "/" in method or not service else f"{service}/{method}"
    fields = {"rpc.system.name": system, "rpc.method": called, "server.address": host_of(_text(given, "server.address"))}
    if system in {"aws-api", "aws_api"}:
        del fields["server.address"]
    status = _text(given, "rpc.response.status_code")
    fields["rpc.response.status_code"] = _GRPC.get(status, status)
    return system, "", called, fields, not called.rpartition("/")[2].lower().startswith(_READING_NAMES)


_GRPC_NAMES: Final = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED"),
    *("RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE"),
    *("DATA_LOSS", "UNAUTHENTICATED"),
)
_GRPC: Final = {str(number): name for number, name in enumerate(_GRPC_NAMES)}
"""Codes of gRPC as old instrumentation numbers them and new names them."""


def _other(given: Mapping[str, Any], name: str) -> _Read:
    """Nothing that is known: the peer, and the span's name, for nothing else tells what it was."""
    peer = _text(given, "service.peer.name") or host_of(_text(given, "server.address"))
    called = " ".join(label_of(word) or word for word in name.split()[: limits.TARGET_SEGMENTS_MAX])
    return "other", "", f"{peer} {called}".strip(), {"service.peer.name": peer, "name": called}, True


_FAMILIES: Final[tuple[tuple[str, str, Callable[[Mapping[str, Any], int, bool], _Read | None]], ...]] = (
    ("messaging", "messaging.system", _messaging),
    ("db", "db.system.name", _db),
    ("rpc", "rpc.system.name", _rpc),
    ("http", "http.request.method", _http),
    ("http", "url.full", _http),
)
"""The first whose attribute is there; a database that is asked over HTTP is a database."""

_CARRIED: Final = frozenset({"db", "rpc", "messaging"})


def is_same(outer: Doing, inner: Doing) -> bool:
    """Whether a span and one right below it are one doing, seen by two instrumentations.

    So it is where both say the same (an HTTP library on another one, an ORM on its driver), and where the inner one is the
    HTTP exchange by which a database, an RPC or a broker was asked.
    """
    if outer.family != inner.family:
        return inner.family == "http" and outer.family in _CARRIED
    if outer.family == "db":
        texts = (outer.fields.get("db.query.text"), inner.fields.get("db.query.text"))
        systems = (outer.fields.get("db.system.name"), inner.fields.get("db.system.name"))
        return systems[0] == systems[1] and (texts[0] == texts[1] or not all(texts))
    return outer.place == inner.place and (outer.verb == inner.verb or outer.family == "messaging")


def joined(outer: Doing, inner: Doing) -> Doing:
    """The outer one, with what only the inner one knows of the same family."""
    if outer.family != inner.family:
        return outer
    fields = {**outer.fields, **{key: value for key, value in inner.fields.items() if key not in outer.fields}}
    richer = inner if len(inner.place) > len(outer.place) and outer.family == "db" else outer
    return Doing(outer.family, outer.verb if outer.verb.count(" ") > 1 else richer.verb, richer.place, fields, outer.writes or inner.writes)
