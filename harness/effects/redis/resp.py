"""Commands and replies on a Redis connection (RESP2 and RESP3), read from bytes as they come. Pure, without I/O.

Requests are read for what they say, bounded: a long argument is cut and digested. Replies are read for where they end and
whether they are errors, empty or `QUEUED`, which is all that following a connection needs. Bytes that are no RESP raise Garbage.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from harness.core import limits_collectors


class Garbage(Exception):  # noqa: N818 - a fact about the other side
    """Bytes that are not RESP."""


class Cut(msgspec.Struct, frozen=True):
    """An argument longer than what is kept."""

    head: bytes
    size: int
    digest: str
    """SHA-256 of the whole, hex."""


Argument = bytes | Cut


class Command(msgspec.Struct, frozen=True):
    """One request of a client; never empty."""

    args: tuple[Argument, ...]
    more: int = 0
    """Arguments beyond those kept."""
    digest: str = ""
    """SHA-256 of these, hex."""

    @property
    def kept_bytes(self) -> int:
        """What it holds in memory, about."""
        return sum(len(arg) if isinstance(arg, bytes) else len(arg.head) for arg in self.args) + 64 * len(self.args)


class Item(msgspec.Struct, frozen=True):
    """A reply, or an element of one."""

    kind: str
    """Its first byte."""
    text: bytes = b""
    """The first REDIS_REPLY_TEXT_BYTES_MAX of a simple text, error or number; a bulk text only where it is not longer."""
    empty: bool = False
    """Nil, or an aggregate or text without content."""

    @property
    def is_error(self) -> bool:
        """Whether it says that the command failed."""
        return self.kind in {"-", "!"}


class Reply(msgspec.Struct, frozen=True):
    """One reply, with the elements of an aggregate."""

    item: Item
    items: tuple[Item, ...] = ()


class _Long:
    """A long argument that is still coming in."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.left = size
        self._head = bytearray()
        self._hash = hashlib.sha256()

    def take(self, data: bytes) -> None:
        self.left -= len(data)
        self._hash.update(data)
        if (room := limits_collectors.REDIS_ARGUMENT_BYTES_MAX - len(self._head)) > 0:
            self._head += data[:room]

    def done(self) -> Cut:
        return Cut(bytes(self._head), self.size, self._hash.hexdigest())


class RequestParser:
    """Reads what a client sends."""

    def __init__(self) -> None:
        self._rest = b""
        self._args: list[Argument] = []
        self._left = 0
        """Arguments of the command at hand that have not come."""
        self._long: _Long | None = None
        self._skip = 0
        """Bytes of a line end that have not come."""
        self._more = 0
        self._more_hash = hashlib.sha256()

    def feed(self, data: bytes) -> Iterable[Command]:
        """The commands that are complete with these bytes. Raises Garbage; what was complete before it was given out."""
        data, pos = self._rest + data if self._rest else data, 0
        self._rest = b""
        while pos < len(data):
            if self._skip:
                step = min(self._skip, len(data) - pos)
                self._skip -= step
                pos += step
                continue
            if self._long is not None:
                pos = self._read_long(self._long, data, pos)
            elif self._left:
                at = self._read_argument(data, pos)
                if at is None:
                    self._rest = data[pos:]
                    return
                pos = at
            else:
                at = self._read_start(data, pos)
                if at is None:
                    self._rest = data[pos:]
                    return
                pos = at
            if self._args and not self._left and self._long is None:
                yield self._complete()

    def _complete(self) -> Command:
        digest = self._more_hash.hexdigest() if self._more else ""
        command = Command(tuple(self._args), self._more, digest)
        self._args = []
        if self._more:
            self._more, self._more_hash = 0, hashlib.sha256()
        return command

    def _read_start(self, data: bytes, pos: int) -> int | None:
        if data[pos] != 0x2A:  # *
            end = data.find(b"\n", pos)
            if end < 0:
                _bounded(len(data) - pos)
                return None
            _bounded(end - pos)
            self._args = list(_words(data[pos:end].rstrip(b"\r")))
            return end + 1
        end = data.find(b"\r\n", pos)
        if end < 0:
            _bounded(len(data) - pos)
            return None
        self._left = max(0, _number(data[pos + 1 : end]))
        return end + 2

    def _read_argument(self, data: bytes, pos: int) -> int | None:
        end = data.find(b"\r\n", pos)
        if end < 0:
            _bounded(len(data) - pos)
            return None
        if data[pos] != 0x24:  # $
            raise Garbage("an argument without a length")
        size = _number(data[pos + 1 : end])
        if size < 0:
            raise Garbage("an argument with a negative length")
        begin = end + 2
        if size > limits_collectors.REDIS_ARGUMENT_BYTES_MAX:
            self._long = _Long(size)
            return begin
        if begin + size + 2 > len(data):
            return None
        self._keep(data[begin : begin + size])
        return begin + size + 2

    def _read_long(self, long: _Long, data: bytes, pos: int) -> int:
        end = min(len(data), pos + long.left)
        long.take(data[pos:end])
        if not long.left:
            self._long = None
            self._skip = 2
            self._keep(long.done())
        return end

    def _keep(self, argument: Argument) -> None:
        self._left -= 1
        if len(self._args) < limits_collectors.REDIS_ARGUMENTS_MAX:
            self._args.append(argument)
            return
        self._more += 1
        self._more_hash.update(argument if isinstance(argument, bytes) else argument.digest.encode())
        self._more_hash.update(b"\r\n")


