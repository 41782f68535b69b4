"""TLS with clients and to targets: certificates made for the test, real handshakes, reloads under open connections."""

import asyncio
import contextlib
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key

from harness.core.errors import SetupError
from harness.proxy.address import UpstreamAddress, parse_address
from harness.proxy.deadlines import ClientTimeouts
from harness.proxy.server import ProxyOptions
from harness.proxy.tls import TlsListener
from tests.proxy.rig import LONG_S, LOOPS, SHORT_S, Rig, Seen, Upstream, get, hang, ok, read_answers, rig, run, until

NAME = "shop.example"


@dataclass
class Files:
    """A certificate and its key on disk."""

    cert: Path
    key: Path

    def write(self, issued: trustme.LeafCert) -> None:
        self.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.key.write_bytes(issued.private_key_pem.bytes())

    @property
    def options(self) -> dict[str, Any]:
        return {"tls_cert": str(self.cert), "tls_key": str(self.key)}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> Files:
    made = Files(tmp_path / "cert.pem", tmp_path / "key.pem")
    made.write(authority.issue_cert(NAME))
    return made


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@dataclass
class Client:
    """A client over TLS, that knows which certificate it was shown."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def serial(self) -> str:
        return str(self.writer.get_extra_info("ssl_object").getpeercert()["serialNumber"])

    async def ask(self, path: str = "/") -> bytes:
        self.writer.write(get(path))
        head = await self.reader.readuntil(b"\r\n\r\n")
        return head + await self.reader.readexactly(5)


@contextlib.asynccontextmanager
async def client(r: Rig, context: ssl.SSLContext, name: str = NAME) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port, ssl=context, server_hostname=name)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize("loop", LOOPS)
def test_requests_over_tls_are_answered_in_order_and_mirrored(files: Files, authority: trustme.CA, loop: str) -> None:
    async def echo(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(ok(seen.line.split()[1]))

    async def main() -> None:
        async with rig(echo, secondary=echo, candidate=echo, **files.options) as r, client(r, trusting(authority)) as c:
            c.writer.write(b"".join(get(f"/{i}") for i in range(9)) + get("/last", "Connection: close"))
            got = read_answers(await c.reader.read(), *["GET"] * 10)
            assert [answer.body for answer in got] == [*(b"/%d" % i for i in range(9)), b"/last"]
            await r.settled()
            assert r.tally.totals().compared == 10

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_answer_that_comes_with_the_end_of_a_client_over_tls_reaches_it(files: Files, authority: trustme.CA, loop: str) -> None:
    """In one turn of the loop, as it happens where stable is another process."""

    async def main() -> None:
        own, came, out = asyncio.get_running_loop(), ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trusting(authority).wrap_bio(came, out, server_hostname=NAME)

        async def says(step: Callable[[], object]) -> None:
            while True:
                try:
                    step()
                except ssl.SSLWantReadError:
                    await own.sock_sendall(sock, out.read())
                    came.write(await own.sock_recv(sock, 65536))
                else:
                    await own.sock_sendall(sock, out.read())
                    return

        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as sock:
            listener.setblocking(False)
            sock.setblocking(False)
            address = parse_address(f"http://127.0.0.1:{listener.getsockname()[1]}")
            async with rig(stable_at=lambda _: address, mirror=False, **files.options) as r:
                await own.sock_connect(sock, ("127.0.0.1", r.proxy.port))
                await says(tls.do_handshake)
                await says(lambda: tls.write(get("/")))
                stable, _ = await own.sock_accept(listener)
                with stable:
                    assert await own.sock_recv(stable, 65536)
                    with pytest.raises(ssl.SSLWantReadError):
                        tls.unwrap()
                    stable.send(ok())
                    sock.send(out.read())
                    sock.shutdown(socket.SHUT_WR)
                    while data := await own.sock_recv(sock, 65536):
                        came.write(data)
                    assert tls.read() == ok()

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_large_bodies_go_both_ways_over_tls(files: Files, authority: trustme.CA, loop: str) -> None:
    body = bytes(i % 251 for i in range(3_000_000))

    async def echo(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(ok(seen.body))

    async def main() -> None:
        async with rig(echo, mirror=False, **files.options) as r, client(r, trusting(authority)) as c:
            head = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
            c.writer.write(head + body)
            assert read_answers(await c.reader.read(), "POST")[0].body == body

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", [NAME, ""], ids=["with SNI", "without SNI"])
def test_a_reload_is_for_new_handshakes_and_drops_nobody(files: Files, authority: trustme.CA, name: str, loop: str) -> None:
    context = trusting(authority)
    context.check_hostname = bool(name)

    async def main() -> None:
        async with rig(mirror=False, **files.options) as r, client(r, context, name) as old:
            assert b" 200 " in await old.ask()
            files.write(authority.issue_cert(NAME))
            async with client(r, context, name) as between:
                assert between.serial == old.serial, "nothing changes before the reload"
            r.proxy.reload_tls()
            async with client(r, context, name) as new:
                assert new.serial != old.serial
                assert b" 200 " in await new.ask()
            assert b" 200 " in await old.ask(), "the old connection lives on"

    run(main(), loop)


def test_a_session_can_be_resumed_across_a_reload(files: Files, authority: trustme.CA) -> None:
    context = trusting(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # the session is known as soon as the handshake is over

    def handshake(port: int, session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bytes]:
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname=NAME, session=session) as tls,
        ):
            tls.sendall(get("/", "Connection: close"))
            got = b""
            while data := tls.recv(1000):
                got += data
            return tls.session, got

    async def main() -> None:
        async with rig(mirror=False, **files.options) as r:
            session, _ = await asyncio.to_thread(handshake, r.proxy.port, None)
            files.write(authority.issue_cert(NAME))
            r.proxy.reload_tls()
            _, got = await asyncio.to_thread(handshake, r.proxy.port, session)
            assert got.endswith(b"hello")

    run(main())


def encrypted(files: Files) -> None:
    key = load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret")))


def folder(files: Files) -> None:
    files.key.unlink()
    files.key.mkdir()


BAD: dict[str, tuple[Callable[[Files], object], str]] = {
    "no certificate": (lambda files: files.cert.unlink(), "cert.pem: no such certificate file"),
    "no key": (lambda files: files.key.unlink(), "key.pem: no such key file"),
    "a certificate that is none": (lambda files: files.cert.write_text("nothing"), "cert.pem: not a usable certificate"),
    "a certificate cut off": (lambda files: files.cert.write_bytes(files.cert.read_bytes()[:200]), "cert.pem: not a usable certificate"),
    "a key that is none": (lambda files: files.key.write_text("nothing"), "key.pem: not a usable key"),
    "a key of another": (
        lambda files: files.key.write_bytes(trustme.CA().issue_cert(NAME).private_key_pem.bytes()),
        "the key does not belong to the certificate",
    ),
    "a key with a password": (encrypted, "key.pem: the key is encrypted"),
    "a folder": (folder, "key.pem: no such key file"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_its_name_and_the_old_one_stays(files: Files, authority: trustme.CA, name: str) -> None:
    spoil, message = BAD[name]

    async def main() -> None:
        async with rig(mirror=False, **files.options) as r:
            async with client(r, trusting(authority)) as before:
                serial = before.serial
            spoil(files)
            with pytest.raises(SetupError, match=message) as caught:
                r.proxy.reload_tls()
            assert caught.value.fix
            async with client(r, trusting(authority)) as after:
                assert after.serial == serial
                assert b" 200 " in await after.ask()

    run(main())
    with pytest.raises(SetupError, match=message):
        TlsListener(str(files.cert), str(files.key))


def test_key_and_certificate_may_be_one_file(tmp_path: Path, authority: trustme.CA) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(authority.issue_cert(NAME).private_key_and_cert_chain_pem.bytes())

    async def main() -> None:
        async with rig(mirror=False, tls_cert=str(both)) as r, client(r, trusting(authority)) as c:
            assert b" 200 " in await c.ask()

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_clients_that_fail_the_handshake_harm_nobody(files: Files, authority: trustme.CA, loop: str) -> None:
    async def main() -> None:
        async with rig(mirror=False, **files.options) as r:
            with pytest.raises(ssl.SSLCertVerificationError):
                async with client(r, ssl.create_default_context()):
                    pass
            old = trusting(authority)
            with warnings.catch_warnings(action="ignore"):
                old.minimum_version = ssl.TLSVersion.TLSv1
                old.maximum_version = ssl.TLSVersion.TLSv1_1
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with client(r, old):
                    pass
            assert b"HTTP/1.1" not in await r.talk(get("/")), "plain text is not answered"
            async with client(r, trusting(authority)) as c:
                assert b" 200 " in await c.ask()
            assert not r.tally.totals().refused, "no request had begun"

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_time_outs_and_refusals_reach_clients_over_tls(files: Files, authority: trustme.CA, loop: str) -> None:
    async def main() -> None:
        async with rig(mirror=False, client=ClientTimeouts(head_s=SHORT_S, idle_s=SHORT_S), **files.options) as r:
            for raw, status in ((b"GET / HT", 408), (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400)):
                async with client(r, trusting(authority)) as c:
                    c.writer.write(raw)
                    assert read_answers(await c.reader.read(), "GET")[0].status == status
            async with client(r, trusting(authority)) as c:
                assert await c.reader.read() == b"", "an idle connection is closed"

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_that_says_good_bye_while_it_waits_is_counted(files: Files, authority: trustme.CA, loop: str) -> None:
    async def main() -> None:
        async with rig(hang, mirror=False, **files.options) as r:
            async with client(r, trusting(authority)) as c:
                c.writer.write(get("/"))
                await until(lambda: len(r.stable.seen) == 1)
            await until(lambda: r.tally.totals().refused == {"client_gone": 1})

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_stop_lets_the_answer_under_way_through(files: Files, authority: trustme.CA, loop: str) -> None:
    release = asyncio.Event()

    async def late(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await until(release.is_set)
        writer.write(ok())

    async def main() -> None:
        async with rig(late, mirror=False, **files.options) as r, client(r, trusting(authority)) as c:
            c.writer.write(get("/"))
            await until(lambda: len(r.stable.seen) == 1)
            stopping = asyncio.ensure_future(r.proxy.stop(LONG_S))
            await asyncio.sleep(0)
            release.set()
            (answer,) = read_answers(await c.reader.read(), "GET")
            assert answer.body == b"hello"
            await stopping

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("ends", ["time", "stop"])
def test_a_handshake_that_nobody_goes_on_with_is_given_up(files: Files, loop: str, ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if ends == "time":
        monkeypatch.setattr("harness.proxy.server.HANDSHAKE_SECONDS_MAX", 0.2)

    async def main() -> None:
        async with rig(mirror=False, **files.options) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(b"\x16\x03\x01")
            if ends == "time":
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            else:
                await asyncio.sleep(0.05)
                await r.proxy.stop(0.1)
            writer.close()

    run(main(), loop)


class Target:
    """A target over TLS that demands a client certificate, and notes what it was shown and asked for."""

    def __init__(self, authority: trustme.CA) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(NAME).configure_cert(self.context)
        authority.configure_trust(self.context)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.sni_callback = self._note
        self.names: list[str | None] = []
        self.serials: list[str] = []

    def _note(self, _connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        self.names.append(name)

    async def __call__(self, upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        self.serials.append(writer.get_extra_info("ssl_object").getpeercert()["serialNumber"])
        writer.write(ok(b"hello", b"Connection: close"))
        raise ConnectionResetError


@contextlib.asynccontextmanager
async def secured(authority: trustme.CA, tmp_path: Path, **address: Any) -> AsyncIterator[tuple[Rig, Target]]:
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    target = Target(authority)
    known = {"ca_file": str(ca), "server_name": NAME} | address

    def stable_at(upstream: Upstream) -> UpstreamAddress:
        return parse_address(f"https://127.0.0.1:{upstream.port}", **known)

    async with rig(target, mirror=False, stable_tls=target.context, stable_at=stable_at) as r:
        yield r, target


@pytest.mark.parametrize("loop", LOOPS)
def test_targets_are_shown_the_client_certificate_and_asked_by_name(files: Files, authority: trustme.CA, tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        shown = {"client_cert": str(files.cert), "client_key": str(files.key)}
        async with secured(authority, tmp_path, **shown) as (r, target):
            assert read_answers(await r.talk(get("/")), "GET")[0].body == b"hello"
            files.write(authority.issue_cert(NAME))
            r.proxy.reload_tls()
            assert read_answers(await r.talk(get("/")), "GET")[0].body == b"hello"
            assert target.names == [NAME, NAME]
            assert len(set(target.serials)) == 2, "the new certificate is shown after the reload"
            files.key.write_text("nothing")
            with pytest.raises(SetupError, match=r"key\.pem: not a usable key"):
                r.proxy.reload_tls()
            assert read_answers(await r.talk(get("/")), "GET")[0].body == b"hello"
            assert target.serials[1] == target.serials[2]

    run(main(), loop)


def test_a_reload_is_all_or_nothing(files: Files, authority: trustme.CA, tmp_path: Path) -> None:
    ca, new = tmp_path / "ca.pem", tmp_path / "new.pem"
    authority.cert_pem.write_to_path(str(ca))
    new.write_bytes(authority.issue_cert(NAME).private_key_and_cert_chain_pem.bytes())

    def stable_at(upstream: Upstream) -> UpstreamAddress:
        return parse_address(f"https://127.0.0.1:{upstream.port}", ca_file=str(ca))

    async def serial(r: Rig) -> str:
        async with client(r, trusting(authority)) as c:
            return c.serial

    async def main() -> None:
        async with rig(mirror=False, stable_at=stable_at, **files.options) as r:
            before = await serial(r)
            good = ca.read_bytes()
            ca.write_text("nothing")
            options = ProxyOptions(stable=stable_at(r.stable), tls_cert=str(new))
            with pytest.raises(SetupError, match=r"ca\.pem"):
                r.proxy.reload(options)
            assert await serial(r) == before, "the listener was left alone too"
            ca.write_bytes(good)
            r.proxy.reload(options)
            after = await serial(r)
            assert after != before
            r.proxy.reload_tls()
            assert await serial(r) == after, "the new files are the files from now on"

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("fault", ["no client certificate", "client certificate of another authority", "another name", "another authority"])
def test_a_handshake_with_a_target_that_fails_is_a_502(files: Files, authority: trustme.CA, tmp_path: Path, fault: str, loop: str) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(trustme.CA().issue_cert(NAME).private_key_and_cert_chain_pem.bytes())
    own = {"client_cert": str(files.cert), "client_key": str(files.key)}
    address: dict[str, dict[str, str]] = {
        "no client certificate": {},
        "client certificate of another authority": {"client_cert": str(other)},
        "another name": {"server_name": "bank.example", **own},
        "another authority": {"ca_file": str(other), **own},
    }

    async def main() -> None:
        async with secured(authority, tmp_path, **address[fault]) as (r, target):
            (answer,) = read_answers(await r.talk(get("/")), "GET")
            assert answer.status == 502
            assert answer.header(b"x-shadowdiff-error") in {b"upstream_unreachable", b"upstream_broken"}
            assert not target.serials, "no request was sent"

    run(main(), loop)
