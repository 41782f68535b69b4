"""What somebody asks of the epochs of a live run: from the text of a request to the label of a build. Pure."""

from typing import Final

import orjson

from harness.core.errors import UsageError
from harness.core.limits import BUILD_LABEL_CHARS_MAX

_FIX: Final = 'send {} or {"build": "2024-06-01"}'


def asked_build(body: bytes) -> str | None:
    """The build of the epoch that is to begin; None where the request names none, and it stays. Raises UsageError for anything else."""
    if not body:
        return None
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _wrong("the body is not JSON") from error
    if not isinstance(asked, dict) or set(asked) - {"build"}:
        raise _wrong("an object with no other member than build is expected")
    if "build" not in asked:
        return None
    build = asked["build"]
    if not isinstance(build, str) or not build.strip() or not build.isprintable() or len(build) > BUILD_LABEL_CHARS_MAX:
        raise _wrong(f"build is a text of 1 to {BUILD_LABEL_CHARS_MAX} printable characters")
    return build.strip()


def _wrong(what: str) -> UsageError:
    return UsageError(what, where="/api/v1/epoch", fix=_FIX)
