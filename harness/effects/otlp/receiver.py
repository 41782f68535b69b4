"""The HTTP side of OTLP: exports are received, bounded, decoded and handed on; whatever is sent gets an answer as the protocol says.

`POST /v1/traces` and `POST /ROLE/v1/traces`, protobuf or JSON, plain or compressed; metrics and logs are taken and dropped, so
that builds which send them do not complain. What spans mean is not known here. gRPC is not spoken.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Final

import orjson
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from harness.core import limits
from harness.core.coding import undo
from harness.core.errors import SetupError
from harness.core.labels import Role
from harness.effects.otlp.decode import Incoming, UnreadableError, from_json, from_protobuf

Take = Callable[[Role | None, list[Incoming]], int]
"""What to do with some spans of a role (None where the path names none); returns how many of them were not taken."""

_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_FORMATS: Final = {_PROTOBUF: _PROTOBUF, "application/protobuf": _PROTOBUF, _JSON: _JSON}
_SLICE_SPANS: Final = 256
_SHUTDOWN_SECONDS: Final = 1.0
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_INVALID_ARGUMENT: Final = 3
_UNAVAILABLE: Final = 14
_RESOURCE_EXHAUSTED: Final = 8

BAD: Final = "exports that are not OTLP were refused"
LARGE: Final = "exports beyond the bound were refused"
BUSY: Final = "exports were put off, too many came at once"
SLOW: Final = "exports were given up, they came too slowly"
NOBODY: Final = "exports of no target of this run were refused"

# aiohttp reports broken HTTP with a traceback; here it is a lapse like any other, or nothing.
_LOGGER: Final = logging.getLogger("shadowdiff.otlp")
_LOGGER.addHandler(logging.NullHandler())
_LOGGER.propagate = False


class _Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    def __init__(self, status: int, code: int, why: str, lapse: str) -> None:
        super().__init__(why)
        self.status = status
        self.code = code
        self.lapse = lapse


class Receiver:
    """An OTLP/HTTP server. `host` without brackets; port 0 takes a free one."""

    def __init__(self, host: str, port: int, take: Take) -> None:
        # One address only: with both families each would get a free port of its own.
        self._host = "0.0.0.0" if host == "*" else host
        self._port = port
        self._take = take
        self._roles: frozenset[Role] = frozenset()
        self._runner: web.AppRunner | None = None
        self._bytes_in_flight = 0
        self.refused: Counter[tuple[str, Role | None]] = Counter()
        """Exports that were not taken, by reason and role."""

    async def open(self, roles: Collection[Role]) -> None:
        """Listen. Raises SetupError where the address cannot be taken."""
        self._roles = frozenset(roles)
        application = web.Application()
        for prefix in ("", "/{role}"):
            application.router.add_post(f"{prefix}/v1/traces", self._traces)
            application.router.add_post(f"{prefix}/v1/metrics", self._dropped)
            application.router.add_post(f"{prefix}/v1/logs", self._dropped)
        runner = web.AppRunner(
            application,
            access_log=None,
            logger=_LOGGER,
            handle_signals=False,
            shutdown_timeout=_SHUTDOWN_SECONDS,
            auto_decompress=False,
        )
        self._runner = runner
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await self.close()
            where = f"{self._host}:{self._port}"
            raise SetupError(
                f"the receiver of spans cannot listen: {error.strerror or error}", where=where, fix="give another effects.otlp.listen"
            ) from error

    @property
    def url(self) -> str:
        """Its base URL as builds on this machine reach it."""
        port = self._port
        if self._runner is not None and self._runner.addresses:
            port = int(self._runner.addresses[0][1])
        host = _WILDCARDS.get(self._host, self._host)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def close(self) -> None:
        """Stop listening. May be called twice, and where it never listened."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _traces(self, request: web.Request) -> web.Response:
        form = _FORMATS.get(request.content_type)
        role: Role | None = None
        try:
            role = self._role(request)
            if form is None:
                raise _Refused(415, _INVALID_ARGUMENT, f"send {_PROTOBUF} or {_JSON}, not {request.content_type}", BAD)
            body = await self._body(request)
            try:
                spans = from_json(body) if form == _JSON else from_protobuf(body)
            except UnreadableError as error:
                raise _Refused(400, _INVALID_ARGUMENT, str(error), BAD) from error
            rejected = await self._handed_on(role, spans)
        except _Refused as refused:
            self.refused[refused.lapse, role] += 1
            return _refusal(refused, form or _PROTOBUF)
        return _accepted(rejected, form)

    async def _handed_on(self, role: Role | None, spans: Iterator[Incoming]) -> int:
        """In slices, so that a large export does not hold up what else runs on the event loop."""
        rejected = 0
        while piece := list(islice(spans, _SLICE_SPANS)):
            rejected += self._take(role, piece)
            await asyncio.sleep(0)
        return rejected

    async def _dropped(self, request: web.Request) -> web.Response:
        form = _FORMATS.get(request.content_type, _PROTOBUF)
        try:
            async with asyncio.timeout(limits.SPAN_EXPORT_SECONDS_MAX):
                async for _ in request.content.iter_any():
                    pass
        except (TimeoutError, OSError, web.HTTPException, ValueError):
            return web.Response(status=400)
        return _accepted(0, form)

    def _role(self, request: web.Request) -> Role | None:
        name = request.match_info.get("role")
        if name is None:
            return None
        if name not in self._roles:
            raise _Refused(404, _INVALID_ARGUMENT, f"this run has no target {name[:32]!r}", NOBODY)
        return Role(name)

    async def _body(self, request: web.Request) -> bytes:
        """The body without its content coding. What is read counts against the bound on all exports until it is decoded."""
        parts: list[bytes] = []
        size = 0
        if (request.content_length or 0) > limits.SPAN_EXPORT_BYTES_MAX:
            raise _too_large()
        try:
            async with asyncio.timeout(limits.SPAN_EXPORT_SECONDS_MAX):
                async for part in request.content.iter_any():
                    parts.append(part)
                    size += len(part)
                    self._bytes_in_flight += len(part)
                    if size > limits.SPAN_EXPORT_BYTES_MAX:
                        raise _too_large()
                    if self._bytes_in_flight > limits.SPAN_EXPORTS_BYTES_MAX:
                        raise _Refused(503, _UNAVAILABLE, "too many exports at once", BUSY)
        except TimeoutError as error:
            raise _Refused(408, _UNAVAILABLE, "the export took too long", SLOW) from error
        finally:
            self._bytes_in_flight -= size
        return _plain(b"".join(parts), request.headers.getall("Content-Encoding", []))


