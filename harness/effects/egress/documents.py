"""Calls as effects: their operation and the document that is compared. Pure but for the bounds on names."""

import hashlib
import re
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from harness.core.endpoint import EndpointMapper
from harness.core.http import SAFE_METHODS, media_type
from harness.core.limits import OTHER_ENDPOINT
from harness.core.values import Body, Effect, Headers, Request
from harness.effects.egress.calls import Call
from harness.effects.naming import OTHER, Operations, document, text_of

COLLECTOR: Final = "http"
_FORM: Final = "application/x-www-form-urlencoded"
_PART_NAME: Final = re.compile(rb'\bname="([^"]*)"')


class Describer:
    """Makes effects of calls. Bounded by its endpoint mapper and operations; one for a run."""

    def __init__(self, headers: tuple[str, ...]) -> None:
        """`headers`: names (lower case) of request headers that go into the document beside Content-Type."""
        self._wanted = frozenset(headers)
        self._mapper = EndpointMapper()
        self.operations = Operations()

    def effect(self, call: Call, *, place: str, target: str, digest: str, at_ns: int) -> Effect:
        """The effect of one call. `place` is host and port, `target` path and query, `digest` set where the body was cut."""
        return Effect(
            collector=COLLECTOR,
            operation=self._operation(call, place, target),
            document=self._document(call, target, digest),
            writes=call.method not in SAFE_METHODS,
            at_ns=at_ns,
        )

    def _operation(self, call: Call, place: str, target: str) -> str:
        headers = tuple(pair for pair in call.headers if pair[0].lower() == "content-type")
        endpoint = self._mapper.endpoint(Request(call.method, target, headers, Body(call.body, call.size)))
        if endpoint == OTHER_ENDPOINT:
            return self.operations.named(call.method, f"{place} {OTHER}")
        verb, _, template = endpoint.partition(" ")
        return self.operations.named(verb, f"{place}{template}")

    def _document(self, call: Call, target: str, digest: str) -> bytes:
        path, _, query = target.partition("#")[0].partition("?")
        fields: dict[str, Any] = {"url": {"path": path, "query": _grouped(parse_qsl(query, keep_blank_values=True, errors="replace"))}}
        if headers := self._headers(call.headers):
            fields["headers"] = headers
        if digest:
            fields["body"] = {"size": call.size, "sha256": digest}
        elif call.body:
            fields["body"] = body_value(call.body, call.headers)
        try:
            return document(fields)
        except orjson.JSONEncodeError:  # nested deeper than can be written
            return document(fields | {"body": text_of(call.body)})

    def _headers(self, headers: Headers) -> dict[str, Any]:
        found = []
        for name, value in headers:
            lower = name.lower()
            if lower == "content-type":
                found.append((lower, value.partition(";")[0].strip() if "multipart/" in value.lower() else value))
            elif lower in self._wanted:
                found.append((lower, value))
        return _grouped(found)


def body_value(body: bytes, headers: Headers) -> Any:
    """A complete body as a value of JSON: parsed where it is JSON or a form, else text."""
    kind, parameters = media_type(headers)
    if kind == _FORM:
        try:
            return _grouped(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))
        except ValueError:
            return text_of(body)
    if kind.startswith("multipart/") and (parts := _parts(body, parameters.get("boundary", ""))):
        return parts
    if kind.endswith("json") or body.lstrip()[:1] in (b"{", b"["):
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
    return text_of(body)


def _parts(body: bytes, boundary: str) -> dict[str, Any]:
    """The parts of a multipart body by name, since its boundary is another one each time. Empty where it has no parts."""
    if not boundary:
        return {}
    found = []
    for piece in body.split(b"--" + boundary.encode("latin-1", "replace"))[1:]:
        head, blank, content = piece.partition(b"\r\n\r\n")
        if piece.startswith(b"--") or not blank:
            continue
        name = _PART_NAME.search(head)
        content = content.removesuffix(b"\r\n")
        found.append((text_of(name[1]) if name else "", _part_value(content)))
    return _grouped(found)


def _part_value(content: bytes) -> Any:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _grouped(found: list[tuple[str, Any]]) -> dict[str, Any]:
    """By name; a name that comes more than once has a list."""
    values: dict[str, list[Any]] = {}
    for name, value in found:
        values.setdefault(name, []).append(value)
    return {name: each[0] if len(each) == 1 else each for name, each in values.items()}
