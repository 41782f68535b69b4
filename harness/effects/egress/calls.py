"""Outbound calls and their answers as values: what the egress proxy sees, keeps on a tape and answers from it. Pure.

A call's canonical form is a tree of plain JSON values in which two calls that mean the same look the same: the order of
query parameters, fields and keys, percent-encoding, the boundary of a multipart body and content codings are gone.
"""

import hashlib
import ipaddress
import re
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from harness.core import coding
from harness.core.endpoint import EndpointMapper
from harness.core.http import media_type
from harness.core.limits import JSON_DEPTH_MAX
from harness.core.values import Body, Headers, Request
from harness.effects.naming import text_of

Tree = dict[str, Any]
"""A canonical form."""

ANYTHING: Final = "*"
"""What stands for a path segment that is left open."""

_URL: Final = re.compile(r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*):)?//(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL)
_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>[0-9]{0,5}))?")
_DEFAULT_PORTS: Final = {"http": "80", "https": "443", "ws": "80", "wss": "443"}
_HOST_CHARS_MAX: Final = 253
_JSON: Final = re.compile(r"[\w.\-]+/(?:[\w.\-]+\+)?json|application/csp-report")
_JSON_LINES: Final = re.compile(r"application/(?:x-)?(?:ndjson|jsonl|jsonlines|json-lines)")
_SNIFFED_BOUNDARY: Final = re.compile(rb"\A(?:\r?\n)?--([^\r\n]{1,200}?)[ \t]*\r?\n")
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_NAME: Final = re.compile(r'^content-disposition:[^\r\n]*?;\s*name="?(?P<name>[^"\r\n;]*)', re.IGNORECASE | re.MULTILINE)
_FILE: Final = re.compile(r'^content-disposition:[^\r\n]*?;\s*filename="?(?P<name>[^"\r\n;]*)', re.IGNORECASE | re.MULTILINE)
_TYPE: Final = re.compile(r"^content-type:[ \t]*(?P<type>[^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_NESTING_MAX: Final = 3


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One outbound HTTP request of a target."""

    method: str
    url: str
    """Absolute: scheme, host in lower case, port where it is not the scheme's own, path and query as sent."""
    headers: Headers = ()
    body: bytes = b""
    """Without content coding where it could be undone; cut at CAPTURE_BODY_BYTES_MAX."""
    size: int = 0
    """Whole length in bytes of what `body` is the beginning of: greater than its length only where the rest was cut."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back: a response, or an error."""

    status: int = 0
    """0 where no answer came."""
    headers: Headers = ()
    body: bytes = b""
    """As on the wire, still content-coded."""
    error: str = ""
    """Why no answer came. With a status: why its body is not here."""


class TapedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call with its answer, on the tape of one trial or in a tape file."""

    request: str
    """`OpenTrial.request` of the trial it was made in: the key under which a tape file keeps it."""
    number: int
    """Position among the calls of its trial, from 0."""
    call: Call
    answer: Answer
    trial: str = ""
    """Tells trials of one request apart: anything while they run; read from a file, their number among those of the request."""


class Url(NamedTuple):
    """An absolute URL taken apart; the parts of a URL that cannot be read are empty, and its path is the whole."""

    scheme: str
    host: str
    """In lower case, international names in ASCII, IPv6 in brackets and shortest form."""
    port: str
    """Empty where it is the scheme's own."""
    segments: tuple[str, ...]
    """Of the path, as sent."""
    query: str

    @property
    def authority(self) -> str:
        """Host and, where it is not the scheme's own, port."""
        return f"{self.host}:{self.port}" if self.port else self.host


def split_url(url: str) -> Url:
    """The parts of an absolute URL; total. User information and fragment are dropped."""
    found = _URL.fullmatch(url)
    scheme = (found["scheme"] or "").lower() if found else ""
    host, port = _host_and_port(found["authority"].rpartition("@")[2], scheme) if found else ("", "")
    rest = (found["rest"] if found else url).partition("#")[0]
    path, _, query = rest.partition("?")
    return Url(scheme, host, port, tuple(path.removeprefix("/").split("/")), query)


def host_of(call: Call) -> str:
    """The host that a call goes to, without port, as `Url.host` has it."""
    return split_url(call.url).host


def plain_body(call: Call) -> bytes:
    """The body without content coding, also where its headers still name one; as it is where that cannot be undone."""
    codings = coding.codings_of(call.headers)
    decoded = coding.undo(call.body, codings) if codings and call.body else None
    return decoded.data if decoded is not None and decoded.complete else call.body


def endpoint_of(call: Call, left_open: frozenset[int] = frozenset()) -> str:
    """`METHOD host/template[ #operation]`; path segments by these numbers are left open, whatever they are."""
    url = split_url(call.url)
    segments = (ANYTHING if number in left_open else segment for number, segment in enumerate(url.segments))
    target = "/" + "/".join(segments) + (f"?{url.query}" if url.query else "")
    # Its decoded bytes are what operations are named by; a cut body names none.
    data = b"" if _is_cut(call) else plain_body(call)
    # A mapper of one's own each time: its bound on names is for reports, and past it all endpoints would be one.
    name = EndpointMapper().endpoint(Request(call.method.upper(), target, (), Body(data, len(data))))
    method, _, template = name.partition(" ")
    return f"{method} {url.authority}{template}"


def canonical(call: Call) -> Tree:
    """The canonical form: `method`, `origin`, `path` (segments), `query` (values by name) and `body`."""
    url = split_url(call.url)
    return {
        "method": call.method.upper(),
        "origin": f"{url.scheme}://{url.authority}",
        "path": [_unquoted(segment) for segment in url.segments],
        "query": _pairs(url.query),
        "body": _cut_body(call) if _is_cut(call) else _body(plain_body(call), *media_type(call.headers), _NESTING_MAX),
    }


def key_of(tree: Tree) -> str:
    """A digest of a canonical form: the same for the same form, whatever the order of its keys."""
    return hashlib.blake2b(encoded(tree), digest_size=16).hexdigest()


def encoded(tree: Tree) -> bytes:
    """A canonical form as JSON with sorted keys."""
    return msgspec.json.encode(tree, order="sorted")


def _host_and_port(authority: str, scheme: str) -> tuple[str, str]:
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        return _clean(authority.lower()), ""
    port = (found["port"] or "").lstrip("0")
    return _host(found["host"]), "" if port == _DEFAULT_PORTS.get(scheme) else port


def _host(host: str) -> str:
    if host.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        except ValueError:
            return _clean(host.lower())
    host = _unquoted(host).lower().removesuffix(".")
    if host.isascii() or len(host) > _HOST_CHARS_MAX:
        return host
    try:
        return host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return host


def _clean(text: str) -> str:
    """Text that can be written as UTF-8."""
    return text_of(coding.to_bytes(text))


def _unquoted(text: str) -> str:
    return text_of(unquote_to_bytes(coding.to_bytes(text)))


def _pairs(text: str) -> dict[str, list[str]]:
    """Values by name, those of one name in their order. A name alone has an empty value."""
    fields: dict[str, list[str]] = {}
    for pair in text.split("&"):
        if pair:
            name, _, value = pair.replace("+", " ").partition("=")
            fields.setdefault(_unquoted(name), []).append(_unquoted(value))
    return fields


def _is_cut(call: Call) -> bool:
    return call.size > len(call.body)


def _cut_body(call: Call) -> Tree:
    """A body of which only the beginning is here, or, after redaction, nothing."""
    return {"cut": call.size, **_plain(call.body)} if call.body else {"withheld": True}


def _body(data: bytes, essence: str, parameters: dict[str, str], nesting: int) -> Tree:
    if not data:
        return {}
    if essence.startswith("multipart/") and nesting and (parts := _parts(data, parameters.get("boundary", ""), nesting - 1)) is not None:
        return {"parts": parts}
    if essence.endswith("-urlencoded"):
        return {"form": _pairs(data.decode("utf-8", "surrogateescape"))}
    bare = data.removeprefix(b"\xef\xbb\xbf")
    if _JSON_LINES.fullmatch(essence):
        return _json([line for line in bare.split(b"\n") if line.strip()]) or _plain(data)
    if _JSON.fullmatch(essence) or bare.lstrip()[:1] in (b"{", b"["):
        return _json([bare]) or _plain(data)
    return _plain(data)


def _plain(data: bytes) -> Tree:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"bytes": hashlib.blake2b(data, digest_size=16).hexdigest()}


