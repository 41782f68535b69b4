"""The cap on those who are connected, and their end."""

import asyncio

import pytest

from harness.core.limits import CLIENTS_TURNED_AWAY_MAX
from harness.proxy import clients as module
from harness.proxy.clients import Clients
from tests.proxy.rig import LONG_S, run, until


class Guest:
    """A connection that ends at once when it is told to, or only when it is cut."""

    def __init__(self, clients: Clients, *, stays: bool = False) -> None:
        self.clients = clients
        self.stays = stays
        self.told: list[str] = []

    def stop(self) -> None:
        self.told.append("stop")
        if not self.stays:
            self.clients.discard(self)

    def kill(self) -> None:
        self.told.append("kill")
        self.clients.discard(self)


def test_those_beyond_the_cap_are_turned_away_and_take_no_place() -> None:
    async def main() -> None:
        clients = Clients(2)
        guests = [Guest(clients) for _ in range(4)]
        turned = []
        for guest in guests:
            clients.add(guest)
            turned.append(clients.turns_away(guest))
        assert turned == [False, False, True, True]
        clients.discard(guests[0])
        later = Guest(clients)
        clients.add(later)
        assert not clients.turns_away(later), "those who are only told so do not count"
        clients.clients_max = 1
        assert len(clients) == 4, "a lower cap cuts nobody off"
        clients.add(guests[0])
        assert clients.turns_away(guests[0])

    run(main())


def test_even_those_who_are_only_told_so_have_a_bound() -> None:
    async def main() -> None:
        clients = Clients(0)
        for number in range(CLIENTS_TURNED_AWAY_MAX + 1):
            assert clients.overrun is False, number
            guest = Guest(clients)
            clients.add(guest)
            assert clients.turns_away(guest)
        assert clients.overrun
        clients.discard(guest)
        assert not clients.overrun

    run(main())


def test_all_are_told_to_stop_and_those_who_stay_are_cut_after_the_grace() -> None:
    async def main() -> None:
        clients = Clients()
        goes, stays = Guest(clients), Guest(clients, stays=True)
        clients.add(goes)
        clients.add(stays)
        await clients.stop(0.01)
        assert (goes.told, stays.told, len(clients)) == (["stop"], ["stop", "kill"], 0)

    run(main())


def test_who_comes_while_it_stops_is_told_a_little_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATE_SECONDS", 0.01)

    async def main() -> None:
        clients = Clients()
        stays, late = Guest(clients, stays=True), Guest(clients)
        clients.add(stays)
        stopping = asyncio.ensure_future(clients.stop(LONG_S))
        await until(lambda: bool(stays.told))
        clients.add(late)
        assert late.told == []
        await until(lambda: late.told == ["stop"])
        clients.discard(stays)
        await stopping
        assert stays.told == ["stop"]

    run(main())
