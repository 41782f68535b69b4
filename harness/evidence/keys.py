"""The memory behind "once per key": which answers a hypothesis has already bet on, in bounded space."""

from harness.core.limits import KEYS_MAX, KEYS_PER_HYPOTHESIS_MAX


class KeyBudget:
    """How many keys all memories of a ledger hold together."""

    __slots__ = ("maximum", "used")

    def __init__(self, maximum: int = KEYS_MAX) -> None:
        self.maximum = maximum
        self.used = 0


class KeyMemory:
    """The keys of one hypothesis, the least recently seen forgotten first.

    Forgetting looks at nothing but the order of arrival, so it favours no arm.
    """

    __slots__ = ("_budget", "_keys", "_maximum")

    def __init__(self, budget: KeyBudget, maximum: int = KEYS_PER_HYPOTHESIS_MAX) -> None:
        self._budget = budget
        self._maximum = maximum
        self._keys: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: int) -> bool:
        """Whether the key is new; it is remembered from now on."""
        keys = self._keys
        if key in keys:
            del keys[key]
            keys[key] = None
            return False
        if keys and (len(keys) >= self._maximum or self._budget.used >= self._budget.maximum):
            del keys[next(iter(keys))]
        else:
            self._budget.used += 1
        keys[key] = None
        return True