def _bounded(size: int) -> None:
    if size > limits_collectors.REDIS_LINE_BYTES_MAX:
        raise Garbage("a line longer than Redis takes")


def _number(text: bytes) -> int:
    digits = text[1:] if text[:1] == b"-" else text
    if not digits.isdigit() or len(digits) > 18:
        raise Garbage("a length that is no number")
    return int(text)


_ESCAPES: Final = {0x6E: b"\n", 0x72: b"\r", 0x74: b"\t", 0x62: b"\b", 0x61: b"\a"}
_SPACES: Final = b" \t\r\n\v\f\0"


def _words(line: bytes) -> Iterable[bytes]:
    """The words of an inline command: "..." with escapes, '...' with \\' only, else up to a space."""
    pos = 0
    while True:
        while pos < len(line) and line[pos] in _SPACES:
            pos += 1
        if pos >= len(line):
            return
        word = bytearray()
        while pos < len(line) and line[pos] not in _SPACES:
            if line[pos] in b"\"'":
                pos = _quoted(line, pos, word)
            else:
                word.append(line[pos])
                pos += 1
        yield bytes(word)


def _quoted(line: bytes, pos: int, word: bytearray) -> int:
    quote = line[pos]
    pos += 1
    while pos < len(line) and line[pos] != quote:
        if line[pos] == 0x5C and pos + 1 < len(line) and (quote == 0x22 or line[pos + 1] == quote):
            pos += 1
            if quote == 0x22 and line[pos] == 0x78 and (hexadecimal := _hex(line[pos + 1 : pos + 3])) is not None:
                word.append(hexadecimal)
                pos += 3
                continue
            word += _ESCAPES.get(line[pos], line[pos : pos + 1]) if quote == 0x22 else line[pos : pos + 1]
        else:
            word.append(line[pos])
        pos += 1
    return pos + 1


def _hex(text: bytes) -> int | None:
    return int(text, 16) if len(text) == 2 and all(char in b"0123456789abcdefABCDEF" for char in text) else None


_LINES: Final = frozenset("+-:_#,(")
_BULKS: Final = frozenset("$!=")
_AGGREGATES: Final = {"*": 1, "~": 1, ">": 1, "%": 2, "|": 2}
ATTRIBUTE: Final = "|"


