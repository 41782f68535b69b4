"""How the gate says things: reasons, counts, lists and shares in words. Pure."""

import math
from collections.abc import Iterable
from typing import Final

from harness.core.labels import NEXT_STEP, ReasonCode
from harness.evidence.snapshot import Reason

NAMES_SHOWN_MAX: Final = 5


def reason(code: ReasonCode, message: str, finding: str | None = None) -> Reason:
    """A reason with the next step of its code; `finding` is the id of the finding it is about."""
    return Reason(code=code, message=message, finding=finding, next_step=NEXT_STEP[code])


def count_of(number: int, noun: str, many: str = "") -> str:
    """`1 request`, `2,000 requests`; `many` where more of them are called otherwise."""
    return f"{number:,} {noun if number == 1 else many or f'{noun}s'}"


def listed(names: Iterable[str]) -> str:
    """The first few names, each once, and how many more there are."""
    every = list(dict.fromkeys(names))
    more = len(every) - NAMES_SHOWN_MAX
    return ", ".join(every[:NAMES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def percent(share: float, *, up: bool = True) -> str:
    """With two significant digits, rounded up where it is a bound: never more than is claimed."""
    value = share * 100.0
    if value <= 0.0:
        return "0 %"
    digits = 1 - math.floor(math.log10(value))
    scale = 10.0**digits
    rounded = (math.ceil(value * scale - 1e-9) if up else math.floor(value * scale + 1e-9)) / scale
    return f"{rounded:.{max(0, digits)}f}".rstrip("0").rstrip(".") + " %" if digits > 0 else f"{rounded:.0f} %"
