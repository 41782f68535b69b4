from typing import Any

import pytest

from harness.core.labels import ErrorKind, Role
from harness.core.values import Exchange, Request, Response, TransportError
from replay import identity
from replay.identity import SessionIdentifiers
from tests.replay.build import request, response

ROLES = (Role.STABLE, Role.SECONDARY, Role.CANDIDATE)
CREATE = request("POST", "/orders", {"item": "pen"})


def order(number: int, **more: Any) -> Response:
    return response(201, {"id": number, **more})


def answers(**by_role: Response | None) -> dict[Role, Exchange]:
    gone = TransportError(ErrorKind.RESET)
    return {Role(name): Exchange(request=CREATE, response=answer, error=None if answer else gone) for name, answer in by_role.items()}


def cookie(value: str) -> Response:
    return response(200, {}, headers=(("Set-Cookie", f"sid={value}"),))


def read(number: int) -> Request:
    return request(target=f"/orders/{number}")


def test_each_arm_gets_its_own_identifiers_and_gives_the_recorded_ones() -> None:
    session = SessionIdentifiers(ROLES)
    learned = session.learn(CREATE, order(100), answers(candidate=order(7), stable=order(8), secondary=order(9)))
    assert (learned.mapped, learned.contradictions) == (3, 0)
    assert {exchange.response for exchange in learned.exchanges.values()} == {order(100)}
    assert [session.rewrite(role, read(100))[0].target for role in ROLES] == ["/orders/8", "/orders/9", "/orders/7"]
    assert session.rewrite(Role.STABLE, read(55)) == (read(55), 0)
    assert not session.is_tainted(read(100))
    again = session.learn(read(100), response(200, {"id": 100}), answers(stable=response(200, {"id": 8})))
    assert again.exchanges[Role.STABLE].response == response(200, {"id": 100})


@pytest.mark.parametrize("lost", [None, response(500, {"error": "no"}), response(201, {"ok": True})])
def test_a_creation_that_one_arm_lost_taints_its_users(lost: Response | None) -> None:
    session = SessionIdentifiers(ROLES)
    session.learn(CREATE, order(100), answers(stable=order(8), secondary=order(9), candidate=lost))
    assert session.is_tainted(read(100))
    assert session.is_tainted(request("POST", "/pay", {"order_id": 100}))
    assert not session.is_tainted(read(101))


def test_what_all_arms_lost_taints_nothing() -> None:
    session = SessionIdentifiers(ROLES)
    no = response(500)
    session.learn(CREATE, order(100), answers(stable=no, secondary=no, candidate=no))
    assert not session.is_tainted(read(100))


def test_an_identifier_that_is_mapped_is_not_lost_with_another() -> None:
    session = SessionIdentifiers(ROLES)
    full, part = order(8, invoice_id=50), order(7)
    session.learn(CREATE, order(100, invoice_id=900), answers(stable=full, secondary=order(9, invoice_id=60), candidate=part))
    assert not session.is_tainted(read(100))
    assert session.is_tainted(request(target="/invoices/900"))


def test_a_lost_cookie_taints_and_a_mapped_one_does_not() -> None:
    login = request("POST", "/login")
    session = SessionIdentifiers(ROLES)
    session.learn(
        login, cookie("abcd1234efgh"), answers(stable=cookie("st12st34st56"), secondary=cookie("se12se34se56"), candidate=response(200, {}))
    )
    follower = request(headers=(("Cookie", "sid=abcd1234efgh"),))
    assert session.is_tainted(follower)
    assert "st12st34st56" in str(session.rewrite(Role.STABLE, follower)[0].headers)


def test_a_contradiction_is_counted_and_taints() -> None:
    session = SessionIdentifiers(ROLES)
    session.learn(CREATE, order(100), answers(stable=order(8), secondary=order(9), candidate=order(7)))
    again = session.learn(CREATE, order(100), answers(stable=order(8), secondary=order(9), candidate=order(70)))
    assert again.contradictions == 1
    assert session.is_tainted(read(100))


def test_without_a_recorded_answer_nothing_is_learned() -> None:
    session = SessionIdentifiers(ROLES)
    learned = session.learn(CREATE, None, answers(stable=order(8), secondary=order(9), candidate=order(7)))
    assert learned.mapped == 0
    assert learned.exchanges[Role.CANDIDATE].response == order(7)
    assert not session.is_tainted(read(8))


def test_a_single_arm_learns_too() -> None:
    session = SessionIdentifiers((Role.STABLE,))
    assert session.learn(CREATE, order(100), answers(stable=order(8))).mapped == 1


def test_what_is_lost_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "SESSION_IDENTIFIERS_MAX", 3)
    session = SessionIdentifiers(ROLES)
    for number in range(1, 6):
        session.learn(CREATE, order(100 + number), answers(stable=order(number), secondary=order(number), candidate=response(500)))
    assert [session.is_tainted(read(100 + number)) for number in range(1, 6)] == [False, False, True, True, True]
