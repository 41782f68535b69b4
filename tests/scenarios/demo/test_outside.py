"""The services outside: what they answer, and whose calls they count."""

import asyncio
import socket
from random import Random
from typing import Any

import aiohttp
import pytest

from harness.core.labels import Role
from harness.core.trace import span_of, trace_id, with_trace
from scenarios.demo.outside import BODY_BYTES_MAX, IDEMPOTENCY_KEY, MAIL, PAYMENTS, Outside, caller_of

KEY = {IDEMPOTENCY_KEY: "k"}
CHARGE = {"amount": 9.5, "currency": "EUR", "order_id": 7}
MESSAGE = {"to": "somebody@shop.example", "template": "order-placed"}


def post(*calls: tuple[str, str, Any, dict[str, str]]) -> tuple[list[int], Outside]:
    """Statuses of calls (service, path, body, headers), and the outside, closed."""

    async def go() -> tuple[list[int], Outside]:
        statuses = []
        async with Outside(Random(1)) as outside, aiohttp.ClientSession() as client:
            for service, path, body, headers in calls:
                data = {"data": body} if isinstance(body, bytes) else {"json": body}
                async with client.post(f"http://{outside.addresses[service]}{path}", headers=headers, **data) as answer:
                    statuses.append(answer.status)
        return statuses, outside

    return asyncio.run(go())


def of(role: Role, trace: str = trace_id(5)) -> dict[str, str]:
    return dict(with_trace((), trace, role))


def test_charges_and_messages() -> None:
    statuses, _ = post(
        (PAYMENTS, "/charges", CHARGE, KEY),
        (PAYMENTS, "/charges", CHARGE, {}),
        (PAYMENTS, "/charges", CHARGE | {"amount": -1}, KEY),
        (PAYMENTS, "/charges", CHARGE | {"amount": "9"}, KEY),
        (PAYMENTS, "/charges", b"[]", KEY),
        (PAYMENTS, "/charges", b"{", KEY),
        (PAYMENTS, "/charges", b" " * (BODY_BYTES_MAX + 1), KEY),
        (PAYMENTS, "/messages", MESSAGE, {}),
        (MAIL, "/messages", MESSAGE, {}),
        (MAIL, "/messages", {}, {}),
    )
    assert statuses == [201, 400, 400, 400, 400, 400, 413, 404, 202, 400]


def test_whose_calls_came() -> None:
    _, outside = post(
        (PAYMENTS, "/charges", CHARGE, KEY | of(Role.STABLE)),
        (MAIL, "/messages", MESSAGE, of(Role.STABLE, trace_id(6))),
        (PAYMENTS, "/charges", CHARGE, KEY | of(Role.CANDIDATE)),
        (PAYMENTS, "/charges", CHARGE, KEY),
        (MAIL, "/messages", b"not even JSON", of(Role.SECONDARY)),
    )
    assert [outside.came(role) for role in (*Role, None)] == [2, 1, 1, 1]
    assert outside.came(Role.SECONDARY, Role.CANDIDATE, None) == 3
    assert outside.calls[PAYMENTS, Role.STABLE] == outside.calls[MAIL, Role.STABLE] == 1


@pytest.mark.parametrize("text", ["", "00-x", f"00-{5:032x}-{5:016x}-01"])
def test_callers_that_nobody_knows(text: str) -> None:
    assert caller_of(text) is None


@pytest.mark.parametrize("role", Role)
def test_callers(role: Role) -> None:
    assert caller_of(f"00-{trace_id(2**100 + 3)}-{span_of(trace_id(2**100 + 3), role)}-01") is role


def test_nobody_listens_any_more_at_the_end() -> None:
    _, outside = post()
    assert set(outside.addresses) == {PAYMENTS, MAIL}
    for address in outside.addresses.values():
        host, port = address.split(":")
        with socket.socket() as probe:
            assert probe.connect_ex((host, int(port))) != 0
