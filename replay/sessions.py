"""Groups the entries of a capture into sessions: what must be sent one after another, with identifiers carried along.

Pure and deterministic, memory linear in the capture. Joining too much costs only concurrency; joining too little sends a
request before the answer that its identifiers come from. Three things join entries, in this order:

1. Who sends: a session cookie by name, else Authorization, else an API key or session header, else a cookie that looks
   random. A key (not a session cookie) that more than half of all requests carry says which program sends, not who: it
   joins nothing, unless a recorded answer issued it, which is point 2.
2. Identifiers that a recorded answer issued and a later request uses. Where the answer made it (an unsafe method, a
   cookie, a token), all its users are joined. Where it was read, it may be data that everybody reads: it joins only
   as long as a single other session uses it, a value handed over. Integers count per kind of thing, and only if made.
3. The client hint of the file. A connection that carries more than one identity is a pool and joins nothing.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from harness.core.http import header
from replay.entry import ONE_PERSON, CaptureEntry
from replay.identifiers import cookies_of, is_identifier, is_session_cookie, issued_values, set_cookies_of, teaches, used_values

_KEY_HEADERS: Final = (
    "x-session-id",
    "x-session-token",
    "x-auth-token",
    "x-access-token",
    "x-user-token",
    "x-user-id",
    "x-api-key",
    "api-key",
)
_SHARED_SHARE: Final = 0.5


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Entries that are replayed one after another, in the capture's order."""

    key: str
    """Stable name: `s` and the position of its first entry in the capture."""
    positions: tuple[int, ...]
    """Of the entries in the capture."""
    entries: tuple[CaptureEntry, ...]
    teaching: tuple[bool, ...]
    """For each entry whether its answer may give identifiers that a later entry needs."""


def group_sessions(entries: Sequence[CaptureEntry], *, by_client: bool = True) -> tuple[Session, ...]:
    """Sessions in the order of their first entries; each entry is in exactly one."""
    joined = _Groups(len(entries))
    constants = _constant_cookies(entries)
    identities = _identities(entries, constants)
    _join_equal(joined, identities)
    _join_issued(joined, entries, constants)
    if by_client:
        _join_clients(joined, entries, identities)
    members: dict[int, list[int]] = {}
    for position in range(len(entries)):
        members.setdefault(joined.find(position), []).append(position)
    return tuple(_session(positions, [entries[at] for at in positions]) for positions in members.values())


def _session(positions: list[int], entries: list[CaptureEntry]) -> Session:
    later: set[str] = set()
    teaching: list[bool] = []
    for entry in reversed(entries):
        teaching.append(entry.recorded is not None and teaches(entry.request, entry.recorded, later))
        if len(entries) > 1:
            later |= used_values(entry.request, loosely=True)
    return Session(key=f"s{positions[0]}", positions=tuple(positions), entries=tuple(entries), teaching=tuple(reversed(teaching)))


class _Groups:
    """Disjoint sets (Tarjan 1975) with path halving; the smallest member names a set, so the outcome has one form."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def find(self, member: int) -> int:
        parent = self._parent
        while parent[member] != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    def join(self, left: int, right: int) -> None:
        left, right = self.find(left), self.find(right)
        self._parent[max(left, right)] = min(left, right)


def _constant_cookies(entries: Sequence[CaptureEntry]) -> frozenset[str]:
    """Values that several answers set for clients without them: a variant or a consent, no identifier."""
    given: Counter[str] = Counter()
    for entry in entries:
        if entry.recorded is not None:
            fresh = {value for _, value in set_cookies_of(entry.recorded.headers)}
            given.update(fresh - {value for _, value in cookies_of(entry.request.headers)} if fresh else ())
    return frozenset(value for value, count in given.items() if count > 1)


def _identities(entries: Sequence[CaptureEntry], constants: frozenset[str]) -> list[tuple[str, ...]]:
    """What says who sent each entry; empty where nothing does."""
    found = [_identity(entry, constants) for entry in entries]
    share = Counter(value for values in found for value in set(values))
    most = _SHARED_SHARE * len(entries)
    return [tuple(value for value in values if value.startswith("session ") or share[value] <= most) for values in found]


def _identity(entry: CaptureEntry, constants: frozenset[str]) -> tuple[str, ...]:
    headers = entry.request.headers
    cookies = list(cookies_of(headers))
    sessions = tuple(f"session {name}={value}" for name, value in cookies if is_session_cookie(name, value))
    if sessions:
        return sessions
    authorization = header(headers, "authorization")
    if authorization:
        return (f"authorization {authorization}",)
    for name in _KEY_HEADERS:
        value = header(headers, name)
        if value and len(value) >= 4:
            return (f"{name} {value}",)
    return tuple(f"cookie {name}={value}" for name, value in cookies if is_identifier(value) and value not in constants)


def _join_equal(joined: _Groups, identities: Sequence[tuple[str, ...]]) -> None:
    first: dict[str, int] = {}
    for position, values in enumerate(identities):
        for value in values:
            joined.join(first.setdefault(value, position), position)


class _Origin:
    """An identifier's life in the capture."""

    __slots__ = ("created", "issuer", "shared", "user")

    def __init__(self, issuer: int, *, created: bool) -> None:
        self.issuer = issuer
        self.created = created
        self.user: int | None = None
        self.shared = False


def _join_issued(joined: _Groups, entries: Sequence[CaptureEntry], constants: frozenset[str]) -> None:
    """Join the entry that an identifier was issued to with those that use it later."""
    used = [used_values(entry.request) for entry in entries]
    wanted = set().union(*used) - constants
    if not wanted:
        return
    supplied: set[str] = set()
    origins: dict[str, _Origin] = {}
    for position, entry in enumerate(entries):
        for value in used[position]:
            origin = origins.get(value)
            if origin is None:
                supplied.add(value)
            elif not origin.shared:
                _use(joined, origin, position)
        if entry.recorded is None:
            continue
        for value, created in issued_values(entry.request, entry.recorded, wanted):
            if value in supplied:
                continue
            origins.setdefault(value, _Origin(position, created=created))
    for origin in origins.values():
        if origin.user is not None and not origin.shared:
            joined.join(origin.issuer, origin.user)


def _use(joined: _Groups, origin: _Origin, position: int) -> None:
    if origin.created:
        origin.user = position
        joined.join(origin.issuer, position)
    elif joined.find(position) != joined.find(origin.issuer):
        if origin.user is None:
            origin.user = position
        elif joined.find(origin.user) != joined.find(position):
            origin.shared = True


def _join_clients(joined: _Groups, entries: Sequence[CaptureEntry], identities: Sequence[tuple[str, ...]]) -> None:
    """Join what came over one connection, unless the connection serves several identities."""
    clients: dict[tuple[str, str], list[int]] = {}
    for position, entry in enumerate(entries):
        if entry.client:
            clients.setdefault((entry.file, entry.client), []).append(position)
    for (_, client), positions in clients.items():
        if client == ONE_PERSON or _one_identity(joined, positions, identities):
            for position in positions:
                joined.join(positions[0], position)


def _one_identity(joined: _Groups, positions: Iterable[int], identities: Sequence[tuple[str, ...]]) -> bool:
    return len({joined.find(position) for position in positions if identities[position]}) <= 1