class ReplyParser:
    """Reads what a server sends. `looked_at` says of how many elements of the reply that begins now anything is to be known."""

    def __init__(self, looked_at: Callable[[], int] = lambda: limits_collectors.REDIS_REPLY_ITEMS_MAX) -> None:
        self._looked_at = looked_at
        self._items_max = 0
        self._rest = b""
        self._skip = 0
        """Bytes of a long text that have not come."""
        self._open: list[list[int | str]] = []
        """Aggregates that are not complete, outermost first: values that are missing, and the first byte."""
        self._items: list[Item] = []
        self._ready: list[Reply] = []

    def feed(self, data: bytes) -> Iterable[Reply]:
        """The replies that are complete with these bytes. Raises Garbage; what was complete before it was given out."""
        data, pos = self._rest + data if self._rest else data, 0
        self._rest = b""
        if self._skip:
            pos = min(self._skip, len(data))
            self._skip -= pos
            if self._skip:
                return
        size = len(data)
        while pos < size:
            end = data.find(b"\r\n", pos)
            if end < 0:
                _bounded(size - pos)
                self._rest = data[pos:]
                break
            if self._ready:
                yield from self._taken()
            kind = chr(data[pos])
            if kind in _LINES:
                self._value(Item(kind, data[pos + 1 : min(end, pos + 1 + limits_collectors.REDIS_REPLY_TEXT_BYTES_MAX)], kind == "_"))
                pos = end + 2
            elif kind in _BULKS:
                length = _number(data[pos + 1 : end])
                if length < 0:
                    self._value(Item(kind, empty=True))
                    pos = end + 2
                    continue
                after = end + 2 + length + 2
                if length <= limits_collectors.REDIS_REPLY_TEXT_BYTES_MAX:
                    if after > size:
                        self._rest = data[pos:]
                        break
                    self._value(Item(kind, data[end + 2 : after - 2], not length))
                else:
                    # Complete only with its last byte: told of now, it would be told of before the client has it, which harms nobody.
                    self._value(Item(kind))
                    if after > size:
                        self._skip = after - size
                pos = self._skip_texts(data, after, size) if self._open else after
            elif kind in _AGGREGATES:
                self._begin(kind, _number(data[pos + 1 : end]))
                pos = end + 2
            else:
                raise Garbage("a reply of no known type")
        yield from self._taken()

    def _taken(self) -> list[Reply]:
        ready, self._ready = self._ready, []
        return ready

    def _skip_texts(self, data: bytes, pos: int, size: int) -> int:
        """Go past texts in an aggregate of which nothing is to be known: long lists are read in no time."""
        innermost = self._open[-1]
        missing = int(innermost[0])
        if len(self._open) == 1 and len(self._items) < self._items_max:
            return pos
        while missing > 1 and pos < size and data[pos] == 0x24:  # $
            end = data.find(b"\r\n", pos)
            digits = data[pos + 1 : end]
            if end < 0 or not digits.isdigit() or len(digits) > 9:
                break
            after = end + 4 + int(digits)
            if after > size:
                break
            pos = after
            missing -= 1
        innermost[0] = missing
        return pos

    def _begin(self, kind: str, count: int) -> None:
        if count <= 0:
            if kind != ATTRIBUTE:
                self._value(Item(kind, empty=True))
            return
        if len(self._open) >= limits_collectors.REDIS_REPLY_DEPTH_MAX:
            raise Garbage("a reply nested too deep")
        if not self._open:
            self._items_max = min(limits_collectors.REDIS_REPLY_ITEMS_MAX, self._looked_at())
        self._open.append([count * _AGGREGATES[kind], kind])

    def _value(self, item: Item) -> None:
        """A value is complete, and with it perhaps those around it."""
        while True:
            if not self._open:
                items, self._items = tuple(self._items), []
                self._ready.append(Reply(item, items))
                return
            innermost = self._open[-1]
            if len(self._open) == 1 and innermost[1] != ATTRIBUTE and len(self._items) < self._items_max:
                self._items.append(item)
            missing = int(innermost[0]) - 1
            innermost[0] = missing
            if missing:
                return
            kind = str(self._open.pop()[1])
            if kind == ATTRIBUTE:
                return
            item = Item(kind)
