"""Which accepted changes a run goes by: where their file is, what a base ref says of it, and which of them still hold."""

import datetime
from pathlib import Path
from typing import Final

import msgspec

from harness.core.attributes import IN_FLIGHT
from harness.core.errors import UsageError
from harness.core.home import expanded
from harness.core.labels import Aspect
from harness.core.redact import Redactor
from harness.core.values import Scalar
from harness.evidence.expected import NOTHING_EXPECTED, ExpectedChange, ExpectedFacts
from harness.evidence.martingale import binomial_upper
from harness.evidence.seen import Seen, SeenBook, SeenSlice, seen_of, values_of
from harness.evidence.snapshot import Evidence, Snapshot
from harness.settings.expected_file import date_of, read_expected, read_expected_file
from harness.settings.git_ref import read_at_ref

DEFAULT_FILE: Final = "shadowdiff-expected.yaml"
RATE_LEVEL: Final = 0.975
"""Of each end of the interval of a rate: together they miss it in 5 % of the cases."""
_NOT_OF_A_REQUEST: Final = frozenset({IN_FLIGHT, "time"})
"""Attributes of a slice that say when a request was sent."""
_NOT_THERE: Final = ("there is no such file at", "lies in no Git repository")
"""How git_ref begins to say that a file is not there; anything else is an error."""


def file_of(given: str | None, config: Path | None) -> Path:
    """The file that is named, else the usual one beside the configuration file or in the working folder."""
    if given is not None:
        return expanded(given)
    return (config.parent if config is not None else Path()) / DEFAULT_FILE


def load_expected(
    given: str | None, config: Path | None, *, started: float, ref: str | None = None, allow_self: bool = False
) -> ExpectedFacts:
    """The accepted changes of a run that began at `started` (seconds since the epoch).

    With a base ref its file decides; what the working tree adds to it or alters was accepted by the change under test itself and
    counts only with `allow_self`. What the working tree takes out still counts: it could be a change that must happen.
    Raises UsageError for a file that is named and not there, or that cannot be read: such a run never passes.
    """
    path = file_of(given, config)
    own = read_expected_file(path) if given is not None or path.exists() else ()
    if ref is None:
        return _facts(path, own, (), started, allow_self=False) if own or path.exists() else NOTHING_EXPECTED
    base = _at_ref(path, ref, named=given is not None or path.exists())
    added = tuple(change for change in own if change not in base)
    return _facts(path, base, added, started, allow_self=allow_self)


def as_of(facts: ExpectedFacts, now: float) -> ExpectedFacts:
    """The accepted changes at another moment (seconds since the epoch): those past their last day do not hold any more."""
    today = _day(now)
    over = tuple(change for change in facts.applied if not _holds(change, today))
    if not over:
        return facts
    whole = {change.id: change for change in (*facts.expired, *over)}
    applied = tuple(change for change in facts.applied if _holds(change, today))
    return msgspec.structs.replace(facts, applied=applied, expired=tuple(whole[name] for name in sorted(whole)))


def has_expired(facts: ExpectedFacts, now: float) -> bool:
    """Whether one of the changes that are applied is past its last day."""
    today = _day(now)
    return not all(_holds(change, today) for change in facts.applied)


def seen_views(book: SeenBook, snapshot: Snapshot, redactor: Redactor) -> dict[str, Seen]:
    """What was seen of each finding, as it may be stored: where a value is secret, only forms are left."""
    requests = {state.endpoint: state.requests for state in snapshot.endpoints}
    states = book.states()
    found: dict[str, Seen] = {}
    for finding in snapshot.findings:
        if finding.noted is not None:
            found[finding.id] = seen_of(finding.noted, ratio=finding.aspect is Aspect.LATENCY)
            continue
        if (state := states.get(finding.id)) is None:
            continue
        seen = state.seen()
        if any(_is_secret(redactor, state.place, value) for value in values_of(seen)):
            seen = Seen(forms=seen.forms)
        total = max(requests.get(finding.endpoint, 0), state.changed)
        found[finding.id] = msgspec.structs.replace(
            seen,
            slice=_slice_of(finding),
            requests=total,
            changed=state.changed,
            rate_low=round(1.0 - binomial_upper(total - state.changed, total, RATE_LEVEL), 6),
            rate_high=round(binomial_upper(state.changed, total, RATE_LEVEL), 6),
        )
    return found


def _is_secret(redactor: Redactor, place: str, value: Scalar) -> bool:
    hidden = redactor.value(place, value)
    return hidden != value or type(hidden) is not type(value)


def _slice_of(finding: Evidence) -> SeenSlice | None:
    """The part of the traffic that it is wholly confined to, where that can be told of a request by itself."""
    found = finding.slice
    if found is None or found.elsewhere_diverged or found.attribute in _NOT_OF_A_REQUEST:
        return None
    return SeenSlice(attribute=found.attribute, value=found.value)


def _at_ref(path: Path, ref: str, *, named: bool) -> tuple[ExpectedChange, ...]:
    try:
        data = read_at_ref(path, ref)
    except UsageError as error:
        missing = error.what.startswith(_NOT_THERE[0]) or (not named and error.what.startswith(_NOT_THERE[1]))
        if missing:
            return ()
        raise
    return read_expected(data, f"{ref}:{path}")


def _facts(
    path: Path, base: tuple[ExpectedChange, ...], added: tuple[ExpectedChange, ...], started: float, *, allow_self: bool
) -> ExpectedFacts:
    today = _day(started)
    used = {change.id: change for change in base} | ({change.id: change for change in added} if allow_self else {})
    whole = [used[name] for name in sorted(used)]
    return ExpectedFacts(
        file=str(path),
        applied=tuple(change for change in whole if _holds(change, today)),
        expired=tuple(change for change in whole if not _holds(change, today)),
        self_accepted=added,
        self_accepted_applied=allow_self and bool(added),
    )


def _day(seconds: float) -> datetime.date:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date()


def _holds(change: ExpectedChange, today: datetime.date) -> bool:
    last = date_of(change.expires)
    return last is not None and today <= last
