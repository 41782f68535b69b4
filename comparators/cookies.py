"""Set-Cookie headers by cookie name and attribute (RFC 6265 4.1): `set-cookie.session`, `set-cookie.session.max-age`."""

from typing import Final

import msgspec

from comparators.api import ABSENT
from comparators.header_fields import Field, Out, compare_leaf, compare_members, lifetimes_agree
from comparators.paths import exact_step, key_step

_LOWER_VALUES: Final = frozenset({"domain", "samesite"})


class Cookie(msgspec.Struct, frozen=True):
    """One Set-Cookie line. An attribute without a value is `True`."""

    name: str
    value: str
    attributes: dict[str, str | bool]


def parse_cookie(line: str) -> Cookie:
    """Never fails: what has no `=` is a cookie without a value."""
    first, *rest = line.split(";")
    name, _, value = first.partition("=")
    attributes: dict[str, str | bool] = {}
    for part in rest:
        key, separator, text = part.partition("=")
        key = key.strip().lower()
        if key:
            text = text.strip()
            attributes[key] = (text.lower().lstrip(".") if key in _LOWER_VALUES else text) if separator else True
    return Cookie(name.strip(), value.strip(), attributes)


def compare_cookies(left: Field, right: Field, path: str, out: Out) -> None:
    """The cookies of both sides by name; a repeated name counts by its place among its like. Their order means nothing."""
    a, b = _by_name(left.values), _by_name(right.values)
    for name in sorted(a.keys() | b.keys()):
        for position in range(max(len(a.get(name, ())), len(b.get(name, ())))):
            x = a[name][position] if position < len(a.get(name, ())) else None
            y = b[name][position] if position < len(b.get(name, ())) else None
            below = path + key_step(name)
            if x is None or y is None:
                out.sink.one_sided(below, x.value if x else ABSENT, y.value if y else ABSENT, where=path + exact_step(name))
                continue
            compare_leaf(x.value, y.value, below, out)
            _compare_attributes(x, y, (left.date, right.date), below, out)


def _compare_attributes(x: Cookie, y: Cookie, dates: tuple[str, str], path: str, out: Out) -> None:
    a, b = dict(x.attributes), dict(y.attributes)
    one, other = a.get("expires"), b.get("expires")
    if isinstance(one, str) and isinstance(other, str) and lifetimes_agree(one, other, *dates):
        b["expires"] = one
    compare_members(a, b, path, out)


def _by_name(lines: list[str]) -> dict[str, list[Cookie]]:
    cookies: dict[str, list[Cookie]] = {}
    for line in lines:
        cookie = parse_cookie(line)
        cookies.setdefault(cookie.name, []).append(cookie)
    return cookies
