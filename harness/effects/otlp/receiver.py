"""The HTTP side of OTLP: exports are received and handed on; whatever is sent gets an answer as the protocol says.

`POST /v1/traces` and `POST /ROLE/v1/traces`, protobuf or JSON, plain or compressed; metrics and logs are taken and dropped, so
that builds which send them do not complain. What spans mean is not known here.
"""

import asyncio
import logging
from collections.abc import Collection
from typing import Final

import orjson
from aiohttp import web
from aiohttp.http import HttpProcessingError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from harness.core import limits
from harness.core.errors import SetupError
from harness.core.labels import Role
from harness.effects.otlp.intake import (
    BAD,
    ELSEWHERE,
    INVALID_ARGUMENT,
    NOBODY,
    REJECTED,
    UNIMPLEMENTED,
    Intake,
    Refused,
    broken_off,
    check_size,
    too_slow,
)

_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_FORMATS: Final = {_PROTOBUF: _PROTOBUF, "application/protobuf": _PROTOBUF, _JSON: _JSON}
_BROKEN: Final = (OSError, ValueError, web.RequestPayloadError, HttpProcessingError)
"""What reading a body may raise."""
_SHUTDOWN_SECONDS: Final = 1.0
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}

# aiohttp reports broken HTTP with a traceback; here it is a lapse like any other, or nothing.
_LOGGER: Final = logging.getLogger("shadowdiff.otlp")
_LOGGER.addHandler(logging.NullHandler())
_LOGGER.propagate = False


class Receiver:
    """An OTLP/HTTP server. `host` without brackets; port 0 takes a free one."""

    def __init__(self, host: str, port: int, intake: Intake) -> None:
        # One address only: with both families each would get a free port of its own.
        self._host = "0.0.0.0" if host == "*" else host
        self._port = port
        self._intake = intake
        self._roles: frozenset[Role] = frozenset()
        self._runner: web.AppRunner | None = None

    async def open(self, roles: Collection[Role]) -> None:
        """Listen. Raises SetupError where the address cannot be taken."""
        self._roles = frozenset(roles)
        application = web.Application()
        for prefix in ("", "/{role}"):
            application.router.add_post(f"{prefix}/v1/traces", self._traces)
            application.router.add_post(f"{prefix}/v1/metrics", self._dropped)
            application.router.add_post(f"{prefix}/v1/logs", self._dropped)
        application.router.add_post("/{path:.*}", self._astray)
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
                raise Refused(415, INVALID_ARGUMENT, f"send {_PROTOBUF} or {_JSON}, not {request.content_type}", BAD)
            rejected = await self._handed_on(request, role, json=form == _JSON)
        except Refused as refused:
            self._intake.refused[refused.lapse, role] += 1
            return _refusal(refused, form or _PROTOBUF)
        return _accepted(rejected, form)

    async def _handed_on(self, request: web.Request, role: Role | None, *, json: bool) -> int:
        check_size(request.content_length or 0)
        with self._intake.parcel() as parcel:
            try:
                async with asyncio.timeout(limits.SPAN_EXPORT_SECONDS_MAX):
                    async for part in request.content.iter_any():
                        parcel.add(part)
            except TimeoutError as error:
                raise too_slow() from error
            except _BROKEN as error:
                raise broken_off() from error
            codings = ",".join(request.headers.getall("Content-Encoding", [])).split(",")
            return await parcel.hand_on(role, codings, json=json)

    async def _astray(self, request: web.Request) -> web.Response:
        """An endpoint that was put together wrongly: said, for otherwise its sender would pass for one that sends nothing."""
        name = request.match_info["path"].partition("/")[0]
        self._intake.refused[ELSEWHERE, Role(name) if name in self._roles else None] += 1
        form = _FORMATS.get(request.content_type, _PROTOBUF)
        return _refusal(Refused(404, UNIMPLEMENTED, "send to /v1/traces, or to that below the role", ELSEWHERE), form)

    async def _dropped(self, request: web.Request) -> web.Response:
        form = _FORMATS.get(request.content_type, _PROTOBUF)
        try:
            async with asyncio.timeout(limits.SPAN_EXPORT_SECONDS_MAX):
                async for _ in request.content.iter_any():
                    pass
        except _BROKEN:  # a TimeoutError too
            return web.Response(status=400)
        return _accepted(0, form)

    def _role(self, request: web.Request) -> Role | None:
        name = request.match_info.get("role")
        if name is None:
            return None
        if name not in self._roles:
            raise Refused(404, INVALID_ARGUMENT, f"this run has no target {name[:32]!r}", NOBODY)
        return Role(name)


def _accepted(rejected: int, form: str) -> web.Response:
    """200; partial success where spans were not taken (OTLP 1.9, "Partial Success")."""
    if form == _JSON:
        partial = {"partialSuccess": {"rejectedSpans": str(rejected), "errorMessage": REJECTED}} if rejected else {}
        return web.Response(body=orjson.dumps(partial), content_type=_JSON)
    response = ExportTraceServiceResponse()
    if rejected:
        response.partial_success.rejected_spans = rejected
        response.partial_success.error_message = REJECTED
    return web.Response(body=response.SerializeToString(), content_type=_PROTOBUF)


def _refusal(refused: Refused, form: str) -> web.Response:
    """The status with a `google.rpc.Status` (1: code, 2: message), as OTLP/HTTP has it for failures."""
    message = str(refused)[:100]
    if form == _JSON:
        body = orjson.dumps({"code": refused.code, "message": message})
    else:
        text = message.encode("ascii", "replace")
        body = bytes((0x08, refused.code, 0x12, len(text))) + text
    headers = {"Retry-After": "1"} if refused.status == 503 else None
    return web.Response(status=refused.status, body=body, content_type=form, headers=headers)
