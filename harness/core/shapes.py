"""What a piece of text looks like: the one place that knows identifiers, dates and tokens by their form.

Endpoint templates, redaction and identifier correlation share it. It judges one text by itself, never by other
traffic, and a guess here is only ever about form: nothing is looked up or decoded.
"""

import re
from enum import StrEnum
from typing import Final

from harness.core import limits


class Shape(StrEnum):
    """The form of a text. Every text has exactly one."""

    EMPTY = "empty"
    INTEGER = "integer"
    EPOCH_S = "epoch_s"
    """Ten digits between 2001 and 2100 as seconds since 1970."""
    EPOCH_MS = "epoch_ms"
    """Thirteen digits between 2001 and 2100 as milliseconds since 1970."""
    DECIMAL = "decimal"
    UUID = "uuid"
    ULID = "ulid"
    HEX = "hex"
    """Eight or more hexadecimal digits of one case, with a digit and a letter; from 16 on letters alone will do."""
    DATE = "date"
    """`2024-01-31`."""
    DATETIME_OFFSET = "datetime_offset"
    """ISO 8601 date and time with `Z` or an offset."""
    DATETIME_LOCAL = "datetime_local"
    """ISO 8601 date and time without an offset."""
    HTTP_DATE = "http_date"
    """`Wed, 21 Oct 2015 07:28:00 GMT`."""
    EMAIL = "email"
    JWT = "jwt"
    URL = "url"
    """Absolute, with a scheme."""
    PREFIXED = "prefixed"
    """A prefix and a number or random part: `ord_123`, `INV-00042`, `cus_9sdf8s7df`, `112-1234567-1234567`."""
    TOKEN = "token"
    """Sixteen or more characters, letters and digits mixed as no word mixes them."""
    SHORT_TOKEN = "short_token"
    """The same with 8 to 15 characters, where more mixing is asked for."""
    BASE64 = "base64"
    """Sixteen or more characters of base64 with padding, `+` or `/`."""
    WORD = "word"
    """One word of ASCII letters, `_`, `-`, `.`: what an enumeration is written with."""
    TEXT = "text"
    """Anything else."""


INTEGERS: Final = frozenset({Shape.INTEGER, Shape.EPOCH_S, Shape.EPOCH_MS})
"""Shapes of whole numbers."""

OPAQUE: Final = frozenset({Shape.HEX, Shape.TOKEN, Shape.SHORT_TOKEN, Shape.BASE64})
"""Shapes that one random generator may give in turn."""

_EPOCH_FIRST_S: Final = 1_000_000_000
_EPOCH_LAST_S: Final = 4_102_444_800
_TOKEN_CHARS_MIN: Final = 16
_SHORT_TOKEN_CHARS_MIN: Final = 8
_TOKEN_CHARS_LOOKED_AT: Final = 256

_DATE = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_CLOCK = r"(?:[01][0-9]|2[0-4]):[0-5][0-9](?::[0-5][0-9]|:60)?(?:[.,][0-9]{1,9})?"

