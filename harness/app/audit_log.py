"""The file of verdicts: one line of JSON for each, chained by hashes, appended and never changed.

A line has its number (from 1), the hash of the line before it and its own: SHA-256 over its canonical JSON (keys sorted, no white
space, UTF-8) without the key `hash`. It stands in the file in that form, so that every byte of it counts. What the lines say beside
that is not known here.

A crash can leave a torn last line at worst. The next append leaves it where it is, ends it, and says in its own line, under `torn`,
how long it is and what its hash is: what was set aside stays in sight and cannot be exchanged.
"""

import contextlib
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from harness.core.errors import SetupError
from harness.core.limits import AUDIT_LINE_BYTES_MAX, AUDIT_LOCK_SECONDS_MAX, AUDIT_PROBLEMS_SHOWN_MAX

FIRST: Final = "0" * 64
"""What stands for the line before the first."""
_HASH_KEY, _NUMBER, _PREVIOUS, _TORN = "hash", "number", "previous", "torn"
_START: Final = b'{"audit":1,'
"""How every line begins: the key that sorts first is the version of the format."""
_PRIVATE_FILE: Final = 0o600
_LOCK_LOOK_SECONDS: Final = 0.02


class Torn(msgspec.Struct, frozen=True):
    """What a crash left of lines that were never whole."""

    bytes: int
    sha256: str


class Appended(msgspec.Struct, frozen=True):
    """A line that is in the file now."""

    number: int
    hash: str
    torn: Torn | None = None
    """What it set aside."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at the whole file came to."""

    lines: int
    """Whole lines of the chain."""
    last: str
    """Hash of the last of them; empty without one."""
    problems: tuple[str, ...] = ()
    """What is wrong, in words, by line of the file; bounded."""
    set_aside: tuple[int, ...] = ()
    """Lines of the file that a crash had torn, and that a later line tells of."""
    asked_at: int | None = None
    """Number of the line with the hash that was asked for."""


def canonical(fields: Mapping[str, object]) -> bytes:
    """The one form in which a line is hashed and written. Raises TypeError for what JSON has no form for."""
    return msgspec.json.encode(fields, order="deterministic")


def hash_of(fields: Mapping[str, object]) -> str:
    """SHA-256, in hex, of a line without its own hash."""
    return hashlib.sha256(canonical({key: value for key, value in fields.items() if key != _HASH_KEY})).hexdigest()


def append(path: Path, said: Mapping[str, object]) -> Appended:
    """Add a line that says `said`; it is on disk when this returns.

    Others who append at the same time wait for each other. Raises SetupError where the file cannot be written, is locked for too
    long, is no such file, or ends with a line that was changed. Then it is as it was.
    """
    try:
        with _locked(path) as descriptor:
            return _append(path, descriptor, said)
    except OSError as error:
        raise SetupError(
            f"the verdict cannot be added: {error.strerror or error}", where=str(path), fix="see to the file, its folder and the disk"
        ) from error


