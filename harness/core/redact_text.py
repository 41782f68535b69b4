"""Secrets in running text, and names that say that their value is one.

It knows text only: headers, targets and bodies are taken apart in harness/core/redact. Every pattern is bounded or
linear, since the text comes from outside.
"""

import html
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import quote_plus, unquote_plus

from harness.core.errors import UsageError
from harness.core.jsonspans import escape, unescape
from harness.core.placeholders import PLACEHOLDER, Placeholders, is_card, is_card_placeholder

_CORE: Final = (
    r"token|secret|passw(?:or)?d|passwd|passphrase|passcode|api[-_ ]?key|access[-_ ]?key|private[-_ ]?key|"
    r"session|sess(?:ion)?[-_]?id|auth(?!or(?!i[sz]))|credential|cookie|csrf|xsrf|jwt|bearer"
)
_WORDS: Final = r"cvv2?|cvc2?|ssn|pwd|otp"
_SENSITIVE: Final = re.compile(rf"{_CORE}|(?<![a-z])(?:{_WORDS})(?![a-z])")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_ABOUT: Final = re.compile(
    r"(?:^|[^a-z])(?:type|expir(?:es|y|ation)|expires?_?(?:in|at|on)|in|at|on|ttl|count|limit|used|usage|length|timeout|scheme|"
    r"status|enabled|required|age|max_?age|lifetime)\W*$"
)
"""Ends of names that speak about a secret and do not hold one: `token_type`, `session_expires_at`."""
_COUNTED: Final = re.compile(r"(?:tokens|sessions|secrets|credentials|cookies)\W*$")
"""Plural names: a number there is a count."""
_NAME_CHARS_MAX: Final = 256


class Names:
    """Which names (headers, JSON keys, form fields, query parameters) hold secrets.

    `extra` and `allow` are names, compared without case, `*` allowed; an allowed name is never sensitive.
    """

    def __init__(self, extra: Iterable[str] = (), allow: Iterable[str] = ()) -> None:
        extra = tuple(extra)
        self.extra_patterns = tuple(r"[\w.\-]{0,32}".join(map(re.escape, name.split("*"))) for name in extra)
        """The extra names as patterns for running text."""
        self._extra = _globs(extra)
        self._allow = _globs(allow)
        self.any_allowed = self._allow is not None
        self._cached: Callable[[str], bool] = lru_cache(maxsize=4096)(self._judge)

    def sensitive(self, name: str) -> bool:
        """Whether what stands under the name is secret."""
        return self._cached(name[-_NAME_CHARS_MAX:])

    def allowed(self, name: str) -> bool:
        """Whether what stands under the name is to be left alone entirely."""
        return self._allow is not None and self._allow.fullmatch(name.lower()) is not None

    def _judge(self, name: str) -> bool:
        if self.allowed(name):
            return False
        if self._extra is not None and self._extra.fullmatch(name.lower()):
            return True
        plain = _CAMEL.sub("_", name).lower()
        return _SENSITIVE.search(plain) is not None and not _ABOUT.search(plain)


def holds_count(name: str) -> bool:
    """Whether a number under a sensitive name is a count (`max_tokens`) and no secret."""
    return _COUNTED.search(name.lower()) is not None


def speaks_about(name: str) -> bool:
    """Whether a name speaks about a secret and does not hold one (`type`, `expires_in`)."""
    return _ABOUT.search(_CAMEL.sub("_", name[-_NAME_CHARS_MAX:]).lower()) is not None


def _globs(names: Iterable[str]) -> re.Pattern[str] | None:
    parts = [".*".join(re.escape(piece) for piece in name.lower().split("*")) for name in names]
    return re.compile("|".join(parts)) if parts else None


