"""Paths of aspect effects: a JSONPath over a document whose keys are `COLLECTOR OPERATION`, taken apart. Pure.

`$['http POST payments.test/charge'].body.amount` is a value that a call was made with, `$['http POST payments.test/charge']`
the call as a whole, `$` all that an arm did.
"""

import re
from functools import lru_cache
from typing import Final

import msgspec

_PATH: Final = re.compile(r"""\$\[(?P<quote>["'])(?P<name>(?:\\.|(?!(?P=quote))[^\\])*)(?P=quote)\](?P<inside>.*)""", re.DOTALL)
_READS: Final = frozenset(
    {
        *("GET", "HEAD", "OPTIONS", "PROPFIND"),
        *("SELECT", "SHOW", "EXPLAIN", "DESCRIBE", "DESC", "VALUES", "TABLE"),
        *("MGET", "HGET", "HGETALL", "HMGET", "LRANGE", "SMEMBERS", "ZRANGE", "EXISTS", "TTL", "SCAN"),
    }
)
"""Verbs of operations that change nothing. Any other one counts as a write: that is the graver mistake to make."""
_READING_NAME: Final = re.compile(
    r"(?:[Bb]atch_?)?(?:[Gg]et|[Ll]ist|[Dd]escribe|[Qq]uery|[Ss]can|[Ss]earch|[Ff]ind|[Rr]ead|[Ll]ookup|[Ff]etch|[Cc]ount|[Dd]istinct|"
    r"[Aa]ggregate|[Rr]eceive|[Pp]oll|[Pp]eek|[Ee]xists)(?![a-z]).*"
)
"""Names of methods and commands that begin with such a word: `GetUser`, `find`, not `Getaway`."""
_WRITING_NAME: Final = re.compile(r"update|modify|delete|remove|replace|create|insert|put|set(?![a-z])", re.IGNORECASE)
"""What makes a write of a name that begins as a read: `findAndModify`, `GetOrCreateUser`."""
_SPAN: Final = "CLIENT"
"""First word of the operation of a client span: `CLIENT http GET place`, `CLIENT grpc Users/GetUser`."""


class EffectPlace(msgspec.Struct, frozen=True):
    """A path taken apart."""

    collector: str = ""
    operation: str = ""
    """Empty where the path names none: it is about all effects."""
    inside: str = ""
    """What follows (`.body.amount`); empty for an effect as a whole."""

    @property
    def whole(self) -> bool:
        """It is about effects as such, not about what they are done with."""
        return not self.inside

    @property
    def reads(self) -> bool:
        """The operation changes nothing outside, by its verb."""
        words = self.operation.split(" ", 3)
        # The system stands between the word for a span and its verb, which may be part of the place.
        verb = words[0] if words[0] != _SPAN else words[min(2, len(words) - 1)]
        if verb.upper() in _READS:
            return True
        name = verb.rpartition("/")[2]
        return not name.isupper() and _READING_NAME.fullmatch(name) is not None and _WRITING_NAME.search(name) is None


@lru_cache(maxsize=4096)
def effect_place(path: str) -> EffectPlace:
    """A difference's path of aspect effects. Never fails."""
    match = _PATH.fullmatch(path)
    if match is None:
        return EffectPlace(inside=path.removeprefix("$"))
    collector, _, operation = re.sub(r"\\(.)", r"\1", match["name"], flags=re.DOTALL).partition(" ")
    return EffectPlace(collector, operation, match["inside"])