_PLAIN_WORD: Final = re.compile(r"[A-Za-z][A-Za-z_.\-]{0,63}")
_HAS_DIGIT: Final = re.compile(r"[0-9]")
_HAS_SPACE: Final = re.compile(r"\s")
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_DECIMAL: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-][0-9]+)")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_HEX: Final = re.compile(r"[0-9a-f]{8,}|[0-9A-F]{8,}")
_ULID: Final = re.compile(r"[0-7](?:[0-9A-HJKMNP-TV-Z]{25}|[0-9a-hjkmnp-tv-z]{25})")
_DATE_ONLY: Final = re.compile(_DATE)
_DATETIME: Final = re.compile(
    rf"(?:{_DATE}[Tt ]{_CLOCK}|[0-9]{{8}}T[0-9]{{6}}(?:\.[0-9]{{1,9}})?) ?(?P<offset>[Zz]|[+-][0-9]{{2}}(?::?[0-9]{{2}})?)?"
)
_HTTP_DATE: Final = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2}[ -](?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[ -][0-9]{4} "
    r"[0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
)
_EMAIL: Final = re.compile(r"[^\s@<>()\[\]{}\"',:;/\\=&?#|]{1,64}@(?:[^\W_](?:[\w-]{0,62})\.){1,8}[^\W\d_]{2,24}")
_JWT: Final = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)?")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,20}://\S+")
_PREFIX_NUMBER: Final = re.compile(
    r"(?P<prefix>[A-Za-z]{2,12})(?:[-_][A-Za-z]{1,8})?(?:[-_][0-9]{1,20}){1,3}|(?P<short>[A-Za-z]{1,6})[0-9]{4,20}|(?P<year>[0-9]{2,8})(?:-[0-9]{2,12}){1,3}"
)
_PREFIX_RANDOM: Final = re.compile(r"[A-Za-z]{1,12}(?:_[A-Za-z]{2,12})?(?P<sep>[_-])(?P<random>[A-Za-z0-9]{6,64})")
_TECHNICAL: Final = frozenset({"aes", "base", "es", "http", "ipv", "iso", "md", "mp", "oauth", "rfc", "rsa", "sha", "tls", "utf", "web"})
"""Prefixes of names that end in a number and are no identifiers: `utf-8`, `sha-256`, `iso-8859-1`."""
_YEAR_MONTH: Final = re.compile(r"(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])")
_PLACEHOLDER: Final = re.compile(r"redacted-[0-9a-f]{12}")
_TOKEN_CHARS: Final = re.compile(r"[A-Za-z0-9_\-.~]+")
_BASE64_CHARS: Final = re.compile(r"[A-Za-z0-9+/_\-]+={0,2}")
_RUN: Final = re.compile(r"[A-Za-z0-9]+")
_DIGIT_CHANGE: Final = re.compile(r"(?<=[0-9])(?=[A-Za-z])|(?<=[A-Za-z])(?=[0-9])")
_CASE_CHANGE: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def shape_of(text: str) -> Shape:
    """The shape of a text; total, and linear in its length.

    The most specific shape wins: a text of digits is an integer though it is hexadecimal too, a UUID is no token.
    Words and slugs (`how-to-install-python-3`, `oauth2callback`) are never tokens: what tells a token is digits and
    letters changing places inside one run.
    """
    if _PLAIN_WORD.fullmatch(text):
        return _of_word(text)
    if not text:
        return Shape.EMPTY
    if _HAS_SPACE.search(text):
        return _of_spaced(text)
    if not _HAS_DIGIT.search(text, 0, _TOKEN_CHARS_LOOKED_AT):
        return _of_rest(text)
    if _INTEGER.fullmatch(text):
        return _of_integer(text)
    return _of_id(text) or _of_rest(text)


def prefix_of(text: str) -> str:
    """The letters in front of a PREFIXED text (`ord` of `ord_123`); empty where it begins otherwise."""
    match = re.match(r"[A-Za-z_]*[A-Za-z]", text)
    return match.group() if match else ""


def _of_word(text: str) -> Shape:
    # Sixteen letters a-f are no word of any language; eight may be ("deadbeef" is not worth a rule of its own).
    if len(text) >= _TOKEN_CHARS_MIN and _HEX.fullmatch(text):
        return Shape.HEX
    return Shape.WORD


def _of_integer(text: str) -> Shape:
    if len(text) == 10 and _EPOCH_FIRST_S <= int(text) < _EPOCH_LAST_S:
        return Shape.EPOCH_S
    if len(text) == 13 and _EPOCH_FIRST_S * 1000 <= int(text) < _EPOCH_LAST_S * 1000:
        return Shape.EPOCH_MS
    return Shape.INTEGER


def _of_spaced(text: str) -> Shape:
    if len(text) > 64:
        return Shape.TEXT
    match = _DATETIME.fullmatch(text)
    if match:
        return Shape.DATETIME_OFFSET if match["offset"] else Shape.DATETIME_LOCAL
    return Shape.HTTP_DATE if _HTTP_DATE.fullmatch(text) else Shape.TEXT


def _of_id(text: str) -> Shape | None:
    """Shapes that need a digit."""
    if len(text) == 36 and _UUID.fullmatch(text):
        return Shape.UUID
    if _HEX.fullmatch(text):
        return Shape.HEX
    if len(text) == 26 and _ULID.fullmatch(text):
        return Shape.ULID
    if text[0] in "0123456789+-":
        if _DATE_ONLY.fullmatch(text):
            return Shape.DATE
        match = _DATETIME.fullmatch(text)
        if match:
            return Shape.DATETIME_OFFSET if match["offset"] else Shape.DATETIME_LOCAL
        if _DECIMAL.fullmatch(text):
            return Shape.DECIMAL
    if _PLACEHOLDER.fullmatch(text):
        return Shape.TOKEN
    return Shape.PREFIXED if _is_prefixed(text) else None


