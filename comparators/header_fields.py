"""How single header fields compare: by member, directive, set, URL part or value. One function for each way.

Each takes both sides' values of one field and puts what it finds into a sink; paths begin with the field's name.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from comparators.api import ABSENT, RuleUse
from comparators.form import fields_of
from comparators.formats import time_of
from comparators.leaves import ruled_difference
from comparators.paths import key_step
from comparators.sink import Sink
from harness.core.labels import Kind

_LIFETIME_SECONDS_TOLERANCE: Final = 2.0
_QUOTED_CHARS_MAX: Final = 8192
_NONCE: Final = re.compile(r"'nonce-[^']*'")
_LIST: Final = re.compile(r'((?:[^,;"<>]|"(?:[^"\\]|\\.)*"|<[^>]*>|["<>])*)([,;]|$)')


class Field(msgspec.Struct, frozen=True):
    """One side's values of a field, and what else of the message its comparison needs."""

    values: list[str]
    date: str = ""
    """The Date header: lifetimes are counted from it."""
    authority: str = ""
    """Host and port that this target was asked for: a URL that names it points to itself."""

    @property
    def joined(self) -> str:
        """All values as one (RFC 9110 5.3)."""
        return ", ".join(value.strip() for value in self.values)


class Out(msgspec.Struct, frozen=True):
    """Where differences go, and under which rules."""

    sink: Sink
    use: RuleUse


def compare_leaf(left: str, right: str, path: str, out: Out) -> None:
    """Two single values."""
    if left != right:
        found = ruled_difference(left, right, out.use.at(path), out.use)
        if found is not None:
            out.sink.add(path, found[0], left, right, where=path, note=found[1])


def compare_members(left: Mapping[str, str | bool], right: Mapping[str, str | bool], path: str, out: Out) -> None:
    """Named members, each with a value or none."""
    for name in sorted(left.keys() | right.keys()):
        x, y = left.get(name), right.get(name)
        below = path + key_step(name)
        if x is None or y is None:
            out.sink.one_sided(below, ABSENT if x is None else x, ABSENT if y is None else y, where=below)
        elif isinstance(x, bool) or isinstance(y, bool):
            if x is not y:
                out.sink.add(below, Kind.FORMAT, x, y, where=below, note="with a value against without")
        else:
            compare_leaf(x, y, below, out)


def compare_value(left: Field, right: Field, path: str, out: Out) -> None:
    """The whole value, case counts."""
    compare_leaf(left.joined, right.joined, path, out)


def compare_lower(left: Field, right: Field, path: str, out: Out) -> None:
    """The whole value, case does not count."""
    compare_leaf(left.joined.lower(), right.joined.lower(), path, out)


def compare_set(left: Field, right: Field, path: str, out: Out) -> None:
    """A comma-separated set whose members' case does not count."""
    compare_members(_members(left.joined.lower()), _members(right.joined.lower()), path, out)


def compare_exact_set(left: Field, right: Field, path: str, out: Out) -> None:
    """A comma-separated set whose members' case counts (methods)."""
    compare_members(_members(left.joined), _members(right.joined), path, out)


def compare_directives(left: Field, right: Field, path: str, out: Out) -> None:
    """Comma-separated directives, `name` or `name=value` (Cache-Control)."""
    compare_members(_directives(left.joined, ","), _directives(right.joined, ","), path, out)


def compare_policy(left: Field, right: Field, path: str, out: Out) -> None:
    """Semicolon-separated directives (Strict-Transport-Security, Content-Security-Policy); nonces do not count."""
    texts = (_NONCE.sub("'nonce'", field.joined) for field in (left, right))
    a, b = (_directives(text.replace("; ", ";"), ";") for text in texts)
    compare_members(a, b, path, out)


def compare_media_type(left: Field, right: Field, path: str, out: Out) -> None:
    """The media type, then its parameters; a multipart boundary does not count."""
    (a, *more_a), (b, *more_b) = left.joined.split(";"), right.joined.split(";")
    if a.strip().lower() != b.strip().lower():
        out.sink.add(path, Kind.MEDIA_TYPE, a.strip(), b.strip(), where=path)
        return
    one, other = _directives(";".join(more_a), ";"), _directives(";".join(more_b), ";")
    for parameters in (one, other):
        parameters.pop("boundary", None)
        charset = parameters.get("charset")
        if isinstance(charset, str):
            parameters["charset"] = charset.lower()
    compare_members(one, other, path, out)


def compare_etag(left: Field, right: Field, path: str, out: Out) -> None:
    """Weak against strong is a format, the opaque tag a value."""
    a, b = left.joined, right.joined
    if a.startswith("W/") != b.startswith("W/"):
        out.sink.add(path, Kind.FORMAT, a, b, where=path, note="weak against strong" if a.startswith("W/") else "strong against weak")
    else:
        compare_leaf(a, b, path, out)


