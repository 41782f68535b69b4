"""What is never mirrored, because asking for it twice does harm even with a safe method: log-outs, one-time links. Pure.

Links in e-mails are GETs, and a copy of one uses it up: the shadow targets may share a mail provider, an identity
provider or a store with stable. The built-in rules look at the words of a path and at the names of query parameters.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

import msgspec

from harness.core.endpoint import PathPatterns, path_of, split_path
from harness.core.limits import ENDPOINT_CACHE_CHARS_MAX, EXCLUSION_CACHE_MAX
from harness.core.shapes import OPAQUE, Shape, shape_of
from harness.core.values import Request


class ExclusionRule(msgspec.Struct, frozen=True, kw_only=True):
    """One built-in rule. Words are those that `-`, `_`, `.`, `/` and capitals part, put together again: `sign/out` is `signout`."""

    what: str
    words: tuple[str, ...] = ()
    """Up to three words of a path in a row, put together; each is enough."""
    words_with_token: tuple[str, ...] = ()
    """The same, and after it a segment, or a parameter of TOKEN_PARAMETERS, that may be a one-time token."""
    parameters: tuple[str, ...] = ()
    """Names of query parameters; each is enough. In lower case, `-` and `_` left out."""


DEFAULT_EXCLUSIONS: Final = (
    ExclusionRule(what="log-out", words=("logout", "logoff", "signout", "endsession")),
    ExclusionRule(what="unsubscribing", words=("unsubscribe", "optout"), parameters=("unsubscribetoken",)),
    ExclusionRule(
        what="password reset",
        words=("resetpassword", "passwordreset", "forgotpassword", "passwordforgot", "recoverpassword", "passwordrecovery", "passwordedit"),
        words_with_token=("reset", "recover", "recovery"),
        parameters=("resettoken", "passwordtoken", "resetpasswordtoken", "passwordresettoken"),
    ),
    ExclusionRule(
        what="confirming an address or an account",
        words=(
            "confirmemail",
            "emailconfirm",
            "emailconfirmation",
            "verifyemail",
            "emailverify",
            "emailverification",
            "confirmaccount",
            "accountconfirmation",
            "verifyaccount",
            "activateaccount",
            "accountactivate",
            "accountactivation",
            "unlockaccount",
            "accountunlock",
        ),
        words_with_token=("confirm", "verify", "verification", "validate", "activate", "activation", "unlock"),
        parameters=(
            "confirmationtoken",
            "confirmtoken",
            "verificationtoken",
            "verifytoken",
            "activationtoken",
            "unlocktoken",
            "emailtoken",
        ),
    ),
    ExclusionRule(
        what="logging in by a link or a one-time code",
        words=("magiclink", "magiclogin", "onetimelogin", "onetimelink", "onetimepassword", "loginlink", "linklogin", "autologin"),
        words_with_token=("magic", "passwordless", "onetime", "otp"),
        parameters=("otp", "onetimetoken", "onetimecode", "magictoken", "logintoken", "oobcode"),
    ),
    ExclusionRule(
        what="accepting an invitation",
        words=("acceptinvite", "acceptinvitation", "inviteaccept", "invitationaccept", "invitationsaccept"),
        words_with_token=("invite", "redeem"),
        parameters=("invitationtoken", "invitetoken"),
    ),
    ExclusionRule(
        what="coming back from an identity provider (OAuth, SAML, CAS)", parameters=("code and state", "samlresponse", "ticket=ST-")
    ),
)
"""The table of docs/configuration.md is made of it."""

TOKEN_PARAMETERS: Final = frozenset({"code", "hash", "k", "key", "sig", "signature", "t", "token"})
"""Query parameters that carry a one-time token where the path says what for."""

_WORDS: Final = frozenset(word for rule in DEFAULT_EXCLUSIONS for word in rule.words)
_WORDS_WITH_TOKEN: Final = frozenset(word for rule in DEFAULT_EXCLUSIONS for word in rule.words_with_token)
_PARAMETERS: Final = frozenset(name for rule in DEFAULT_EXCLUSIONS for name in rule.parameters)
_TOKEN_SHAPES: Final = OPAQUE | {Shape.UUID, Shape.ULID, Shape.JWT, Shape.PREFIXED}
_STEMS: Final = re.compile(
    r"%|log|sign|session|subscr|opt|otp|passw|reset|recover|confirm|verif|valid|activat|unlock|magic|time|invit|redeem", re.IGNORECASE
)
"""A path without any of these is not excluded, which is found out at once."""
_CAMEL_OR_MARK: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
_WORDS_IN_A_ROW: Final = 3
_SEGMENTS_LOOKED_AT: Final = 32
_PARAMETERS_LOOKED_AT: Final = 64

_NO, _YES, _WITH_TOKEN = range(3)


class Exclusions:
    """Which requests are never mirrored, by the built-in rules and the user's patterns. Memory is bounded."""

    def __init__(self, patterns: Iterable[str] = (), *, defaults: bool = True) -> None:
        """`patterns` are path templates as `EndpointRules.templates` has them. Raises UsageError for one that cannot be read."""
        self._patterns = PathPatterns(patterns)
        self._defaults = defaults
        self._any = defaults or bool(self._patterns)
        self._paths = lru_cache(maxsize=EXCLUSION_CACHE_MAX)(self._judge_path)
        self._targets = lru_cache(maxsize=EXCLUSION_CACHE_MAX)(self._judge)

    def exclude(self, request: Request) -> bool:
        """Whether it is never mirrored."""
        if not self._any:
            return False
        target = request.target
        judge = self._targets if len(target) <= ENDPOINT_CACHE_CHARS_MAX else self._judge
        return judge(request.method if self._patterns.with_method else "", target)

    def _judge(self, method: str, target: str) -> bool:
        path, _, query = target.partition("?")
        judge = self._paths if len(path) <= ENDPOINT_CACHE_CHARS_MAX else self._judge_path
        found = judge(method, path)
        if found == _YES or not (query and self._defaults):
            return found == _YES
        return _excluded_by_query(query, names_purpose=found == _WITH_TOKEN)

    def _judge_path(self, method: str, path: str) -> int:
        """What the path alone says."""
        path = path_of(path)
        if self._patterns.match(method, path):
            return _YES
        if not self._defaults or _STEMS.search(path) is None:
            return _NO
        return _judge_words([unquote(segment) for segment in split_path(path)[:_SEGMENTS_LOOKED_AT]])


def _judge_words(segments: list[str]) -> int:
    words: list[str] = []
    found = _NO
    for segment in segments:
        if found == _WITH_TOKEN and shape_of(segment) in _TOKEN_SHAPES:
            return _YES
        for word in _CAMEL_OR_MARK.split(segment):
            if word:
                words.append(word.lower())
                rows = {"".join(words[-length:]) for length in range(1, _WORDS_IN_A_ROW + 1)}
                if not rows.isdisjoint(_WORDS):
                    return _YES
                if not rows.isdisjoint(_WORDS_WITH_TOKEN):
                    found = _WITH_TOKEN
    return found


def _excluded_by_query(query: str, *, names_purpose: bool) -> bool:
    names = set()
    for pair in query.partition("#")[0].split("&", _PARAMETERS_LOOKED_AT)[:_PARAMETERS_LOOKED_AT]:
        name, _, value = pair.partition("=")
        name = name.lower().replace("_", "").replace("-", "")
        if name in _PARAMETERS or (name == "ticket" and value.startswith("ST-")):
            return True
        names.add(name)
    return {"code", "state"} <= names or (names_purpose and not names.isdisjoint(TOKEN_PARAMETERS))
