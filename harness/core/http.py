"""What RFC 9110 and 9112 say about messages, as small pure functions over header tuples."""

from typing import Final

from harness.core.values import Headers

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods mirrored by default. TRACE is safe by RFC 9110 9.2.1 too, and never mirrored: it echoes credentials."""

EVENT_STREAM: Final = "text/event-stream"
JSON_LINES: Final = frozenset(
    {"application/jsonl", "application/jsonlines", "application/ndjson", "application/x-jsonlines", "application/x-ndjson", "text/x-ndjson"}
)
"""One JSON value a line; several names are in use."""
_STREAMS: Final = JSON_LINES | {EVENT_STREAM}

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that concern one connection only (RFC 9110 7.6.1 and common practice)."""


def header(headers: Headers, name: str) -> str | None:
    """The first value of a header; `name` in lower case."""
    size = len(name)
    for key, value in headers:
        if len(key) == size and key.lower() == name:
            return value
    return None


def header_values(headers: Headers, name: str) -> list[str]:
    """All values of a header, in wire order; `name` in lower case."""
    return [value for key, value in headers if key.lower() == name]


def media_type(headers: Headers) -> tuple[str, dict[str, str]]:
    """Media type in lower case and its parameters; `("", {})` without a Content-Type."""
    raw = header(headers, "content-type")
    if not raw:
        return "", {}
    essence, *rest = raw.split(";")
    parameters: dict[str, str] = {}
    for part in rest:
        key, _, value = part.partition("=")
        if key.strip():
            parameters[key.strip().lower()] = value.strip().strip('"')
    return essence.strip().lower(), parameters


def is_event_stream(headers: Headers) -> bool:
    """Whether an answer is a row of events, which may have no end: server-sent events, or a JSON value a line."""
    return media_type(headers)[0] in _STREAMS


def connection_headers(headers: Headers) -> frozenset[str]:
    """Names (lower case) that must not be forwarded: hop-by-hop ones and those the Connection header lists."""
    listed = {token.strip().lower() for value in header_values(headers, "connection") for token in value.split(",")}
    return HOP_BY_HOP | frozenset(listed - {""})


def status_class(status: int) -> str:
    """`2xx` and the like; `error` for 0 (no answer)."""
    return f"{status // 100}xx" if status else "error"