def _too_large() -> _Refused:
    return _Refused(413, _RESOURCE_EXHAUSTED, f"more than {limits.SPAN_EXPORT_BYTES_MAX} bytes", LARGE)


def _plain(body: bytes, encodings: list[str]) -> bytes:
    codings = [name for value in encodings for name in (part.strip().lower() for part in value.split(",")) if name not in {"", "identity"}]
    if not codings:
        return body
    if len(codings) > 1 or codings[0] not in {"gzip", "x-gzip", "deflate"}:
        raise _Refused(415, _INVALID_ARGUMENT, "send gzip, deflate or no content coding", BAD)
    decoded = undo(body, codings, bytes_max=limits.SPAN_EXPORT_BYTES_MAX)
    if decoded is not None and len(decoded.data) >= limits.SPAN_EXPORT_BYTES_MAX:
        raise _too_large()
    if decoded is None or not decoded.complete:
        raise _Refused(400, _INVALID_ARGUMENT, f"not {codings[0]}", BAD)
    return decoded.data


def _accepted(rejected: int, form: str) -> web.Response:
    """200; partial success where spans were not taken (OTLP 1.9, "Partial Success")."""
    why = "broken ids, or more spans than can be held"
    if form == _JSON:
        partial = {"partialSuccess": {"rejectedSpans": str(rejected), "errorMessage": why}} if rejected else {}
        return web.Response(body=orjson.dumps(partial), content_type=_JSON)
    response = ExportTraceServiceResponse()
    if rejected:
        response.partial_success.rejected_spans = rejected
        response.partial_success.error_message = why
    return web.Response(body=response.SerializeToString(), content_type=_PROTOBUF)


def _refusal(refused: _Refused, form: str) -> web.Response:
    """The status with a `google.rpc.Status` (1: code, 2: message), as OTLP/HTTP has it for failures."""
    message = str(refused)[:100]
    if form == _JSON:
        body = orjson.dumps({"code": refused.code, "message": message})
    else:
        text = message.encode("ascii", "replace")
        body = bytes((0x08, refused.code, 0x12, len(text))) + text
    headers = {"Retry-After": "1"} if refused.status == 503 else None
    return web.Response(status=refused.status, body=body, content_type=form, headers=headers)
