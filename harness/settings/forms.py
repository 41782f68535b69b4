"""Forms that a text of the configuration may have to take: addresses, durations, hosts and the like. Pure.

Each form reads a text and returns the value that is kept, or raises FormError with what it expected.
"""

import re
from collections.abc import Callable
from typing import Final

from harness.core.endpoint import EndpointMapper, EndpointRules
from harness.core.errors import UsageError
from harness.core.http import SAFE_METHODS
from harness.core.limits import PATH_SEGMENT_KEYS_MAX

_UNIT_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+\Z")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_BYTES: Final = {
    "": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40
}  # fmt: skip
_SIZE: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,6})?) ?((?:[kmgt]i?)?b|)", re.IGNORECASE)
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?\Z|\.\d+\Z")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}))\Z|\[[0-9A-Fa-f:.]+\]\Z")
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}\Z")
"""A token of RFC 9110 5.6.2: what names of headers and cookies are made of."""
_PORT_MAX: Final = 65535


class FormError(ValueError):
    """A text that has not the form asked for; the message completes "expected ..."."""


def parse_duration_s(text: str) -> float:
    """Seconds of `90`, `90s`, `10m`, `1h30m`, `500ms`."""
    text = text.strip()
    if _NUMBER.match(text):
        return float(text)
    if not _DURATION.match(text):
        raise FormError("a duration such as 90s, 10m or 1h30m")
    return sum(float(number) * _UNIT_S[unit] for number, unit in _DURATION_PART.findall(text))


def parse_size_bytes(text: str) -> float:
    """Bytes of `500MB`, `2.5 GB`, `1GiB`; a bare number is bytes."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise FormError("a size such as 500MB or 2GiB")
    return float(found[1]) * _UNIT_BYTES[found[2].lower()]


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; an IPv6 host stands in brackets and is returned without them."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not _HOST.match(host) or not (port.isascii() and port.isdigit()) or int(port) > _PORT_MAX:
        raise FormError(f"HOST:PORT with a port from 0 to {_PORT_MAX}, e.g. 127.0.0.1:8080 or [::1]:8080")
    return host.strip("[]"), int(port)


def check_address(text: str) -> str:
    """The text itself, once it is an address."""
    parse_address(text)
    return text.strip()


def parse_speed(text: str) -> float | str:
    """`max`, or the factor of `2`, `0.5` or `2x`."""
    text = text.strip()
    if text == "max":
        return text
    number = text.removesuffix("x")
    if not _NUMBER.match(number):
        raise FormError("max, or a factor such as 0.5, 2 or 2x")
    return float(number)


def parse_command(text: str) -> str:
    """A command line that is not blank."""
    if not text.strip() or "\0" in text:
        raise FormError("a command")
    return text.strip()


def parse_path(text: str) -> str:
    """A path of a URL: begins with a slash, no white space."""
    if not text.startswith("/") or any(char.isspace() for char in text):
        raise FormError("a path that begins with /")
    return text


def parse_template(text: str) -> str:
    """An endpoint template, as harness.core.endpoint reads it."""
    try:
        EndpointMapper(EndpointRules(templates=(text,)))
    except UsageError as error:
        raise FormError("a path template such as /orders/{id}") from error
    return text.strip()


def parse_safe_endpoint(text: str) -> str:
    """A pattern of endpoints of one safe method."""
    method, space, path = text.strip().partition(" ")
    if method not in SAFE_METHODS or method == "TRACE" or not space or not path.startswith(("/", "*")):
        raise FormError("an endpoint of a safe method, such as GET /search*")
    return text.strip()


def parse_host(text: str) -> str:
    """A host, with a port where given; in lower case."""
    text = text.strip()
    if _HOST.match(text):
        return text.lower()
    try:
        parse_address(text)
    except FormError as error:
        raise FormError("a host such as shop.example or shop.example:8080") from error
    return text.lower()


def parse_regex(text: str) -> str:
    """A regular expression that compiles and is not empty."""
    try:
        re.compile(text)
    except re.error as error:
        raise FormError(f"a regular expression ({error})") from error
    if not text:
        raise FormError("a regular expression")
    return text


def parse_env_name(text: str) -> str:
    """The name of an environment variable."""
    if not _ENV_NAME.match(text):
        raise FormError("the name of an environment variable")
    return text


def parse_field_name(text: str) -> str:
    """The name of a header."""
    if not _FIELD_NAME.match(text):
        raise FormError("the name of a header")
    return text


def parse_sample_key(text: str) -> str:
    """`header:NAME`, `cookie:NAME` or `path:N` with N from 0."""
    kind, _, name = text.strip().partition(":")
    if kind in ("header", "cookie") and _FIELD_NAME.match(name):
        return f"{kind}:{name}"
    if kind == "path" and name.isascii() and name.isdigit() and len(name) <= 4 and int(name) < PATH_SEGMENT_KEYS_MAX:
        return f"{kind}:{int(name)}"
    raise FormError(f"header:NAME, cookie:NAME or path:N with N from 0 to {PATH_SEGMENT_KEYS_MAX - 1}")


def parse_file(text: str) -> str:
    """The name of a file or folder."""
    if not text.strip() or "\0" in text:
        raise FormError("a file or folder")
    return text


def is_policy_file(text: str) -> bool:
    """Whether a policy is named by its file and not by its name."""
    return "/" in text or "\\" in text or text.endswith((".yaml", ".yml"))


FORMS: Final[dict[str, Callable[[str], str | float]]] = {
    "address": check_address,
    "command": parse_command,
    "duration": parse_duration_s,
    "env_name": parse_env_name,
    "field_name": parse_field_name,
    "file": parse_file,
    "host": parse_host,
    "input_file": parse_file,
    "path": parse_path,
    "policy": parse_file,
    "regex": parse_regex,
    "safe_endpoint": parse_safe_endpoint,
    "sample_key": parse_sample_key,
    "size": parse_size_bytes,
    "speed": parse_speed,
    "template": parse_template,
}
"""By name, as the schema's `form` says it."""

FORM_WORDS: Final = {
    "address": "HOST:PORT",
    "command": "a command",
    "duration": "seconds, or text such as 90s, 10m or 1h30m",
    "env_name": "the name of an environment variable",
    "field_name": "the name of a header",
    "file": "a file or folder",
    "host": "a host",
    "input_file": "a file that exists",
    "path": "a path that begins with /",
    "policy": "the name of a policy, or a file",
    "regex": "a regular expression",
    "safe_endpoint": "an endpoint of a safe method",
    "sample_key": "header:NAME, cookie:NAME or path:N",
    "size": "bytes, or text such as 500MB or 2GiB",
    "speed": "max, or a factor such as 0.5, 2 or 2x",
    "template": "a path template",
}
"""What each form is called in messages and in the documentation."""