def compare_expiry(left: Field, right: Field, path: str, out: Out) -> None:
    """A moment counted from the message's Date, within two seconds."""
    if not lifetimes_agree(left.joined, right.joined, left.date, right.date):
        compare_leaf(left.joined, right.joined, path, out)


def compare_links(left: Field, right: Field, path: str, out: Out) -> None:
    """Links (RFC 8288) by relation type; several of one relation are compared as a set."""
    a, b = _links(left.joined), _links(right.joined)
    for relation in sorted(a.keys() | b.keys()):
        below = path + key_step(relation)
        x, y = a.get(relation), b.get(relation)
        if x is None or y is None:
            out.sink.one_sided(below, ABSENT if x is None else ", ".join(x), ABSENT if y is None else ", ".join(y), where=below)
        elif len(x) != len(y):
            out.sink.add(below, Kind.LENGTH, len(x), len(y), where=below, note="links of this relation")
        else:
            for one, other in zip(sorted(set(x) - set(y)), sorted(set(y) - set(x)), strict=False):
                compare_leaf(one, other, below, out)


def compare_url(left: Field, right: Field, path: str, out: Out) -> None:
    """A URL by component: scheme, host, path (segments), query (by name) and fragment. A target's own host counts as none."""
    try:
        a, b = _split(left), _split(right)
    except ValueError:
        compare_value(left, right, path, out)
        return
    compare_members(_parts(a), _parts(b), path, out)
    _compare_segments(a.path, b.path, f"{path}.path", out)
    one, other = fields_of(a.query), fields_of(b.query)
    query = f"{path}.query"
    compare_members({n: ", ".join(v) for n, v in one.items()}, {n: ", ".join(v) for n, v in other.items()}, query, out)


def lifetimes_agree(left: str, right: str, left_date: str, right_date: str) -> bool:
    """Whether two moments are as long after their messages' dates, give or take rounding; without dates, whether they are the same."""
    a, b = time_of(left), time_of(right)
    if a is None or b is None:
        return left == right
    start, other = time_of(left_date), time_of(right_date)
    shift = start[0] - other[0] if start is not None and other is not None else 0.0
    return abs(a[0] - b[0] - shift) <= _LIFETIME_SECONDS_TOLERANCE or a[0] == b[0]


def _compare_segments(left: str, right: str, path: str, out: Out) -> None:
    """The coarsest difference of two URL paths: number of segments, then the first segment that differs in format, then in value."""
    a, b = left.split("/"), right.split("/")
    if len(a) != len(b):
        out.sink.add(path, Kind.LENGTH, left, right, where=path, note=f"{len(a) - 1} segments against {len(b) - 1}")
        return
    place = out.use.at(path)
    found = [f for f in (ruled_difference(x, y, place, out.use) for x, y in zip(a, b, strict=True)) if f is not None]
    if found:
        kind, note = next((f for f in found if f[0] is Kind.FORMAT), found[0])
        out.sink.add(path, kind, left, right, where=path, note=note)


def _split(field: Field) -> SplitResult:
    parts = urlsplit(field.joined)
    if parts.netloc and parts.netloc.lower() == field.authority.lower():
        return parts._replace(scheme="", netloc="")
    return parts


def _parts(url: SplitResult) -> dict[str, str | bool]:
    named = {"scheme": url.scheme.lower(), "host": url.netloc.lower(), "fragment": url.fragment}
    return {name: text for name, text in named.items() if text}


def _members(text: str) -> dict[str, str | bool]:
    return {part: True for part in (piece.strip() for piece in _pieces(text, ",")) if part}


def _directives(text: str, separator: str) -> dict[str, str | bool]:
    members: dict[str, str | bool] = {}
    for piece in _pieces(text, separator):
        name, equals, value = piece.strip().partition("=")
        if not equals:
            name, equals, value = name.partition(" ")
        if name.strip():
            members[name.strip().lower()] = value.strip().strip('"') if equals else True
    return members


def _links(text: str) -> dict[str, list[str]]:
    links: dict[str, list[str]] = {}
    for piece in _pieces(text, ","):
        target, *rest = _pieces(piece, ";")
        relation = _directives(";".join(rest), ";").get("rel", "")
        if target.strip():
            links.setdefault(str(relation).lower() or "none", []).append(target.strip())
    return links


def _pieces(text: str, separator: str) -> list[str]:
    """The text split at a separator outside quotes and angle brackets; a very long one at every separator."""
    if len(text) > _QUOTED_CHARS_MAX:
        return text.split(separator)
    pieces = [""]
    for match in _LIST.finditer(text):
        pieces[-1] += match[1]
        if match[2] == separator:
            pieces.append("")
        else:
            pieces[-1] += match[2]
    return pieces
