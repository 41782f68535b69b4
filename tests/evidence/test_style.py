import pytest

from harness.core.values import Scalar
from harness.evidence.style import style_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1.234, 1.23),
        ("1.234", "1.23"),
        (1234, 1200),
        ("550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-11d4-a716-446655440000"),
        ("550e8400-e29b-41d4-a716-446655440000", "00000000-0000-4000-8000-000000000017"),
        ("0123456789abcdef", "0123456789abcdef01234567"),
        ("0123456789abcdef", "0123456789ABCDEF"),
        ("0123456789abcdef", "Zm9vYmFyYmF6cXV4"),
        ("2026-01-01T00:00:00.123456Z", "2026-01-01T00:00:00.123000Z"),
    ],
)
def test_written_in_another_way(one: Scalar, other: Scalar) -> None:
    assert style_of(one) != style_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.1234567890123456, 1234.567890123456),
        (1.5, 200.5),
        (1e-9, 2e30),
        (None, True),
        ("a few words", "some words"),
        ("550e8400-e29b-41d4-a716-446655440000", "67e55044-10b1-426f-9247-bb680e5fe0c8"),
    ],
)
def test_written_alike(one: Scalar, other: Scalar) -> None:
    assert style_of(one) == style_of(other)
