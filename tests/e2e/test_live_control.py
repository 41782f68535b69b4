"""Whoever runs the proxy stays its master while it serves: mirroring off and on, configuration and certificates read again."""

import asyncio
import json
import signal
import ssl
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.e2e.live import WAIT_S, Proxy, get, report_of
from tests.e2e.targets import Served, request, served, until_settled
from tests.proxy.rig import Answer, read_answers, talk

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NAME = "shop.example"


def switch(proxy: Proxy, **asked: object) -> dict[str, object]:
    """Ask the admin port for something of the mirror; its answer."""
    data = json.dumps(asked).encode()
    asking = urllib.request.Request(f"{proxy.admin}/api/v1/mirror", data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(asking, timeout=WAIT_S) as answer:
        said: dict[str, object] = json.loads(answer.read())
    return said


async def ask(port: int, count: int) -> list[Answer]:
    raw = await talk(port, *(request(f"/plain?n={number}") for number in range(count)))
    return read_answers(raw, *["GET"] * count)


async def until_quiet(s: Served, asked: int) -> int:
    """How many requests the candidate has got, once no more come although clients, who have asked so often, ask on."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        await asyncio.to_thread(until_settled, s.proxy, asked)
        before = len(s.candidate.seen)
        assert all(answer.status == 200 for answer in await ask(s.proxy.port, 20))
        asked += 20
        await asyncio.to_thread(until_settled, s.proxy, asked)
        if len(s.candidate.seen) == before:
            return before
    raise AssertionError("mirroring never stopped")


@pytest.mark.parametrize("by_signal", [True, False])
def test_mirroring_is_switched_off_under_load_and_on_again(by_signal: bool, tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path / "run", "--workers", "2") as s:
            assert all(answer.status == 200 for answer in await ask(s.proxy.port, 40))
            if by_signal:
                s.proxy.process.send_signal(signal.SIGUSR1)
            else:
                said = await asyncio.to_thread(switch, s.proxy, mirror="off")
                assert (said["mirror"], said["percent"]) == ("off", 0.0)
            mirrored = await until_quiet(s, 40)
            assert mirrored >= 40
            assert json.loads((await asyncio.to_thread(get, f"{s.proxy.admin}/api/v1/mirror"))[1])["mirror"] == "off"
            await asyncio.to_thread(switch, s.proxy, percent=100)
            while len(s.candidate.seen) == mirrored:
                await ask(s.proxy.port, 5)
            assert await s.end() == 0, s.proxy.stderr
        totals = report_of(tmp_path / "run")["totals"]
        assert totals["skipped"]["switched_off"] >= 20
        assert totals["requests"] == totals["compared"] + sum(totals["skipped"].values()) + sum(totals["shed"].values())
        assert not totals["refused"]

    asyncio.run(main())


def said_by(proxy: Proxy, words: str) -> Callable[[], bool]:
    return lambda: words in proxy.stderr


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


def test_a_new_configuration_is_taken_over_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "shadowdiff.yaml"
    config.write_text("proxy:\n  exclude: [/nothing]\n", encoding="utf-8")

    async def main() -> None:
        async with served(tmp_path / "run", "--config", str(config)) as s:
            await ask(s.proxy.port, 10)
            config.write_text("proxy:\n  exclude: [/plain]\n  workers: 3\n", encoding="utf-8")
            s.proxy.process.send_signal(signal.SIGHUP)
            await until(said_by(s.proxy, "reloaded: proxy.exclude"), s.proxy.stderr)
            assert "only a restart takes it over: proxy.workers" in s.proxy.stderr
            assert await until_quiet(s, 10) >= 10
            for bad in ("proxy:\n  exclude: 7\n", "proxy: [", "proxy:\n  no_such_key: 1\n"):
                config.write_text(bad, encoding="utf-8")
                count = s.proxy.stderr.count("reload refused")
                s.proxy.process.send_signal(signal.SIGHUP)
                await until(lambda count=count: s.proxy.stderr.count("reload refused") > count, s.proxy.stderr)  # type: ignore[misc]  # a default
            before = len(s.candidate.seen)
            assert all(answer.status == 200 for answer in await ask(s.proxy.port, 10))
            await asyncio.to_thread(until_settled, s.proxy, 40)
            assert len(s.candidate.seen) == before, "the configuration before the bad ones holds"
            assert await s.end() == 0, s.proxy.stderr
            assert "Traceback" not in s.proxy.stderr
        assert report_of(tmp_path / "run")["totals"]["skipped"]["excluded"] >= 30

    asyncio.run(main())


def test_a_certificate_is_exchanged_while_connections_live_on(tmp_path: Path) -> None:
    authority = trustme.CA()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)

    def issue() -> None:
        issued = authority.issue_cert(NAME)
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())

    async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusted, server_hostname=NAME)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return reader, writer, shown

    async def shown(port: int) -> bytes:
        _, writer, certificate = await connected(port)
        writer.close()
        await writer.wait_closed()
        return certificate

    async def get_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(request("/plain"))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(b'{"a": 1}'))
        return head

    async def main() -> None:
        async with served(tmp_path / "run", "--tls-cert", str(cert), "--tls-key", str(key)) as s:
            assert s.proxy.address.startswith("https://")
            reader, writer, first = await connected(s.proxy.port)
            assert b" 200 " in await get_over(reader, writer)
            issue()
            s.proxy.process.send_signal(signal.SIGHUP)
            await until(said_by(s.proxy, "certificates read again"), s.proxy.stderr)
            second = first
            while second == first:
                second = await shown(s.proxy.port)
            cert.write_text("no certificate", encoding="utf-8")
            s.proxy.process.send_signal(signal.SIGHUP)
            await until(said_by(s.proxy, "reload refused"), s.proxy.stderr)
            assert await shown(s.proxy.port) == second
            assert b" 200 " in await get_over(reader, writer), "the connection from before lives on"
            writer.close()
            await writer.wait_closed()
            assert await s.end() == 0, s.proxy.stderr

    issue()
    asyncio.run(main())
