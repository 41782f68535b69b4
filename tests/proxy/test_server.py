"""Start and stop: nothing accepted is lost, everything is counted, addresses are what was asked for."""

import asyncio
import random
import socket
import threading
from pathlib import Path

import msgspec
import pytest

from harness.core.errors import SetupError
from harness.core.outcomes import Tally
from harness.proxy import clients
from harness.proxy import ingress as module
from harness.proxy.backlog import begin_no_more
from harness.proxy.dispatch import Naming, Sink
from harness.proxy.forwarding import ForwardingOptions
from harness.proxy.server import ProxyOptions, ProxyServer
from tests.proxy.rig import (
    LONG_S,
    LOOPS,
    CountingIds,
    Seen,
    SystemClock,
    Upstream,
    answers,
    get,
    hang,
    ok,
    read_answers,
    rig,
    run,
    turns,
    until,
)


def server(upstream: Upstream, **options: object) -> ProxyServer:
    return ProxyServer(
        ProxyOptions(stable=upstream.address, **options),  # type: ignore[arg-type]  # of a test's choice
        clock=SystemClock(),
        rng=random.Random(1),
        tally=Tally(),
        naming=Naming(endpoint_of=lambda request: request.target, entity_of=lambda request: request.target, ids=CountingIds()),
        sink=Sink(put=lambda _: None, has_room=lambda endpoint, size: True),
    )


def test_a_taken_port_is_a_set_up_error_that_names_it() -> None:
    async def main() -> None:
        async with Upstream(answers(ok())) as upstream:
            proxy = server(upstream, listen_port=upstream.port)
            with pytest.raises(SetupError, match=f"127.0.0.1:{upstream.port}: cannot listen"):
                await proxy.start()
            await proxy.stop(1.0)

    run(main())


def test_the_address_is_known_only_while_listening() -> None:
    async def main() -> None:
        async with Upstream(answers(ok())) as upstream:
            proxy = server(upstream)
            assert proxy.in_flight == 0
            with pytest.raises(SetupError, match="not listening"):
                _ = proxy.port
            await proxy.start()
            assert proxy.address == f"127.0.0.1:{proxy.port}"
            await proxy.stop(1.0)
            six = server(upstream, listen_host="::1")
            try:
                await six.start()
            except SetupError:
                pytest.skip("no IPv6 here")
            assert six.address == f"[::1]:{six.port}"
            await six.stop(1.0)

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_unix_socket_to_listen_on(tmp_path: Path, loop: str) -> None:
    path = tmp_path / "listen"

    async def main() -> None:
        async with Upstream(answers(ok())) as upstream:
            proxy = server(upstream, listen_unix=str(path))
            await proxy.start()
            assert proxy.address == f"unix:{path}"
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(get("/", "Connection: close"))
            assert read_answers(await reader.read(), "GET")[0].body == b"hello"
            writer.close()
            await proxy.stop(1.0)
            assert not path.exists()

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_a_listening_socket_that_was_handed_in(tmp_path: Path, family: socket.AddressFamily, loop: str) -> None:
    path = str(tmp_path / "inherited")

    async def main() -> None:
        async with Upstream(answers(ok())) as upstream:
            with socket.socket(family) as inherited:
                inherited.bind(path if family is socket.AF_UNIX else ("127.0.0.1", 0))
                inherited.listen()
                where = inherited.getsockname()
                first, second = server(upstream, listen_port=1), server(upstream)
                await first.start(inherited.dup())
                await second.start(inherited)
                assert first.address == second.address == (f"unix:{path}" if family is socket.AF_UNIX else f"127.0.0.1:{where[1]}")
                await first.stop(1.0)
                with socket.socket(family) as client:
                    client.setblocking(False)
                    await asyncio.get_running_loop().sock_connect(client, where)
                    reader, writer = await asyncio.open_connection(sock=client)
                    writer.write(get("/", "Connection: close"))
                    assert read_answers(await reader.read(), "GET")[0].body == b"hello"
                    writer.close()
                await second.stop(1.0)
                assert (family is socket.AF_UNIX) is Path(path).exists()

    run(main(), loop)


