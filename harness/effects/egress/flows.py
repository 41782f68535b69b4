"""mitmproxy's messages as values and back: calls from requests, answers from responses, responses from taped answers."""

import hashlib
import ipaddress
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import orjson
from mitmproxy import http, version
from mitmproxy.proxy.layers.http._base import format_error

from harness.core import coding, limits
from harness.core.http import connection_headers
from harness.core.values import Headers
from harness.effects.egress.calls import Answer, Call

UNMATCHED_STATUS: Final = 599
"""Answer to a call that has no match on a tape."""
_OWN_PORTS: Final = {"http": 80, "https": 443}
_BODILESS: Final = frozenset({204, 304})
_LENGTH: Final = "content-length"


class TrailedAnswer(Answer, frozen=True, kw_only=True):
    """An answer with trailers, which only HTTP/2 brings (gRPC's status is in them). A tape file does not keep them."""

    trailers: Headers = ()


class Seen(NamedTuple):
    """A request as a call."""

    call: Call
    host: str
    """In lower case, without brackets."""
    port: int
    place: str
    """Host, and port where it is not the scheme's own."""
    target: str
    """Path and query as sent."""
    digest: str
    """SHA-256 of the body where it was cut; else empty."""


def pairs(headers: Any) -> Headers:
    """mitmproxy's header fields as text."""
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.fields)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def seen(request: Any, headers: Headers) -> Seen:
    """What a complete request asks for; `headers` are its header fields as text."""
    data = request.data
    scheme = data.scheme.decode("latin-1")
    host = data.host
    if _is_address(host):  # the client resolved the name itself: its Host header may still tell it
        host = request.pretty_host
    host = host.lower().strip("[]")
    place = f"[{host}]" if ":" in host else host
    if data.port != _OWN_PORTS.get(scheme):
        place = f"{place}:{data.port}"
    target = data.path.decode("latin-1")
    body = data.content or b""
    digest = ""
    codings = coding.codings_of(headers) if body else []
    if codings and (decoded := coding.undo(body, codings)) is not None and decoded.complete:
        body = decoded.data
    size = len(body)
    if size > limits.CAPTURE_BODY_BYTES_MAX:
        digest = hashlib.sha256(body).hexdigest()
        body = body[: limits.CAPTURE_BODY_BYTES_MAX]
    url = f"{scheme}://{place}{target}"
    call = Call(method=data.method.decode("latin-1"), url=url, headers=headers, body=body, size=size)
    return Seen(call, host, data.port, place, target, digest)


def answer_of(response: Any, body: bytes) -> Answer:
    """A response as it came, its body as collected."""
    status, headers = response.status_code, pairs(response.headers)
    if response.trailers:
        return TrailedAnswer(status=status, headers=headers, body=body, trailers=pairs(response.trailers))
    return Answer(status=status, headers=headers, body=body)


def response_of(answer: Answer, method: str, *, http2: bool = False) -> Any:
    """The response that gives a taped answer, framed anew; an error is given as mitmproxy gave it to stable.

    Trailers are given to clients of HTTP/2 only: no other can take them from mitmproxy. A body is left
    out where the method or the status allows none, whatever was taped.
    """
    if answer.error or not answer.status:
        return failed(502, answer.error, http2=http2)
    dropped = connection_headers(answer.headers) | {_LENGTH}
    fields = [(_wire(name), _wire(value)) for name, value in answer.headers if name.lower() not in dropped]
    body = answer.body
    lengths = [value for name, value in answer.headers if name.lower() == _LENGTH]
    if method == "HEAD" or answer.status in _BODILESS:
        body = b""
        if lengths and answer.status not in _BODILESS:
            fields.append((b"content-length", _wire(lengths[0])))
    elif lengths or not http2:
        fields.append((b"content-length", b"%d" % len(body)))
    response = _response(answer.status, fields, body)
    if http2 and isinstance(answer, TrailedAnswer):
        response.trailers = http.Headers([(_wire(name), _wire(value)) for name, value in answer.trailers])
    return response


def failed(status: int, message: str, *, http2: bool = False) -> Any:
    """What mitmproxy sends when a call cannot be made."""
    body = format_error(status, message)
    fields = [(b"server", version.MITMPROXY.encode()), (b"content-type", b"text/html")]
    if not http2:
        fields += [(b"connection", b"close"), (b"content-length", b"%d" % len(body))]
    return _response(status, fields, body)


def refused(status: int, what: str, call: Call | None = None) -> Any:
    """An answer of the harness's own that says why there is no other."""
    said = {"error": f"shadowdiff: {what}"}
    if call is not None:
        said |= {"method": call.method, "url": call.url}
    return made(status, {"content-type": "application/json"}, orjson.dumps(said))


def made(status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """An answer as configured."""
    given = tuple(headers.items())
    dropped = connection_headers(given) | {_LENGTH}
    fields = [(_wire(name), _wire(value)) for name, value in given if name.lower() not in dropped]
    if status not in _BODILESS:
        fields.append((b"content-length", b"%d" % len(body)))
    return _response(status, fields, b"" if status in _BODILESS else body)


def _response(status: int, fields: list[tuple[bytes, bytes]], body: bytes) -> Any:
    now = time.time()
    return http.Response(b"HTTP/1.1", status, _reason(status), http.Headers(fields), body, None, now, now)


def _wire(text: str) -> bytes:
    """A header field as it was read; what somebody wrote by hand is UTF-8 where it has to be."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"No Match" if status == UNMATCHED_STATUS else b""


class Collected:
    """A body that passes through: what is kept of it, up to CAPTURE_BODY_BYTES_MAX."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def __call__(self, data: bytes) -> bytes:
        """mitmproxy's stream hook: hands on what it is given."""
        self.size += len(data)
        if self.size <= limits.CAPTURE_BODY_BYTES_MAX:
            self._pieces.append(data)
        else:
            self._pieces.clear()
        return data

    @property
    def body(self) -> bytes | None:
        """The whole; None where it was too long to be kept."""
        return b"".join(self._pieces) if self.size <= limits.CAPTURE_BODY_BYTES_MAX else None