def _of_rest(text: str) -> Shape:
    if "@" in text and len(text) <= 320 and _EMAIL.fullmatch(text):
        return Shape.EMAIL
    if text.startswith("eyJ") and _JWT.fullmatch(text):
        return Shape.JWT
    if "://" in text and _URL.fullmatch(text):
        return Shape.URL
    if len(text) >= _SHORT_TOKEN_CHARS_MIN:
        return _of_random(text)
    return Shape.TEXT


def _is_prefixed(text: str) -> bool:
    if len(text) > 96:
        return False
    match = _PREFIX_NUMBER.fullmatch(text)
    if match:
        letters = match["prefix"] or match["short"]
        if letters:
            return letters.lower() not in _TECHNICAL
        return not _YEAR_MONTH.fullmatch(text)
    match = _PREFIX_RANDOM.fullmatch(text)
    if not match:
        return False
    random = match["random"]
    changes = len(_DIGIT_CHANGE.findall(random))
    if match["sep"] == "_":
        return changes >= 2 or sum(c.isdigit() for c in random) >= 2
    # A dash also joins the words of a slug, so the part behind it must look random by itself.
    return changes >= 3 and len(random) >= _SHORT_TOKEN_CHARS_MIN


def _of_random(text: str) -> Shape:
    """TOKEN, SHORT_TOKEN, BASE64 or TEXT, by how often letters and digits change places.

    In random base 62 about 45 % of neighbours differ in class, in camel case about 17 %, and there the digits stand
    at the end.
    """
    head = text[:_TOKEN_CHARS_LOOKED_AT]
    if _TOKEN_CHARS.fullmatch(text):
        if len(text) < _TOKEN_CHARS_MIN:
            return Shape.SHORT_TOKEN if "." not in text and _most_changes(head) >= 3 else Shape.TEXT
        return Shape.TOKEN if _is_random(head) else Shape.TEXT
    if len(text) >= _TOKEN_CHARS_MIN and len(text) % 4 == 0 and _BASE64_CHARS.fullmatch(text) and _is_random(head, digits=False):
        return Shape.BASE64
    return Shape.TEXT


def _most_changes(text: str) -> int:
    """Most changes between letters and digits inside one run."""
    return max((len(_DIGIT_CHANGE.findall(run)) for run in _RUN.findall(text)), default=0)


def _is_random(text: str, *, digits: bool = True) -> bool:
    total = len(_DIGIT_CHANGE.findall(text)) + len(_CASE_CHANGE.findall(text))
    if total >= 0.3 * len(text):
        return True
    return total >= 3 + (len(text) - _TOKEN_CHARS_MIN) // 10 and (not digits or _most_changes(text) >= 2)


_LABELS: Final = {
    Shape.INTEGER: "{int}",
    Shape.EPOCH_S: "{int}",
    Shape.EPOCH_MS: "{int}",
    Shape.UUID: "{uuid}",
    Shape.ULID: "{ulid}",
    Shape.HEX: "{hex}",
    Shape.DATE: "{date}",
    Shape.DATETIME_OFFSET: "{date}",
    Shape.DATETIME_LOCAL: "{date}",
    Shape.EMAIL: "{email}",
    Shape.JWT: "{token}",
    Shape.TOKEN: "{token}",
    Shape.SHORT_TOKEN: "{token}",
    Shape.BASE64: "{token}",
    Shape.PREFIXED: "{id}",
}


def label_of(text: str) -> str | None:
    """The template label of an identifier (`{int}`, `{uuid}`, ...), None where the text is a name of its own.

    A name longer than `limits.SEGMENT_CHARS_MAX` is `{text}`: labels are kept and shown, so they are bounded.
    """
    label = _LABELS.get(shape_of(text))
    if label is None and len(text) > limits.SEGMENT_CHARS_MAX:
        return "{text}"
    return label
