"""Bodies that cannot be compared whole."""

from comparators.api import BodyView
from comparators.content import Decoded
from comparators.partial import compare_coded, compare_empty, compare_partial, compare_undecodable
from harness.core.labels import Kind
from harness.core.values import Body, Response, body_of
from tests.comparators.support import kinds, use_of


def test_empty_sides() -> None:
    assert compare_empty(BodyView(b""), BodyView(b"")) == ()
    (only,) = compare_empty(BodyView(b""), BodyView(b"a"))
    assert (only.kind, only.left) == (Kind.EXTRA, None)


def test_codings_that_cannot_be_undone() -> None:
    broken, fine, one = Decoded(b"", problem="bad"), Decoded(b"x"), Response(200, (), body_of(b"x"))
    assert kinds(compare_undecodable(broken, fine, one, one)) == {("$", Kind.MALFORMED)}
    assert compare_undecodable(broken, broken, one, one) == ()
    assert kinds(compare_undecodable(broken, broken, one, Response(200, (), body_of(b"y")))) == {("$", Kind.VALUE)}


def test_codings_that_are_not_known() -> None:
    assert compare_coded(Decoded(b"x", unknown="a"), Decoded(b"x", unknown="a")) == ()
    (only,) = compare_coded(Decoded(b"x"), Decoded(b"x", unknown="a"))
    assert (only.kind, only.left, only.right) == (Kind.MEDIA_TYPE, "known coding", "a")


def test_a_missing_digest_is_made_from_what_was_kept() -> None:
    cut, whole = (
        Response(200, (), Body(b"ab", 2)),
        Response(200, (), Body(b"ab", 2, "fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603")),
    )
    views = BodyView(b"ab"), BodyView(b"ab")
    assert list(compare_partial((cut, views[0]), (whole, views[1]), use_of())) == []
