"""Reads capture files for a run, and says for people what they hold."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.table import Table

from harness.app import parts
from harness.core.errors import CaptureError
from harness.core.labels import SkipReason
from harness.proxy.wire import UnsendableRequestError, checked_request
from harness.ui import Ui, plain
from replay.capture import Capture, CaptureInfo, describe, load_captures
from replay.entry import BrokenEntry, CaptureEntry
from replay.prepare import sendable


def load(paths: Sequence[Path], *, skip_broken: bool, hosts: Sequence[str] = ()) -> Capture:
    """The files as one capture, each entry of which can be written as HTTP/1.1.

    An entry that cannot is a broken one. Raises CaptureError as `load_captures` does.
    """
    capture = load_captures([_name(path) for path in paths], skip_broken=skip_broken, hosts=hosts)
    kept: list[CaptureEntry] = []
    broken: list[BrokenEntry] = []
    for entry in capture.entries:
        try:
            request = sendable(entry.request)
            checked_request(request.method, request.target, request.headers)
        except UnsendableRequestError as error:
            if not skip_broken:
                fix = "give --skip-broken to leave such entries out and count them"
                raise CaptureError(error.what, where=f"{entry.file}, entry {entry.index}", fix=fix) from error
            broken.append(BrokenEntry(index=entry.index, file=entry.file, what=error.what))
        else:
            kept.append(entry)
    if not broken:
        return capture
    if not kept:
        fix = "record it again; a capture holds at least one request"
        raise CaptureError("no request in it can be sent", where=", ".join(capture.files), fix=fix)
    skipped = {**capture.skipped, SkipReason.BROKEN_ENTRY: capture.skipped.get(SkipReason.BROKEN_ENTRY, 0) + len(broken)}
    return msgspec.structs.replace(capture, entries=tuple(kept), broken=(*capture.broken, *broken), skipped=skipped)


def _name(path: Path) -> str:
    """A file's name as everything that a run writes has it."""
    name = str(path)
    if parts.writable(name) != name:
        raise CaptureError("the file's name is not UTF-8", where=parts.writable(name), fix="rename the file")
    return name


def capture_info(paths: Sequence[Path], ui: Ui) -> int:
    """Print a summary of the files together. Broken entries are counted, not refused."""
    ui.result(_table(describe(load(paths, skip_broken=True))))
    return 0


def _table(info: CaptureInfo) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column("what", style="bold", no_wrap=True)
    table.add_column("value")
    rows = {
        "files": ", ".join(info.files),
        "requests": f"{info.requests}, of which {info.sendable} can be sent",
        "skipped": _counts(info.skipped),
        "broken": "\n".join(f"entry {entry.index} of {entry.file}: {entry.what}" for entry in info.broken[:10]) or "none",
        "hosts": _counts(info.hosts),
        "methods": _counts(info.methods),
        "recorded answers": _counts(info.statuses),
        "sessions": str(info.sessions),
        "time": f"{info.span_s:.1f} s",
        "bodies": f"{info.request_bytes} bytes of requests, {info.response_bytes} bytes of answers",
        "sha-256": info.digest,
    }
    for name, value in rows.items():
        table.add_row(name, plain(value))
    return table


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
