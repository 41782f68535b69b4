"""Placeholders: what stands for a secret once it is redacted.

A placeholder is a function of the run's key and the secret alone, so equal secrets stay equal wherever they occur,
and its form is one that applications accept: an e-mail address stays one, a card number stays Luhn-valid.
"""

import base64
import binascii
import hashlib
import re
from typing import Final

_DIGEST_BYTES: Final = 6
_CARD_PREFIX: Final = "9999"
"""No network issues cards that begin with 9 (ISO/IEC 7812: reserved for national use)."""
_NUMBER_DIGITS: Final = 15
"""Digits of a placeholder for a number: exact in a double."""

PLACEHOLDER: Final = re.compile(
    r"(?<![A-Za-z0-9_.\-])(?:redacted-[0-9a-f]{12}(?![A-Za-z0-9_\-])|r-[0-9a-f]{12}(?:@|%40)redacted\.invalid(?![A-Za-z0-9\-]))"
)
"""A placeholder that stands free inside a text."""
_WHOLE: Final = re.compile(r"redacted-[0-9a-f]{12}|r-[0-9a-f]{12}@redacted\.invalid")
_EMAIL: Final = re.compile(r"[^\s@]{1,64}@[^\s@]{1,255}\.[^\W\d_]{2,24}")
_CARD: Final = re.compile(r"[0-9](?:[ -]?[0-9]){12,18}")
_SCHEME: Final = re.compile(r"(?P<scheme>Bearer|Token|JWT|DPoP|GNAP|ApiKey|Key|SSWS)(?P<space>\s+)(?P<rest>\S+)\s*", re.IGNORECASE)
_BASIC: Final = re.compile(r"(?P<scheme>Basic)(?P<space>\s+)(?P<rest>\S+)\s*", re.IGNORECASE)
_LONG_SCHEME: Final = re.compile(
    r"(?P<scheme>Digest|Negotiate|NTLM|OAuth|Hawk|Signature|Mutual|AWS4-HMAC-SHA256|SharedKey|SharedAccessSignature)(?P<space>\s+)(?P<rest>\S.*)",
    re.IGNORECASE | re.DOTALL,
)


def luhn_valid(digits: str) -> bool:
    """Whether the last digit is the Luhn check digit (ISO/IEC 7812-1, annex B)."""
    total = 0
    for index, char in enumerate(reversed(digits)):
        value = ord(char) - 48
        if index % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def is_card(digits: str) -> bool:
    """Whether digits are a card number: 13 to 19 of them, Luhn-valid, of a payment network's range.

    Networks issue 2 to 6, and UATP 1 with 15 digits; times in milliseconds and other long numbers begin with 1 too,
    so a looser rule would take one in ten of those for a card.
    """
    if not 13 <= len(digits) <= 19 or not (digits[0] in "23456" or (digits[0] == "1" and len(digits) == 15)):
        return False
    return luhn_valid(digits)


def is_placeholder(text: str) -> bool:
    """Whether a text is wholly a placeholder, with an authentication scheme in front or without."""
    if _WHOLE.fullmatch(text) or is_card_placeholder(text):
        return True
    match = _SCHEME.fullmatch(text) or _LONG_SCHEME.fullmatch(text)
    if match:
        return _WHOLE.fullmatch(match["rest"]) is not None
    match = _BASIC.fullmatch(text)
    return match is not None and _is_basic_placeholder(match["rest"])


def is_card_placeholder(text: str) -> bool:
    """Whether a text is digits (with spaces or dashes) that stand for a card or another number."""
    if not text.startswith("9") or not _CARD.fullmatch(text):
        return False
    digits = text.replace(" ", "").replace("-", "")
    return digits.startswith(_CARD_PREFIX) and luhn_valid(digits)


def _is_basic_placeholder(encoded: str) -> bool:
    user, colon, password = _basic_text(encoded).partition(":")
    return bool(colon) and all(not part or _WHOLE.fullmatch(part) is not None or is_card_placeholder(part) for part in (user, password))


def _basic_text(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return ""


class Placeholders:
    """Makes placeholders with one key. The same secret always gives the same placeholder."""

    def __init__(self, key: bytes) -> None:
        if not key:
            raise ValueError("a redaction key must not be empty")
        self._key = hashlib.blake2b(key).digest()

    def digest(self, data: bytes, size_bytes: int = 32) -> str:
        """Keyed digest in hex: tells equal from unequal and nothing else."""
        return hashlib.blake2b(data, key=self._key, digest_size=size_bytes).hexdigest()

    def of(self, secret: str) -> str:
        """The placeholder of a secret; an empty text and a placeholder stay as they are.

        E-mail address: `r-<hash>@redacted.invalid`; card number: same length and separators, `9999`, digits from the
        hash, Luhn check digit; else `redacted-<hash>`.
        """
        if not secret or _WHOLE.fullmatch(secret) or is_card_placeholder(secret):
            return secret
        if "@" in secret and _EMAIL.fullmatch(secret):
            return f"r-{self._hash(secret)}@redacted.invalid"
        if _CARD.fullmatch(secret):
            digits = secret.replace(" ", "").replace("-", "")
            if is_card(digits):
                return self._card(secret, digits)
        return f"redacted-{self._hash(secret)}"

    def of_number(self, number: str) -> str:
        """Digits that stand for a number that is secret by its name: 15 of them, Luhn-valid, `9999` in front."""
        if is_card_placeholder(number):
            return number
        return (
            self._card(number, number)
            if number.isascii() and number.isdigit() and is_card(number)
            else self._digits(number, _NUMBER_DIGITS)
        )

    def of_credential(self, value: str) -> str:
        """The placeholder of what an Authorization header or a field named like one holds: the scheme stays.

        `Bearer redacted-<hash>`; Basic is decoded, and user and password get placeholders of their own.
        """
        match = _SCHEME.fullmatch(value) or _LONG_SCHEME.fullmatch(value)
        if match:
            return match["scheme"] + match["space"] + self.of(match["rest"])
        match = _BASIC.fullmatch(value)
        if match:
            if _is_basic_placeholder(match["rest"]):
                return value
            user, colon, password = _basic_text(match["rest"]).partition(":")
            inner = f"{self.of(user)}:{self.of(password)}" if colon else self.of(match["rest"]) + ":"
            return match["scheme"] + match["space"] + base64.b64encode(inner.encode("utf-8", "surrogateescape")).decode()
        return self.of(value)

    def _hash(self, secret: str) -> str:
        return self.digest(secret.encode("utf-8", "surrogatepass"), _DIGEST_BYTES)

    def _card(self, written: str, digits: str) -> str:
        new = iter(self._digits(digits, len(digits)))
        return "".join(next(new) if char.isdigit() else char for char in written)

    def _digits(self, secret: str, count: int) -> str:
        number = int(self.digest(secret.encode("utf-8", "surrogatepass"), 16), 16)
        body = _CARD_PREFIX + str(number % 10 ** (count - 5)).zfill(count - 5)
        return next(body + check for check in "0123456789" if luhn_valid(body + check))
