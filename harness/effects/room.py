"""How much a collector holds until it is drained: bounded by number and by bytes. Pure but for its counts."""

from harness.core import limits
from harness.core.values import Effect


class Room:
    """What is held now. Asked for each effect; what it does not take is the collector's lapse."""

    def __init__(self) -> None:
        self._effects = 0
        self._bytes = 0

    def takes(self, effect: Effect) -> bool:
        """Whether there is room for one more; counts it where there is."""
        size = len(effect.document)
        if self._effects >= limits.EFFECTS_UNDRAINED_MAX or self._bytes + size > limits.EFFECTS_UNDRAINED_BYTES_MAX:
            return False
        self._effects += 1
        self._bytes += size
        return True

    def leave(self, effect: Effect) -> None:
        """One that was taken has been handed on."""
        self._effects -= 1
        self._bytes -= len(effect.document)

    def clear(self) -> None:
        """All have been."""
        self._effects = self._bytes = 0
