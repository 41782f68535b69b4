"""HTTP Archive 1.2 (.har): the document, its encodings, its damage, and the order of its entries.

What one entry means is in har_entry. Format: http://www.softwareishard.com/blog/har-12-spec/
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import orjson

from harness.core.errors import CaptureError
from replay.entry import ONE_PERSON, BrokenEntry, BrokenKind, CaptureEntry, Item
from replay.formats import har_entry
from replay.formats.message import MessageError, NotHttpError

_SNIFF: Final = re.compile(r'\s*\{\s*(?:"[^"]*"\s*:\s*"[^"]*"\s*,\s*)*"log"\s*:')
_ENTRIES: Final = re.compile(r'"entries"\s*:\s*\[')
_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_RESYNC_ATTEMPTS_MAX: Final = 2_000
_SPACE_OR_COMMA: Final = re.compile(r"[\s,]*")
_BROWSERS: Final = ("webinspector", "webkit", "firefox", "chrome", "safari", "edge", "insomnia")


class Har:
    """The format object of the registry."""

    name = "har"
    version = 1
    extensions = (".har",)

    def sniff(self, head: bytes) -> bool:
        """A JSON object whose `log` comes first, or after plain strings."""
        return _SNIFF.match(_decode(head)) is not None

    def read(self, chunks: Iterable[bytes], file: str) -> Iterator[Item]:
        """Entries in the order of startedDateTime, stable; an entry without one follows the entry before it.

        A damaged document gives the entries that are whole and a broken one for each place that is not. Raises
        CaptureError where there is no log at all.
        """
        data = b"".join(chunks)
        raws, browser, damage = _document(data, file)
        timed: list[tuple[float, Item]] = []
        last = -math.inf
        for index, raw in enumerate(raws):
            started = _started(raw)
            last = last if started is None else started
            timed.append((last, _entry(raw, index, file, browser)))
        timed.sort(key=lambda pair: pair[0])
        first = next((at for at, _ in timed if at > -math.inf), 0.0)
        for at, item in timed:
            offset_s = max(0.0, at - first)
            yield msgspec.structs.replace(item, offset_s=offset_s) if isinstance(item, CaptureEntry) else item
        yield from damage


def _decode(data: bytes) -> str:
    for mark, name in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    return data.decode("utf-8", "replace")


def _document(data: bytes, file: str) -> tuple[list[Any], bool, list[BrokenEntry]]:
    """Raw entries (a BrokenEntry stands where one was lost in the middle), whether a browser wrote them, damage at the end."""
    try:
        document = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        text = _decode(data)
        try:
            document = json.loads(text, strict=False)
        except (ValueError, RecursionError) as error:
            return _salvage(text, file, error)
    log = document.get("log") if isinstance(document, dict) else None
    if not isinstance(log, dict):
        raise _no_log(file, "this JSON is not an HTTP Archive: it has no `log` object")
    entries = log.get("entries")
    if not isinstance(entries, list):
        raise _no_log(file, "`log.entries` is not a list")
    return entries, _by_browser(log), []


def _no_log(file: str, what: str) -> CaptureError:
    return CaptureError(what, where=file, fix="export the traffic again as HAR 1.2 with content")


def _by_browser(log: dict[str, Any]) -> bool:
    """Whether one person's program wrote the log, so that all of it is one client's."""
    creator = log.get("creator")
    name = creator.get("name") if isinstance(creator, dict) else None
    return isinstance(log.get("browser"), dict) or (isinstance(name, str) and name.lower().startswith(_BROWSERS))


def _salvage(text: str, file: str, error: Exception) -> tuple[list[Any], bool, list[BrokenEntry]]:
    """The entries of a document that is not whole JSON: step through them one by one, and past what cannot be read."""
    found = _ENTRIES.search(text)
    if found is None:
        place = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise _no_log(file, f"this is not an HTTP Archive: broken JSON{place}, and no `log.entries`")
    decoder = json.JSONDecoder(strict=False)
    entries: list[Any] = []
    attempts = 0
    at = _skip(text, found.end())
    while at < len(text) and text[at] != "]":
        try:
            raw, at = decoder.raw_decode(text, at)
            entries.append(raw)
        except (ValueError, RecursionError):
            start, at = at, _resync(text, at, decoder, _RESYNC_ATTEMPTS_MAX - attempts)
            attempts += text.count("{", start, at)
            if at >= len(text):
                return (
                    entries,
                    _by_browser_text(text),
                    [_lost(len(entries), file, start, "the file ends inside this entry", truncated=True)],
                )
            entries.append(_lost(len(entries), file, start, "this entry is not valid JSON", truncated=False))
        at = _skip(text, at)
    what = "the file ends after this entry" if at >= len(text) else "the JSON after the entries is damaged"
    return entries, _by_browser_text(text), [_lost(len(entries), file, at, what, truncated=at >= len(text))]


def _skip(text: str, at: int) -> int:
    found = _SPACE_OR_COMMA.match(text, at)
    return found.end() if found else at


def _resync(text: str, at: int, decoder: json.JSONDecoder, attempts: int) -> int:
    """Where the next whole entry starts; the end of the text where there is none."""
    for _ in range(attempts):
        at = text.find("{", at + 1)
        if at < 0:
            break
        if re.compile(r'\{\s*"').match(text, at) is None:
            continue
        try:
            raw, _ = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            continue
        if isinstance(raw, dict) and "request" in raw:
            return at
    return len(text)


def _by_browser_text(text: str) -> bool:
    found = re.search(r'"creator"\s*:\s*\{\s*"name"\s*:\s*"([^"]*)"', text[:10_000])
    return found is not None and found[1].lower().startswith(_BROWSERS)


def _lost(index: int, file: str, at: int, what: str, *, truncated: bool) -> BrokenEntry:
    kind = BrokenKind.TRUNCATED if truncated else BrokenKind.MALFORMED
    return BrokenEntry(index=index, file=file, what=what, where=f"character {at}", kind=kind)


def _started(raw: Any) -> float | None:
    """Seconds since the epoch; times without a zone are taken for UTC."""
    value = raw.get("startedDateTime") if isinstance(raw, dict) else None
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _entry(raw: Any, index: int, file: str, browser: bool) -> Item:
    if isinstance(raw, BrokenEntry):
        return raw
    where = f"log.entries[{index}]"
    if not isinstance(raw, dict):
        return BrokenEntry(index=index, file=file, what="the entry is not an object", where=where)
    try:
        request = har_entry.read_request(raw.get("request"))
        recorded = har_entry.read_response(raw.get("response"), request.method)
    except NotHttpError as error:
        return BrokenEntry(index=index, file=file, what=str(error), where=where, kind=BrokenKind.NOT_HTTP)
    except MessageError as error:
        return BrokenEntry(index=index, file=file, what=str(error), where=where)
    if request.method == "CONNECT":
        return BrokenEntry(index=index, file=file, what="CONNECT opens a tunnel", where=where, kind=BrokenKind.NOT_HTTP)
    client = ONE_PERSON if browser else har_entry.client_of(raw)
    return CaptureEntry(index=index, file=file, request=request, recorded=recorded, client=client)


FORMAT: Final = Har()
