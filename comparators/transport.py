"""Transport errors: exchanges that ended without an answer."""

from harness.core.labels import Aspect, Kind
from harness.core.values import Difference, Exchange

_ANSWER = "answer"


def compare_transport(left: Exchange, right: Exchange) -> tuple[Difference, ...]:
    """One `error` difference at `$` where one side has no answer, or failed in another way than the other."""
    a, b = outcome_of(left), outcome_of(right)
    if a == b:
        return ()
    messages = [exchange.error.message for exchange in (left, right) if exchange.error is not None and exchange.error.message]
    return (Difference(Aspect.TRANSPORT, "$", Kind.ERROR, a, b, "$", " | ".join(messages)[:200]),)


def outcome_of(exchange: Exchange) -> str:
    """`answer`, or the label of the error; an exchange with neither counts as `reset`."""
    if exchange.error is not None:
        return str(exchange.error.kind)
    return _ANSWER if exchange.response is not None else "reset"
