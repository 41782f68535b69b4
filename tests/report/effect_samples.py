"""Side effects made up for tests: what a build does for an order, and what a run knows of effects beside its trials."""

import json

import msgspec

from harness.core.values import Effect
from harness.core.watched import EffectsFacts, LapseFact, TableDifference, Unattributed, Watched


def effect(collector: str, operation: str, document: object, note: str = "", *, writes: bool = True) -> Effect:
    return Effect(
        collector=collector, operation=operation, document=json.dumps(document, separators=(",", ":")).encode(), note=note, writes=writes
    )


def doings(key: str, *, total: int = 1250, note: str = "answered by the service") -> tuple[Effect, ...]:
    """What a build does for an order: asks for a price, charges, stores, and tells the cache."""
    body = {"amount": 1250, "currency": "JPY", "idempotency_key": key}
    return (
        effect("http", "GET prices.test/skus/{sku}", {"query": {"currency": "JPY"}}, note, writes=False),
        effect("http", "POST payments.test/charge", {"headers": {"content-type": "application/json"}, "body": body}, note),
        effect("postgres", "INSERT public.orders", {"new": {"id": key, "tenant": "acme-tokyo", "total": total, "state": "placed"}}),
        effect("redis", "SET cart:{int}", {"arguments": ["[]"]}),
    )


def charged_twice(first: str, second: str) -> tuple[Effect, ...]:
    """What a build does that charges again: nothing of stable's is left to answer the second one from."""
    once = doings(first, note="answered from stable's call, though its content differs")
    again = msgspec.structs.replace(doings(second)[1], note="no match: failed")
    return (*once[:2], again, *once[2:])


EFFECTS = EffectsFacts(
    watched=(
        Watched(
            collector="http",
            version="1",
            mode="virtualise",
            seen={"stable": 402, "secondary": 402, "candidate": 400},
            unattributed={"stable": 1, "candidate": 2},
            late={"candidate": 1},
            lapses=(
                LapseFact(what="connections to port 25 that are no HTTP", count=4, role="candidate"),
                LapseFact(what="answers larger than the tape keeps", count=1, blind=False),
            ),
        ),
        Watched(collector="postgres", version="1", seen={"stable": 104, "secondary": 104, "candidate": 102}),
        Watched(collector="redis", version="1", seen={"stable": 36, "secondary": 36, "candidate": 36}),
    ),
    complete=452,
    timed_out=4,
    unattributed=(Unattributed(collector="http", operation="POST metrics.test/push", counts={"stable": 1, "candidate": 2}),),
    tables=(
        TableDifference(
            collector="postgres",
            table="public.orders",
            column="total",
            values={"stable": "9f86d081884c", "secondary": "9f86d081884c", "candidate": "60303ae22b99"},
            passes=2,
            passes_compared=2,
            rows=(
                {
                    "stable": '{"id":"ord_00418","total":1250,"state":"placed"}',
                    "secondary": '{"id":"ord_00418","total":1250,"state":"placed"}',
                    "candidate": '{"id":"ord_00418","total":125000,"state":"placed"}',
                },
            ),
        ),
        TableDifference(
            collector="postgres",
            table="public.audit",
            column="at",
            noisy=True,
            values={"stable": "fd61a03af4f7", "secondary": "a4e624d686e0", "candidate": "4e0740856292"},
            passes=2,
            passes_compared=2,
        ),
    ),
    tables_compared=8,
)
