"""What somebody asks of the mirroring switch, and the answer: from the text of a request to a percentage. Pure."""

import math
from collections.abc import Mapping
from typing import Final

import msgspec
import orjson

from harness.core.errors import UsageError
from harness.counters import TargetBreakers

_WORDS: Final = {"on": 100.0, "off": 0.0}
_FIX: Final = 'send {"mirror": "on"}, {"mirror": "off"} or {"percent": 25}, or the same as query'


class MirrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of /api/v1/mirror."""

    mirror: str
    """`on`, or `off` where nothing is mirrored."""
    percent: float
    """How much of what is sampled is mirrored."""
    breakers: Mapping[str, TargetBreakers]
    """How the breakers of each shadow target stand."""


def mirror_answer(percent: float, breakers: Mapping[str, TargetBreakers]) -> MirrorAnswer:
    """How mirroring stands."""
    return MirrorAnswer(mirror="on" if percent > 0 else "off", percent=percent, breakers=breakers)


def asked_percent(query: Mapping[str, str], body: bytes) -> float:
    """The percentage asked for, in the query or in a JSON body. Raises UsageError unless it is said once and plainly."""
    if len(query) + bool(body) > 1:
        raise _wrong("it is said twice")
    asked: object = _decoded(body) if body else dict(query)
    if not isinstance(asked, dict) or len(asked) != 1:
        raise _wrong("one of mirror and percent is expected")
    ((name, value),) = asked.items()
    if name == "mirror" and isinstance(value, str) and value in _WORDS:
        return _WORDS[value]
    if name == "percent":
        return _percent(value)
    raise _wrong("one of mirror (on or off) and percent is expected")


def _percent(value: object) -> float:
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not 0.0 <= number <= 100.0:
        raise _wrong("percent is a number from 0 to 100")
    return number


def _decoded(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _wrong("the body is not JSON") from error


def _wrong(what: str) -> UsageError:
    return UsageError(what, where="/api/v1/mirror", fix=_FIX)
