"""Bytes to messages: llhttp (through httptools) under size bounds and the strict checks of wire. No I/O.

A parser calls its receiver as the parts of a message become known. It is told when a body's bytes were all framing.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import httptools

from harness.core.labels import ErrorKind, RefusedReason
from harness.core.limits import CHUNK_OVERHEAD_BYTES_PER_BYTE_MAX, HEAD_BYTES_MAX, INTERIM_ANSWERS_MAX, REQUEST_BODY_BYTES_MAX
from harness.core.plain import PlainAnswer
from harness.core.values import Headers
from harness.proxy import wire
from harness.proxy.plain import KnownHeads, PlainRequest, plain_answer, plain_request
from harness.proxy.wire import AnswerHead, BrokenAnswer, Framing, Refused, RequestHead

_FIELD_OVERHEAD_BYTES = 4


class RequestReceiver(Protocol):
    """Told of the requests on one connection, part by part, in order."""

    def request_head(self, head: RequestHead) -> None:
        """A new request begins."""

    def request_body(self, data: bytes) -> None:
        """The next piece of its body."""

    def request_end(self, trailers: Headers) -> None:
        """It is complete."""


class AnswerReceiver(Protocol):
    """Told of one answer, part by part, in order."""

    def answer_interim(self, head: AnswerHead) -> None:
        """A 1xx answer; the final one is still to come."""

    def answer_head(self, head: AnswerHead) -> None:
        """The final answer begins."""

    def answer_body(self, data: bytes) -> None:
        """The next piece of its body."""

    def answer_end(self, trailers: Headers) -> None:
        """It is complete."""


class _Fields(ABC):
    """Header fields of a message as they come, counted against the bound on a head."""

    def __init__(self) -> None:
        self._fields: list[tuple[str, str]] = []
        self._head_bytes = 0
        self._in_head = True
        self._between = True
        self._ended = False
        self._partial_bytes = 0
        self._body_bytes = 0
        self._raw_bytes = 0
        self.messages = 0
        """Messages begun so far."""

    def on_message_begin(self) -> None:
        self.messages += 1
        self._fields = []
        self._head_bytes = 0
        self._in_head = True
        self._between = False
        self._body_bytes = 0
        self._raw_bytes = 0
        self._partial_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + _FIELD_OVERHEAD_BYTES
        if self._head_bytes > HEAD_BYTES_MAX:
            raise self._head_too_large()
        self._fields.append((name.decode("latin-1"), value.rstrip(b" \t").decode("latin-1")))

    @abstractmethod
    def _head_too_large(self) -> Exception: ...

    def _take_fields(self) -> Headers:
        fields = tuple(self._fields)
        self._fields = []
        return fields

    @property
    def mid_message(self) -> bool:
        """Whether a message has begun and not ended."""
        return not self._between

    def _over_bound(self, count: int) -> bool:
        """Whether an unfinished head, or the framing around a body, has grown beyond its bound. Call after each read."""
        ended, self._ended = self._ended, False
        if self._between:
            self._partial_bytes = 0
            return False
        if ended:  # how much of this read belongs to the message before is not known
            return False
        if self._in_head:
            self._partial_bytes += count
            return self._partial_bytes > HEAD_BYTES_MAX + count
        self._partial_bytes = 0
        self._raw_bytes += count
        return self._raw_bytes > count + HEAD_BYTES_MAX + self._body_bytes * CHUNK_OVERHEAD_BYTES_PER_BYTE_MAX


class _Judge:
    """llhttp asked about one whole message at a time, telling nothing of its parts."""

    def __init__(self, make: "Callable[[_Judge], httptools.HttpRequestParser | httptools.HttpResponseParser]") -> None:
        self._make = make
        self._parser = make(self)
        self._complete = False

    def on_message_complete(self) -> None:
        self._complete = True

    def accepts(self, data: bytes) -> bool:
        """Whether `data`, which ends where its reader takes the message to end, is all of one message to llhttp too."""
        self._complete = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._complete = False
        if not self._complete:
            self._parser = self._make(self)
        return self._complete


class RequestParser(_Fields):
    """Requests from one client connection. `feed` raises Refused, after which the connection is of no more use."""

    def __init__(self, receiver: RequestReceiver) -> None:
        super().__init__()
        self._receiver = receiver
        self._parser = httptools.HttpRequestParser(self)
        self._refused: Refused | None = None
        self._url = b""
        self._resuming: RequestHead | None = None
        self._last = False
        self._held: bytes | None = None
        self._judge = _Judge(httptools.HttpRequestParser)

    @property
    def holding(self) -> bool:
        """Whether bytes wait for the end of such a wait (see `release`)."""
        return bool(self._held)

    def release(self) -> bytes:
        """End the wait that follows a head with `upgrade`, and return what came meanwhile, to feed again or to pass on raw."""
        held, self._held = self._held, None
        return held or b""

    def has_ended(self) -> bool:
        """The last request said that none follows; what comes after it is not looked at."""
        return self._last and self._between

    def plain(self, data: bytes) -> PlainRequest | None:
        """Read `data` as one plain request, which the receiver is not told of; on None nothing was read, and `feed` is to be called."""
        if not self._between or self._last or self._held is not None:
            return None
        found = plain_request(data)
        if found is None or not self._judge.accepts(data):
            return None
        self.messages += 1
        self._last = not found.head.keep_alive
        return found

    def feed(self, data: bytes) -> None:
        """Read on. The receiver is called for all that `data` completes. Raises Refused."""
        if self._held is not None:
            self._held += data
            return
        count = len(data)
        while True:
            if self.has_ended():
                return
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                held = self._resuming is not None and self._resuming.upgrade
                self._resume_after_upgrade()
                if held:
                    self._held = data
                elif data:
                    continue
            except httptools.HttpParserError as error:
                if self._refused is not None:
                    raise self._refused from None
                if self.has_ended():
                    return
                raise _refusal(error) from None
            break
        if self._over_bound(count):
            raise self._head_too_large()

    def _head_too_large(self) -> Refused:
        if self._in_head:
            self._refused = Refused(431, RefusedReason.HEAD_TOO_LARGE, f"the head is larger than {HEAD_BYTES_MAX} bytes")
        else:
            self._refused = wire.bad_request("the body is nearly all framing")
        return self._refused

    def _resume_after_upgrade(self) -> None:
        """The parser stops at a head with Upgrade as if no body could follow; a server may ignore Upgrade (RFC 9110 7.8).

        A new parser is brought to where the old one stopped by a head with the same framing.
        """
        head, self._resuming = self._resuming, None
        self._parser = httptools.HttpRequestParser(self)
        if head is None or head.framing is Framing.NONE or (head.framing is Framing.LENGTH and not head.length):
            return
        framing = f"Content-Length: {head.length}" if head.framing is Framing.LENGTH else "Transfer-Encoding: chunked"
        self._resuming = head
        self._parser.feed_data(f"{head.method} / HTTP/1.1\r\n{framing}\r\n\r\n".encode("latin-1"))

    def on_message_begin(self) -> None:
        if self._resuming is None:
            super().on_message_begin()
            self._url = b""

    def on_url(self, url: bytes) -> None:
        if self._resuming is None:
            self._head_bytes += len(url)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refused = Refused(414, RefusedReason.HEAD_TOO_LARGE, f"the request target is longer than {HEAD_BYTES_MAX} bytes")
                raise self._refused
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._resuming is None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._resuming is not None:
            self._resuming = None
            return
        try:
            head = wire.request_head(
                self._parser.get_method().decode("ascii"),
                self._url.decode("latin-1"),
                self._take_fields(),
                version=self._parser.get_http_version(),
                keep_alive=self._parser.should_keep_alive(),
                upgrade=self._parser.should_upgrade(),
            )
        except Refused as refused:
            self._refused = refused
            raise
        self._in_head = False
        self._head_bytes = 0
        self._last = not head.keep_alive
        self._receiver.request_head(head)
        if self._parser.should_upgrade():
            self._resuming = head

    def on_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if self._body_bytes > REQUEST_BODY_BYTES_MAX:
            self._refused = Refused(413, RefusedReason.BODY_TOO_LARGE, f"the body is larger than {REQUEST_BODY_BYTES_MAX} bytes")
            raise self._refused
        self._receiver.request_body(data)

    def on_message_complete(self) -> None:
        head = self._resuming
        if head is not None and (head.framing is Framing.CHUNKED or head.length):
            return
        self._between = self._ended = True
        self._receiver.request_end(self._take_fields())


def _refusal(error: httptools.HttpParserError) -> Refused:
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return Refused(501, RefusedReason.BAD_REQUEST, "the method is not one that is served")
    return wire.bad_request(f"the request cannot be read: {error.args[0]}")


class AnswerParser(_Fields):
    """Answers on one connection to a target, one exchange at a time. `feed` raises BrokenAnswer."""

    def __init__(self, known: KnownHeads | None = None) -> None:
        """`known` is shared by all connections to a target."""
        super().__init__()
        self._known = known or KnownHeads()
        self._parser = httptools.HttpResponseParser(self)
        self._receiver: AnswerReceiver | None = None
        self._method = ""
        self._like: PlainAnswer | None = None
        self._broken: BrokenAnswer | None = None
        self._reason = b""
        self._head: AnswerHead | None = None
        self._complete = False
        self._interim_count = 0
        self._renew = False
        self._judge = _Judge(httptools.HttpResponseParser)
        self.reusable = True
        """Whether a further answer may follow on the connection."""

    def expect(self, method: str, receiver: AnswerReceiver, like: PlainAnswer | None = None) -> None:
        """The next answer is to a request with `method`. `like` is a plain answer that may come again, byte for byte."""
        if self._renew:
            self._parser = httptools.HttpResponseParser(self)
            self._renew = False
        self._method = method
        self._receiver = receiver
        self._like = like
        self._head = None
        self._complete = False
        self._interim_count = 0
        self._partial_bytes = 0

    def plain(self, data: bytes) -> PlainAnswer | None:
        """Read `data`, the first bytes since `expect`, as one plain answer, which the receiver is not told of; on None `feed` it."""
        if self._method == "HEAD" or not self._between:
            return None
        found, self._like = self._like, None
        if found is None or found.data != data:
            found = self._known.find(data)
        if found is None:
            found = plain_answer(data)
            if found is None or not self._judge.accepts(data):
                return None
            self._known.add(found)
        self._receiver = None
        self._complete = True
        self.reusable = self.reusable and found.keep_alive
        return found

    def feed(self, data: bytes) -> bytes | None:
        """Read on. Returns what follows a 101 answer (no longer HTTP), else None. Raises BrokenAnswer.

        The end of an answer is told last, so that the receiver may at once use the connection again.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.reusable = False
            return data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            self.reusable = False
            if not self._complete:
                raise self._broken or BrokenAnswer(ErrorKind.GARBAGE, f"the answer cannot be read: {error.args[0]}") from None
        if self._complete:
            self._finish()
        elif self._over_bound(len(data)):
            raise self._head_too_large()
        return None

    def feed_eof(self) -> bool:
        """The connection ended; returns whether that completed the answer."""
        self.reusable = False
        if self._complete or self._head is None or self._head.framing is not Framing.UNTIL_CLOSE:
            return False
        self._complete = True
        self._finish()
        return True

    def _head_too_large(self) -> BrokenAnswer:
        if self._in_head:
            self._broken = BrokenAnswer(ErrorKind.TOO_LARGE, f"the answer's head is larger than {HEAD_BYTES_MAX} bytes")
        else:
            self._broken = BrokenAnswer(ErrorKind.GARBAGE, "the answer's body is nearly all framing")
        return self._broken

    def _break(self, message: str) -> BrokenAnswer:
        self._broken = BrokenAnswer(ErrorKind.GARBAGE, message)
        return self._broken

    def on_message_begin(self) -> None:
        if self._complete or self._receiver is None:
            raise self._break("bytes after the end of the answer")
        super().on_message_begin()
        self._reason = b""

    def on_status(self, reason: bytes) -> None:
        self._head_bytes += len(reason)
        if self._head_bytes > HEAD_BYTES_MAX:
            raise self._head_too_large()
        self._reason += reason

    def on_headers_complete(self) -> None:
        try:
            head = wire.answer_head(
                self._parser.get_status_code(),
                self._reason.decode("latin-1"),
                self._take_fields(),
                request_method=self._method,
                version=self._parser.get_http_version(),
                keep_alive=self._parser.should_keep_alive(),
            )
        except BrokenAnswer as broken:
            self._broken = broken
            raise
        self._in_head = False
        self._head_bytes = 0
        assert self._receiver is not None
        if head.status < 200:
            self._interim_count += 1
            if self._interim_count > INTERIM_ANSWERS_MAX:
                raise self._break(f"more than {INTERIM_ANSWERS_MAX} interim answers")
            self._receiver.answer_interim(head)
            return
        self._head = head
        self.reusable = self.reusable and head.keep_alive
        self._receiver.answer_head(head)
        if head.framing is Framing.NONE:
            # The parser does not know that the request was HEAD and would wait for a body.
            self._renew = True
            self._complete = True

    def on_body(self, data: bytes) -> None:
        if self._complete or self._receiver is None or self._head is None:  # an interim answer has none, whatever its fields say
            raise self._break("a body where none may be")
        self._body_bytes += len(data)
        self._receiver.answer_body(data)

    def on_message_complete(self) -> None:
        if self._head is not None:
            self._complete = True

    def _finish(self) -> None:
        receiver, self._receiver = self._receiver, None
        self._between = True
        if receiver is not None:
            receiver.answer_end(self._take_fields())
