"""Which entries of a capture a gate sends: the chosen sessions, and variations of what was captured."""

from collections.abc import Callable, Sequence

import msgspec

from harness.core.errors import UsageError
from harness.core.values import Request
from replay.entry import CaptureEntry
from replay.sessions import Session, group_sessions
from scenarios.variation import vary

SHOWN_MAX = 5


def with_variants(
    entries: Sequence[CaptureEntry], count: int, seed: int, *, endpoint_of: Callable[[Request], str], is_sent: Callable[[Request], bool]
) -> tuple[CaptureEntry, ...]:
    """The entries, and after the first one of each endpoint that is sent up to `count` variations of it.

    A variation is an entry of its own, of a file called `FILE (varied)`, without a recorded answer; it belongs to the
    session of the entry it was made of. The same seed makes the same variations.
    """
    found: list[CaptureEntry] = []
    seen: set[str] = set()
    numbers: dict[str, int] = {}
    for entry in entries:
        found.append(entry)
        endpoint = endpoint_of(entry.request)
        if not count or endpoint in seen or not is_sent(entry.request):
            continue
        seen.add(endpoint)
        file = f"{entry.file} (varied)"
        for request in vary(entry.request, seed + len(seen), count):
            numbers[file] = numbers.get(file, -1) + 1
            found.append(msgspec.structs.replace(entry, file=file, index=numbers[file], request=request, recorded=None))
    return tuple(found)


def chosen_sessions(entries: Sequence[CaptureEntry], keys: Sequence[str]) -> tuple[Session, ...]:
    """All sessions, or those named. Raises UsageError, with the nearest there is, for a key that no session has."""
    sessions = group_sessions(entries)
    if not keys:
        return sessions
    known = {session.key for session in sessions}
    if unknown := [key for key in keys if key not in known]:
        some = ", ".join([session.key for session in sessions][:SHOWN_MAX])
        raise UsageError(f"the capture has no session {', '.join(unknown)}", where="--session", fix=f"sessions are called {some}, ...")
    return tuple(session for session in sessions if session.key in keys)
