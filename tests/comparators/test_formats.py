"""Formats: what is told apart, and above all what is not, because chance could make it."""

import base64
import random
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.formats import epochs_differ, format_of, formats_differ, time_of

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
DIGEST = "9e107d9d372bb6826bd81d3542a419d6"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("", "empty"),
        ("0f8fad5b-d9cb-469f-a165-70867728950e", "uuid"),
        ("0F8FAD5B-D9CB-469F-A165-70867728950E", "UUID"),
        ("2024-05-06T07:08:09Z", "date-time T Z"),
        ("2024-05-06 07:08:09", "date-time space"),
        ("2024-05-06T07:08:09.123+02:00", "date-time T .3 +02:00"),
        ("2024-05-06T07:08:09.123456Z", "date-time T .6 Z"),
        ("2024-05-06T07:08", "date-time T minutes"),
        ("2024-05-06", "date"),
        ("Mon, 06 May 2024 07:08:09 GMT", "http_date"),
        ("42", "integer"),
        ("-12.50", "decimal"),
        ("1e-05", "scientific"),
        (DIGEST, "hex-32"),
        (DIGEST.upper(), "HEX-32"),
        (DIGEST[:-1] + "aaaa", "text"),
        (JWT, "jwt"),
        ("https://example.com/x?y=1", "url"),
        ("someone@example.com", "email"),
        ("aGVsbG8gd29ybGQh" + "aGVsbG8gd28=", "base64"),
        ("aGVsbG8gd29ybGQhaa=", "text"),
        ("plain words", "text"),
        ("x" * 20_000, "text"),
    ],
)
def test_a_format(text: str, label: str) -> None:
    assert format_of(text) == label


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("", "x"),
        ("0f8fad5b-d9cb-469f-a165-70867728950e", DIGEST),
        ("2024-05-06T07:08:09Z", "2024-05-06T07:08:09"),
        ("2024-05-06T07:08:09Z", "2024-05-06T07:08:09+02:00"),
        ("2024-05-06T07:08:09Z", "2024-05-06 07:08:09Z"),
        ("2024-05-06T07:08:09.123Z", "2024-05-06T07:08:09Z"),
        ("2024-05-06T07:08:09.123Z", "2024-05-06T07:08:09.123456Z"),
        ("2024-05-06T07:08:09.5Z", "2024-05-06T07:08:09.123456789Z"),
        ("2024-05-06T07:08:09.123Z", "2024-05-06T07:08:09.654321+00:00"),
        ("2024-05-06", "1714979289"),
        ("12.50", "12.5"),
        ("12.50", "12"),
        ("12", "unknown"),
        ("12.5", "n/a"),
        (DIGEST, DIGEST + DIGEST[:8]),
        (DIGEST, DIGEST.upper()),
        (DIGEST, "free words"),
        (JWT, "opaque-token"),
        ("https://example.com", "example.com"),
        ("a@example.com", "a"),
        ("aGVsbG8gd29ybGQhaGVsbG8gd28=", "hello world"),
    ],
)
def test_formats_that_differ(left: str, right: str) -> None:
    there, back = formats_differ(left, right), formats_differ(right, left)
    assert there is not None
    assert back == there[::-1]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("12.5", "12.25"),
        ("12.0", "12.25"),
        ("12", "12.5"),
        ("1e-05", "0.5"),
        ("1234", "a2b4"),
        ("1234", "none"),
        ("1.2", "1.2.3"),
        ("12345678901234567890123456789012", DIGEST),
        (DIGEST, DIGEST[1:]),
        ("aGVsbG8gd29ybGQhaGVsbG8gd28=", "aGVsbG8gd29ybGQhaGVsbG8gd28h"),
        ("aGVsbG8gd29ybGQhaGVsbG8gd28=", "1234567890123456"),
        ("2024-05-06T07:08:09.123Z", "2024-05-06T07:08:09.12Z"),
        ("2024-05-06 07:08:09.123+00", "2024-05-06 07:08:09.654321+00"),  # PostgreSQL drops zeros at the end
        ("2024-05-06T07:08:09.1Z", "2024-05-06T07:08:09.6543Z"),
        ("https://a.example", "http://b.example"),
        ("a", "b c"),
    ],
)
def test_formats_that_chance_could_make(left: str, right: str) -> None:
    assert formats_differ(left, right) is None
    assert formats_differ(right, left) is None


def _tokens(rng: random.Random) -> dict[str, str]:
    return {
        "uuid": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "hex": f"{rng.getrandbits(128):032x}",
        "unpadded hex": f"{rng.getrandbits(64):x}",
        "short hex": f"{rng.getrandbits(16):04x}",
        "base36": "".join(rng.choices("0123456789abcdefghijklmnopqrstuvwxyz", k=8)),
        "base64": base64.b64encode(rng.randbytes(rng.randint(12, 40))).decode(),
        "float": repr(rng.random() * 10 ** rng.randint(-8, 8)),
        "rounded": str(round(rng.random() * 100, 2)),
        "money": f"{rng.random() * 100:.2f}",
        "time": datetime.fromtimestamp(rng.randint(10**9, 2 * 10**9) + rng.random(), UTC).isoformat(),
        "int": str(rng.getrandbits(rng.randint(1, 60))),
    }


def test_one_generator_never_gives_two_formats() -> None:
    rng = random.Random(7)
    before = _tokens(rng)
    for _ in range(3_000):
        tokens = _tokens(rng)
        for name, token in tokens.items():
            assert formats_differ(before[name], token) is None, (name, before[name], token)
        before = tokens


@given(st.text(max_size=40), st.text(max_size=40))
def test_labels_are_symmetric(left: str, right: str) -> None:
    there = formats_differ(left, right)
    back = formats_differ(right, left)
    assert back == (None if there is None else there[::-1])
    if left == right:
        assert there is None


@pytest.mark.parametrize(
    ("left", "right", "labels"),
    [
        (1_714_979_289, 1_714_979_289_123, ("epoch seconds", "epoch milliseconds")),
        (1_714_979_289_123_456, 1_714_979_289_123_456_789, ("epoch microseconds", "epoch nanoseconds")),
        (1_714_979_289.5, 1_714_979_289_500.0, ("epoch seconds", "epoch milliseconds")),
        (1_714_979_289, 1_714_979_290, None),
        (1_714_979_289, 1_014_979_289_123, None),
        (5, 1_714_979_289, None),
        (10**400, 1_714_979_289, None),
    ],
)
def test_units_of_epoch_times(left: float, right: float, labels: tuple[str, str] | None) -> None:
    assert epochs_differ(left, right) == labels


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2024-05-06T07:08:09Z", 1_714_979_289.0),
        ("2024-05-06T09:08:09+02:00", 1_714_979_289.0),
        ("2024-05-06 07:08:09,5", 1_714_979_289.5),
        ("2024-05-06", 1_714_953_600.0),
        ("Mon, 06 May 2024 07:08:09 GMT", 1_714_979_289.0),
        (1_714_979_289, 1_714_979_289.0),
    ],
)
def test_times(value: object, seconds: float) -> None:
    found = time_of(value)
    assert found is not None
    assert found[0] == seconds


@pytest.mark.parametrize(
    "value", ["2024-99-06", "Mon, 99 May 2024 07:08:09 GMT", "hello world", "", 5, None, True, "0001-01-01T00:00:00+14:00"]
)
def test_what_is_no_time(value: object) -> None:
    found = time_of(value)
    assert found is None or isinstance(found[0], float)
