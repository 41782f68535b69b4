"""Time, chance and names as things that are passed in, so that a run can be repeated from its seed."""

from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back; only differences mean anything."""
        ...

    def time(self) -> float:
        """Seconds since the epoch, for people."""
        ...


class Rng(Protocol):
    """Where chance comes from; `random.Random(seed)` is one."""

    def random(self) -> float:
        """Uniform in [0, 1)."""
        ...

    def shuffle(self, x: list[object], /) -> None:
        """In place, uniformly."""
        ...

    def randrange(self, start: int, /) -> int:
        """Uniform in [0, start)."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """Uniform in [0, 2**k). Cheaper than `randrange`."""
        ...


class Ids(Protocol):
    """Where trial ids come from."""

    def next_id(self) -> str:
        """Unique within the run, short, safe in a file name."""
        ...
