"""One connection of a build to Redis, followed: which commands it sent, and which of them the server's replies say were done.

Pure, without I/O: bytes of both directions in, writes out. What cannot be followed is told as a lapse and ends the watching, never
the connection.
"""

import re
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

import msgspec

from harness.core import limits_collectors
from harness.effects.redis import commands
from harness.effects.redis.commands import Write
from harness.effects.redis.resp import Command, Garbage, Item, Reply, ReplyParser, RequestParser

_NAME: Final = re.compile(r"[A-Z][A-Z0-9_.|-]{0,31}")
_CONFIRMATIONS: Final = frozenset({b"subscribe", b"psubscribe", b"ssubscribe", b"unsubscribe", b"punsubscribe", b"sunsubscribe"})
_MESSAGES: Final = frozenset({b"message", b"pmessage", b"smessage"})


class Done(msgspec.Struct, frozen=True):
    """A write that was done."""

    write: Write
    database: int
    note: str = ""


class _Does(Enum):
    """What a command means to the following of a connection."""

    NOTHING = auto()
    WRITE = auto()
    EXEC = auto()
    DISCARD = auto()
    RESET = auto()
    SUBSCRIBE = auto()
    SELECT = auto()
    UNKNOWN = auto()


class _Pending(msgspec.Struct, frozen=True):
    does: _Does
    verb: str = ""
    command: Command | None = None
    size: int = 0


_NOTHING: Final = _Pending(_Does.NOTHING)
_PLAIN: Final = {
    "EXEC": _Pending(_Does.EXEC),
    "DISCARD": _Pending(_Does.DISCARD),
    "RESET": _Pending(_Does.RESET),
    **dict.fromkeys(("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"), _Pending(_Does.SUBSCRIBE)),
}
_MESSAGE_ITEMS: Final = 3
_UNSEEN_REPLY: Final = "its reply was switched off"


