"""Text, line by line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.api import BodyView
from comparators.text import COMPARATOR, compare_text
from harness.core import limits
from harness.core.canon import Rule, RuleAction
from harness.core.labels import Kind
from tests.comparators.support import kinds, mirrored, plain, use_of


def view(data: bytes | str, charset: str = "utf-8") -> BodyView:
    return BodyView(data.encode() if isinstance(data, str) else data, "text/plain", {"charset": charset})


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("a\nb", "a\nb", set()),
        ("a\nb", "a\nc", {("$.line", Kind.VALUE)}),
        ("a\r\nb\r\n", "a\nb\n", {("$.line_end", Kind.FORMAT)}),
        ("a\r\nb\n", "a\nb\n", {("$.line_end", Kind.FORMAT)}),
        ("a\r\n", "a", {("$.line", Kind.LENGTH)}),
        ("a\nb\nc", "a\nx\nb\nc", {("$.line", Kind.LENGTH)}),
        ("a\nb\nc", "c\nb\na", {("$.line", Kind.ORDER)}),
        ("2024-05-06", "soon", {("$.line", Kind.FORMAT)}),
        ("a", "", {("$.line", Kind.FORMAT)}),
    ],
)
def test_lines(left: str, right: str, expected: set[tuple[str, Kind]]) -> None:
    found = tuple(COMPARATOR.compare(view(left), view(right), use_of()))
    assert kinds(found) == expected
    assert plain(COMPARATOR.compare(view(right), view(left), use_of())) == mirrored(found)


def test_where_and_note() -> None:
    (only,) = compare_text(view("a\nb\nc"), view("a\nx\ny"), use_of(), "compared as text")
    assert (only.where, only.left, only.note) == ("line 2", "b", "and 1 more; compared as text")


def test_charsets() -> None:
    assert not compare_text(view("ü", "utf-8"), view(b"\xfc", "latin-1"), use_of())
    assert not compare_text(view(b"\xef\xbb\xbfa"), view("a"), use_of())
    assert compare_text(view(b"\xff"), view(b"\xfe"), use_of()), "what is not in its charset stays apart"
    assert not compare_text(view("a", "no-such-charset"), view("a"), use_of())
    assert not compare_text(view("a", "\x00"), view("a"), use_of())


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule(action=RuleAction.IGNORE, path="$.line"), set()),
        (Rule(action=RuleAction.NORMALISE, path="$.line", pattern=r"\d+", replace="N"), {("$.line", Kind.LENGTH)}),
        (Rule(action=RuleAction.FORMAT_ONLY, path="$.line"), set()),
    ],
)
def test_rules(rule: Rule, expected: set[tuple[str, Kind]]) -> None:
    use = use_of(rule)
    assert kinds(compare_text(view("build 1\nend 5"), view("build 2\nend 7\nmore"), use)) == expected
    assert use.used == {0}


def test_normalised_lines_in_another_order() -> None:
    rule = Rule(action=RuleAction.NORMALISE, path="$.line", pattern=r"\d+", replace="N")
    assert kinds(compare_text(view("a 1\nb 2"), view("b 3\na 4"), use_of(rule))) == {("$.line", Kind.ORDER)}


def test_a_text_that_is_too_long_is_compared_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TEXT_LINES_MAX", 3)
    long = "a\nb\nc\nd"
    (value,) = compare_text(view(long), view("a\nb\nX\nd"), use_of())
    assert (value.kind, value.where, value.left, value.right) == (Kind.VALUE, "line 3", "c", "X")
    (length,) = compare_text(view(long), view(long + "\ne"), use_of())
    assert (length.kind, length.where, length.left, length.right) == (Kind.LENGTH, "line 5", 4, 5)
    assert kinds(compare_text(view(long), view(long.replace("\n", "\r\n")), use_of())) == {("$.line_end", Kind.FORMAT)}


def test_media_types() -> None:
    for name in ("text/html", "application/xml", "image/svg+xml", "application/javascript", "application/atom+xml"):
        assert COMPARATOR.matches(name)
    assert not COMPARATOR.matches("image/png")


@given(st.text("ab\r\n", max_size=20), st.text("ab\r\n", max_size=20))
def test_symmetric_and_silent_only_for_equal_lines(left: str, right: str) -> None:
    found = compare_text(view(left), view(right), use_of())
    assert plain(compare_text(view(right), view(left), use_of())) == mirrored(found)
    if left.replace("\r\n", "\n") != right.replace("\r\n", "\n"):
        assert found
