"""The collector of cycles, in processes that run long and make no cycles of their own for each trial."""

import gc
from typing import Final

NEW_OBJECTS_MAX: Final = 50_000
"""Objects made and not freed until the collector looks. Nearly all that is made for a trial is freed with it, uncollected."""


def collect_rarely() -> None:
    """Never look again at what is there now, and rarely at what is new: each look at all of it holds up the event loop."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS_MAX, 20, 100)
