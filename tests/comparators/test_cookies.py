"""Set-Cookie by name and attribute."""

import pytest

from comparators.cookies import Cookie, parse_cookie
from harness.core.canon import Rule, RuleAction
from harness.core.labels import Aspect, Kind
from harness.core.values import Headers
from tests.comparators.support import header_differences

NOW = ("Date", "Mon, 06 May 2024 07:00:00 GMT")
LATER = ("Date", "Mon, 06 May 2024 07:00:09 GMT")


def cookies(*lines: str, date: tuple[str, str] = NOW) -> Headers:
    return (date, *(("Set-Cookie", line) for line in lines))


def test_reading() -> None:
    assert parse_cookie("sid=a=b; Path=/; HttpOnly; Domain=.Example.com; ;SameSite=Lax") == Cookie(
        "sid", "a=b", {"path": "/", "httponly": True, "domain": "example.com", "samesite": "lax"}
    )
    assert parse_cookie("") == Cookie("", "", {})


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (cookies("a=1; Path=/", "b=2"), cookies("b=2", "a=1; path=/"), set()),
        (cookies("a=1"), cookies("a=2"), {("set-cookie.a", Kind.VALUE)}),
        (cookies("a=1"), cookies("a=0f8fad5b-d9cb-469f-a165-70867728950e"), {("set-cookie.a", Kind.FORMAT)}),
        (cookies("a=1", "b=1"), cookies("a=1"), {("set-cookie.b", Kind.MISSING)}),
        (cookies(), cookies("a=1", "b=1"), {("set-cookie.a", Kind.EXTRA), ("set-cookie.b", Kind.EXTRA)}),
        (cookies("a=1"), (NOW,), {("set-cookie.a", Kind.MISSING)}),
        (cookies("a=1; HttpOnly; Secure"), cookies("a=1; Secure"), {("set-cookie.a.httponly", Kind.MISSING)}),
        (cookies("a=1; Max-Age=60"), cookies("a=1; Max-Age=3600"), {("set-cookie.a.max-age", Kind.VALUE)}),
        (cookies("a=1; Domain=x.example"), cookies("a=1; Domain=.X.EXAMPLE"), set()),
        (cookies("a=1; Path"), cookies("a=1; Path=/"), {("set-cookie.a.path", Kind.FORMAT)}),
        (cookies("a=1; Path=/x", "a=2; Path=/y"), cookies("a=1; Path=/x"), {("set-cookie.a", Kind.MISSING)}),
        (
            cookies("a=1; Expires=Mon, 06 May 2024 08:00:00 GMT"),
            cookies("a=1; Expires=Mon, 06 May 2024 08:00:09 GMT", date=LATER),
            set(),
        ),
        (
            cookies("a=1; Expires=Mon, 06 May 2024 08:00:00 GMT"),
            cookies("a=1; Expires=Mon, 06 May 2024 09:00:00 GMT"),
            {("set-cookie.a.expires", Kind.VALUE)},
        ),
        (cookies("a=1; Expires=Mon, 06 May 2024 08:00:00 GMT"), cookies("a=1"), {("set-cookie.a.expires", Kind.MISSING)}),
        (cookies("u_123=1"), cookies("u_123=2"), {("set-cookie.u_123", Kind.VALUE)}),
        (cookies("9f1c2b3a4d5e6f70=1"), cookies("9f1c2b3a4d5e6f70=2"), {("set-cookie.*", Kind.VALUE)}),
    ],
)
def test_cookies(left: Headers, right: Headers, expected: set[tuple[str, Kind]]) -> None:
    assert header_differences(left, right) == expected


def test_rules() -> None:
    rule = Rule(action=RuleAction.FORMAT_ONLY, aspect=Aspect.HEADERS, path="set-cookie.session")
    assert header_differences(cookies("session=abc; Max-Age=1"), cookies("session=def; Max-Age=2"), rule) == {
        ("set-cookie.session.max-age", Kind.VALUE)
    }
    rule = Rule(action=RuleAction.IGNORE, aspect=Aspect.HEADERS, path="set-cookie.session")
    assert header_differences(cookies("session=abc; Max-Age=1"), cookies("session=def; Max-Age=2"), rule) == set()
