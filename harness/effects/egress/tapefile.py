"""Tape files: outbound calls with their answers, kept beyond a run so that later runs are answered without the network.

A file is lines of UTF-8 text: eight hex digits (CRC-32 of the rest of the line), a space, a JSON object. First a header,
then one record for each call, then an end record with their number and a digest of all lines before it, so that no damage
and no cut goes unnoticed. Secrets are redacted before anything is written. docs/tapes.md is for people.
"""

import contextlib
import hashlib
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Self

import msgspec

from harness.core import coding
from harness.core.errors import SetupError
from harness.core.http import media_type
from harness.core.limits import CAPTURE_RECORD_BYTES_MAX, TAPE_BYTES_MAX, TAPE_CALLS_MAX
from harness.core.redact import Redactor
from harness.core.values import Body, Headers, Request, Response
from harness.effects.egress.calls import Answer, Call, TapedCall, host_of
from harness.effects.egress.matching import Tape

FORMAT: Final = "shadowdiff-tape"
VERSION: Final = 1
_UPGRADES: Final[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}
"""By version: what makes a record of this version one of the next."""
_CHECK_CHARS: Final = 9
_END_BYTES_MAX: Final = 256
_PRIVATE_FILE: Final = 0o600
_AGAIN: Final = "record the tape again, or take it from where it is kept"


