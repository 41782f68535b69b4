"""Which trials may still come: the senders (streams, one for each ingress worker) and the compare workers that have something of them.

A trial that was handed on is given up only when it is certain that no result of it is still under way: when the compare
worker that had it, or its part in the stream, is over. Values and calls only; processes and sockets are not known here.
"""

from typing import Protocol


class Outlet(Protocol):
    """Who is told what will not come any more, in order with the results themselves."""

    def lost(self, stream: int, seqs: tuple[int, ...]) -> None:
        """These trials will not come, unless they have come before."""

    def close(self, stream: int, handed_on: int) -> None:
        """Nothing more of this stream, which had so many trials, will come."""


class _Stream:
    def __init__(self) -> None:
        self.comparers: set[int] = set()
        """From which something of it may still come."""
        self.ended: set[int] = set()
        """From which nothing more will come, though they are there."""
        self.handed_on: int | None = None
        """How many trials it had; known once its sender is gone."""


class Streams:
    """Told of every beginning and end, it tells the outlet of each stream's end exactly once."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._streams: dict[int, _Stream] = {}
        self._deferred: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
        """By compare worker that is there: trials given up by their senders, whose results may still be on their way."""

    @property
    def open(self) -> int:
        """Streams that are not over."""
        return len(self._streams)

    def begin(self, stream: int) -> None:
        """A sender starts. Its number must be new."""
        self._streams[stream] = _Stream()

    def comparer_begins(self, comparer: int) -> None:
        """A compare worker is there. Its number must be new."""
        self._deferred[comparer] = []

    def connected(self, stream: int, comparer: int) -> None:
        """From now on trials of the stream may be with this compare worker.

        Its end may have come before: sender and compare worker are heard over connections of their own.
        """
        if comparer in self._deferred and stream in self._streams and comparer not in self._streams[stream].ended:
            self._streams[stream].comparers.add(comparer)

    def lost(self, stream: int, comparer: int, seqs: tuple[int, ...]) -> None:
        """The sender has lost the compare worker, and with it, as far as it can see, these trials."""
        if stream in self._streams and comparer in self._streams[stream].comparers:
            self._deferred[comparer].append((stream, seqs))
        else:
            self._outlet.lost(stream, seqs)

    def part_over(self, stream: int, comparer: int) -> None:
        """All that this compare worker will ever have of the stream has come."""
        deferred = self._deferred.get(comparer, [])
        for seqs in [seqs for number, seqs in deferred if number == stream]:
            self._outlet.lost(stream, seqs)
        deferred[:] = [(number, seqs) for number, seqs in deferred if number != stream]
        if stream in self._streams:
            self._streams[stream].comparers.discard(comparer)
            if comparer in self._deferred:
                self._streams[stream].ended.add(comparer)
            self._close_if_over(stream)

    def comparer_over(self, comparer: int) -> None:
        """All that will ever come of this compare worker has come."""
        for stream in list(self._streams):
            self.part_over(stream, comparer)
        for left in self._streams.values():
            left.ended.discard(comparer)
        self._deferred.pop(comparer, None)

    def sender_over(self, stream: int, handed_on: int) -> None:
        """The sender is gone, and so many of its trials had been handed on."""
        self._streams[stream].handed_on = handed_on
        self._close_if_over(stream)

    def _close_if_over(self, number: int) -> None:
        stream = self._streams[number]
        if stream.handed_on is not None and not stream.comparers:
            del self._streams[number]
            self._outlet.close(number, stream.handed_on)
