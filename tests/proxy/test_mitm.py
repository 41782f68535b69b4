"""The mitmproxy ingress as a server: how its clients come, its certificates, how it begins and ends."""

import asyncio
import contextlib
import random
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import SetupError, UsageError
from harness.core.limits import HTTP2_STREAMS_MAX
from harness.proxy.deadlines import ClientTimeouts
from harness.proxy.mitm import MitmOptions, MitmServer
from tests.proxy.mitm_rig import FRONTS, ask, h2_client, mitm_rig, trusting
from tests.proxy.rig import LONG_S, LOOPS, Rig, Seen, Upstream, answers, get, hang, ok, read_answers, run, talk, until

pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")  # mitmproxy's own use of it


@pytest.fixture(scope="module")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority's directory; its key is made once."""
    return tmp_path_factory.mktemp("authority") / "made"


def beside(r: Rig, confdir: Path) -> MitmServer:
    """Another server with the same options, not yet started."""
    parts: dict[str, Any] = {name: getattr(r.proxy, f"_{name}") for name in ("clock", "rng", "tally", "naming", "sink")}
    return MitmServer(r.proxy._options, mitm=MitmOptions(confdir=str(confdir)), **parts)


async def curl(*arguments: str) -> tuple[bytes, int, bytes]:
    """Output, exit code and errors of curl."""
    command = ["curl", "-sS", "--max-time", "60", *arguments]
    ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    return ran.stdout, ran.returncode, ran.stderr


def test_nothing_else_imports_mitmproxy() -> None:
    code = "import sys, harness.proxy.server, harness.app.proxy, harness.cli.main; print('mitmproxy' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_requests_reach_stable_as_http1_and_trials_as_the_client_meant_them(confdir: Path) -> None:
    async def main() -> None:
        shadows: dict[str, Any] = {"secondary": answers(ok()), "candidate": answers(ok())}
        async with mitm_rig(confdir, answers(ok()), allow_writes=True, **shadows) as r, h2_client(r.proxy.port, confdir) as client:
            pairs = [(b"x-b", b"2"), (b"cookie", b"a=1"), (b"x-a", b"1"), (b"x-b", b"1"), (b"cookie", b"b=2"), (b"te", b"trailers")]
            assert (await client.ask("GET", "/p?q=%20", *pairs, host="Shop.example:8443")).status == 200
            number = client.begin("POST", "/up", (b"content-length", b"4"), end=False)
            await client.body(number, b"body")
            await client.answer(number)
            number = client.begin("POST", "/up", end=False)
            await client.body(number, b"bo", end=False)
            client.connection.send_headers(number, [(b"x-sum", b"1")], end_stream=True)
            client.flush()
            await client.answer(number)
            await r.settled()
            first, second, third = r.stable.seen
            assert first.line == b"GET /p?q=%20 HTTP/1.1"
            assert [pair for pair in first.headers if pair[0].lower() not in {b"te", b"connection"}] == [
                (b"host", b"Shop.example:8443"),
                (b"x-b", b"2"),
                (b"cookie", b"a=1; b=2"),
                (b"x-a", b"1"),
                (b"x-b", b"1"),
            ]
            assert (b"te", b"trailers") in first.headers
            assert (second.body, dict(second.headers)[b"content-length"]) == (b"body", b"4")
            assert third.body == b"bo"
            assert b"x-sum: 1" in third.raw_body
            trial = next(trial for trial in r.trials if trial.request.method == "GET")
            assert (trial.request.target, trial.request.host) == ("/p?q=%20", "shop.example:8443")
            assert trial.request.headers[0] == ("host", "Shop.example:8443")
            assert trial.stable.exchange.latency_ms > 0
            assert [seen.line for seen in r.candidate.seen] == [seen.line for seen in r.stable.seen]
            assert [seen.body for seen in r.candidate.seen] == [b"", b"body", b"bo"]
            assert r.stable.connections == 1, "the connection to stable is used again"

    run(main())