class _RawCall(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A call as written: a body that is UTF-8 as text, any other in base64."""

    method: str
    url: str
    headers: Headers = ()
    body: str = ""
    body64: bytes = b""
    size: Annotated[int, msgspec.Meta(ge=0)] = 0


class _RawAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An answer as written."""

    status: Annotated[int, msgspec.Meta(ge=0, le=999)] = 0
    headers: Headers = ()
    body: str = ""
    body64: bytes = b""
    error: str = ""


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call of a tape."""

    request: str
    trial: Annotated[int, msgspec.Meta(ge=0)]
    """Counts the trials of the request, those without a call too: their numbers are missing."""
    number: Annotated[int, msgspec.Meta(ge=0)]
    call: _RawCall
    answer: _RawAnswer


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first line. It keeps these two members in every version."""

    format: str = ""
    version: int = 0


class _End(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last line."""

    end: Annotated[int, msgspec.Meta(ge=0)]
    """How many calls there are."""
    left_out: Annotated[int, msgspec.Meta(ge=0)]
    """How many more were made and did not fit."""
    digest: str


class TapeWriter:
    """Writes a tape while a run goes on; nothing raises between `open` and `close`.

    What is written stands in PATH.partial until `close` gives it its name, so that a run that is killed leaves what it has
    and no half tape under the name. Not thread-safe.
    """

    def __init__(self, path: Path, redactor: Redactor, sink: BinaryIO) -> None:
        self.path = path
        self.written = 0
        self.left_out = 0
        """Calls that did not fit (TAPE_CALLS_MAX, TAPE_BYTES_MAX, too large a record) or came after a failure."""
        self.withheld = 0
        """Answers whose body was not kept since redaction cannot read it."""
        self._trials: dict[str, dict[str | int, int]] = {}
        self._begun: dict[str, int] = {}
        """How many trials of a request were announced."""
        self._numbers: dict[str, int] = {}
        """The numbers of those that are open, by trial."""
        self._redactor = redactor
        self._sink: BinaryIO | None = sink
        self._digest = hashlib.blake2b(digest_size=16)
        self._bytes = 0
        self._failure: OSError | None = None
        self._append(msgspec.json.encode(_Head(format=FORMAT, version=VERSION)))

    @classmethod
    def open(cls, path: Path, redactor: Redactor) -> Self:
        """Begin a tape; one under this name stays until `close` replaces it. Raises SetupError where none can be written there."""
        partial = partial_of(path)
        try:
            if path.is_dir():
                raise IsADirectoryError(0, "it is a folder")
            partial.unlink(missing_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), _PRIVATE_FILE)
        except OSError as error:
            raise SetupError(
                f"no tape can be written here: {error.strerror}", where=str(path), fix="name a file in a folder that you may write to"
            ) from error
        return cls(path, redactor, os.fdopen(descriptor, "wb", buffering=0))

    @property
    def problem(self) -> str:
        """Why the tape is no longer written; empty while all is well."""
        return f"the tape cannot be written: {self._failure.strerror or self._failure}" if self._failure is not None else ""

    def begin(self, request: str, trial: str) -> None:
        """A trial is announced, so that it counts whether calls are made in it or not."""
        self._numbers[trial] = self._begun.get(request, 0)
        self._begun[request] = self._numbers[trial] + 1

    def end(self, trial: str) -> None:
        """No more calls of an announced trial are written."""
        self._numbers.pop(trial, None)

    def write(self, taped: TapedCall) -> None:
        """Redact and append a call. One that cannot be kept is counted in `left_out`."""
        if self._failure is not None or self.written >= TAPE_CALLS_MAX:
            self.left_out += 1
            return
        data = msgspec.json.encode(self._record(taped))
        if len(data) > CAPTURE_RECORD_BYTES_MAX - _CHECK_CHARS or self._bytes + len(data) + _END_BYTES_MAX > TAPE_BYTES_MAX:
            self.left_out += 1
            return
        if self._append(data):
            self.written += 1
        else:
            self.left_out += 1

    def close(self) -> None:
        """Complete the tape and give it its name. Raises SetupError, once, where it could not be written. A second call does nothing."""
        sink, self._sink = self._sink, None
        if sink is None:
            return
        try:
            with sink:
                self._finish(sink)
        except OSError as error:
            self._failure = self._failure or error
        if self._failure is not None:
            raise SetupError(
                self.problem,
                where=str(self.path),
                fix=f"see to the disk and record again; the first calls, {self.written} of them, are in {partial_of(self.path).name}",
            ) from self._failure

    def _finish(self, sink: BinaryIO) -> None:
        if self._failure is not None:
            return
        partial = partial_of(self.path)
        end = _End(end=self.written, left_out=self.left_out, digest=self._digest.hexdigest())
        if not self._append(msgspec.json.encode(end), sink):
            return
        os.fsync(sink.fileno())
        if not os.path.samestat(os.fstat(sink.fileno()), partial.stat()):
            raise OSError(0, "another run records to the same file")
        partial.replace(self.path)

    def _append(self, data: bytes, sink: BinaryIO | None = None) -> bool:
        """One line to the file; what is written of a line that fails is taken back."""
        sink = sink or self._sink
        if sink is None:
            return False
        line = b"%08x %s\n" % (zlib.crc32(data), data)
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[sink.write(rest) :]
        except OSError as error:
            self._failure = error
            with contextlib.suppress(OSError):
                sink.truncate(self._bytes)
            return False
        self._bytes += len(line)
        self._digest.update(line)
        return True

    def _trial(self, taped: TapedCall) -> int:
        """The number of a call's trial among those of its request; without a name, how often its position has been there."""
        if (number := self._numbers.get(taped.trial)) is not None:
            return number
        known = self._trials.setdefault(taped.request, {})
        if taped.trial:
            return known.setdefault(taped.trial, len(known))
        known[taped.number] = known.get(taped.number, -1) + 1
        return known[taped.number]

    def _record(self, taped: TapedCall) -> _Record:
        call, answer = taped.call, taped.answer
        body = Body(data=call.body, size=max(call.size, len(call.body)))
        sent = self._redactor.request(Request(call.method, call.url, call.headers, body))
        came = self._redactor.response(Response(answer.status, answer.headers, Body(data=answer.body, size=len(answer.body))))
        error = self._redactor.text(answer.error)
        if answer.body and not came.body.data:
            self.withheld += 1
            kind = ", ".join(filter(None, (media_type(answer.headers)[0], *coding.codings_of(answer.headers)))) or "of no known type"
            error = error or f"its body ({kind}, {len(answer.body)} bytes) is not on the tape: redaction cannot read it"
        text, data = _text_or_bytes(sent.body.data)
        answer_text, answer_data = _text_or_bytes(came.body.data)
        return _Record(
            request=_clean(taped.request),
            trial=self._trial(taped),
            number=taped.number,
            call=_RawCall(
                method=_clean(sent.method),
                url=_clean(sent.target),
                headers=_clean_headers(sent.headers),
                body=text,
                body64=data,
                size=sent.body.size,
            ),
            answer=_RawAnswer(
                status=came.status, headers=_clean_headers(came.headers), body=answer_text, body64=answer_data, error=_clean(error)
            ),
        )


class TapeLibrary:
    """The calls of a tape file, given out trial by trial."""

    def __init__(self, calls: Iterable[TapedCall], left_out: int = 0) -> None:
        self.calls = tuple(calls)
        self.left_out = left_out
        """Calls that did not fit when the tape was recorded."""
        self.hosts = frozenset(host_of(taped.call) for taped in self.calls)
        """All hosts that were called."""
        self._trials: dict[str, dict[int, list[TapedCall]]] = {}
        self._given: dict[str, int] = {}
        self._any: Tape | None = None
        for taped in self.calls:
            self._trials.setdefault(taped.request, {}).setdefault(int(taped.trial or 0), []).append(taped)
        self._turns = {request: max(trials) + 1 for request, trials in self._trials.items()}

    def tape_for(self, request: str) -> Tape:
        """A fresh tape with the calls of the next trial that was recorded for this request; empty where it made none.

        The first trial with the request gets the calls of the first that was recorded with it, the second those of the
        second, and after the last the first again, so that every pass over a capture gets what the recorded pass had.
        """
        trials = self._trials.get(request)
        if not trials:
            return Tape()
        turn = self._given.get(request, 0)
        self._given[request] = turn + 1
        calls = trials.get(turn % self._turns[request], ())
        return Tape(sorted(calls, key=lambda taped: taped.number))

    def again(self) -> None:
        """A pass begins: the first trial of each request is the next one."""
        self._given.clear()

    @property
    def any(self) -> Tape:
        """All calls of the file, in its order: the same tape each time, so takers of it are told apart by name."""
        if self._any is None:
            self._any = Tape(self.calls)
        return self._any


def partial_of(path: Path) -> Path:
    """Where a tape stands while it is recorded."""
    return path.with_name(f"{path.name}.partial")


def read_tape(path: Path) -> TapeLibrary:
    """The calls of a tape file. Raises SetupError where it is missing, damaged, cut, of a later version or no tape at all."""
    try:
        with os.fdopen(_opened(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > TAPE_BYTES_MAX:
                raise SetupError(
                    f"the tape has {size} bytes; {TAPE_BYTES_MAX} are the most that is read", where=str(path), fix="record fewer calls"
                )
            return _Reader(path).read(iter(lambda: file.readline(CAPTURE_RECORD_BYTES_MAX + 2), b""))
    except FileNotFoundError as error:
        fix = "record it first, or mend the path"
        if partial_of(path).exists():
            fix = f"the run that recorded it did not end ({partial_of(path).name} is there): record it again"
        raise SetupError("there is no such tape", where=str(path), fix=fix) from error
    except OSError as error:
        raise SetupError(f"the tape cannot be read: {error.strerror}", where=str(path), fix="name a file that you may read") from error


def _opened(path: Path) -> int:
    """A descriptor of a regular file: a pipe would be waited for, and is no tape."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "it is no regular file")
    return descriptor


class _Reader:
    """Reads one file, line by line, and knows where it is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line = 0
        self._version = VERSION
        self._calls: list[TapedCall] = []
        self._digest = hashlib.blake2b(digest_size=16)

    def read(self, lines: Iterator[bytes]) -> TapeLibrary:
        """All of it. Raises SetupError."""
        first = next(lines, b"")
        if not first:
            raise self._error("the file is empty", "record the tape again")
        self._line = 1
        self._head(first)
        for line in lines:
            self._line += 1
            record = self._decoded(line)
            if "end" in record:
                left_out = self._end(record)
                if next(lines, b""):
                    self._line += 1
                    raise self._error("something stands behind the end of the tape", _AGAIN)
                return TapeLibrary(self._calls, left_out)
            self._digest.update(_ended(line))
            self._call(record)
        raise self._error(f"the tape is cut: {len(self._calls)} calls and no end", "let the run that records it end; record it again")

    def _head(self, line: bytes) -> None:
        # Only this much of the first line is the same in every version, so it is looked at before the checksum.
        try:
            head = msgspec.json.decode(_payload(line), type=_Head)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            head = _Head()
        if head.format == FORMAT and head.version > VERSION:
            raise self._error(
                f"the tape is of version {head.version}, and this shadowdiff reads up to {VERSION}",
                "use a shadowdiff that is as new as the one that recorded it, or record it again with this one",
            )
        if FORMAT.encode() not in line[:256]:
            raise self._error("this is not a tape", "name a file that was recorded as a tape")
        self._decoded(line)
        if head.format != FORMAT or head.version < 1:
            raise self._error("the header is damaged", _AGAIN)
        self._version = head.version
        self._digest.update(_ended(line))

    def _decoded(self, line: bytes) -> dict[str, Any]:
        data = _payload(line)
        try:
            check = int(line[: _CHECK_CHARS - 1], 16)
        except ValueError:
            check = -1
        if line[_CHECK_CHARS - 1 : _CHECK_CHARS] != b" " or check != zlib.crc32(data):
            if not line.endswith(b"\n"):
                raise self._error(f"the tape is cut inside a line, behind {len(self._calls)} calls", _AGAIN)
            raise self._error("the checksum is wrong, so the line was changed or damaged", _AGAIN)
        try:
            record = msgspec.json.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._error(f"this is no JSON: {error}", _AGAIN) from error
        if not isinstance(record, dict):
            raise self._error("a record is a JSON object", _AGAIN)
        return record

    def _call(self, record: dict[str, Any]) -> None:
        if len(self._calls) >= TAPE_CALLS_MAX:
            raise self._error(f"the tape has more than {TAPE_CALLS_MAX} calls", "record fewer calls")
        try:
            for version in range(self._version, VERSION):
                record = _UPGRADES[version](record)
            self._calls.append(_taped(msgspec.convert(record, _Record)))
        except (msgspec.ValidationError, LookupError, TypeError, ValueError) as error:
            raise self._error(f"this is no record of a call: {error}", _AGAIN) from error

    def _end(self, record: dict[str, Any]) -> int:
        try:
            end = msgspec.convert(record, _End)
        except msgspec.ValidationError as error:
            raise self._error(f"this is no end record: {error}", _AGAIN) from error
        if end.end != len(self._calls):
            raise self._error(f"{len(self._calls)} calls are here, and {end.end} were recorded", _AGAIN)
        if end.digest != self._digest.hexdigest():
            raise self._error("lines were moved or exchanged: the digest of the whole is wrong", _AGAIN)
        return end.left_out

    def _error(self, what: str, fix: str) -> SetupError:
        return SetupError(what, where=f"{self._path}, line {self._line}" if self._line else str(self._path), fix=fix)


def _payload(line: bytes) -> bytes:
    """The JSON of a line; line ends of other systems are borne with."""
    return line.removesuffix(b"\n").removesuffix(b"\r")[_CHECK_CHARS:]


def _ended(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r") + b"\n"


def _taped(record: _Record) -> TapedCall:
    call, answer = record.call, record.answer
    return TapedCall(
        request=record.request,
        trial=str(record.trial),
        number=record.number,
        call=Call(method=call.method, url=call.url, headers=call.headers, body=call.body64 or call.body.encode(), size=call.size),
        answer=Answer(status=answer.status, headers=answer.headers, body=answer.body64 or answer.body.encode(), error=answer.error),
    )


def _text_or_bytes(data: bytes) -> tuple[str, bytes]:
    try:
        return data.decode(), b""
    except UnicodeDecodeError:
        return "", data


def _clean(text: str) -> str:
    """Text that can be written; bytes that were read as surrogates become the Latin-1 letters of the same bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return coding.to_bytes(text).decode("latin-1")
    return text


def _clean_headers(headers: Headers) -> Headers:
    return tuple((_clean(name), _clean(value)) for name, value in headers)
