"""Which requests are in the sample that is mirrored: drawn one by one, or by a key, so that what belongs together stays so. Pure.

One by one they are drawn independently of each other: taking every n-th would, of traffic that comes in a steady
pattern, take the same kind of request each time and never see the others.
"""

import hashlib
from typing import Final, Literal
from urllib.parse import unquote

import msgspec

from harness.core.clock import Rng
from harness.core.endpoint import path_of, split_path
from harness.core.errors import UsageError
from harness.core.http import header, header_values
from harness.core.values import Request

_SPACE: Final = float(2**64)


class SampleKey(msgspec.Struct, frozen=True):
    """Where a request carries what it is sampled by."""

    kind: Literal["header", "cookie", "path"]
    name: str = ""
    """Of a header (lower case) or a cookie."""
    segment: int = 0
    """Of a path, from 0."""

    def value_of(self, request: Request) -> str:
        """The request's own; empty where it has none."""
        if self.kind == "header":
            return header(request.headers, self.name) or ""
        if self.kind == "cookie":
            return self._cookie_of(request)
        segments = split_path(path_of(request.target))
        return unquote(segments[self.segment]) if self.segment < len(segments) else ""

    def _cookie_of(self, request: Request) -> str:
        for value in header_values(request.headers, "cookie"):
            for pair in value.split(";"):
                name, _, found = pair.partition("=")
                if name.strip() == self.name:
                    return found.strip()
        return ""


def parse_sample_key(text: str) -> SampleKey:
    """`header:NAME`, `cookie:NAME` or `path:N`. Raises UsageError for anything else."""
    kind, _, name = text.partition(":")
    if kind == "header" and name:
        return SampleKey("header", name.lower())
    if kind == "cookie" and name:
        return SampleKey("cookie", name)
    if kind == "path" and name.isascii() and name.isdigit():
        return SampleKey("path", segment=int(name))
    raise UsageError(f"{text!r} is no sample key", where="proxy.sample_key", fix="write header:NAME, cookie:NAME or path:N")


class Sampler:
    """Draws requests. The same value of the key is always in or always out, for as long as `secret` is the same one.

    A smaller share takes a part of what a larger one takes. Without a value a request is drawn by chance.
    """

    def __init__(self, key: SampleKey | None, *, rng: Rng, secret: bytes) -> None:
        self._key = key
        self._rng = rng
        self._secret = secret[: hashlib.blake2b.MAX_KEY_SIZE]

    def takes(self, request: Request, share: float) -> bool:
        """Whether it is in a sample of `share` (from 0 to 1)."""
        if share >= 1.0:
            return True
        value = self._key.value_of(request) if self._key is not None else ""
        return (self._place_of(value) if value else self._rng.random()) < share

    def _place_of(self, value: str) -> float:
        """A keyed hash, spread evenly over [0, 1]."""
        data = value.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(data, digest_size=8, key=self._secret, person=b"sample").digest()
        return int.from_bytes(digest, "big") / _SPACE