@pytest.mark.parametrize(("length", "body"), [(4, b"body" + get("/smuggled")), (40, b"body")])
def test_a_body_that_is_not_as_long_as_it_says_is_never_a_second_request(length: int, body: bytes, confdir: Path) -> None:
    """RFC 9113 8.1.1: malformed; on an HTTP/1.1 connection the rest would be read as another request."""

    async def main() -> None:
        async with mitm_rig(confdir, answers(ok()), mirror=False) as r:
            async with h2_client(r.proxy.port, confdir) as client:
                number = client.begin("POST", "/", (b"content-length", b"%d" % length), end=False)
                await until(lambda: r.tally.totals().requests == 1)
                await client.body(number, body)
                assert not (await client.answer(number)).ended
            await r.settled()
            assert r.tally.totals().refused == {"client_gone": 1}
            assert all(b"smuggled" not in seen.line for seen in r.stable.seen)

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_stopping_answers_what_was_accepted_and_takes_no_more(loop: str, confdir: Path) -> None:
    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await release.wait()
        writer.write(ok(seen.line.split()[1]))

    async def main() -> None:
        async with mitm_rig(confdir, stable, secondary=answers(ok()), candidate=answers(ok())) as r:
            port = r.proxy.port
            async with h2_client(port, confdir) as client, h2_client(port, confdir) as idle:
                silent_reader, silent = await asyncio.open_connection("127.0.0.1", port)
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(get("/1"))
                number = client.begin(path="/2")
                await until(lambda: len(r.stable.seen) == 2 and r.proxy.connections == 4)
                stopping = asyncio.ensure_future(r.proxy.stop(LONG_S))
                assert await silent_reader.read() == b""
                while not idle.closed:
                    await idle.news()
                with pytest.raises(OSError, match=r"(?i)refused|connect"):
                    await asyncio.open_connection("127.0.0.1", port)
                while not client.goaway:
                    await client.news()
                release.set()
                assert bytes((await client.answer(number)).body) == b"/2"
                assert read_answers(await reader.read(), "GET")[0].body == b"/1"
                await stopping
                for each in (silent, writer):
                    each.close()
            assert r.tally.totals().compared == 2

    release = asyncio.Event()
    run(main(), loop)