class Tracker:
    """Follows one connection. `lapse(what, blind)` is told what cannot be seen; `database` is the one a connection begins with."""

    def __init__(self, lapse: Callable[[str, bool], None], database: int = 0) -> None:
        self._lapse = lapse
        self._requests = RequestParser()
        self._replies = ReplyParser(self._looked_at)
        self._first_database = database
        self._database = database
        self._pending: deque[_Pending] = deque()
        self._queued: list[_Pending] = []
        """Commands that the server keeps for EXEC."""
        self._size = 0
        self._writes = 0
        self._in_multi = False
        self._subscribed = False
        self._silent = False
        """CLIENT REPLY OFF."""
        self._skip = False
        """CLIENT REPLY SKIP: no reply to the next command."""
        self._unseen: list[_Pending] | None = None
        """Commands of a transaction whose replies are off."""
        self._confirmed = 0
        """Confirmations of the subscription that is first in line."""
        self._watching = True

    @property
    def database(self) -> int:
        """The logical database that is selected."""
        return self._database

    @property
    def waiting(self) -> int:
        """Writes whose reply is to come soon."""
        return self._writes

    def requests(self, data: bytes) -> list[Done]:
        """Bytes of the build. Returns writes that will have no reply."""
        done: list[Done] = []
        if self._watching:
            try:
                for command in self._requests.feed(data):
                    if self._is_over():
                        break
                    self._request(command, done)
            except Garbage as error:
                self._stop(f"a build sent what is not RESP ({error}): its connection was not watched any further")
        return done

    def replies(self, data: bytes) -> list[Done]:
        """Bytes of the server. Returns writes that were done."""
        done: list[Done] = []
        if self._watching:
            try:
                for reply in self._replies.feed(data):
                    if self._is_over():
                        break
                    self._reply(reply, done)
            except Garbage as error:
                self._stop(f"the server sent what is not RESP ({error}): the connection was not watched any further")
        return done

    def ended(self) -> None:
        """The connection is over."""
        if self._writes:
            self._lapse("a connection ended before the replies to writes had come: whether they were done is not known", True)
        self._end()

    def _looked_at(self) -> int:
        """Of EXEC every element is a reply; else the first ones tell messages from replies."""
        return limits_collectors.REDIS_REPLY_ITEMS_MAX if self._pending and self._pending[0].does is _Does.EXEC else _MESSAGE_ITEMS

    def _is_over(self) -> bool:
        return not self._watching

    def _stop(self, why: str, *, blind: bool = True) -> None:
        self._lapse(why, blind)
        self._end()

    def _end(self) -> None:
        self._watching = False
        self._pending.clear()
        self._queued.clear()
        self._writes = 0

    def _request(self, command: Command, done: list[Done]) -> None:
        verb = commands.verb_of(command)
        if verb == "CLIENT" and self._is_reply_mode(command):
            return
        if verb in {"MONITOR", "SYNC", "PSYNC"}:
            # From here on the server sends what no command asked for; such a client writes nothing.
            self._end()
            return
        pending = self._pending_of(verb, command)
        if pending.does is _Does.SUBSCRIBE and self._in_multi:
            self._stop("a build subscribed inside MULTI: its connection was not watched any further")
            return
        if verb in {"MULTI", "EXEC", "DISCARD", "RESET"}:
            self._in_multi = verb == "MULTI"
        if verb == "RESET":
            self._silent = self._skip = False
        if verb in {"EXEC", "DISCARD", "RESET"} and not (self._silent or self._skip):
            self._unseen = None
        if self._silent or self._skip:
            self._skip = False
            self._request_unseen(verb, pending, done)
            return
        self._pending.append(pending)
        self._writes += self._counts(pending)
        self._size += pending.size
        if (
            len(self._pending) + len(self._queued) > limits_collectors.REDIS_PENDING_MAX
            or self._size > limits_collectors.REDIS_PENDING_BYTES_MAX
        ):
            self._stop("more commands waited for their replies than can be kept: the connection was not watched any further")

    def _counts(self, pending: _Pending) -> bool:
        return (pending.does is _Does.WRITE and not commands.blocks(pending.verb)) or pending.does is _Does.EXEC

    def _pending_of(self, verb: str, command: Command) -> _Pending:
        if verb in _PLAIN:
            return _PLAIN[verb]
        if commands.is_write(verb, command):
            return _Pending(_Does.WRITE, verb, command, command.kept_bytes)
        if verb == "SELECT":
            return _Pending(_Does.SELECT, verb, command)
        return _NOTHING if commands.is_known(verb) else _Pending(_Does.UNKNOWN, verb)

    def _is_reply_mode(self, command: Command) -> bool:
        """Whether it is CLIENT REPLY; it has a reply only where it switches them on."""
        words = [bytes(arg).upper() if isinstance(arg, bytes) else b"" for arg in command.args[1:3]]
        if len(words) < 2 or words[0] != b"REPLY" or words[1] not in {b"ON", b"OFF", b"SKIP"}:
            return False
        if self._in_multi:
            self._stop("a build switched replies inside MULTI: its connection was not watched any further")
        elif words[1] == b"ON":
            self._silent = self._skip = False
            self._unseen = None
            self._pending.append(_NOTHING)
        elif words[1] == b"OFF":
            self._silent = True
        elif not self._silent:
            self._skip = True
        return True

    def _request_unseen(self, verb: str, pending: _Pending, done: list[Done]) -> None:
        """A command without a reply is taken for done."""
        if verb == "MULTI":
            self._unseen = []
        elif verb == "EXEC":
            for one in self._unseen or ():
                self._apply(one, Item("+"), done, _UNSEEN_REPLY)
            self._unseen = None
        elif verb == "DISCARD":
            self._unseen = None
        elif self._unseen is not None:
            if len(self._unseen) >= limits_collectors.REDIS_PENDING_MAX:
                self._stop("more commands waited for EXEC than can be kept: the connection was not watched any further")
                return
            self._unseen.append(pending)
        else:
            self._apply(pending, Item("+"), done, _UNSEEN_REPLY)

    def _reply(self, reply: Reply, done: list[Done]) -> None:
        if self._is_pushed(reply):
            return
        item = reply.item
        while self._pending and self._pending[0].does is _Does.SUBSCRIBE and not (item.is_error and not self._confirmed):
            # Its confirmations have come; how many there would be was not known.
            self._pending.popleft()
        self._confirmed = 0
        if not self._pending:
            if not item.is_error:  # a server may refuse a client, or end an idle one, unasked
                self._stop("the server sent a reply that belongs to no command: the connection was not watched any further")
            return
        pending = self._pending.popleft()
        self._writes -= self._counts(pending)
        if item.is_error and item.text.startswith((b"MOVED ", b"ASK ")):
            self._lapse("the server sent the build to another node, which is not seen: give the relay the node itself", True)
        if item.kind == "+" and item.text == b"QUEUED" and pending.does not in {_Does.EXEC, _Does.DISCARD}:
            self._queued.append(pending)
            return
        self._size -= pending.size
        if pending.does is _Does.EXEC:
            if item.kind in {"*", "~"} and not item.empty:
                for one, outcome in zip(self._queued, reply.items, strict=False):
                    self._apply(one, outcome, done)
            self._unqueue()
        else:
            self._apply(pending, item, done)

    def _unqueue(self) -> None:
        self._size -= sum(one.size for one in self._queued)
        self._queued.clear()

    def _is_pushed(self, reply: Reply) -> bool:
        """Whether it is a message, or confirms a subscription: in RESP2 these look like replies."""
        if reply.item.kind != ">" and not (reply.item.kind == "*" and len(reply.items) >= 3):
            return False
        first = reply.items[0].text if reply.items else b""
        confirms = first in _CONFIRMATIONS and bool(self._pending) and self._pending[0].does is _Does.SUBSCRIBE
        self._confirmed += confirms
        if reply.item.kind == ">":
            return True
        if confirms or (self._subscribed and first in _CONFIRMATIONS):
            self._subscribed = reply.items[2].text != b"0"
            return True
        return self._subscribed and first in _MESSAGES

    def _apply(self, pending: _Pending, item: Item, done: list[Done], note: str = "") -> None:
        command = pending.command
        match pending.does:
            case _Does.WRITE if command is not None:
                if not commands.did_nothing(pending.verb, command, item):
                    done.append(Done(commands.write_of(pending.verb, command), self._database, note))
            case _Does.SELECT if command is not None and not item.is_error:
                number = command.args[1] if len(command.args) > 1 else b""
                if isinstance(number, bytes) and number.isdigit():
                    self._database = int(number)
            case _Does.UNKNOWN if not item.is_error:
                name = pending.verb if _NAME.fullmatch(pending.verb) else "with an odd name"
                self._lapse(f"command {name} is not known: whether it writes is not seen", True)
            case _Does.DISCARD:
                self._unqueue()
            case _Does.RESET if not item.is_error:
                self._unqueue()
                self._database = self._first_database
                self._subscribed = False
            case _:
                pass