def verify(path: Path, asked: str = "") -> Checked:
    """Check every line against its hash, its number and the line before it; `asked` is a hash that has to be among them.

    Lines that were cut off at the end leave no trace in the file: they are found by a hash that was noted elsewhere. Raises
    SetupError where the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _Look(asked).over(file)
    except OSError as error:
        raise SetupError(f"cannot be read: {error.strerror}", where=str(path), fix="name the audit file") from error


def _append(path: Path, descriptor: int, said: Mapping[str, object]) -> Appended:
    size = os.fstat(descriptor).st_size
    before, torn = _end_of(path, descriptor, size)
    number = int(str(before[_NUMBER])) + 1 if before else 1
    previous = str(before[_HASH_KEY]) if before else FIRST
    fields: dict[str, object] = {"audit": 1, **said, _NUMBER: number, _PREVIOUS: previous}
    if torn is not None:
        fields[_TORN] = msgspec.to_builtins(torn)
    fields[_HASH_KEY] = hash_of(fields)
    line = canonical(fields) + b"\n"
    if len(line) > AUDIT_LINE_BYTES_MAX:
        raise SetupError(f"a line of {len(line):,} bytes is too long", where=str(path), fix="give fewer captures or labels")
    ended = not size or os.pread(descriptor, 1, size - 1) == b"\n"
    try:
        _write_whole(descriptor, line if ended else b"\n" + line)
        os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise
    return Appended(number, str(fields[_HASH_KEY]), torn)


def _write_whole(descriptor: int, data: bytes) -> None:
    """In one call where the disk takes it, so that a crash finds all or little of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, open and locked; made where it is not there. A file that is moved away while one waits is not written to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline_s = time.monotonic() + AUDIT_LOCK_SECONDS_MAX
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, _PRIVATE_FILE)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SetupError("is no regular file", where=str(path), fix="name another file in audit.file")
            if _try_lock(descriptor) and _is_at(descriptor, path):
                _keep_name(path)
                yield descriptor
                return
        finally:
            os.close(descriptor)  # which unlocks it
        if time.monotonic() > deadline_s:
            raise SetupError(
                f"somebody has locked it for more than {AUDIT_LOCK_SECONDS_MAX:g} s", where=str(path), fix="see which process holds it"
            )
        time.sleep(_LOCK_LOOK_SECONDS)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _keep_name(path: Path) -> None:
    """The name of a new file has to outlive a crash too."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _end_of(path: Path, descriptor: int, size: int) -> tuple[dict[str, object], Torn | None]:
    """The last whole line, empty where there is none, and what was torn behind it, with the line feed that will end it."""
    window = min(size, 2 * AUDIT_LINE_BYTES_MAX)
    data = os.pread(descriptor, window, size - window)
    at = len(data)
    while at:
        start = data.rfind(b"\n", 0, at - 1) + 1
        piece = data[start:at]
        if not start and window < size:
            raise _foreign(path)  # its beginning is not in sight, so it is longer than any line is
        found = _object_in(piece)
        if found is not None:
            if not _is_whole(found, piece):
                raise SetupError(
                    "its last line was changed, so nothing can be chained to it",
                    where=str(path),
                    fix="look into it with `shadowdiff audit verify`; then move the file away, and a new one begins",
                )
            return found, _torn(data[at:])
        if not _may_be_torn(piece):
            raise _foreign(path)
        at = start
    return {}, _torn(data)


def _foreign(path: Path) -> SetupError:
    return SetupError("ends with what is no line of an audit file", where=str(path), fix="name another file in audit.file, or move it away")


def _torn(data: bytes) -> Torn | None:
    if not data:
        return None
    ended = data if data.endswith(b"\n") else data + b"\n"
    return Torn(len(ended), hashlib.sha256(ended).hexdigest())


def _may_be_torn(piece: bytes) -> bool:
    """Whether a piece may be the beginning of a line, or the zeros that some file systems show for what was not written."""
    beginning = piece.rstrip(b"\n\0")
    return beginning[: len(_START)] == _START[: len(beginning)]


def _object_in(piece: bytes) -> dict[str, object] | None:
    try:
        found = msgspec.json.decode(piece)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_whole(found: Mapping[str, object], piece: bytes) -> bool:
    """Whether a line is, byte for byte, what its hash says. A line without its line feed is whole all the same."""
    number = found.get(_NUMBER)
    if not isinstance(number, int) or isinstance(number, bool) or not isinstance(found.get(_PREVIOUS), str):
        return False
    try:
        return found.get(_HASH_KEY) == hash_of(found) and canonical(found) == piece.removesuffix(b"\n")
    except RecursionError:  # it can be read and not be written: nested as no line ever is
        return False


class _Look:
    """One reading of the file, line by line."""

    def __init__(self, asked: str) -> None:
        self._asked = asked
        self._asked_at: int | None = None
        self._problems: list[str] = []
        self._more = 0
        self._whole = 0
        self._expected = 1
        self._last = FIRST
        self._known = True
        """Whether the hash of the line before can be told."""
        self._seen: set[int] = set()
        self._gaps: dict[int, tuple[int, int]] = {}
        """Line of the file -> the numbers that were passed over before it, from and to."""
        self._late: dict[int, int] = {}
        """Line of the file -> a number that belongs further up."""
        self._torn_lines: list[int] = []
        self._torn_bytes = 0
        self._torn_hash = hashlib.sha256()
        self._set_aside: list[int] = []

    def over(self, file: BinaryIO) -> Checked:
        """The whole file."""
        place = 0
        for place, piece in enumerate(_lines(file), 1):
            found = _object_in(piece)
            if found is None:
                self._unreadable(place, piece)
            else:
                self._line(place, piece, found)
        self._give_up_torn("is torn: the file ends within it; the next verdict will set it aside")
        self._order()
        if self._asked and self._asked_at is None:
            self._say(place, f"no line has the hash {self._asked}: lines were cut off or changed, or it is of another file", place=False)
        if self._more:
            self._problems.append(f"and {self._more:,} more")
        return Checked(
            lines=self._whole,
            last=self._last if self._whole else "",
            problems=tuple(self._problems),
            set_aside=tuple(self._set_aside),
            asked_at=self._asked_at,
        )

    def _unreadable(self, place: int, piece: bytes) -> None:
        self._torn_lines.append(place)
        self._torn_bytes += len(piece)
        self._torn_hash.update(piece)

    def _line(self, place: int, piece: bytes, found: dict[str, object]) -> None:
        if not _is_whole(found, piece):
            self._say(place, "was changed: it is not what its hash says")
            self._give_up_torn("is no line of the chain: it was changed")
            self._expected += 1
            self._last, self._known = "", False
            return
        number, mark = int(str(found[_NUMBER])), str(found[_HASH_KEY])
        self._settle_torn(found.get(_TORN))
        in_turn = number == self._expected
        if not in_turn:
            self._out_of_turn(place, number)
        elif self._known and found[_PREVIOUS] != self._last:
            self._say(place, "does not follow from the line before it: one of them was exchanged, or lines are missing")
        self._whole += 1
        self._seen.add(number)
        self._expected, self._last, self._known = number + 1, mark, True
        if mark == self._asked:
            self._asked_at = number

    def _out_of_turn(self, place: int, number: int) -> None:
        if number > self._expected:
            self._gaps[place] = (self._expected, number - 1)
        else:
            self._late[place] = number

    def _order(self) -> None:
        """What numbers that are not in turn mean is known at the end: a line that is missing here may stand further down."""
        for place, (first, last) in self._gaps.items():
            missing = last - first + 1 - sum(first <= number <= last for number in self._seen)
            span = f"line {first}" if first == last else f"lines {first} to {last}"
            if missing:
                self._say(place, f"has number {last + 1}: {span} of the chain {'is' if first == last else 'are'} missing before it")
            else:
                self._say(place, f"is out of order: it has number {last + 1}, and {span} of the chain should stand before it")
        for place, number in self._late.items():
            self._say(place, f"is out of order: it has number {number}")

    def _settle_torn(self, said: object) -> None:
        """What cannot be read is accounted for where the next line tells of exactly that."""
        if said is None:
            self._give_up_torn("is no line of the chain: it was changed, or put in")
            return
        if said == {"bytes": self._torn_bytes, "sha256": self._torn_hash.hexdigest()}:
            self._set_aside += self._torn_lines
            self._forget_torn()
            return
        if not self._torn_lines:
            self._problems.append(f"a torn line that line {self._expected} of the chain tells of is missing")
        self._give_up_torn("is no longer what a later line says was torn")

    def _give_up_torn(self, what: str) -> None:
        for place in self._torn_lines:
            self._say(place, what)
        self._forget_torn()

    def _forget_torn(self) -> None:
        self._torn_lines, self._torn_bytes, self._torn_hash = [], 0, hashlib.sha256()

    def _say(self, at: int, what: str, *, place: bool = True) -> None:
        if len(self._problems) >= AUDIT_PROBLEMS_SHOWN_MAX:
            self._more += 1
        else:
            self._problems.append(f"line {at} {what}" if place else what)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, each with its line feed; one that is too long comes in pieces, none of which is a line."""
    while piece := file.readline(AUDIT_LINE_BYTES_MAX + 1):
        yield piece
