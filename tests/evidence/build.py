"""Trials and comparisons for the tests of this room."""

from typing import Any

from harness.core.labels import Aspect, Kind, Role
from harness.core.values import Arm, Body, CaptureRef, Comparison, Difference, Exchange, Request, Response, Trial, body_of


def arm(role: Role, exchange: Exchange | None = None) -> Arm:
    """An arm that answered 200 after 5 ms."""
    return Arm(role=role, exchange=exchange or Exchange(request=Request("GET", "/1"), response=Response(200), ended_ns=5_000_000))


def trial(
    *,
    seq: int = 0,
    entity: str = "/1",
    method: str = "GET",
    body: bytes = b"",
    sent: Body | None = None,
    roles: tuple[Role, ...] = tuple(Role),
    candidate: Exchange | None = None,
    entry: int | None = None,
    **changes: Any,
) -> Trial:
    """A trial of `GET /{int}`."""
    return Trial(
        id=f"t{seq}",
        seq=seq,
        endpoint="GET /{int}",
        request=Request(method, entity, body=sent or body_of(body)),
        stable=arm(Role.STABLE),
        secondary=arm(Role.SECONDARY) if Role.SECONDARY in roles else None,
        candidate=arm(Role.CANDIDATE, candidate) if Role.CANDIDATE in roles else None,
        capture=None if entry is None else CaptureRef("c.har", entry),
        entity=entity,
        **changes,
    )


def diff(kind: Kind, left: Any, right: Any, path: str = "$.x", where: str = "") -> Difference:
    """A difference of bodies."""
    return Difference(Aspect.BODY, path, kind, left, right, where or path)


def _between(values: dict[str, tuple[Any, ...]], left: int, right: int) -> tuple[Difference, ...]:
    found = []
    for path, arms in values.items():
        a, b = arms[left], arms[right]
        if a == b:
            continue
        kind = Kind.NULL if a is None or b is None else Kind.VALUE
        if a is ... or b is ...:
            kind = Kind.MISSING if b is ... else Kind.EXTRA
        found.append(diff(kind, None if a is ... else a, None if b is ... else b, path))
    return tuple(found)


def pair(values: dict[str, tuple[Any, ...]], *, inferred: bool = False) -> Comparison:
    """What (stable, secondary, candidate) at each path differ in; `...` is absent. `inferred` leaves out a pair that follows."""
    first, second, cross = _between(values, 0, 2), _between(values, 0, 1), _between(values, 1, 2)
    left_out = inferred and not (first and second)
    return Comparison(
        trial="t",
        seq=0,
        stable_candidate=first,
        stable_secondary=second,
        secondary_candidate=() if left_out else cross,
        cross_compared=not left_out,
    )
