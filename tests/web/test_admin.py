"""The admin port over real HTTP."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
import pytest

from harness.core.errors import SetupError, UsageError
from harness.core.labels import ReasonCode, VerdictState
from harness.counters import TargetBreakers
from harness.evidence.snapshot import Reason, Verdict
from harness.web.admin import AdminServer, is_loopback
from harness.web.answer import AdminState

TOKEN = "t0ken-é"
BREAKERS = {"breakers": {"candidate": {"closed": 1, "open": 2, "probing": 0, "opened": 9}}}


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def monotonic_ns(self) -> int:
        return int(self.now * 1e9)


class Provider:
    def __init__(self) -> None:
        self.percent = 100.0
        self.epochs = 1
        self.asked: list[str | None] = []
        self.now = AdminState(
            run="run-1",
            build="b 1",
            ready=True,
            verdict=Verdict(state=VerdictState.FAIL, reasons=(Reason(code=ReasonCode.DIVERGENCE, message="GET /secret-path differs"),)),
            requests=12,
            as_of=1000.0,
        )

    def state(self) -> AdminState:
        return self.now

    def metrics(self) -> bytes:
        return b"# HELP shadowdiff_x X.\n"

    def mirroring(self) -> float:
        return self.percent

    def breakers(self) -> Mapping[str, TargetBreakers]:
        return {"candidate": TargetBreakers(closed=1, open=2, opened=9)}

    def set_mirroring(self, percent: float) -> None:
        self.percent = percent

    def history(self) -> list[TargetBreakers]:
        return [TargetBreakers(closed=self.epochs)]

    async def new_epoch(self, build: str | None) -> None:
        if build == "refused":
            raise SetupError("the run takes no traffic", fix="ask while it serves")
        self.epochs += 1
        self.asked.append(build)


Ask = Callable[..., Awaitable[tuple[int, Mapping[str, str], bytes]]]


def serve(test: Callable[[AdminServer, Provider, Ask], Awaitable[None]], *, token: str | None = None, now: float = 1001.0) -> None:
    async def run() -> None:
        provider = Provider()
        server = AdminServer(provider, token=token, clock=Clock(now))
        await server.start()
        try:
            async with aiohttp.ClientSession() as session:

                async def ask(path: str, method: str = "GET", data: bytes = b"", **headers: str) -> tuple[int, Mapping[str, str], bytes]:
                    named = {name.replace("_", "-"): value for name, value in headers.items()}
                    async with session.request(method, f"http://127.0.0.1:{server.port}{path}", data=data, headers=named) as response:
                        return response.status, response.headers, await response.read()

                await test(server, provider, ask)
        finally:
            await server.stop()
            await server.stop()

    asyncio.run(run())


def test_the_verdict_is_flat_json_with_status_200() -> None:
    async def test(_server: AdminServer, provider: Provider, ask: Ask) -> None:
        status, headers, body = await ask("/api/v1/verdict")
        assert status == 200
        assert headers["Content-Type"] == "application/json; charset=utf-8"
        assert headers["Cache-Control"] == "no-store"
        answer = json.loads(body)
        assert answer == {
            "verdict": "fail",
            "code": 0,
            "reason": "divergence",
            "message": "GET /secret-path differs",
            "build": "b 1",
            "run": "run-1",
            "requests": 12,
            "needed": None,
            "as_of": 1000.0,
        }
        assert json.loads((await ask("/api/v1/verdict?build=b%201"))[2])["verdict"] == "fail"
        status, _, body = await ask("/api/v1/verdict?build=other")
        assert (status, json.loads(body)["verdict"], json.loads(body)["reason"]) == (200, "inconclusive", "other_build")
        provider.now = AdminState(run="run-1")
        assert json.loads((await ask("/api/v1/verdict"))[2])["code"] == -1

    serve(test)


def test_a_stale_verdict_is_inconclusive() -> None:
    async def test(_server: AdminServer, _provider: Provider, ask: Ask) -> None:
        status, _, body = await ask("/api/v1/verdict")
        assert (status, json.loads(body)["reason"]) == (200, "stale")

    serve(test, now=5000.0)


def test_health_and_metrics_say_nothing_of_the_traffic() -> None:
    async def test(_server: AdminServer, provider: Provider, ask: Ask) -> None:
        assert (await ask("/healthz"))[::2] == (200, b"ok\n")
        assert (await ask("/readyz"))[::2] == (200, b"ready\n")
        status, headers, body = await ask("/metrics")
        assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert body.startswith(b"# HELP")
        provider.now = AdminState(run="run-1", ready=False)
        assert (await ask("/readyz"))[::2] == (503, b"not ready\n")
        for path in ("/healthz", "/readyz", "/metrics"):
            assert b"secret-path" not in (await ask(path))[2]

    serve(test)


JSON = "application/json"


@pytest.mark.parametrize(
    ("query", "body", "percent"),
    [
        ("", b'{"mirror": "off"}', 0.0),
        ("", b'{"mirror": "on"}', 100.0),
        ("", b'{"percent": 25}', 25.0),
        ("?mirror=off", b"", 0.0),
        ("?percent=12.5", b"", 12.5),
    ],
)
def test_mirroring_is_switched_and_its_state_told(query: str, body: bytes, percent: float) -> None:
    async def test(_server: AdminServer, provider: Provider, ask: Ask) -> None:
        provider.percent = 50.0
        assert json.loads((await ask("/api/v1/mirror"))[2]) == {"mirror": "on", "percent": 50.0, **BREAKERS}
        status, headers, answer = await ask(f"/api/v1/mirror{query}", "POST", body, Content_Type=JSON)
        assert (status, headers["Content-Type"], headers["Cache-Control"]) == (200, "application/json; charset=utf-8", "no-store")
        state = {"mirror": "on" if percent else "off", "percent": percent}
        assert json.loads(answer) == {**state, **BREAKERS} == json.loads((await ask("/api/v1/mirror"))[2])
        assert provider.percent == percent

    serve(test)


def test_mirroring_is_not_switched_by_what_is_unclear() -> None:
    async def test(_server: AdminServer, provider: Provider, ask: Ask) -> None:
        status, headers, answer = await ask("/api/v1/mirror", "POST", b'{"mirror": "of"}', Content_Type=JSON)
        assert (status, headers["Cache-Control"]) == (400, "no-store")
        assert "percent" in json.loads(answer)["fix"]
        assert (await ask("/api/v1/mirror", "POST", b"x" * 2000, Content_Type=JSON))[0] == 413
        assert provider.percent == 100.0

    serve(test)


def test_a_page_in_a_browser_cannot_switch_mirroring() -> None:
    async def test(server: AdminServer, provider: Provider, ask: Ask) -> None:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            assert (await ask("/api/v1/mirror", "POST", b'{"mirror": "off"}', Content_Type=kind))[0] == 415
        assert (await ask("/api/v1/mirror?mirror=off"))[0] == 200, "a GET says how it stands"
        assert (await ask("/api/v1/mirror?mirror=off", "POST", Content_Type=JSON, Host=f"rebound.example:{server.port}"))[0] == 403
        assert "Access-Control-Allow-Origin" not in (await ask("/api/v1/mirror", "OPTIONS", Origin="http://x.example"))[1]
        assert provider.percent == 100.0
        for name in (f"localhost:{server.port}", "[::1]", "127.0.0.1"):
            assert (await ask("/api/v1/mirror?percent=1", "POST", Content_Type=JSON, Host=name))[0] == 200

    serve(test)


def test_switching_mirroring_needs_the_token() -> None:
    async def test(_server: AdminServer, provider: Provider, ask: Ask) -> None:
        assert (await ask("/api/v1/mirror?mirror=off", "POST", Content_Type=JSON))[0] == 401
        assert (await ask("/api/v1/mirror"))[0] == 401
        assert provider.percent == 100.0
        with_token = {"Authorization": f"Bearer {TOKEN}", "Content_Type": JSON, "Host": "shadowdiff.internal"}
        assert (await ask("/api/v1/mirror?mirror=off", "POST", **with_token))[0] == 200
        assert provider.percent == 0.0

    serve(test, token=TOKEN)


def test_all_else_is_read_only_and_unknown_paths_are_not_found() -> None:
    async def test(_server: AdminServer, _provider: Provider, ask: Ask) -> None:
        assert (await ask("/api/v1/verdict", "POST"))[0] == 405
        status, headers, body = await ask("/api/v1/<script>")
        assert (status, headers["Content-Type"]) == (404, "application/json; charset=utf-8")
        assert b"script" not in body
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert (await ask("/healthz", "HEAD"))[0] == 200

    serve(test)


def test_a_token_is_asked_for_except_by_probes() -> None:
    async def test(_server: AdminServer, _provider: Provider, ask: Ask) -> None:
        for path in ("/api/v1/verdict", "/metrics", "/unknown"):
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": "Bearer"}):
                status, answer_headers, body = await ask(path, **headers)
                assert status == 401
                assert answer_headers["WWW-Authenticate"].startswith("Bearer")
                assert b"fail" not in body
        for path in ("/healthz", "/readyz"):
            assert (await ask(path))[0] == 200
        assert (await ask("/api/v1/verdict", Authorization=f"Bearer {TOKEN}"))[0] == 200
        assert (await ask("/metrics", Authorization=f"bearer  {TOKEN} "))[0] == 200

    serve(test, token=TOKEN)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("host", False),
        ("", False),
    ],
)
def test_beyond_loopback_it_does_not_start_without_a_token(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    if loopback:
        AdminServer(Provider(), host=host, clock=Clock(0))
        return
    for token in (None, ""):
        with pytest.raises(UsageError, match="needs a token"):
            AdminServer(Provider(), host=host, token=token, clock=Clock(0))
    assert AdminServer(Provider(), host=host, port=9, token="x", clock=Clock(0)).port == 9


def test_a_taken_port_is_named() -> None:
    async def test(server: AdminServer, provider: Provider, _ask: Ask) -> None:
        with pytest.raises(SetupError, match="cannot be opened"):
            await AdminServer(provider, port=server.port, clock=Clock(0)).start()

    serve(test)


def test_with_a_token_it_listens_anywhere() -> None:
    async def run() -> None:
        server = AdminServer(Provider(), host="0.0.0.0", token="x", clock=Clock(0))
        await server.start()
        assert server.port > 0
        await server.stop()

    asyncio.run(run())


def test_an_epoch_is_closed_and_the_history_told_under_the_same_guard_as_the_switch() -> None:
    async def test(server: AdminServer, provider: Provider, ask: Ask) -> None:
        path = "/api/v1/epoch"
        assert (await ask(path, "POST", b'{"build": "b-2"}', Content_Type="text/plain"))[0] == 415
        assert (await ask(path, "POST", b"{}", Content_Type=JSON, Host=f"rebound.example:{server.port}"))[0] == 403
        assert (await ask(path, "POST", b'{"biuld": "b-2"}', Content_Type=JSON))[0] == 400
        assert (await ask(path, "POST", b'{"build": "refused"}', Content_Type=JSON))[0] == 503
        assert (await ask(path))[0] == 405
        assert provider.asked == []
        status, _, body = await ask(path, "POST", b'{"build": "b-2"}', Content_Type=JSON)
        assert (status, json.loads(body)["history"][0]["closed"]) == (200, 2)
        assert json.loads((await ask("/api/v1/history"))[2]) == json.loads(body)
        assert (await ask(path, "POST", b"", Content_Type=JSON))[0] == 200
        assert provider.asked == ["b-2", None]

    serve(test)


def test_the_history_needs_the_token() -> None:
    async def test(server: AdminServer, provider: Provider, ask: Ask) -> None:
        assert (await ask("/api/v1/history"))[0] == 401
        assert (await ask("/api/v1/epoch", "POST", b"{}", Content_Type=JSON))[0] == 401
        assert provider.asked == []

    serve(test, token="secret")
