"""Bodies by themselves; the kinds of body are tested with the whole Redactor."""

import json

from hypothesis import given
from hypothesis import strategies as st

from harness.core.coding import DECODERS
from harness.core.placeholders import Placeholders
from harness.core.redact_body import BodyRedactor
from harness.core.redact_text import Names, TextRedactor
from harness.core.values import Body, body_of
from tests.core.test_jsonspans import VALUES

MAKE, NAMES = Placeholders(b"key"), Names()
BODIES = BodyRedactor(MAKE, NAMES, TextRedactor(MAKE, NAMES), DECODERS)


@given(VALUES)
def test_json_stays_json_of_the_same_form(value: object) -> None:
    data = json.dumps({"secret": "planted!", "rest": value}).encode()
    new, identity = BODIES.redact(body_of(data), "application/json", ())
    document = json.loads(new.data)
    assert not identity
    assert document["secret"] == MAKE.of("planted!")
    assert type(document["rest"]) is type(value)


def test_secret_paths() -> None:
    assert BODIES.secret(("token",))
    assert BODIES.secret(("auth", "user", 0))
    assert not BODIES.secret(("auth", "expires_in"))
    assert not BODIES.secret((0, "name"))


def test_pairs() -> None:
    assert BODIES.pairs("") == ""
    assert BODIES.pairs("a&b=&&=x") == "a&b=&&=x"
    assert BODIES.pairs("token=x&mail=a%40b.example&z=bob@exam", complete=False).endswith("&z=")


@given(st.binary(max_size=60), st.integers(0, 5))
def test_what_is_cut_stays_cut(data: bytes, more: int) -> None:
    body = Body(data, len(data) + more, "d" if more else "")
    new, _ = BODIES.redact(body, "", ())
    assert new.truncated == body.truncated or not new.data


def test_an_empty_number_and_text_end() -> None:
    cut = Body(b'{"card": 4111111111111111', 100)
    assert BODIES.redact(cut, "application/json", ())[0].data == b'{"card": '
    assert BODIES.redact(Body(b'{"password": "', 100), "application/json", ())[0].data == b'{"password": "'
