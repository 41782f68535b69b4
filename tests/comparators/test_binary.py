"""Bytes: type, size, digest."""

import pytest

from comparators.api import BodyView
from comparators.binary import COMPARATOR, compare_bytes
from harness.core.labels import Kind
from tests.comparators.support import mirrored, plain, use_of

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("left", "right", "kind"),
    [
        (PNG + b"a", PNG + b"b", Kind.VALUE),
        (PNG + b"a", b"\xff\xd8\xffb", Kind.FORMAT),
        (PNG, b"plain", Kind.VALUE),
        (b"x" * 10, b"x" * 500, Kind.LENGTH),
        (b"x", b"x" * 20, Kind.VALUE),
    ],
)
def test_bytes(left: bytes, right: bytes, kind: Kind) -> None:
    found = tuple(COMPARATOR.compare(BodyView(left), BodyView(right), use_of()))
    assert [(d.path, d.kind) for d in found] == [("$", kind)]
    assert plain(compare_bytes(right, left)) == mirrored(found)


def test_what_is_shown() -> None:
    (only,) = compare_bytes(PNG + b"a", b"y")
    assert str(only.left).startswith("PNG, 9 bytes, SHA-256 ")
    assert str(only.right).startswith("data, 1 bytes, SHA-256 ")


def test_equal_and_any_type() -> None:
    assert not tuple(COMPARATOR.compare(BodyView(b"a"), BodyView(b"a"), use_of()))
    assert COMPARATOR.matches("anything/at-all")
