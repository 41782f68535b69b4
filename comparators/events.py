"""Streams of events of which the harness heard a part only: how far two of them can be compared.

A stream that the harness stopped listening to had no end of its own, so where it stops is no difference: the events that both
sides have are compared. That an open stream said nothing while the other spoke, or far less than another open one, is a
difference: both were listened to for the same time.
"""

import re
from typing import Final

from comparators.api import BodyView
from harness.core.http import EVENT_STREAM
from harness.core.labels import Aspect, Kind
from harness.core.values import Difference

_AFTER_EVENT: Final = re.compile(rb"(?<=\r\n\r\n)|(?<=\n\n)|(?<=\r\r)")
"""Server-sent events end with an empty line; lines end with CR, LF or both (HTML standard, 9.2.5)."""
_COUNT_BUCKETS_MIN: Final = 2
"""Numbers of events are told apart by a factor of about four, as lengths are."""


def common_events(left: tuple[BodyView, bool], right: tuple[BodyView, bool]) -> tuple[BodyView, BodyView, tuple[Difference, ...]]:
    """Both sides as far as they are to be compared, and what is a difference already. The flag says that a side was cut."""
    (one, one_cut), (other, other_cut) = left, right
    first, second = _events(one, cut=one_cut), _events(other, cut=other_cut)
    found = _silence(len(first), len(second), one_cut=one_cut, other_cut=other_cut)
    if one_cut and (other_cut or len(first) < len(second)):
        second = second[: len(first)]
    if other_cut and (one_cut or len(second) < len(first)):
        first = first[: len(second)]
    return _of(one, first), _of(other, second), found


def _of(view: BodyView, events: list[bytes]) -> BodyView:
    return BodyView(b"".join(events), view.media_type, view.parameters)


def _events(view: BodyView, *, cut: bool) -> list[bytes]:
    """Whole events, without those that are comments only, which keep a connection awake."""
    if view.media_type == EVENT_STREAM:
        events = [event for event in _AFTER_EVENT.split(view.data) if event]
        if cut and events and not events[-1].endswith((b"\n\n", b"\r\r", b"\r\n\r\n")):
            events.pop()
        return [event for event in events if not all(line.startswith(b":") for line in event.splitlines() if line)]
    lines = view.data.splitlines(keepends=True)
    if cut and lines and not lines[-1].endswith((b"\n", b"\r")):
        lines.pop()
    return [line for line in lines if line.strip()]


def _silence(first: int, second: int, *, one_cut: bool, other_cut: bool) -> tuple[Difference, ...]:
    counts = f"{first} events", f"{second} events"
    if (one_cut and not first and second) or (other_cut and not second and first):
        kind = Kind.MISSING if first else Kind.EXTRA
        return (Difference(Aspect.BODY, "$", kind, counts[0], counts[1], "$", "a stream without an event while the other spoke"),)
    if one_cut and other_cut and abs(first.bit_length() - second.bit_length()) >= _COUNT_BUCKETS_MIN:
        return (Difference(Aspect.BODY, "$", Kind.LENGTH, counts[0], counts[1], "$", "streams that were listened to for the same time"),)
    return ()