def test_a_request_that_comes_while_stopping_is_refused_with_the_reason(confdir: Path) -> None:
    async def main() -> None:
        async with mitm_rig(confdir, hang, grace_s=0.1) as r, h2_client(r.proxy.port, confdir) as client:
            first = client.begin()
            await until(lambda: len(r.stable.seen) == 1)
            stopping = asyncio.ensure_future(r.proxy.stop(3.0))
            await until(lambda: r.proxy._door.stopping)  # type: ignore[attr-defined]  # a MitmServer's
            # Sent before the news of the end reach the client.
            client.connection.send_headers(3, [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/")], True)
            client.answers[3] = type(client.answers[first])()
            client.flush()
            late = await client.answer(3)
            assert (late.status, late.header(b"x-shadowdiff-error")) == (503, b"shutdown")
            await stopping
            assert r.tally.totals().refused == {"shutdown": 2}

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_what_is_not_done_after_the_grace_is_counted(loop: str, confdir: Path) -> None:
    async def main() -> None:
        async with mitm_rig(confdir, hang, grace_s=0.1) as r, h2_client(r.proxy.port, confdir) as client:
            number = client.begin()
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(get("/"))
            await until(lambda: len(r.stable.seen) == 2)
            await r.proxy.stop(0.1)
            assert r.tally.totals().refused == {"shutdown": 2}
            assert not (await client.answer(number)).ended
            assert await reader.read() == b""
            writer.close()

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("front", FRONTS)
def test_a_client_that_goes_ends_the_exchange(front: str, loop: str, confdir: Path) -> None:
    async def main() -> None:
        async with mitm_rig(confdir, hang) as r:
            if front.startswith("h2"):
                async with h2_client(r.proxy.port, confdir if front == "h2" else None) as client:
                    client.begin()
                    await until(lambda: len(r.stable.seen) == 1)
            else:
                how: dict[str, Any] = {} if front == "http1" else {"ssl": trusting(confdir), "server_hostname": "shop.example"}
                reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port, **how)
                writer.write(get("/", "Content-Length: 10") + b"part")
                await until(lambda: r.tally.totals().requests == 1)
                writer.transport.abort()
                del reader
            await until(lambda: r.tally.totals().requests == 1)
            await r.settled()
            assert r.tally.totals().refused == {"client_gone": 1}
            await until(lambda: r.proxy.connections == 0)

    run(main(), loop)


def test_silent_and_idle_clients_are_closed(confdir: Path) -> None:
    async def main() -> None:
        times = ClientTimeouts(head_s=3.0, idle_s=3.0)
        async with mitm_rig(confdir, answers(ok()), mirror=False, client=times) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            assert await reader.read() == b""
            writer.close()
            async with h2_client(r.proxy.port, confdir) as client:
                assert (await client.ask()).status == 200
                while not client.closed:
                    await client.news()
            await until(lambda: r.proxy.connections == 0)

    run(main())


def test_no_more_streams_than_the_bound(confdir: Path) -> None:
    async def main() -> None:
        async with mitm_rig(confdir, answers(ok()), mirror=False) as r, h2_client(r.proxy.port, None) as client:
            await client.ask()
            assert client.connection.remote_settings.max_concurrent_streams == HTTP2_STREAMS_MAX

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "how",
    [
        ("http://shop.example/x",),
        ("--http1.1", "https://shop.example/x"),
        ("--http2", "https://shop.example/x"),
        ("--proxytunnel", "http://shop.example/x"),
    ],
)
def test_an_explicit_proxy_intercepts_tls(how: tuple[str, ...], loop: str, confdir: Path) -> None:
    async def main() -> None:
        shadows: dict[str, Any] = {"secondary": answers(ok()), "candidate": answers(ok())}
        async with mitm_rig(confdir, answers(ok(b"hi")), mode="regular", **shadows) as r:
            out, code, err = await curl("-x", f"http://{r.proxy.address}", "--cacert", str(confdir / "mitmproxy-ca-cert.pem"), *how)
            assert (out, code) == (b"hi", 0), err
            await r.settled()
            (trial,) = r.trials
            assert (trial.request.target, trial.request.host) == ("/x", "shop.example")
            assert r.stable.seen[0].line == b"GET /x HTTP/1.1"

    run(main(), loop)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"CONNECT shop.example HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT shop.example:99999 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT shop.example:443 HTTP/1.1\r\nX: " + b"a" * 70_000, 431),
    ],
)
def test_a_connect_that_cannot_be_read(raw: bytes, status: int, confdir: Path) -> None:
    async def main() -> None:
        async with mitm_rig(confdir, answers(ok()), mode="regular") as r:
            assert (await r.talk(raw)).startswith(b"HTTP/1.1 %d " % status)
            assert await r.talk(b"CONNECT shop.example:443 HTTP/1.1\r\n") == b""
            assert (await r.talk(b"CONN", b"ECT shop.example:80 HTTP/1.1\r\n\r\n" + get("/in"), pause=True)).endswith(b"\r\n\r\nhello")
            assert [seen.line for seen in r.stable.seen] == [b"GET /in HTTP/1.1"]

    run(main())


def test_connect_is_refused_where_nobody_knows_of_the_proxy(confdir: Path) -> None:
    async def main() -> None:
        async with mitm_rig(confdir, answers(ok())) as r:
            assert (await r.talk(b"CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example:443\r\n\r\n")).startswith(b"HTTP/1.1 501 ")
            assert r.tally.totals().refused == {"connect": 1}

    run(main())


def test_socks_clients(confdir: Path) -> None:
    async def main() -> None:
        async with mitm_rig(confdir, answers(ok(b"hi")), mode="socks5", mirror=False) as r:
            ca = str(confdir / "mitmproxy-ca-cert.pem")
            out, code, err = await curl("--socks5-hostname", r.proxy.address, "--cacert", ca, "https://shop.example/x")
            assert (out, code) == (b"hi", 0), err

    run(main())


def test_a_system_that_does_not_redirect(confdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr("mitmproxy.platform.original_addr", None)
        with pytest.raises(UsageError, match="does not redirect"):
            async with mitm_rig(confdir, mode="transparent"):
                pass

    run(main())


def test_a_client_that_names_no_host_gets_a_certificate_for_the_address(confdir: Path) -> None:
    async def main() -> None:
        async with mitm_rig(confdir, answers(ok()), mirror=False) as r, h2_client(r.proxy.port, confdir, name="127.0.0.1") as client:
            assert (await client.ask()).status == 200

    run(main())


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate and its key, as files."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, "-out", str(cert), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def test_an_own_certificate_and_its_exchange(confdir: Path, tmp_path: Path) -> None:
    async def shown(r: Rig) -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        _, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port, ssl=context, server_hostname="shop.example")
        out: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return out

    async def main() -> None:
        first, second = certificate(tmp_path, "shop.example"), certificate(tmp_path, "other.example")
        old, new = (ssl.PEM_cert_to_DER_cert(pair[0].read_text()) for pair in (first, second))
        async with mitm_rig(confdir, answers(ok()), mirror=False, tls_cert=str(first[0]), tls_key=str(first[1])) as r:
            assert await shown(r) == old
            for target, source in zip(first, second, strict=True):
                target.write_bytes(source.read_bytes())
            r.proxy.reload_tls()
            assert await shown(r) == new
            first[0].write_text("nonsense")
            with pytest.raises(SetupError, match="certificate"):
                r.proxy.reload_tls()
            assert await shown(r) == new, "the old one stays"

    run(main())