def test_a_reload_changes_what_targets_are_told() -> None:
    async def main() -> None:
        async with rig(mirror=False) as r:
            kept = ProxyOptions(stable=r.stable.address)
            for forwarding, told in ((ForwardingOptions(via=True), [b"1.1 shadowdiff"]), (ForwardingOptions(), [])):
                r.proxy.reload(msgspec.structs.replace(kept, forwarding=forwarding))
                await r.talk(get("/"))
                assert [value for name, value in r.stable.seen[-1].headers if name == b"Via"] == told

    run(main())


def test_a_socket_that_cannot_listen_is_a_set_up_error() -> None:
    async def main() -> None:
        async with Upstream(answers(ok())) as upstream:
            with socket.socket() as closed:
                closed.close()
                proxy = server(upstream)
                with pytest.raises(SetupError, match="the socket handed in: cannot listen"):
                    await proxy.start(closed)
                await proxy.stop(1.0)

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_stopping_answers_what_was_accepted_and_closes_idle_connections(loop: str) -> None:
    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await until(release.is_set)
        writer.write(ok(seen.line.split()[1]))

    async def main() -> None:
        async with rig(stable, secondary=answers(ok()), candidate=answers(ok())) as r:
            port = r.proxy.port
            idle_reader, idle = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(get("/1") + get("/2"))
            await until(lambda: len(r.stable.seen) == 1)
            stopping = asyncio.ensure_future(r.proxy.stop(LONG_S))
            assert await idle_reader.read() == b""
            with pytest.raises(OSError, match=r"refused|connect|Connect"):
                await asyncio.open_connection("127.0.0.1", port)
            release.set()
            first, second = read_answers(await reader.read(), "GET", "GET")
            assert (first.body, second.body, second.header(b"connection")) == (b"/1", b"/2", b"close")
            writer.close()
            idle.close()
            await stopping
            assert r.tally.totals().compared == 2
            assert r.tally.under_way == 0

    release = asyncio.Event()
    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_stopping_does_not_wait_for_a_connection_whose_answer_had_begun_before(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATE_SECONDS", 0.0)

    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        await until(release.is_set)
        writer.write(b"b")

    async def main() -> None:
        async with rig(stable, mirror=False) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(get("/"))
            begun = await reader.readuntil(b"\r\n\r\na")
            stopping = asyncio.ensure_future(r.proxy.stop(1000.0))
            await until(lambda: r.proxy._clients._stopping)
            for _ in range(3):
                await asyncio.sleep(0)
            release.set()
            assert read_answers(begun + await reader.read(), "GET")[0].body == b"ab"
            await stopping
            writer.close()

    release = asyncio.Event()
    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_request_on_its_way_over_an_idle_connection_is_answered_when_the_server_stops(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATE_SECONDS", 20.0)

    async def main() -> None:
        async with rig(mirror=False) as r:
            streams = [await asyncio.open_connection("127.0.0.1", r.proxy.port) for _ in range(8)]
            await until(lambda: r.proxy.connections == len(streams))
            stopping = asyncio.ensure_future(r.proxy.stop(LONG_S))
            await until(lambda: r.proxy._clients._stopping)
            for _, writer in streams:
                writer.write(get("/"))
            for reader, writer in streams:
                (answer,) = read_answers(await reader.read(), "GET")
                assert (answer.status, answer.header(b"connection")) == (200, b"close")
                writer.close()
            await stopping

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_is_not_done_after_the_grace_is_counted(loop: str) -> None:
    async def main() -> None:
        async with rig(hang, grace_s=0.1) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(get("/"))
            other_reader, other = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            other.write(b"GET / HT")
            await until(lambda: len(r.stable.seen) == 1 and r.proxy.connections == 2)
            await turns()
            await r.proxy.stop(0.1)
            assert r.tally.totals().refused == {"shutdown": 2}
            for each in (writer, other):
                each.close()
            del reader, other_reader

    run(main(), loop)


def test_a_trial_that_would_start_while_stopping_is_shed() -> None:
    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await until(release.is_set)
        writer.write(ok())

    async def main() -> None:
        async with rig(stable, secondary=answers(ok()), candidate=answers(ok())) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(get("/"))
            await until(lambda: len(r.stable.seen) == 1)
            assert r.proxy._dispatcher is not None
            await r.proxy._dispatcher.stop(0.0)
            release.set()
            assert (await reader.readuntil(b"hello")).endswith(b"hello")
            assert r.tally.totals().shed == {"shutdown": 1}
            writer.close()

    release = asyncio.Event()
    run(main())


def test_a_load_of_many_clients_in_all_moods_adds_up() -> None:
    async def client(port: int, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        mood = number % 4
        try:
            for i in range(5):
                writer.write(get(f"/{number}/{i}") if mood != 1 else get("/").replace(b"GET", b"DELETE"))
                if mood == 2 and i == 3:
                    writer.transport.abort()
                    return
                await reader.readuntil(b"hello")
            if mood == 3:
                writer.write(b"nonsense\r\n\r\n")
                assert b" 501 " in await reader.read()
        finally:
            writer.close()

    async def main() -> None:
        async with rig(secondary=answers(ok()), candidate=answers(b"", close=True)) as r:
            await asyncio.gather(*[client(r.proxy.port, number) for number in range(40)])
            await r.settled()
            totals = r.tally.totals()
            assert totals.skipped == {"write": 50}
            assert totals.refused["bad_request"] == 10
            assert totals.errors == {"candidate": totals.compared}
            assert sorted(trial.seq for trial in r.trials) == list(range(totals.compared))

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("handed_in", [False, True])
def test_nobody_who_got_a_connection_before_the_end_is_reset(handed_in: bool, loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATE_SECONDS", LONG_S)  # however slow the machine, who is connected gets to send its request
    monkeypatch.setattr(clients, "LATE_SECONDS", LONG_S)
    ends: list[str] = []
    request = get("/", "Connection: close")

    def connect_all_the_time(where: tuple[str, int]) -> None:
        while True:
            with socket.socket() as client:
                client.settimeout(60)
                try:
                    client.connect(where)
                except ConnectionRefusedError:
                    ends.append("refused")
                    return
                except OSError as error:
                    ends.append(f"no connection: {error}")
                    return
                try:
                    client.sendall(request)
                    got = b""
                    while data := client.recv(4096):
                        got += data
                    ends.append("answered" if got.endswith(b"\r\n\r\nhello") else f"got {got!r}")
                except OSError as error:
                    ends.append(f"lost: {error}")

    async def main() -> None:
        async with Upstream(answers(ok())) as upstream:
            for _ in range(3):
                proxy = server(upstream)
                listening = socket.socket()
                with listening:
                    listening.bind(("127.0.0.1", 0))
                    listening.listen(100)
                    await proxy.start(listening.dup() if handed_in else None)
                    crowd = [threading.Thread(target=connect_all_the_time, args=(("127.0.0.1", proxy.port),)) for _ in range(12)]
                    for thread in crowd:
                        thread.start()
                    before = len(ends)
                    await until(lambda: len(ends) > before + 50)  # noqa: B023 - awaited at once
                    if handed_in and not begin_no_more(listening):  # its owner's part, as the supervisor does it
                        pytest.skip("this system has no filters for listening sockets")
                    listening.close()
                    await proxy.stop(LONG_S)
                await until(lambda: not any(thread.is_alive() for thread in crowd))  # noqa: B023 - awaited at once
            assert {end for end in ends if end not in {"answered", "refused"}} == set()
            assert ends.count("refused") == 36

    run(main(), loop)
