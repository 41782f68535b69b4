"""Status codes."""

from harness.core.labels import Aspect, Kind
from harness.core.values import Difference, Response


def compare_status(left: Response, right: Response) -> tuple[Difference, ...]:
    """One `code` difference at `$` where the codes differ. Reason phrases mean nothing (RFC 9110 15.1)."""
    if left.status == right.status:
        return ()
    return (Difference(Aspect.STATUS, "$", Kind.CODE, left.status, right.status, "$"),)