def test_garbage_is_nobody_elses_trouble(confdir: Path, caplog: pytest.LogCaptureFixture) -> None:
    garbage = [
        b"\x16\x03\x01\xff\xff" + random.Random(3).randbytes(70_000),
        b"\x16\x03\x01\x00\x05hello",
        b"\x16",
        b"PRI * HT",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + random.Random(4).randbytes(3000),
        random.Random(5).randbytes(3000),
    ]

    async def main() -> None:
        async with mitm_rig(confdir, answers(ok()), mirror=False) as r:
            for data in garbage:
                with contextlib.suppress(OSError):
                    await r.talk(data)
            assert (await ask("h2", r, confdir, get("/")))[0].status == 200
            await until(lambda: r.proxy.connections == 0)
        assert not [record for record in caplog.records if record.name.startswith("mitmproxy")]

    run(main())


def test_a_fault_in_mitmproxy_ends_that_connection_only(
    confdir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with mitm_rig(confdir, answers(ok()), mirror=False) as r:
            with monkeypatch.context() as patch:
                patch.setattr("harness.proxy.mitm_streams.FrontLayer.make_stream", lambda *_: 1 / 0)
                async with h2_client(r.proxy.port, confdir) as client:
                    assert not (await client.ask(path="/secret")).ended
            assert (await ask("h2", r, confdir, get("/")))[0].status == 200
        assert "mitmproxy failed with ZeroDivisionError" in caplog.text
        assert "secret" not in caplog.text

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_socket_that_was_handed_in(loop: str, confdir: Path) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock, socket.socket(socket.AF_UNIX) as other:
            async with mitm_rig(confdir, answers(ok()), mirror=False) as r:
                port = sock.getsockname()[1]
                proxy = beside(r, confdir)
                with pytest.raises(SetupError, match="Unix socket"):
                    await proxy.start(other)
                await proxy.stop(0.1)
                proxy = beside(r, confdir)
                await proxy.start(sock.dup())
                assert proxy.address == f"127.0.0.1:{port}"
                assert read_answers(await talk(port, get("/")), "GET")[0].body == b"hello"
                await proxy.stop(1.0)

    run(main(), loop)


def test_what_cannot_be_set_up_is_said(confdir: Path, tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match="reverse, regular, transparent, socks5"):
            async with mitm_rig(confdir, mode="sideways"):
                pass
        with pytest.raises(UsageError, match="Unix socket"):
            async with mitm_rig(confdir, listen_unix=str(tmp_path / "x")):
                pass
        (tmp_path / "file").write_text("not a directory")
        with pytest.raises(SetupError, match="authority"):
            async with mitm_rig(tmp_path / "file"):
                pass
        (tmp_path / "mitmproxy-ca.pem").write_text("not a key")
        with pytest.raises(SetupError, match="authority"):
            async with mitm_rig(tmp_path):
                pass
        async with Upstream(answers(ok())) as taken:
            with pytest.raises(SetupError, match=f"127.0.0.1:{taken.port}: cannot listen"):
                async with mitm_rig(confdir, listen_port=taken.port):
                    pass

    run(main())


def test_the_address_is_known_only_while_listening(confdir: Path) -> None:
    async def main() -> None:
        async with mitm_rig(confdir, answers(ok()), mirror=False) as r:
            proxy = beside(r, confdir)
            assert (proxy.connections, proxy.in_flight) == (0, 0)
            with pytest.raises(SetupError, match="not listening"):
                _ = proxy.port
            proxy.reload_tls()

    run(main())
