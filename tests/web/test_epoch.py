"""What a request for a new epoch may say."""

import pytest

from harness.core.errors import UsageError
from harness.web.epoch import asked_build


@pytest.mark.parametrize(("body", "build"), [(b"", None), (b"{}", None), (b'{"build": " b-2 "}', "b-2")])
def test_a_build_or_none(body: bytes, build: str | None) -> None:
    assert asked_build(body) == build


@pytest.mark.parametrize(
    "body", [b"x", b"[]", b'{"other": 1}', b'{"build": 1}', b'{"build": " "}', b'{"build": "a\\nb"}', b'{"build": "' + b"x" * 200 + b'"}']
)
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(UsageError):
        asked_build(body)
