"""Transport errors."""

import pytest

from comparators.transport import compare_transport
from harness.core.labels import Aspect, ErrorKind, Kind
from harness.core.values import Exchange, Request, Response, TransportError

REQUEST = Request("GET", "/")


def failed(kind: ErrorKind, message: str = "") -> Exchange:
    return Exchange(request=REQUEST, error=TransportError(kind, message))


ANSWER = Exchange(request=REQUEST, response=Response(200))


@pytest.mark.parametrize(
    ("left", "right", "sides"),
    [
        (ANSWER, failed(ErrorKind.TIMEOUT), ("answer", "timeout")),
        (failed(ErrorKind.RESET), failed(ErrorKind.TIMEOUT), ("reset", "timeout")),
        (failed(ErrorKind.RESET, "a"), failed(ErrorKind.RESET, "b"), None),
        (Exchange(request=REQUEST), ANSWER, ("reset", "answer")),
        (ANSWER, ANSWER, None),
    ],
)
def test_outcomes(left: Exchange, right: Exchange, sides: tuple[str, str] | None) -> None:
    found = compare_transport(left, right)
    assert [(d.aspect, d.path, d.kind, d.left, d.right) for d in found] == (
        [] if sides is None else [(Aspect.TRANSPORT, "$", Kind.ERROR, *sides)]
    )
    assert [(d.left, d.right) for d in compare_transport(right, left)] == ([] if sides is None else [sides[::-1]])


def test_messages_are_in_the_note() -> None:
    (only,) = compare_transport(failed(ErrorKind.RESET, "closed"), failed(ErrorKind.TIMEOUT, "10 s"))
    assert only.note == "closed | 10 s"