_NAME_MARKS: Final = (
    "token",
    "secret",
    "pass",
    "key",
    "sess",
    "auth",
    "credential",
    "cookie",
    "csrf",
    "xsrf",
    "jwt",
    "bearer",
    "cvv",
    "cvc",
    "ssn",
    "pwd",
    "otp",
)
"""One of these is in every text that `_CORE` or `_WORDS` match."""
_PAIR_NAME: Final = rf"{_CORE}|{_WORDS}"
_PAIR_REST: Final = (
    r"[\w.\-\[\]%]{0,48}"
    r"""(?P<sep>\\{0,8}["']?\s{0,8}(?:=|:|%3[AaDd])\s{0,8})"""
    r"""(?:(?P<slashes>\\{0,8})(?P<quote>["']))?"""
)
_NAME_BEFORE: Final = re.compile(r"[\w.\-\[\]]{0,64}\Z")
_BARE_VALUE: Final = re.compile(r"[^\s\"'<>&,;\\}\]]+")
_SCHEME_AHEAD: Final = re.compile(r"(?:Bearer|Basic|Token|Digest|JWT|DPoP|ApiKey)\s{1,4}(?=[^\s\"'<>&,;\\}\]])", re.IGNORECASE)
_BEARER: Final = re.compile(
    r"\b(?P<scheme>Bearer|Basic)(?P<space>(?:\s|%20|\+){1,4})(?P<token>(?=[^\s]*[0-9])[A-Za-z0-9\-._~+/]{6,}=*|[A-Za-z0-9\-._~+/]{20,}=*)",
    re.IGNORECASE,
)
_JWT: Final = re.compile(r"(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*){0,3}")
_EMAIL: Final = re.compile(r"[^\s@<>()\[\]{}\"',:;/\\=&?#|%]{1,64}(?P<at>@|%40)(?:[^\W_][\w\-]{0,62}\.){1,8}[^\W\d_]{2,24}")
_DIGITS: Final = re.compile(r"(?<![0-9A-Za-z])(?<![0-9]\.)[0-9](?:[ -]?[0-9]){12,63}(?![0-9A-Za-z])(?!\.[0-9])")
_GROUPS: Final = re.compile(r"[0-9]+")
_USERINFO: Final = re.compile(r"://(?P<user>[^/\s:@\"'<>]{0,128}):(?P<password>[^/\s@\"'<>]{1,256})@")
_ELEMENT: Final = re.compile(r"<(?P<tag>[A-Za-z_][\w.\-:]{0,64})(?P<rest>[^<>]{0,512})>(?P<value>[^<>]{1,4096})(?=</)")
_INPUT: Final = re.compile(r"<(?:input|meta|param)\b[^<>]{1,2048}>?", re.IGNORECASE)
_ATTRIBUTE: Final = re.compile(
    r"""(?P<name>[A-Za-z\-]{1,32})\s{0,4}=\s{0,4}(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s"'<>]+))"""
)
_ROUNDS_MAX: Final = 4
_FORM_CHARS_MIN: Final = 13
"""A shorter text without a mark is neither a card number nor a bearer token."""


