"""What a proxy may tell a target about the client and about itself: Via and X-Forwarded-*, both by option. Pure.

The fields are put into the request as it was read, so that stable, secondary and candidate get the same request.
"""

from typing import Final

import msgspec

from harness.core.values import Headers
from harness.proxy.wire import RequestHead

PSEUDONYM: Final = "shadowdiff"
"""How the proxy calls itself in Via; its host's name is nobody's business."""


class ForwardingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What targets are told."""

    via: bool = False
    """Add this hop to Via (RFC 9110 7.6.3). In requests only: answers stay as stable gave them."""
    forwarded_for: bool = False
    """Add the client's address to X-Forwarded-For, after those that are there, and say scheme and host that the client used in
    X-Forwarded-Proto and X-Forwarded-Host, in the place of whatever the client claims. For the proxy that clients reach first:
    behind another one that says so already, leave it off, and what that one says passes unchanged."""

    @property
    def asked(self) -> "ForwardingOptions | None":
        """These options; None where they ask for nothing."""
        return self if self.via or self.forwarded_for else None


def announced(head: RequestHead, options: ForwardingOptions, *, peer: str, scheme: str) -> RequestHead:
    """The head with the fields that the options ask for. `peer` is the client's address, empty on a Unix socket, where there is none."""
    headers = head.headers
    if options.via:
        headers = _appended(headers, "Via", f"{'1.0' if head.http10 else '1.1'} {PSEUDONYM}")
    if options.forwarded_for:
        if peer:
            headers = _appended(headers, "X-Forwarded-For", peer)
        headers = _set(headers, "X-Forwarded-Proto", scheme)
        headers = _set(headers, "X-Forwarded-Host", head.authority)
    return head if headers is head.headers else msgspec.structs.replace(head, headers=headers)


def _appended(headers: Headers, name: str, value: str) -> Headers:
    """The list with one element more, at the end of its last field line."""
    wanted = name.lower()
    for i in range(len(headers) - 1, -1, -1):
        key, known = headers[i]
        if key.lower() == wanted:
            return (*headers[:i], (key, f"{known}, {value}" if known else value), *headers[i + 1 :])
    return (*headers, (name, value))


def _set(headers: Headers, name: str, value: str) -> Headers:
    """One field with this value, in the place of the first; without a value none."""
    wanted = name.lower()
    out: list[tuple[str, str]] = []
    done = not value
    for pair in headers:
        if pair[0].lower() != wanted:
            out.append(pair)
        elif not done:
            out.append((pair[0], value))
            done = True
    if not done:
        out.append((name, value))
    return tuple(out)
