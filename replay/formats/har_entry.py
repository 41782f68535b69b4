"""One entry of a HAR 1.2 log becomes a capture entry, whatever program wrote it.

HAR holds what a browser understood, not what was on the wire: bodies are decoded text, headers may be missing. This
module puts back what can be put back, and marks what cannot as truncated. It knows nothing of files.
"""

import base64
import binascii
import re
import zlib
from typing import Any, Final
from urllib.parse import quote_plus

from harness.core.coding import with_length
from harness.core.http import header, media_type
from harness.core.limits import CAPTURE_RECORD_BYTES_MAX
from harness.core.values import Body, Headers, Request, Response
from replay.formats.message import MessageError, body_kept, request_body, split_url, unchunked, valid_headers

_ENCODED_FORM: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$'()*+,;:@/?]|%[0-9A-Fa-f]{2})*")
_METHOD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,40}")
_BOUNDARY: Final = "----shadowdiff-rebuilt-boundary"
_MAGIC: Final = {"gzip": b"\x1f\x8b", "x-gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}

Json = Any
"""What a JSON parser gives; every look into it is checked."""


def read_request(raw: Json) -> Request:
    """The request of an entry. MessageError where it cannot be sent."""
    request = _object(raw, "request")
    method, url = _text(request.get("method")), _text(request.get("url"))
    if not _METHOD.fullmatch(method):
        raise MessageError(f"request.method is {method[:40]!r}")
    pairs, pseudo = _headers(request.get("headers"))
    if not any(name.lower() == "cookie" for name, _ in pairs) and (cookies := _cookies(request.get("cookies"))):
        pairs.append(("Cookie", "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in cookies)))
    authority, target = split_url(re.sub(r"(?i)^ws(s?)://", r"http\1://", url.strip()))
    headers = valid_headers(pairs)
    host = (header(headers, "host") or pseudo.get(":authority") or authority).strip().lower()
    headers, body = _request_body(headers, request)
    return Request(method=method.upper() if method.islower() else method, target=target, headers=headers, body=body, host=host)


def read_response(raw: Json, method: str) -> Response | None:
    """The recorded answer; None where there was none (status 0). MessageError where it makes no sense."""
    if raw is None:
        return None
    response = _object(raw, "response")
    status = response.get("status")
    if isinstance(status, str) and status.isascii() and status.isdigit():
        status = int(status)
    if not isinstance(status, int | float) or isinstance(status, bool) or not 100 <= status <= 999:
        if status is None or (isinstance(status, int | float | str) and status in {0, -1, ""}):
            return None
        raise MessageError(f"response.status is {str(status)[:40]!r}")
    pairs, _ = _headers(response.get("headers"))
    if not any(name.lower() == "set-cookie" for name, _ in pairs):
        pairs += [("Set-Cookie", _set_cookie(cookie)) for cookie in _cookies(response.get("cookies"))]
    # Several programs join repeated Set-Cookie lines with a line feed.
    split = [(name, part) for name, value in pairs for part in (value.split("\n") if name.lower() == "set-cookie" else [value])]
    headers = valid_headers(split)
    reason = _text(response.get("statusText")).replace("\r", " ").replace("\n", " ")
    if method == "HEAD" or status in {101, 204, 304}:
        return Response(status=int(status), headers=headers, reason=reason)
    headers, body = _content(headers, response)
    return Response(status=int(status), headers=headers, body=body, reason=reason)


def client_of(raw: Json) -> str:
    """Who sent it, where the program noted the connection."""
    for key in ("connection", "_clientAddress", "_connectionId"):
        value = raw.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)[:80]
    return ""


def _object(raw: Json, where: str) -> dict[str, Json]:
    if not isinstance(raw, dict):
        raise MessageError(f"{where} is {'missing' if raw is None else 'not an object'}")
    return raw


def _text(raw: Json) -> str:
    return raw if isinstance(raw, str) else "" if raw is None else str(raw)[:4096]


def _size(raw: Json) -> int | None:
    """A size that means something; -1 and its like stand for unknown."""
    if isinstance(raw, str) and re.fullmatch(r"\s*\d{1,15}\s*", raw):
        raw = int(raw)
    return int(raw) if isinstance(raw, int | float) and not isinstance(raw, bool) and 0 <= raw < 1e15 else None


def _named(raw: Json, where: str) -> list[dict[str, Json]]:
    """A list of objects with a name, as HAR has it for headers, cookies and parameters; an object stands for its items."""
    if raw is None:
        return []
    if isinstance(raw, dict):
        raw = [{"name": key, "value": value} for key, value in raw.items()]
    if not isinstance(raw, list) or not all(isinstance(item, dict) and isinstance(item.get("name"), str) for item in raw):
        raise MessageError(f"{where} is not a list of names and values")
    return raw


def _headers(raw: Json) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Headers as pairs, and the pseudo-headers of HTTP/2 and 3 apart."""
    pairs: list[tuple[str, str]] = []
    pseudo: dict[str, str] = {}
    for item in _named(raw, "headers"):
        name, value = item["name"].strip(), _text(item.get("value"))
        if name.startswith(":"):
            pseudo[name.lower()] = value
        else:
            pairs.append((name, _latin(value.strip(" \t\r\n"))))
    return pairs, pseudo


def _latin(value: str) -> str:
    """A header value as Latin-1 text of its bytes; what a browser shows beyond Latin-1 was UTF-8 on the wire."""
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace").decode("latin-1")
    return value


def _cookies(raw: Json) -> list[dict[str, Json]]:
    kept: list[dict[str, Json]] = []
    for item in _named(raw, "cookies"):
        value = _latin(_text(item.get("value")))
        if item["name"] and not re.search(r"[\r\n\0]", item["name"] + value):
            kept.append({**item, "name": _latin(item["name"]), "value": value})
    return kept


def _set_cookie(cookie: dict[str, Json]) -> str:
    """A Set-Cookie line of a HAR cookie object."""
    parts = [f"{cookie['name']}={cookie['value']}"]
    for key, attribute in (("path", "Path"), ("domain", "Domain"), ("sameSite", "SameSite")):
        value = _latin(_text(cookie.get(key)))
        if value and not re.search(r"[\r\n\0;]", value):
            parts.append(f"{attribute}={value}")
    parts += [attribute for key, attribute in (("secure", "Secure"), ("httpOnly", "HttpOnly")) if cookie.get(key) is True]
    return "; ".join(parts)


# Bodies


def _request_body(headers: Headers, request: dict[str, Json]) -> tuple[Headers, Body]:
    """The body as it was sent, as well as the log allows."""
    declared = _size(header(headers, "content-length"))
    declared = _size(request.get("bodySize")) if declared is None else declared
    post = request.get("postData")
    if not isinstance(post, dict):
        return headers, request_body(b"", declared)
    mime = _text(post.get("mimeType"))
    text, params = post.get("text"), _named(post.get("params"), "request.postData.params")
    if isinstance(text, str) and (text or not params):
        data = _posted(text, _text(post.get("encoding")), headers, mime, declared)
    elif params:
        headers, data = _rebuilt(headers, params, mime, declared)
        declared = None
    else:
        data = b""
    if len(data) > CAPTURE_RECORD_BYTES_MAX:
        raise MessageError("the body is larger than the bound")
    if data and mime and header(headers, "content-type") is None and "\n" not in mime:
        headers = (*headers, ("Content-Type", _latin(mime)))
    coding = (header(headers, "content-encoding") or "").strip().lower()
    if coding and data and not _still_coded(data, coding, None, declared):
        headers, declared = _without(headers, "content-encoding"), None
    if header(headers, "transfer-encoding") is not None:
        headers = unchunked(headers, len(data))
    if declared is not None and declared <= len(data):
        declared = None  # a log may count otherwise; what it holds is sent
    return headers, request_body(data, declared)


def _posted(text: str, encoding: str, headers: Headers, mime: str, declared: int | None) -> bytes:
    if encoding.lower() == "base64":
        return _unbase64(text)
    stripped = re.match(r"(?is)content-type:[^\n]*\r?\n(?:[a-z-]+:[^\n]*\r?\n)*\r?\n", text)
    if stripped is not None:  # Firefox puts the headers of an uploaded stream in front of it
        text = text[stripped.end() :]
    return _encode(text, media_type((("content-type", mime or header(headers, "content-type") or ""),))[1].get("charset", ""), declared)


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii", "strict"), validate=False)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise MessageError(f"a body is not base64 ({error})") from error


def _encode(text: str, charset: str, declared: int | None) -> bytes:
    """Text as bytes: in the first of its charset, UTF-8 and Latin-1 that gives the declared size; else the first that can."""
    candidates: list[bytes] = []
    for name in (charset or "utf-8", "utf-8", "latin-1"):
        try:
            candidates.append(text.encode(name))
        except (LookupError, UnicodeError, ValueError):
            continue
    candidates.append(text.encode("utf-8", "surrogatepass"))
    return next((data for data in candidates if len(data) == declared), candidates[0])


def _rebuilt(headers: Headers, params: list[dict[str, Json]], mime: str, declared: int | None) -> tuple[Headers, bytes]:
    """A form of which only the parameters were logged."""
    essence, attributes = media_type((("content-type", mime or header(headers, "content-type") or ""),))
    if essence == "multipart/form-data":
        boundary = attributes.get("boundary") or media_type(headers)[1].get("boundary") or ""
        if not boundary or not boundary.isascii():
            boundary = _BOUNDARY
            headers = (*_without(headers, "content-type"), ("Content-Type", f"multipart/form-data; boundary={boundary}"))
        return headers, _multipart(params, boundary)
    pairs = [(item["name"], _text(item.get("value"))) for item in params]
    as_logged = "&".join(f"{name}={value}" for name, value in pairs)
    coded = "&".join(f"{quote_plus(name, errors='replace')}={quote_plus(value, errors='replace')}" for name, value in pairs)
    # Some programs log parameters as they were sent, others decoded; a percent sign or the size tells.
    sent = all(_ENCODED_FORM.fullmatch(part) for pair in pairs for part in pair)
    if sent and ("%" in as_logged or len(as_logged) == declared or as_logged == coded):
        return headers, as_logged.encode("ascii")
    return headers, coded.encode("ascii")


def _multipart(params: list[dict[str, Json]], boundary: str) -> bytes:
    """multipart/form-data of RFC 7578."""
    out: list[str] = []
    for item in params:
        disposition = f'Content-Disposition: form-data; name="{_quoted(item["name"])}"'
        if item.get("fileName"):
            disposition += f'; filename="{_quoted(_text(item["fileName"]))}"'
        kind = _text(item.get("contentType"))
        extra = f"Content-Type: {_quoted(kind)}\r\n" if kind else ""
        out.append(f"--{boundary}\r\n{disposition}\r\n{extra}\r\n{_text(item.get('value'))}\r\n")
    return ("".join(out) + f"--{boundary}--\r\n").encode("utf-8", "surrogatepass")


def _quoted(text: str) -> str:
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _content(headers: Headers, response: dict[str, Json]) -> tuple[Headers, Body]:
    """The answer's body. Where the log holds it decoded, the headers say so: no Content-Encoding, the length it has now."""
    content = response.get("content")
    content = content if isinstance(content, dict) else {}
    text, size = content.get("text"), _size(content.get("size"))
    if not isinstance(text, str):
        return headers, body_kept(b"", size)
    if _text(content.get("encoding")).lower() == "base64":
        data = _unbase64(text)
    else:
        mime = _text(content.get("mimeType")) or header(headers, "content-type") or ""
        data = _encode(text, media_type((("content-type", mime),))[1].get("charset", ""), size)
    coding = (header(headers, "content-encoding") or "").strip().lower()
    wire = _size(response.get("bodySize"))
    if coding not in {"", "identity"} and not _still_coded(data, coding, size, wire):
        headers = _without(headers, "content-encoding")
    chunked = header(headers, "transfer-encoding") is not None
    headers = unchunked(headers, len(data)) if chunked else with_length(headers, len(data))
    # A log without the body's text gives "" and the size; a size in characters or of the coded form says nothing.
    return headers, body_kept(data, size if size and not data else None)


def _still_coded(data: bytes, coding: str, size: int | None, wire: int | None) -> bool:
    """Whether a body is still in its content coding, which HAR does not allow and some programs do."""
    magic = _MAGIC.get(coding)
    if magic is not None:
        return data.startswith(magic)
    if coding == "deflate":
        try:
            return bool(zlib.decompressobj().decompress(data, 1)) or data[:1] == b"\x78"
        except zlib.error:
            return False
    return wire == len(data) and size != len(data)


def _without(headers: Headers, name: str) -> Headers:
    return tuple(pair for pair in headers if pair[0].lower() != name)
