"""Status codes."""

from comparators.status import compare_status
from harness.core.labels import Aspect, Kind
from harness.core.values import Difference, Response


def test_status() -> None:
    assert compare_status(Response(200, reason="OK"), Response(200, reason="Fine")) == ()
    assert compare_status(Response(200), Response(404)) == (Difference(Aspect.STATUS, "$", Kind.CODE, 200, 404, "$"),)
