"""Copies that a real nginx and a real Envoy send, and what their clients notice when the taker of copies dies or hangs: nothing."""

import asyncio
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import mirrors
from tests.e2e.live import WAIT_S, free_port
from tests.e2e.mirrors import EXAMPLES, Builds, PortTakenError, builds, copies, mirror, on_free_ports
from tests.proxy.rig import fields, read_body, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CLIENTS = 8
HOST = "shop.example:81"


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, target: str) -> None:
    """One request over a connection that stays open; the answer must be the origin's, whole."""
    body = b"sent" if method == "POST" else b""
    writer.write(f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    head = await reader.readuntil(b"\r\n\r\n")
    answer, _ = await read_body(reader, head)
    assert head.startswith(b"HTTP/1.1 200 "), head
    assert answer == f"{method} shop.example {target} of origin\n".encode()
    assert (b"connection", b"close") not in [(name.lower(), value.lower()) for name, value in fields(head)]


async def load(port: int, phase: str, count: int, after: Callable[[int], None] = lambda _: None) -> None:
    """So many requests from several clients at once, each answer checked; `after` hears how many were answered."""
    numbers = iter(range(count))
    answered = 0

    async def client() -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for number in numbers:
                await ask(reader, writer, "POST" if number % 10 == 0 else "GET", f"/{phase}/{number}?x={number}")
                answered += 1
                after(answered)
        finally:
            writer.close()

    await asyncio.gather(*[client() for _ in range(CLIENTS)])
    assert answered == count


async def seen_of(targets: Builds, phase: str, count: int = 1) -> None:
    """Until the candidate was asked for so many requests of a phase."""
    await until(lambda: sum(target.startswith(f"/{phase}/") for _, _, target, _ in targets.seen("candidate")) >= count, WAIT_S)


def adds_up(totals: dict[str, int | dict[str, int]]) -> bool:
    """Whether each request had exactly one outcome."""
    groups = [group for group in (totals["shed"], totals["skipped"], totals["refused"]) if isinstance(group, dict)]
    assert isinstance(totals["compared"], int)
    return totals["requests"] == totals["compared"] + sum(sum(group.values()) for group in groups)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_each_copy_becomes_one_trial_under_the_clients_host(kind: str, tmp_path: Path) -> None:
    async def main(folder: Path) -> None:
        port = free_port()
        with (
            builds(folder) as targets,
            copies(folder, port, targets) as taker,
            mirror(kind, folder, origin=targets.ports["origin"], copies=port) as front,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", front)
            for number in range(10):
                await ask(reader, writer, "POST", f"/orders/{number}")
            for number in range(40):
                await ask(reader, writer, "GET", f"/seen/{number}?a=b%20c&a=d")
            writer.close()
            await seen_of(targets, "seen", 40)
            totals = taker.end()
            assert (totals["requests"], totals["compared"], totals["skipped"]) == (50, 40, {"write": 10})
            asked = sorted((HOST, "GET", f"/seen/{number}?a=b%20c&a=d", "1") for number in range(40))
            for name in ("stable", "secondary", "candidate"):
                assert sorted(targets.seen(name)) == asked, name
            assert len(targets.seen("origin")) == 50
            assert {mark for _, _, _, mark in targets.seen("origin")} == {"-"}, "clients' own requests carry no mark"

    on_free_ports(main, tmp_path)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_killed_under_load_no_clients_answer_changes(kind: str, tmp_path: Path) -> None:
    async def main(folder: Path) -> None:
        port = free_port()
        with builds(folder) as targets, mirror(kind, folder, origin=targets.ports["origin"], copies=port) as front:
            await load(front, "before", 100)
            with copies(folder, port, targets) as first:
                await load(front, "first", 50)
                await seen_of(targets, "first")
                await load(front, "killed", 2000, lambda answered: first.signal(signal.SIGKILL) if answered == 700 else None)
                assert first.process.wait() == -signal.SIGKILL
            with copies(folder, port, targets) as second:
                await load(front, "again", 300)
                await seen_of(targets, "again")
                totals = second.end()
                assert totals["compared"]
                assert adds_up(totals), totals

    on_free_ports(main, tmp_path)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_hanging_under_load_no_clients_answer_changes(kind: str, tmp_path: Path) -> None:
    async def main(folder: Path) -> None:
        port = free_port()
        with (
            builds(folder) as targets,
            copies(folder, port, targets) as taker,
            mirror(kind, folder, origin=targets.ports["origin"], copies=port) as front,
        ):
            await load(front, "hung", 200, lambda answered: taker.signal(signal.SIGSTOP) if answered == 120 else None)
            taker.signal(signal.SIGCONT)
            await load(front, "again", 100)
            await seen_of(targets, "again")
            totals = taker.end()
            assert totals["compared"]
            assert adds_up(totals), totals

    on_free_ports(main, tmp_path)


@pytest.mark.parametrize("who", ["builds", "mirror", "copies"])
def test_a_port_that_somebody_takes_meanwhile_is_no_failure(who: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        taken = stranger.getsockname()[1]
        tried: list[Path] = []

        async def main(folder: Path) -> None:
            tried.append(folder)
            offer = taken if len(tried) == 1 else free_port()
            if who == "builds":
                numbers = iter([free_port(), offer, free_port(), free_port()])
                monkeypatch.setattr(mirrors, "free_port", lambda: next(numbers))
                with builds(folder) as targets:
                    assert offer in targets.ports.values()
            elif who == "mirror":
                monkeypatch.setattr(mirrors, "free_port", lambda: offer)
                with mirror("nginx", folder, origin=9, copies=9) as front:
                    assert front == offer
            else:
                with copies(folder, offer, Builds(folder, dict.fromkeys(mirrors.BUILDS, 9))) as taker:
                    taker.end()

        on_free_ports(main, tmp_path)
        assert len(tried) == 2


def test_a_port_that_is_never_free_is_said(tmp_path: Path) -> None:
    tried: list[Path] = []

    async def main(folder: Path) -> None:
        tried.append(folder)
        raise PortTakenError("Address already in use")

    with pytest.raises(PortTakenError):
        on_free_ports(main, tmp_path)
    assert len(tried) == mirrors.PORT_ATTEMPTS