class TextRedactor:
    """Replaces secrets in text. A second redaction of a redacted text changes nothing."""

    def __init__(self, placeholders: Placeholders, names: Names, patterns: Iterable[str] = ()) -> None:
        self._placeholders = placeholders
        self._names = names
        self._patterns = [_compiled(pattern) for pattern in patterns]
        self._pair = re.compile("|".join([f"(?:{_PAIR_NAME}", *names.extra_patterns]) + ")" + _PAIR_REST, re.IGNORECASE)
        self._any_name = bool(names.extra_patterns)

    def redact(self, text: str) -> str:
        """The text with what is known as a secret by its form, or by a name in front of it, replaced."""
        if len(text) < _FORM_CHARS_MIN and not self._patterns and not _is_marked(text):
            return text
        for _ in range(_ROUNDS_MAX):
            new = self._once(text)
            if new == text:
                break
            text = new
        return text

    def _once(self, text: str) -> str:
        for pattern in self._patterns:
            text = pattern.sub(self._whole_or_group, text)
        if _is_marked(text):
            text = self._named(text)
        low = text.lower()
        if "bearer" in low or "basic" in low:
            text = _BEARER.sub(self._bearer, text)
        return self._outside_placeholders(text)

    def _named(self, text: str) -> str:
        """Secrets that a name stands in front of."""
        low = text.lower()
        if not self._any_name and not any(mark in low for mark in _NAME_MARKS) and "://" not in text:
            return text
        if "<" in text:
            text = _INPUT.sub(self._input, text)
            text = _ELEMENT.sub(self._element, text)
        if "://" in text:
            text = _USERINFO.sub(self._userinfo, text)
        return self._pairs(text)

    def _outside_placeholders(self, text: str) -> str:
        out: list[str] = []
        position = 0
        for match in PLACEHOLDER.finditer(text):
            out += (self._by_form(text[position : match.start()]), match.group())
            position = match.end()
        out.append(self._by_form(text[position:]))
        return "".join(out)

    def _by_form(self, text: str) -> str:
        if "eyJ" in text:
            text = _JWT.sub(lambda m: self._placeholders.of(m.group()), text)
        if "@" in text or "%40" in text:
            text = _EMAIL.sub(self._email, text)
        return _DIGITS.sub(self._digits, text)

    def _whole_or_group(self, match: re.Match[str]) -> str:
        if not match.re.groups or match.group(1) is None:
            return self._placeholders.of(match.group())
        start, end = (match.start(1) - match.start(), match.end(1) - match.start())
        whole = match.group()
        return whole[:start] + self._placeholders.of(match.group(1)) + whole[end:]

    def _email(self, match: re.Match[str]) -> str:
        new = self._placeholders.of(match.group().replace("%40", "@"))
        return new.replace("@", match["at"])

    def _digits(self, match: re.Match[str]) -> str:
        """Cards in a run of digit groups: the whole run, or neighbouring groups of it that begin with four digits."""
        run = match.group()
        groups = [(m.start(), m.end()) for m in _GROUPS.finditer(run)]
        first = 0
        while first < len(groups):
            start, end = groups[first]
            for last in range(min(len(groups), first + 6) - 1, first - 1, -1):
                part = run[start : groups[last][1]]
                digits = part.replace(" ", "").replace("-", "")
                if (last == first or end - start == 4) and is_card(digits) and not is_card_placeholder(part):
                    new = self._placeholders.of(part)
                    run = run[:start] + new + run[groups[last][1] :]
                    first = last
                    break
            first += 1
        return run

    def _bearer(self, match: re.Match[str]) -> str:
        if match["space"].isspace():
            return self._placeholders.of_credential(match.group())
        return match["scheme"] + match["space"] + self._placeholders.of(match["token"])

    def _userinfo(self, match: re.Match[str]) -> str:
        return f"://{self._placeholders.of(match['user'])}:{self._placeholders.of(match['password'])}@"

    def _element(self, match: re.Match[str]) -> str:
        name = match["tag"].rpartition(":")[2]
        value = match["value"]
        if not value.strip() or not self._names.sensitive(name) or name.lower() in {"session", "authentication"}:
            return match.group()
        return f"<{match['tag']}{match['rest']}>{self._placeholders.of(html.unescape(value.strip()))}"

    def _input(self, match: re.Match[str]) -> str:
        """`<input name="csrf_token" value="...">`: the name is in one attribute and the secret in another."""
        tag = match.group()
        named = False
        for attribute in _ATTRIBUTE.finditer(tag):
            value = attribute["double"] or attribute["single"] or attribute["bare"] or ""
            kind = attribute["name"].lower()
            named |= kind in {"name", "id", "property"} and self._names.sensitive(value)
            named |= kind == "type" and value.lower() == "password"
        if not named:
            return tag

        def hide(attribute: re.Match[str]) -> str:
            value = attribute["double"] or attribute["single"] or attribute["bare"]
            if attribute["name"].lower() not in {"value", "content"} or not value:
                return attribute.group()
            return f'{attribute["name"]}="{self._placeholders.of(html.unescape(value))}"'

        return _ATTRIBUTE.sub(hide, tag)

    def _pairs(self, text: str) -> str:
        """`name=value`, `name: value`, `"name": "value"`, also with the quotes escaped, where the name is sensitive."""
        out: list[str] = []
        position = 0
        while True:
            match = self._pair.search(text, position)
            if not match:
                break
            start, end = self._value_span(text, match)
            before = _NAME_BEFORE.search(text, max(0, match.start() - 64), match.start())
            name = (before.group() if before else "") + text[match.start() : match.start("sep")]
            if start == end or not self._names.sensitive(name):
                out.append(text[position : match.end()])
                position = match.end()
                continue
            out += (text[position:start], self._hidden(text[start:end], match))
            position = end
        out.append(text[position:])
        return "".join(out)

    def _value_span(self, text: str, match: re.Match[str]) -> tuple[int, int]:
        start = match.end()
        if match["quote"]:
            closing = match["slashes"] + match["quote"]
            end = _closing(text, start, closing)
            return start, end
        scheme = _SCHEME_AHEAD.match(text, start)
        value = _BARE_VALUE.match(text, scheme.end() if scheme else start)
        return start, value.end() if value else start

    def _hidden(self, value: str, match: re.Match[str]) -> str:
        if match["quote"] == '"' and not match["slashes"]:
            return escape(self._placeholders.of_credential(unescape(f'"{value}"')))[1:-1]
        if "%" in value and not match["quote"]:
            plain = unquote_plus(value, errors="surrogateescape")
            return quote_plus(self._placeholders.of_credential(plain), safe="@ ")
        return self._placeholders.of_credential(value)


def _is_marked(text: str) -> bool:
    """Whether a secret may be found otherwise than by its digits or its scheme."""
    return "=" in text or ":" in text or "@" in text or "<" in text or "%" in text or "eyJ" in text


def _closing(text: str, start: int, closing: str) -> int:
    """Index of the closing quote (with as many backslashes as the opening one), or the end of the text."""
    if len(closing) > 1:
        end = text.find(closing, start)
        return end if end >= 0 else len(text)
    position = start
    while True:
        end = text.find(closing, position)
        if end < 0:
            return len(text)
        slashes = end - len(text[start:end].rstrip("\\")) - start
        if slashes % 2 == 0:
            return end
        position = end + 1


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"{pattern!r} is no regular expression: {error}", where="redaction.patterns", fix="see Python's re module"
        ) from error
