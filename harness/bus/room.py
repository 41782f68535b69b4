"""Which trials may still wait for comparison when it falls behind: the most frequent endpoints are shed first.

The rule is that of dynamic thresholds for a shared buffer (A. Choudhury and E. Hahne, "Dynamic queue length thresholds
for shared-memory packet switches", IEEE/ACM Transactions on Networking 6(2), 1998): an endpoint may hold no more of the
buffer than is still free. One that sends little always finds room, whatever the others do. It looks at endpoints and
sizes only, never at what an arm did.
"""

from harness.core.limits import BUS_BYTES_MAX, BUS_TRIALS_MAX, SHADOW_TRIALS_IN_FLIGHT_MAX


class FairRoom:
    """The places of one buffer. `places` are held back for trials whose shadows are under way."""

    def __init__(
        self, trials_max: int = BUS_TRIALS_MAX, bytes_max: int = BUS_BYTES_MAX, *, held_back: int = SHADOW_TRIALS_IN_FLIGHT_MAX
    ) -> None:
        self._trials_max = trials_max - held_back
        self._bytes_max = bytes_max
        self._held: dict[str, list[int]] = {}
        self.trials = 0
        """Trials in the buffer."""
        self.bytes = 0
        """Their body bytes."""

    def admits(self, endpoint: str, size: int) -> bool:
        """Whether a trial of `size` body bytes may begin, so that it finds a place when it ends."""
        free, free_bytes = self._trials_max - self.trials, self._bytes_max - self.bytes
        if free <= 0 or (size > free_bytes and self.bytes):
            return False
        held = self._held.get(endpoint)
        return held is None or (held[0] < free and held[1] + size <= free_bytes)

    def enter(self, endpoint: str, size: int) -> None:
        """A trial takes its place; what was sent is always taken."""
        held = self._held.get(endpoint)
        if held is None:
            held = self._held[endpoint] = [0, 0]
        held[0] += 1
        held[1] += size
        self.trials += 1
        self.bytes += size

    def leave(self, endpoint: str, size: int) -> None:
        """It was compared, or is lost."""
        held = self._held[endpoint]
        held[0] -= 1
        held[1] -= size
        if not held[0]:
            del self._held[endpoint]
        self.trials -= 1
        self.bytes -= size
