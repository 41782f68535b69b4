"""Explanations: readable, bounded, never failing."""

import gzip
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators import explain as module
from comparators.explain import explain
from harness.core import limits
from harness.core.values import Response, body_of
from tests.comparators.support import compared, encoded, pairs, typed


def answer(body: Any, media_type: str = "application/json", *headers: tuple[str, str]) -> Response:
    data = body if isinstance(body, bytes) else encoded(body)
    return Response(200, (("Content-Type", media_type), *headers), body_of(data))


@pytest.mark.parametrize(
    ("left", "right", "path", "words"),
    [
        ({"items": [{"p": 1}, {"p": 2}]}, {"items": [{"p": 1}, {"p": 3}]}, "$.items[*].p", ["In `items.1`", "changed from 2 to 3"]),
        ({"a": 1}, {}, "$.a", ["In the whole body", "root['a']", "removed"]),
        ([1, 2], [2, 1], "$", ["changed from 1 to 2"]),
        ({"a": 1}, {"a": 1.0}, "$.a", ["int to float"]),
        ({"100": {"n": 1}}, {"100": {"n": 2}}, "$.*.n", ["In `100`", "from 1 to 2"]),
        ({"a": 1}, {"a": 2}, "$.b", ["equal here"]),
        (b'{"a":1,"a":2}', b'{"a":2}', "$.a", ["duplicate_key"]),
        (b"{", b"{}", "$", ["-{", "+{}"]),
    ],
)
def test_json(left: Any, right: Any, path: str, words: list[str]) -> None:
    text = explain(answer(left), answer(right), path)
    for word in words:
        assert word in text


def test_text_bytes_and_headers() -> None:
    assert "-b\n+c" in explain(answer(b"a\nb", "text/plain"), answer(b"a\nc", "text/plain"), "$.line")
    assert "The body changed from PNG, 9 bytes" in explain(answer(b"\x89PNG\r\n\x1a\nx", "image/png"), answer(b"y", "image/png"), "$")
    left, right = answer({}, "application/json", ("Vary", "a"), ("Vary", "b")), answer({})
    assert explain(left, right, "vary.a") == "Header vary changed from a | b to absent."
    assert explain(left, left, "vary") == explain(left, left, "$") == "The two sides are equal here."


def test_coded_bodies_are_decoded() -> None:
    coded = answer(gzip.compress(b'{"a":2}'), "application/json", ("Content-Encoding", "gzip"))
    assert "from 1 to 2" in explain(answer({"a": 1}), coded, "$.a")


def test_large_bodies_are_narrowed_to_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXPLAIN_BYTES_MAX", 100)
    many = {f"k{i}": "x" * 50 for i in range(100)}
    assert "Value of root changed from 1 to 2." in explain(answer(many | {"a": 1}), answer(many | {"a": 2}), "$.a")
    long = explain(answer(many | {"a": "p" * 500}), answer(many | {"a": "q" * 500}), "$.a")
    assert "too large to be explained" in long


def test_the_length_is_bounded() -> None:
    left, right = ({f"k{i}x": f"{side} {i}" for i in range(500)} for side in ("a", "b"))
    assert len(explain(answer(left), answer(right), "$.k1x")) == limits.EXPLAIN_CHARS_MAX


def test_what_deepdiff_cannot_do_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **options: object) -> None:
        raise RecursionError

    monkeypatch.setattr(module, "DeepDiff", broken)
    assert "could not explain this: RecursionError" in explain(answer({"a": 1}), answer({"a": 2}), "$.a")


@given(pairs(), st.booleans())
def test_every_difference_can_be_explained(pair: tuple[Any, Any], swap: bool) -> None:
    left, right = pair[::-1] if swap else pair
    for difference in compared(typed("application/json", encoded(left)), typed("application/json", encoded(right))):
        text = explain(answer(left), answer(right), difference.path)
        assert text
        assert text != "The two sides are equal here."
