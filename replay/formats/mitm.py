"""mitmproxy flow files: frames of typed netstrings, each decoded by mitmproxy's own reader (all its file versions).

mitmproxy is imported when a flow file is read, not before. Flows that are not HTTP are counted and left out.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from harness.core.errors import CaptureError
from harness.core.http import header
from harness.core.limits import CAPTURE_RECORD_BYTES_MAX
from harness.core.values import Headers, Request, Response
from replay.entry import BrokenEntry, BrokenKind, CaptureEntry, Item
from replay.formats.message import MessageError, NotHttpError, body_kept, clean_target, request_body, unchunked, valid_headers

if TYPE_CHECKING:
    from mitmproxy.http import HTTPFlow

_SNIFF: Final = re.compile(rb"\d{1,12}:\d{1,3}:[a-z_]{2,40}[,;]")
_LENGTH: Final = re.compile(rb"(\d{1,12}):")


class Mitm:
    """The format object of the registry."""

    name = "mitm"
    version = 1
    extensions = (".mitm", ".flow", ".flows", ".dump")

    def sniff(self, head: bytes) -> bool:
        """A netstring whose content starts with a short key."""
        return _SNIFF.match(head) is not None

    def read(self, chunks: Iterable[bytes], file: str) -> Iterator[Item]:
        """HTTP flows in the order of the file. Raises CaptureError where the first frame is none."""
        first_s: float | None = None
        decode = _decoder()
        for index, frame in enumerate(_frames(chunks)):
            if frame.problem:
                if index == 0 and frame.kind is BrokenKind.MALFORMED:
                    raise CaptureError("this is not a mitmproxy flow file", where=file, fix="give a file as `mitmdump -w` writes it")
                yield BrokenEntry(index=index, file=file, what=frame.problem, where=f"byte {frame.at}", kind=frame.kind)
                continue
            item, started_s = _entry(decode, frame, index, file)
            if isinstance(item, CaptureEntry):
                first_s = started_s if first_s is None else first_s
                item = msgspec.structs.replace(item, offset_s=started_s - first_s)
            yield item


class _Frame(msgspec.Struct, frozen=True):
    data: bytes
    at: int
    problem: str = ""
    kind: BrokenKind = BrokenKind.MALFORMED


def _frames(chunks: Iterable[bytes]) -> Iterator[_Frame]:
    """Cut a byte stream into netstrings; after a broken length nothing more can be found."""
    source = iter(chunks)
    held = bytearray()
    at = 0
    while True:
        while len(held) < 14 and (chunk := next(source, None)) is not None:
            held += chunk
        if not held:
            return
        found = _LENGTH.match(held)
        if found is None:
            ended = len(held) < 14 and held.isdigit()
            yield _Frame(
                b"", at, "no flow starts here; the rest of the file is lost", BrokenKind.TRUNCATED if ended else BrokenKind.MALFORMED
            )
            return
        size = found.end() + int(found[1]) + 1
        if int(found[1]) > CAPTURE_RECORD_BYTES_MAX:
            left = size
            while (left := left - len(held)) > 0 and (chunk := next(source, None)) is not None:
                held = bytearray(chunk)
            held = held[left:] if left < 0 else bytearray()
            yield _Frame(b"", at, "the flow is larger than the bound", BrokenKind.TOO_LARGE)
            at += size
            continue
        while len(held) < size and (chunk := next(source, None)) is not None:
            held += chunk
        if len(held) < size:
            yield _Frame(b"", at, "the file ends inside this flow", BrokenKind.TRUNCATED)
            return
        yield _Frame(bytes(held[:size]), at)
        del held[:size]
        at += size


def _decoder() -> Callable[[bytes], "HTTPFlow | str"]:
    """A function from a frame to an HTTP flow, or to the kind of another flow. It raises MessageError."""
    from mitmproxy.exceptions import FlowReadException  # noqa: PLC0415  (heavy: only when a flow file is read)
    from mitmproxy.http import HTTPFlow  # noqa: PLC0415  (as above)
    from mitmproxy.io import FlowReader, tnetstring  # noqa: PLC0415  (as above)

    # What mitmproxy's upgrade of old files raises on a frame that has other contents than it expects.
    unfit = (FlowReadException, LookupError, TypeError, ValueError, AttributeError, RecursionError, OverflowError, AssertionError)

    def decode(data: bytes) -> "HTTPFlow | str":
        try:
            if not _upgradable(tnetstring.loads(data)):
                raise MessageError("the flow's file version makes no sense")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of old certificates in the flow: nothing a reader could mend
                flow: Any = next(iter(FlowReader(io.BytesIO(data)).stream()), None)
        except unfit as error:
            raise MessageError(f"mitmproxy cannot read this flow ({type(error).__name__}: {str(error)[:120]})") from error
        return flow if isinstance(flow, HTTPFlow) else str(getattr(flow, "type", "unknown"))

    return decode


def _upgradable(state: Any) -> bool:
    """Whether mitmproxy's upgrade ends: a version under a key of the other type than its steps write is read for ever."""
    if not isinstance(state, dict):
        return False
    old, new = state.get(b"version"), state.get("version")
    if old is None:
        return isinstance(new, int | list | tuple)
    return new is None and isinstance(old, list | tuple) and len(old) >= 2 and old[0] == 0 and old[1] in range(18)