def _json(documents: list[bytes]) -> Tree | None:
    try:
        values = [msgspec.json.decode(document) for document in documents]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if sum(document.count(b"[") + document.count(b"{") for document in documents) > JSON_DEPTH_MAX and _too_deep(values):
        return None
    return {"json": values}


def _too_deep(value: object) -> bool:
    stack: list[tuple[object, int]] = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        if depth > JSON_DEPTH_MAX:
            return True
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        stack.extend((each, depth + 1) for each in inner)
    return False


def _parts(data: bytes, boundary: str, nesting: int) -> dict[str, list[Tree]] | None:
    """Parts by name (RFC 7578); None where no boundary can be found."""
    mark = b"--" + boundary.encode("utf-8", "replace")
    if not boundary or mark not in data:
        sniffed = _SNIFFED_BOUNDARY.match(data)
        if sniffed is None:
            return None
        mark = b"--" + sniffed[1]
    fields: dict[str, list[Tree]] = {}
    for piece in data.split(mark)[1:]:
        if piece.startswith(b"--"):
            break
        split = _HEAD_END.search(piece)
        head = text_of(piece[: split.start()] if split else b"")
        content = piece[split.end() :] if split else piece
        content = content.removesuffix(b"\n").removesuffix(b"\r")
        name, file, kind = (found.group(1).strip() if (found := pattern.search(head)) else "" for pattern in (_NAME, _FILE, _TYPE))
        part = _body(content, *media_type((("content-type", kind),)), nesting)
        fields.setdefault(name, []).append({"file": file, "type": kind.partition(";")[0].strip().lower(), "body": part})
    return fields
