"""The proxy with real clients: TLS, tunnels, odd and broken messages. Nothing of it may raise, and each trouble is a lapse."""

import asyncio
import contextlib
import gzip
import logging
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import aiohttp
import h2.config
import h2.connection
import h2.events
import pytest
from aiohttp import web

from harness.core import limits
from harness.core.errors import SetupError
from harness.core.labels import Role
from tests.effects.egress import rig
from tests.effects.egress.rig import HOST, LOOPS, ROLES, Bench, authority, bench, run, server_tls, service, upstream

pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")  # mitmproxy's own use of it
OTHER = "other.test"


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing of what happens here reaches a log that somebody reads."""
    yield
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


async def command(*arguments: str, env: Mapping[str, str]) -> tuple[int, bytes]:
    """Run a program with a build's environment; its code and output."""
    process = await asyncio.create_subprocess_exec(
        *arguments, env={"PATH": os.environ["PATH"], **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out


def spoken(port: int, data: bytes) -> bytes:
    """Send bytes to the proxy, and read to the end of what it says."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(data)
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := sock.recv(65536):
                got += piece
        return got


def port_of(at: Bench, role: Role) -> int:
    return int(at.url(role).rpartition(":")[2])


PYTHON_CALL = "import sys, urllib.request as u; print(u.urlopen(u.Request(sys.argv[1], data=b'{\"a\": 1}', method='POST')).read().decode())"


def test_builds_call_over_tls_by_their_environment_alone(tmp_path: Path) -> None:
    async def main() -> None:
        ca, ca_file = authority(tmp_path)
        async with (
            service(tls=server_tls(ca, HOST)) as outside,
            bench(tmp_path, mode="virtualise", hosts=upstream(outside), upstream_ca=str(ca_file)) as at,
        ):
            trial = at.begin()
            url = f"https://{HOST}/charges"
            curl = ("curl", "-sS", "-X", "POST", "--data", '{"a": 1}', url)
            python = (sys.executable, "-c", PYTHON_CALL, url)
            for program in (curl, python):
                outputs = [await command(*program, env=at.collector.env(role)) for role in ROLES]
                assert [code for code, _ in outputs] == [0, 0, 0], outputs
                assert len({out for _, out in outputs}) == 1
            assert await at.settle(trial)
            seen = await at.drained()
            assert {each.effect.operation for each in seen} == {f"POST {HOST}/charges"}
            assert len(seen) == 6
            assert len(outside.requests) == 2
            assert outside.connections == 2

    run(main)


def test_a_server_outside_that_cannot_be_verified_is_refused_unless_told_otherwise(tmp_path: Path) -> None:
    async def main() -> None:
        ca, _ = authority(tmp_path)
        async with service(tls=server_tls(ca, HOST)) as outside:
            for verify, status in ((True, 502), (False, 200)):
                async with bench(tmp_path, hosts=upstream(outside), verify_upstream=verify) as at, at.client(Role.STABLE) as build:
                    assert (await build.call("GET", f"https://{HOST}/")).status == status
                    assert len(await at.drained()) == 1
            assert len(outside.requests) == 1

    run(main)


def test_a_server_outside_must_be_the_host_that_was_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        ca, ca_file = authority(tmp_path)
        async with (
            service(tls=server_tls(ca, OTHER)) as outside,
            bench(tmp_path, hosts=upstream(outside), upstream_ca=str(ca_file)) as at,
            at.client(Role.STABLE) as build,
        ):
            assert (await build.call("GET", f"https://{HOST}/")).status == 502
            assert outside.requests == []

    run(main)


def test_a_client_that_refuses_the_ca_is_a_lapse(tmp_path: Path) -> None:
    async def main() -> None:
        ca, _ = authority(tmp_path)
        async with service(tls=server_tls(ca, HOST)) as outside, bench(tmp_path, hosts=upstream(outside)) as at:
            code, _ = await command("curl", "-sS", f"https://{HOST}/", env={"https_proxy": at.url(Role.CANDIDATE)})
            assert code != 0
            await rig.until(at.lapses, "a lapse")
            assert at.lapses() == {f"a TLS client refused the harness's CA at {HOST}": 1}
            assert at.collector.lapses()[0].role is Role.CANDIDATE
            assert outside.connections == 0

    run(main)


def test_an_ignored_host_is_passed_through_unopened(tmp_path: Path) -> None:
    async def main() -> None:
        ca, ca_file = authority(tmp_path)
        async with service(tls=server_tls(ca, HOST)) as outside, service() as plain:
            hosts = {**upstream(outside, ignore=True), "*.plain.test": {"upstream": f"127.0.0.1:{plain.port}", "ignore": True}}
            async with bench(tmp_path, mode="virtualise", hosts=hosts, upstream_ca=str(ca_file)) as at:
                trial = at.begin()
                tls = ssl.create_default_context(cafile=at.collector.env(Role.CANDIDATE)["SSL_CERT_FILE"])
                async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
                    for url in (f"https://{HOST}/a", "http://a.plain.test/b"):
                        async with session.get(url, proxy=at.url(Role.CANDIDATE)) as answer:
                            assert answer.status == 200
                assert await at.settle(trial)
                assert await at.drained() == []
            assert outside.requests == [("GET", "/a")]
            assert plain.requests == [("GET", "/b")]

    run(main)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_connections_to_the_outside_are_used_again(tmp_path: Path, scheme: str) -> None:
    async def main() -> None:
        ca, ca_file = authority(tmp_path)
        tls = server_tls(ca, HOST) if scheme == "https" else None
        async with (
            service(tls=tls) as outside,
            bench(tmp_path, hosts=upstream(outside), upstream_ca=str(ca_file)) as at,
            at.client(Role.STABLE) as build,
        ):
            for number in range(5):
                assert (await build.call("GET", f"{scheme}://{HOST}/{number}")).status == 200
            assert outside.connections == 1

    run(main)


def test_a_call_to_the_proxy_itself_does_not_go_round_in_circles(tmp_path: Path) -> None:
    async def main() -> None:
        async with bench(tmp_path) as at, at.client(Role.STABLE) as build:
            assert (await build.call("GET", f"{at.url(Role.CANDIDATE)}/x")).status == 502
            assert at.lapses() == {"a build asked the egress proxy for the proxy itself": 1}

    run(main)


def test_bytes_that_are_no_http_are_refused_and_counted(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            port = port_of(at, Role.CANDIDATE)
            await asyncio.to_thread(spoken, port, b"\x00\x01\x02garbage\r\n\r\n")
            await asyncio.to_thread(spoken, port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert at.lapses() == {"a build sent the egress proxy something that is no HTTP/1 request": 2}
            got = await asyncio.to_thread(spoken, port, b"GET http://payments.test/ HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n")
            assert got.startswith(b"HTTP/1.1 400 ")
            assert outside.connections == 0

    run(main)


def test_a_tunnel_of_something_else_is_cut_where_nothing_may_go_outside(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x01said " + await reader.read(100))
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        hosts = {HOST: {"upstream": f"127.0.0.1:{server.sockets[0].getsockname()[1]}"}}
        data = b"CONNECT payments.test:5000 HTTP/1.1\r\nhost: payments.test:5000\r\n\r\n"

        def talk(port: int) -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
                sock.sendall(data)
                assert sock.recv(65536).startswith(b"HTTP/1.1 200")
                sock.sendall(b"\x00\x02hello")
                with contextlib.suppress(ConnectionResetError):
                    return sock.recv(65536)
                return b""

        async with bench(tmp_path, mode="virtualise", hosts=hosts) as at:
            assert await asyncio.to_thread(talk, port_of(at, Role.STABLE)) == b"\x01said \x00\x02hello"
            assert await asyncio.to_thread(talk, port_of(at, Role.CANDIDATE)) == b""
            what = f"a tunnel to {HOST}:5000 carried something else than HTTP"
            assert at.lapses() == {f"{what}: passed on unseen": 1, f"{what}: cut": 1}
        server.close()
        await server.wait_closed()

    run(main)


def test_a_client_that_hangs_up_in_the_middle_is_counted_and_settled(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            trial = at.begin()
            _, writer = await asyncio.open_connection("127.0.0.1", port_of(at, Role.CANDIDATE))
            writer.write(b"POST http://payments.test/a HTTP/1.1\r\nhost: payments.test\r\ncontent-length: 10\r\n\r\nabc")
            await rig.until(lambda: not at.collector._trials.open[trial.trace].quiet, "the call's head came")  # type: ignore[union-attr]
            writer.close()
            assert await at.settle(trial)
            assert at.lapses() == {"a call was not seen whole: the build hung up in the middle of it": 1}
            assert await at.drained() == []
            assert outside.connections == 0

    run(main)


def test_a_client_that_hangs_up_while_it_waits_leaves_its_effect(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            trial = at.begin()
            _, writer = await asyncio.open_connection("127.0.0.1", port_of(at, Role.CANDIDATE))
            writer.write(b"GET http://payments.test/a HTTP/1.1\r\nhost: payments.test\r\n\r\n")
            await rig.until(lambda: at.collector._desk.entries, "the call came")  # type: ignore[union-attr]
            writer.close()
            at.collector.answered(trial, Role.STABLE)
            assert await at.settle(trial)
            assert [each.effect.operation for each in await at.drained()] == [f"GET {HOST}/a"]
            assert outside.connections == 0

    run(main)


def test_a_client_that_gives_up_waiting_uses_nothing_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            trial = at.begin()
            _, writer = await asyncio.open_connection("127.0.0.1", port_of(at, Role.CANDIDATE))
            writer.write(b"GET http://payments.test/a HTTP/1.1\r\nhost: payments.test\r\n\r\n")
            await rig.until(lambda: at.collector._desk.entries, "the call came")  # type: ignore[union-attr]
            writer.close()
            assert await at.settle(trial)
            assert [each.effect.note for each in await at.drained()] == ["the build hung up before it was answered"]
            async with at.client(Role.STABLE) as stable, at.client(Role.CANDIDATE) as candidate:
                first = await stable.call("GET", f"http://{HOST}/a", trial)
                assert (await candidate.call("GET", f"http://{HOST}/a", trial)).body == first.body
            assert at.lapses() == {}

    run(main)


def test_a_build_may_speak_tls_to_its_proxy(tmp_path: Path) -> None:
    async def main() -> None:
        ca, ca_file = authority(tmp_path)
        async with service() as plain, service(tls=server_tls(ca, OTHER)) as secret:
            hosts = {**upstream(plain), OTHER: {"upstream": f"127.0.0.1:{secret.port}"}}
            async with bench(tmp_path, hosts=hosts, upstream_ca=str(ca_file)) as at:
                names = at.collector.names(Role.STABLE)
                proxy = ("--proxy", names["egress"].replace("http:", "https:"), "--proxy-cacert", names["ca"], "--cacert", names["ca"])
                for url in (f"http://{HOST}/", f"https://{OTHER}/"):
                    code, out = await command("curl", "-sS", *proxy, url, env={})
                    assert (code, b"GET" in out) == (0, True), out
                assert len(await at.drained()) == 2
                assert at.lapses() == {}

    run(main)


def test_an_upgrade_to_http2_in_the_clear_is_not_taken(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, hosts=upstream(outside)) as at:
            code, out = await command("curl", "-sS", "--http2", f"http://{HOST}/", env=at.collector.env(Role.STABLE))
            assert (code, b"GET" in out) == (0, True), out
            assert "Upgrade" not in outside.headers[0]
            assert len(await at.drained()) == 1

    run(main)


def test_a_broken_handshake_is_a_lapse_of_its_own(tmp_path: Path) -> None:
    def talk(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
            sock.sendall(b"CONNECT payments.test:443 HTTP/1.1\r\nhost: payments.test\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
            sock.sendall(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
            with contextlib.suppress(ConnectionResetError):
                sock.recv(65536)

    async def main() -> None:
        async with bench(tmp_path) as at:
            await asyncio.to_thread(talk, port_of(at, Role.STABLE))
            await rig.until(at.lapses, "a lapse")
            assert at.lapses() == {f"a TLS handshake of a build with {HOST} failed": 1}

    run(main)


def test_a_request_body_beyond_the_bound_is_refused_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUEST_BODY_BYTES_MAX", 1000)

    async def main() -> None:
        async with service() as outside, bench(tmp_path, hosts=upstream(outside)) as at, at.client(Role.CANDIDATE) as build:
            trial = at.begin()
            assert (await build.call("PUT", f"http://{HOST}/a", trial, data=b"x" * 1000)).status == 200
            assert (await build.call("PUT", f"http://{HOST}/a", trial, data=b"x" * 1001)).status == 413
            assert await at.settle(trial)
            (what,) = at.lapses()
            assert what == "a call was not seen whole: its body is larger than 1000 bytes: it was refused with 413"
            assert len(outside.requests) == 1

    run(main)


def test_a_long_answer_passes_through_and_is_not_on_the_tape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CAPTURE_BODY_BYTES_MAX", 1000)
    monkeypatch.setattr(limits, "REQUEST_BODY_BYTES_MAX", 1000)

    async def long(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * int(request.query["size"]))

    async def main() -> None:
        async with service(long) as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            trial = at.begin()
            for size, status in ((1000, 200), (1001, 502)):
                async with at.client(Role.STABLE) as stable, at.client(Role.CANDIDATE) as candidate:
                    assert len((await stable.call("GET", f"http://{HOST}/?size={size}", trial)).body) == size
                    assert (await candidate.call("GET", f"http://{HOST}/?size={size}", trial)).status == status
            assert "an answer from outside was too long for the tape: others get 502 instead" in at.lapses()

    run(main)


def test_an_answer_is_streamed_as_it_comes(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"first")
        await go.wait()
        await answer.write(b"second")
        return answer

    async def main() -> None:
        async with service(slow) as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            trial = at.begin()
            async with at.client(Role.STABLE) as stable, stable.session.get(f"http://{HOST}/", proxy=stable.proxy) as answer:
                assert await answer.content.readany() == b"first"
                assert not await at.settle(trial, 0.01)
                go.set()
                assert await answer.content.read() == b"second"
            async with at.client(Role.CANDIDATE) as candidate:
                assert (await candidate.call("GET", f"http://{HOST}/", trial)).body == b"firstsecond"
            assert await at.settle(trial)

    run(main)


def test_taped_answers_are_framed_anew(tmp_path: Path) -> None:
    packed = gzip.compress(b"hello" * 100)

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path == "/gzip":
            return web.Response(body=packed, headers={"content-encoding": "gzip"})
        if request.path == "/none":
            return web.Response(status=204)
        if request.path == "/same":
            return web.Response(status=304, headers={"etag": '"a"'})
        answer = web.StreamResponse(headers={"x-kept": "yes", "keep-alive": "timeout=5"})
        if request.path == "/chunked":
            answer.enable_chunked_encoding()
        await answer.prepare(request)
        if request.method != "HEAD":
            await answer.write(b"some")
            await answer.write(b"thing")
        return answer

    async def main() -> None:
        async with service(handle) as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            trial = at.begin()
            got = {}
            for role in (Role.STABLE, Role.CANDIDATE):
                async with at.client(role) as build:
                    got[role] = [
                        await build.call(method, f"http://{HOST}{path}", trial)
                        for path in ("/chunked", "/gzip", "/none", "/same", "/plain")
                        for method in ("GET", "HEAD", "GET")
                    ]
            for first, second in zip(got[Role.STABLE], got[Role.CANDIDATE], strict=True):
                assert (first.status, first.body) == (second.status, second.body)
                assert first.headers.get("x-kept") == second.headers.get("x-kept")
                assert "transfer-encoding" not in {name.lower() for name in second.headers}
            assert {each.effect.note for each in await at.drained() if each.role is Role.CANDIDATE} == {"answered from stable's call"}
            assert at.lapses() == {}

    run(main)


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            trial = at.begin()
            for role in (Role.STABLE, Role.CANDIDATE):
                env = {"http_proxy": at.url(role)}
                arguments = ("curl", "-sS", "--expect100-timeout", "30", "-H", "Expect: 100-continue", "--data", "abc", f"http://{HOST}/a")
                code, out = await command(*arguments, env=env)
                assert (code, b"abc" in out) == (0, True), out
            assert await at.settle(trial)
            assert len(outside.requests) == 1

    run(main)


def test_a_websocket_passes_through_where_it_may_and_fails_where_not(tmp_path: Path) -> None:
    async def talk(request: web.Request) -> web.StreamResponse:
        socket_ = web.WebSocketResponse()
        await socket_.prepare(request)
        async for message in socket_:
            await socket_.send_str(f"said {message.data}")
        return socket_

    async def main() -> None:
        async with service(talk) as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            trial = at.begin()
            async with at.client(Role.STABLE) as stable, stable.session.ws_connect(f"ws://{HOST}/live", proxy=stable.proxy) as there:
                await there.send_str("hello")
                assert await there.receive_str() == "said hello"
            at.collector.answered(trial, Role.STABLE)
            async with at.client(Role.CANDIDATE) as candidate:
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await candidate.session.ws_connect(f"ws://{HOST}/live", proxy=candidate.proxy)
                assert refused.value.status == 599
            assert await at.settle(trial)
            assert [each.effect.operation for each in await at.drained()] == [f"GET {HOST}/live"] * 2
            assert at.lapses() == {"the messages of a WebSocket are not watched": 1, "a WebSocket cannot be answered from a tape": 1}
            assert outside.connections == 1

    run(main)


def test_calls_over_http2_are_seen_and_answered(tmp_path: Path) -> None:
    async def main() -> None:
        ca, ca_file = authority(tmp_path)
        async with (
            service(tls=server_tls(ca, HOST)) as outside,
            bench(tmp_path, mode="virtualise", hosts=upstream(outside), upstream_ca=str(ca_file)) as at,
        ):
            trial = at.begin()
            outputs = []
            for role in ROLES:
                arguments = ("curl", "-sS", "--http2", "-w", "%{http_version}", f"https://{HOST}/a", f"https://{HOST}/b")
                outputs.append(await command(*arguments, env=at.collector.env(role)))
            assert len(set(outputs)) == 1
            assert outputs[0][0] == 0
            assert await at.settle(trial)
            assert len(await at.drained()) == 6
            assert len(outside.requests) == 2

    run(main)


def test_a_failure_outside_is_the_same_over_http2(tmp_path: Path) -> None:
    async def main() -> None:
        async with bench(tmp_path, mode="virtualise", hosts={HOST: {"upstream": "127.0.0.1:1"}}) as at:
            at.begin()
            outputs = []
            for role in ROLES:
                arguments = ("curl", "-sS", "--http2", "--include", f"https://{HOST}/a")
                outputs.append(await command(*arguments, env=at.collector.env(role)))
            assert len(set(outputs)) == 1, outputs
            assert b"HTTP/2 502" in outputs[0][1]

    run(main)


class Http2Service(asyncio.Protocol):
    """A service that speaks HTTP/2 with trailers, as gRPC does."""

    requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.machine = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.machine.initiate_connection()
        transport.write(self.machine.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self.machine.receive_data(data):
            if isinstance(event, h2.events.StreamEnded):
                Http2Service.requests += 1
                self.machine.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
                self.machine.send_data(event.stream_id, b"answer")
                self.machine.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)
        self.transport.write(self.machine.data_to_send())


def test_http2_outside_is_taped_with_its_trailers(tmp_path: Path) -> None:
    async def main() -> None:
        ca, ca_file = authority(tmp_path)
        tls = server_tls(ca, HOST)
        tls.set_alpn_protocols(["h2"])
        server = await asyncio.get_running_loop().create_server(Http2Service, "127.0.0.1", 0, ssl=tls)
        hosts = {HOST: {"upstream": f"127.0.0.1:{server.sockets[0].getsockname()[1]}"}}
        Http2Service.requests = 0
        async with bench(tmp_path, mode="virtualise", hosts=hosts, upstream_ca=str(ca_file)) as at:
            trial = at.begin()
            outputs = []
            for role in ROLES:
                arguments = ("curl", "-sS", "--http2", "--include", "--data", "abc", f"https://{HOST}/pkg.Service/Method")
                outputs.append(await command(*arguments, env=at.collector.env(role)))
            assert await at.settle(trial)
            assert at.lapses() == {}
        assert [code for code, _ in outputs] == [0, 0, 0]
        for _, out in outputs:
            assert b"grpc-status: 0" in out
            assert b"answer" in out
        assert Http2Service.requests == 1
        server.close()
        await server.wait_closed()

    run(main)


def test_trailers_of_http1_are_too_much_for_mitmproxy_and_counted(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-sum: 1\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        hosts = {HOST: {"upstream": f"127.0.0.1:{server.sockets[0].getsockname()[1]}"}}
        async with bench(tmp_path, hosts=hosts) as at:
            trial = at.begin()
            async with at.client(Role.STABLE) as build:
                with pytest.raises(aiohttp.ClientError):
                    await build.call("GET", f"http://{HOST}/", trial)
            assert await at.settle(trial)
            assert at.lapses() == {"mitmproxy failed at a connection of a build": 1}
            assert len(await at.drained()) == 1
        server.close()
        await server.wait_closed()

    run(main)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_virtualised_calls_do_not_even_look_a_name_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    looked_up = []
    real = socket.getaddrinfo

    def spy(host: object, *more: object, **named: object) -> object:
        looked_up.append(host)
        return real("127.0.0.1" if host == "nowhere.invalid" else host, *more, **named)  # type: ignore[arg-type]

    async def main() -> None:
        async with bench(tmp_path, mode="virtualise") as at:
            trial = at.begin()
            for role, count in ((Role.STABLE, 1), (Role.SECONDARY, 1), (Role.CANDIDATE, 1)):
                async with at.client(role) as build:
                    # Nothing listens on that port: stable gets an error, and so do the others.
                    assert (await build.call("GET", f"{scheme}://nowhere.invalid:9/", trial)).status == 502
                assert looked_up.count("nowhere.invalid") == count

    monkeypatch.setattr(socket, "getaddrinfo", spy)
    run(main)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_reset_is_seen_as_one(tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, hosts=upstream(outside), faults=[{"host": HOST, "reset": True}]) as at:
            trial = at.begin()
            for role in ROLES:
                async with at.client(role) as build:
                    with pytest.raises(aiohttp.ClientError) as failed:
                        await build.call("POST", f"http://{HOST}/", trial)  # a GET would be tried again
                    assert isinstance(failed.value, ConnectionResetError) or "reset" in str(failed.value).lower()
            assert await at.settle(trial)
            assert [each.effect.note for each in await at.drained()] == ["fault: reset"] * 3
            assert outside.connections == 0

    run(main, loop)


def test_what_is_meant_for_the_proxy_does_not_go_outside(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, hosts=upstream(outside)) as at, at.client(Role.STABLE) as build:
            secret = {"Proxy-Authorization": "Basic abc", "Proxy-Connection": "keep-alive"}
            assert (await build.call("GET", f"http://{HOST}/", headers=secret)).status == 200
            assert not {name.lower() for name in outside.headers[0]} & {name.lower() for name in secret}
            assert outside.headers[0]["Host"] == HOST

    run(main)


def test_a_taken_address_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            where = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(SetupError, match="cannot listen"):
                async with bench(tmp_path, listen={"candidate": where}):
                    pass

    run(main)


def test_given_addresses_and_a_given_folder_are_used(tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            where = f"127.0.0.1:{free.getsockname()[1]}"
        kept = tmp_path / "own" / "ca"
        seen = []
        for _ in range(2):
            async with bench(tmp_path, listen={"candidate": where}, ca=str(kept)) as at:
                assert at.url(Role.CANDIDATE) == f"http://{where}"
                seen.append((kept / "mitmproxy-ca-cert.pem").read_bytes())
                assert at.collector.names(Role.STABLE)["ca"] == str(kept / "mitmproxy-ca-cert.pem")
        assert seen[0] == seen[1]

    run(main)


def test_a_call_to_the_proxy_by_another_name_does_not_go_round_in_circles(tmp_path: Path) -> None:
    async def main() -> None:
        async with bench(tmp_path) as at, at.client(Role.STABLE) as build:
            assert (await build.call("GET", f"http://0.0.0.0:{port_of(at, Role.STABLE)}/x")).status == 502
            assert len(await at.drained()) == 1
            assert at.lapses() == {"a build asked the egress proxy for the proxy itself": 1}

    run(main)


@pytest.mark.parametrize(("role", "passes"), [(Role.STABLE, True), (Role.CANDIDATE, False)])
def test_http2_without_tls_passes_unseen_where_it_may_and_is_cut_where_not(tmp_path: Path, role: Role, passes: bool) -> None:
    async def main() -> None:
        got = asyncio.get_running_loop().create_future()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.set_result(await reader.readexactly(24))
            writer.write(b"frames")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(take, "127.0.0.1", 0)
        there = server.sockets[0].getsockname()[1]
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        async with server, bench(tmp_path, mode="virtualise", hosts={HOST: {"upstream": f"127.0.0.1:{there}"}}) as at:
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(at, role))
            writer.write(f"CONNECT {HOST}:5000 HTTP/1.1\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            writer.write(preface)
            answer = b""
            with contextlib.suppress(ConnectionError):
                answer = await reader.read()
            writer.close()
            assert answer == (b"frames" if passes else b"")
            assert got.done() is passes
            said = "passed on unseen" if passes else "cut"
            assert at.lapses() == {f"a tunnel to {HOST}:5000 carried HTTP/2 without TLS: {said}": 1}

    run(main)


@pytest.mark.parametrize("target", [f"http://user:word@{HOST}/a", f"http://{HOST}:99999/a", f"ftp://{HOST}/a"])
def test_a_request_that_cannot_be_read_is_counted(tmp_path: Path, target: str) -> None:
    async def main() -> None:
        async with bench(tmp_path) as at:
            head = f"GET {target} HTTP/1.1\r\nhost: {HOST}\r\n\r\n".encode()
            got = await asyncio.to_thread(spoken, port_of(at, Role.CANDIDATE), head)
            assert got.startswith(b"HTTP/1.1 400 ")
            assert at.lapses() == {"a build's request was not valid HTTP": 1}

    run(main)