def _entry(decode: Callable[[bytes], "HTTPFlow | str"], frame: _Frame, index: int, file: str) -> tuple[Item, float]:
    where = f"byte {frame.at}"
    try:
        flow = decode(frame.data)
        if isinstance(flow, str):
            raise NotHttpError(f"this is a {flow} flow")
        return _values(flow, index, file)
    except NotHttpError as error:
        return BrokenEntry(index=index, file=file, what=str(error), where=where, kind=BrokenKind.NOT_HTTP), 0.0
    except MessageError as error:
        return BrokenEntry(index=index, file=file, what=str(error), where=where), 0.0
    except (TypeError, ValueError, AttributeError) as error:
        # mitmproxy checks the types of a flow's fields late, or not at all.
        what = f"the flow's fields are not what they should be ({type(error).__name__})"
        return BrokenEntry(index=index, file=file, what=what, where=where), 0.0


def _values(flow: "HTTPFlow", index: int, file: str) -> tuple[CaptureEntry, float]:
    sent = flow.request
    if sent.method == "CONNECT":
        raise NotHttpError("CONNECT opens a tunnel")
    headers = _pairs(sent.headers.fields)
    content = sent.raw_content
    data = content or b""
    if header(headers, "transfer-encoding") is not None and content is not None:
        headers = unchunked(headers, len(data))
    declared = header(headers, "content-length")
    missing = int(declared) if content is None and declared and declared.isdigit() else None
    target = clean_target(sent.path)
    host = header(headers, "host") or sent.authority or _authority(sent.host, sent.port, sent.scheme)
    method = sent.method
    if not method.isascii() or not method.isprintable() or " " in method or not method:
        raise MessageError(f"{method[:40]!r} is not a method")
    request = Request(method=method, target=target, headers=headers, body=request_body(data, missing), host=host.strip().lower())
    client = str(flow.client_conn.id)[:80] if flow.client_conn else ""
    entry = CaptureEntry(index=index, file=file, request=request, recorded=_recorded(flow, method), client=client)
    return entry, float(sent.timestamp_start)


def _authority(host: str, port: int, scheme: str) -> str:
    return host if port == {"http": 80, "https": 443}.get(scheme) else f"{host}:{port}"


def _recorded(flow: "HTTPFlow", method: str) -> Response | None:
    answer = flow.response
    if answer is None:
        return None
    headers = _pairs(answer.headers.fields)
    content = answer.raw_content
    trailers = _pairs(answer.trailers.fields) if answer.trailers else ()
    if content is None:
        declared = header(headers, "content-length")
        body = body_kept(b"", int(declared) if declared and declared.isdigit() and method != "HEAD" else None)
    else:
        body = body_kept(content)
        if header(headers, "transfer-encoding") is not None:
            headers = unchunked(headers, len(content))
    return Response(status=int(answer.status_code), headers=headers, body=body, reason=str(answer.reason or ""), trailers=trailers)


def _pairs(fields: Iterable[tuple[bytes, bytes]]) -> Headers:
    return valid_headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields if not name.startswith(b":")])


FORMAT: Final = Mitm()
