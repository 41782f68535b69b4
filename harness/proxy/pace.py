"""How fast a body has to come: its average rate over the time in which its sender could send.

It knows nothing of connections and clocks: times are in seconds of one clock, which the caller looks at.
"""


class Pace:
    """One body, from its first bytes on. Time in which the harness does not read it is not its sender's."""

    __slots__ = ("_bytes_per_s_min", "_grace_s", "_since_s", "_spent_s")

    def __init__(self, now_s: float, *, bytes_per_s_min: float, grace_s: float) -> None:
        """It begins now. `bytes_per_s_min` is above 0, and nothing is asked of the first `grace_s` seconds."""
        self._bytes_per_s_min = bytes_per_s_min
        self._grace_s = grace_s
        self._spent_s = 0.0
        self._since_s: float | None = now_s

    def hold(self, now_s: float) -> None:
        """It is not read from now on."""
        if self._since_s is not None:
            self._spent_s += now_s - self._since_s
            self._since_s = None

    def go_on(self, now_s: float) -> None:
        """It is read from now on."""
        if self._since_s is None:
            self._since_s = now_s

    def left_s(self, now_s: float, received_bytes: int) -> float:
        """How long until it is too slow, should nothing more come than was received so far; not above 0 where it is now."""
        spent_s = self._spent_s if self._since_s is None else self._spent_s + now_s - self._since_s
        return max(self._grace_s, received_bytes / self._bytes_per_s_min) - spent_s
