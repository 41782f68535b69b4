"""Text from traffic made fit to be shown: bounded, nothing invisible, nothing that moves a reader's eye or cursor. Pure."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from harness.core.limits import REPORT_TEXT_CHARS_MAX

REDACTED: Final = "[redacted]"

_HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_SECRET_KEY: Final = re.compile(
    r"passw|secret|token|credential|authori[sz]ation|cookie|api_?key|private_?key|redaction_?key", re.IGNORECASE
)
_METHOD: Final = re.compile(r"[A-Z][A-Z0-9_-]*\Z")


def visible(text: str) -> str:
    """Every character that has no shape of its own, or changes the direction of others, written as an escape.

    Line feeds and tabs stay. The result is valid Unicode (no lone surrogates), so it can always be encoded.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible_character(character) for character in text)


def _visible_character(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in _HIDDEN_CATEGORIES:
        return character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def bounded(text: str, chars_max: int = REPORT_TEXT_CHARS_MAX) -> str:
    """At most `chars_max` characters; what was cut is said by an ellipsis."""
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


def clean(text: str, chars_max: int = REPORT_TEXT_CHARS_MAX) -> str:
    """One line of bounded, visible text."""
    return bounded(visible(bounded(text, chars_max)).replace("\n", "\\n").replace("\t", "\\t"), chars_max)


def clean_headers(headers: Iterable[tuple[str, str]], count_max: int) -> tuple[tuple[str, str], ...]:
    """Bounded, visible headers; the last one says how many were left out."""
    listed = list(headers)
    shown = [(clean(name), clean(value)) for name, value in listed[:count_max]]
    if len(listed) > count_max:
        shown.append(("…", f"{len(listed) - count_max} more"))
    return tuple(shown)


def method_of(endpoint: str) -> str:
    """The method of an endpoint's name (`METHOD template`, a host may stand in front); empty for `other`."""
    for word in endpoint.split(" ")[:2]:
        if _METHOD.match(word):
            return word
    return ""


def shown_setting(key: str, value: object) -> str:
    """A setting's value for people: secrets and credentials in URLs are redacted, the rest is bounded."""
    if _SECRET_KEY.search(key) and value not in (None, "", False):
        return REDACTED
    return clean(without_credentials(str(value)))


def without_credentials(address: str) -> str:
    """A URL with user and password replaced; any other text is returned as it is."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    if "@" not in parts.netloc:
        return address
    return urlunsplit(parts._replace(netloc=f"{REDACTED}@{parts.netloc.rpartition('@')[2]}"))


def count_of(count: int, noun: str, plural: str | None = None) -> str:
    """`1 request`, `1,204 requests`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def percent(share: float) -> str:
    """A share as per cent with no more digits than it carries."""
    value = share * 100
    if value and abs(value) < 0.095:
        return f"{value:.2g} %"
    return f"{value:.1f} %" if value % 1 and abs(value) < 99.95 else f"{value:.0f} %"


def milliseconds(value: float) -> str:
    """A latency for people: three significant digits."""
    if value >= 10_000:
        return f"{value / 1000:.1f} s"
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 1 else f"{value:.2f} ms"
