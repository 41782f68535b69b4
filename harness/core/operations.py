"""Operation names of protocols that send everything to one URL: GraphQL and JSON-RPC.

An operation is a function of one request. Nothing is executed and no document is validated.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote_plus

import orjson

from harness.core import coding, limits
from harness.core.values import Request

_METHODS_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_COMMENTS: Final = r"(?:[\s,\ufeff]|#[^\n]*(?:\n|$))*"
_DOCUMENT: Final = re.compile(rf"{_COMMENTS}(?:(?P<short>\{{)|(?P<type>query|mutation|subscription|fragment)(?=[\s({{@#]))")
"""How a GraphQL document begins; a search text such as `query shoes` does not go on with a selection."""
_DEFINITION: Final = re.compile(r'"""(?:[^"]|"(?!""))*"""|"(?:[^"\\\n]|\\.)*"|#[^\n]*|[{}]|[A-Za-z_][A-Za-z0-9_]*')
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_METHOD_NAME: Final = re.compile(r"[A-Za-z0-9_.:/$\-]+")
_SCAN_TOKENS_MAX: Final = 20_000


def operation_of(request: Request) -> str:
    """`GetUser` of a GraphQL request, `orders.list` of a JSON-RPC call, names joined by `+` of a batch; else empty."""
    if request.method not in _METHODS_WITH_BODY:
        return _from_query_string(request.target) if request.method == "GET" else ""
    body = request.body
    if not body.data or body.truncated:
        return ""
    data = body.data
    codings = coding.codings_of(request.headers)
    if codings:
        decoded = coding.undo(data, codings)
        data = decoded.data if decoded and decoded.complete else data
    if not any(mark in data for mark in (b'"query"', b'"jsonrpc"', b'"persistedQuery"')):
        return ""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return ""
    return _joined(document, _graphql_name) or _joined(document, _jsonrpc_name)


def _joined(document: object, name_of: Callable[[dict[str, Any]], str]) -> str:
    if isinstance(document, dict):
        return name_of(document)
    if not isinstance(document, list):
        return ""
    names = sorted({name_of(item) for item in document if isinstance(item, dict)} - {""})
    if len(names) > limits.OPERATIONS_PER_BATCH_MAX:
        names = [*names[: limits.OPERATIONS_PER_BATCH_MAX], "..."]
    return "+".join(names)


def _jsonrpc_name(call: dict[str, Any]) -> str:
    method = call.get("method")
    if "jsonrpc" not in call or not isinstance(method, str) or not method:
        return ""
    return _bounded(method) if _METHOD_NAME.fullmatch(method) else _stable_hash(method)


def _graphql_name(call: dict[str, Any]) -> str:
    name = call.get("operationName")
    named = name if isinstance(name, str) and _NAME.fullmatch(name) else ""
    query = call.get("query")
    if isinstance(query, str):
        match = _DOCUMENT.match(query)
        if not match or "{" not in query:
            return ""
        return _bounded(named) if named else _name_in_document(query)
    persisted = _persisted_hash(call.get("extensions"))
    if not persisted:
        return ""
    return _bounded(named) if named else f"persisted-{_stable_hash(persisted)}"


def _persisted_hash(extensions: object) -> str:
    if isinstance(extensions, dict):
        persisted = extensions.get("persistedQuery")
        if isinstance(persisted, dict) and isinstance(persisted.get("sha256Hash"), str):
            return str(persisted["sha256Hash"])
    return ""


def _name_in_document(query: str) -> str:
    """The name of the only or first operation; an anonymous one is its type and a hash of its text.

    Strings and comments are skipped, so that a brace or a word inside them is never taken for a definition.
    """
    depth = 0
    kind = ""
    for index, match in enumerate(_DEFINITION.finditer(query)):
        token = match.group()
        if token[0] in '#"':
            continue
        if index >= _SCAN_TOKENS_MAX:
            break
        if token == "{":
            if depth == 0 and kind != "fragment":
                break
            depth += 1
        elif token == "}":
            depth -= 1
            kind = "" if depth == 0 else kind
        elif depth == 0 and token in {"query", "mutation", "subscription", "fragment"} and not kind:
            kind = token
        elif depth == 0 and kind in {"query", "mutation", "subscription"}:
            # The name stands between the type and the variables; a name behind `$` or `@` is none.
            return _bounded(token) if query[match.start() - 1] not in "$@" else f"{kind}-{_query_hash(query)}"
    return f"{kind if kind != 'fragment' and kind else 'query'}-{_query_hash(query)}"


def _query_hash(query: str) -> str:
    return _stable_hash(" ".join(query.split()))


def _stable_hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def _bounded(name: str) -> str:
    if len(name) <= limits.OPERATION_CHARS_MAX:
        return name
    return f"{name[: limits.OPERATION_CHARS_MAX - 9]}-{_stable_hash(name)}"


def _from_query_string(target: str) -> str:
    """GraphQL over GET (https://graphql.github.io/graphql-over-http): `operationName`, else the document's own."""
    path, _, query = target.partition("?")
    if not query or not path.rstrip("/").lower().endswith(("graphql", "gql")):
        return ""
    fields = dict(pair.split("=", 1) for pair in query.split("&") if "=" in pair)
    name = unquote_plus(fields.get("operationName", ""))
    if _NAME.fullmatch(name):
        return _bounded(name)
    document = unquote_plus(fields.get("query", ""))
    return _name_in_document(document) if "{" in document and _DOCUMENT.match(document) else ""
