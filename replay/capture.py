"""Loads capture files into one capture: which entries are to be sent, what was left out and why.

The only module of replay that opens files.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from harness.core.errors import CaptureError
from harness.core.http import header, status_class
from harness.core.labels import SkipReason
from harness.core.limits import CAPTURE_ENTRIES_MAX
from replay.entry import BrokenEntry, CaptureEntry
from replay.formats.api import Format
from replay.formats.registry import Budget, installed_formats, read_capture
from replay.sessions import group_sessions

_CHUNK_BYTES: Final = 1024 * 1024
_DEFAULT_PORTS: Final = (":80", ":443")


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """What the files of one run hold. `requests = len(entries) + sum(skipped.values())`."""

    files: tuple[str, ...]
    entries: tuple[CaptureEntry, ...]
    """To be sent, file after file, in the order of their times; `offset_s` counts over all files and is not negative."""
    broken: tuple[BrokenEntry, ...]
    skipped: dict[SkipReason, int]
    hosts: tuple[str, ...]
    """The mapped hosts, normalised."""
    other_hosts: dict[str, int]
    """Requests of hosts that are not mapped."""
    digest: str
    """SHA-256 hex over the files' bytes, in their order."""
    digests: tuple[str, ...] = ()
    """SHA-256 hex of each file."""

    @property
    def requests(self) -> int:
        """Requests seen in the files, whatever becomes of them."""
        return len(self.entries) + sum(self.skipped.values())


class CaptureInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A capture in numbers, for people."""

    files: tuple[str, ...]
    requests: int
    sendable: int
    skipped: dict[str, int]
    broken: tuple[BrokenEntry, ...]
    hosts: dict[str, int]
    """Requests by host, the most first; entries that could not be read are not among them."""
    methods: dict[str, int]
    statuses: dict[str, int]
    """Recorded answers by status class; `none` where there was none."""
    sessions: int
    span_s: float
    request_bytes: int
    response_bytes: int
    digest: str


def load_captures(
    paths: Sequence[str], *, skip_broken: bool = False, hosts: Sequence[str] = (), formats: Iterable[Format] | None = None
) -> Capture:
    """Read capture files, one after the other.

    Requests to hosts other than `hosts` (default: the commonest host of all files) are left out, as are protocol
    upgrades and requests whose body was cut. Raises CaptureError, naming file and entry, for a file that cannot be read,
    is empty or no capture, for more than the bounds allow, and for a broken entry unless `skip_broken`.
    """
    codecs = installed_formats() if formats is None else tuple(formats)
    digest = hashlib.sha256()
    entries: list[CaptureEntry] = []
    broken: list[BrokenEntry] = []
    budget = Budget()
    base_s = 0.0
    digests: list[str] = []
    for path in paths:
        found: list[CaptureEntry] = []
        own = hashlib.sha256()
        for item in read_capture(_File(path, (digest.update, own.update)), path, codecs, budget):
            if isinstance(item, CaptureEntry):
                found.append(item)
            else:
                _check(item, skip_broken=skip_broken)
                broken.append(item)
            if len(entries) + len(found) + len(broken) > CAPTURE_ENTRIES_MAX:
                fix = "split the capture"
                raise CaptureError(f"there are more than {CAPTURE_ENTRIES_MAX} entries", where=f"{path}, entry {item.index}", fix=fix)
        digests.append(own.hexdigest())
        if not found:
            raise CaptureError("no request in it can be sent", where=path, fix="record it again; a capture holds at least one request")
        found.sort(key=lambda entry: entry.offset_s)
        first_s = found[0].offset_s
        entries += [msgspec.structs.replace(entry, offset_s=base_s + entry.offset_s - first_s) for entry in found]
        base_s = entries[-1].offset_s
    if not entries:
        raise CaptureError("no capture file was given", fix="name at least one capture file")
    selected = _selected(tuple(paths), entries, broken, hosts, digest.hexdigest())
    return msgspec.structs.replace(selected, digests=tuple(digests))


class _File:
    """The chunks of a file; its errors become CaptureErrors."""

    def __init__(self, path: str, updates: Sequence[Callable[[bytes], None]]) -> None:
        self._path = path
        self._updates = updates

    def __iter__(self) -> Iterator[bytes]:
        try:
            with Path(self._path).open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    for update in self._updates:
                        update(chunk)
                    yield chunk
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise CaptureError(f"the file cannot be read: {reason}", where=self._path, fix="check the path and its permissions") from error


def _check(item: BrokenEntry, *, skip_broken: bool) -> None:
    if skip_broken or item.kind.harmless:
        return
    where = f"{item.file}, entry {item.index}" + (f", {item.where}" if item.where else "")
    raise CaptureError(item.what, where=where, fix="give --skip-broken to leave such entries out and count them")


def normal_host(host: str) -> str:
    """Lower case, without a default port or a final dot: two spellings of one host are equal."""
    host = host.strip().lower()
    for port in _DEFAULT_PORTS:
        host = host.removesuffix(port)
    return host.removesuffix(".")


def _selected(files: tuple[str, ...], entries: list[CaptureEntry], broken: list[BrokenEntry], hosts: Sequence[str], digest: str) -> Capture:
    counts = Counter(normal_host(entry.request.host) for entry in entries)
    mapped = tuple(dict.fromkeys(normal_host(host) for host in hosts)) or (counts.most_common(1)[0][0],)
    if not any(host in counts for host in mapped):
        seen = ", ".join(repr(host) for host, _ in counts.most_common(3))
        raise CaptureError(f"no request goes to {', '.join(mapped)}", where=", ".join(files), fix=f"the hosts in it are {seen}")
    kept: list[CaptureEntry] = []
    skipped: Counter[SkipReason] = Counter()
    for entry in entries:
        reason = _skip_reason(entry, mapped)
        if reason is None:
            kept.append(entry)
        else:
            skipped[reason] += 1
    if broken:
        skipped[SkipReason.BROKEN_ENTRY] += len(broken)
    return Capture(
        files=files,
        entries=tuple(kept),
        broken=tuple(broken),
        skipped=dict(skipped),
        hosts=mapped,
        other_hosts={host: count for host, count in counts.most_common() if host not in mapped},
        digest=digest,
    )


def _skip_reason(entry: CaptureEntry, mapped: tuple[str, ...]) -> SkipReason | None:
    request = entry.request
    if normal_host(request.host) not in mapped:
        return SkipReason.OTHER_HOST
    # Some clients offer `Upgrade: h2c` with every ordinary request.
    if (entry.recorded is not None and entry.recorded.status == 101) or "websocket" in (header(request.headers, "upgrade") or "").lower():
        return SkipReason.UPGRADE
    return SkipReason.TRUNCATED_REQUEST if request.body.truncated else None


def describe(capture: Capture) -> CaptureInfo:
    """A capture in numbers."""
    entries = capture.entries
    hosts = Counter(normal_host(entry.request.host) for entry in entries) + Counter(capture.other_hosts)
    statuses = Counter("none" if entry.recorded is None else status_class(entry.recorded.status) for entry in entries)
    return CaptureInfo(
        files=capture.files,
        requests=capture.requests,
        sendable=len(entries),
        skipped={str(reason): count for reason, count in sorted(capture.skipped.items())},
        broken=capture.broken,
        hosts=dict(hosts.most_common()),
        methods=dict(Counter(entry.request.method for entry in entries).most_common()),
        statuses=dict(sorted(statuses.items())),
        sessions=len(group_sessions(entries)),
        span_s=entries[-1].offset_s - entries[0].offset_s if entries else 0.0,
        request_bytes=sum(entry.request.body.size for entry in entries),
        response_bytes=sum(entry.recorded.body.size for entry in entries if entry.recorded is not None),
        digest=capture.digest,
    )
