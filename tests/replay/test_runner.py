import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count, permutations

import msgspec
import pytest
from aiohttp import ClientSession, DummyCookieJar, web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from harness.core.clock import Clock
from harness.core.endpoint import EndpointMapper, entity_of
from harness.core.errors import SetupError
from harness.core.labels import Control, Design, ErrorKind, Role, SkipReason
from harness.core.outcomes import Tally
from harness.core.values import Comparison, Exchange, Headers, Request, Response, TransportError, Trial, body_of
from replay.entry import CaptureEntry
from replay.runner import PassJob, PassResult, RunnerIO, run_pass, warm_up_trials
from replay.schedule import plan
from replay.sessions import group_sessions
from tests.replay.build import entry, numbered, request, response

ROLES = (Role.STABLE, Role.SECONDARY, Role.CANDIDATE)
Send = Callable[[Role, Request], Awaitable[Exchange]]


class RealClock:
    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def time(self) -> float:
        return time.time()


class Numbers:
    def __init__(self) -> None:
        self._numbers = count()

    def next_id(self) -> str:
        return f"t{next(self._numbers)}"


class Harness:
    """A pass with everything in memory, and what came of it."""

    def __init__(self, send: Send | None = None, *, seed: int = 1) -> None:
        self.trials: list[Trial] = []
        self.sent: list[tuple[Role, Request]] = []
        self.tally = Tally()
        self.stop = asyncio.Event()
        self.progress: list[tuple[int, int]] = []
        self._send = send
        self.clock: Clock = RealClock()
        self.io = RunnerIO(
            send=self.send,
            emit=self.emit,
            clock=self.clock,
            rng=random.Random(seed),
            ids=Numbers(),
            tally=self.tally,
            endpoint_of=EndpointMapper().endpoint,
            entity_of=entity_of,
            stop=self.stop,
            progress=lambda done, total: self.progress.append((done, total)),
        )

    async def send(self, role: Role, sent: Request) -> Exchange:
        self.sent.append((role, sent))
        if self._send is not None:
            return await self._send(role, sent)
        return Exchange(request=sent, response=response(200, {"path": sent.target}))

    async def emit(self, trial: Trial) -> None:
        self.trials.append(trial)
        self.tally.compared(trial, Comparison(trial=trial.id, seq=trial.seq))


def job(entries: list[CaptureEntry], speed: float | None = None, **more: object) -> PassJob:
    sessions = plan(group_sessions(numbered(entries)), speed)
    return msgspec.structs.replace(PassJob(sessions=sessions, roles=ROLES, timed=speed is not None), **more)


def user(name: str) -> Headers:
    return (("Cookie", f"sid={name}"),)


def reads(total: int) -> list[CaptureEntry]:
    return [entry(request(target=f"/items/{at}"), response(200, {"path": f"/items/{at}"})) for at in range(total)]


def test_every_arm_gets_every_entry_and_a_trial_tells_all() -> None:
    async def main() -> tuple[Harness, PassResult]:
        harness = Harness()
        return harness, await run_pass(job(reads(20), pass_index=3, fresh=True, seq_start=100, repeat_of={4: "t77"}), harness.io)

    harness, result = asyncio.run(main())
    assert (result.entered, result.emitted, result.skipped, result.seq_next, result.interrupted) == (20, 20, {}, 120, False)
    assert [trial.seq for trial in harness.trials] == list(range(100, 120))
    assert len({trial.id for trial in harness.trials}) == 20
    assert harness.progress[-1] == (20, 20)
    trial = next(trial for trial in harness.trials if trial.capture is not None and trial.capture.entry == 4)
    assert trial.request.target == "/items/4"
    assert trial.endpoint == "GET /items/{int}"
    assert trial.entity == "GET /items/4"
    assert trial.recorded is not None
    assert [arm.role for arm in trial.arms()] == list(ROLES)
    assert sorted(trial.order) == sorted(ROLES)
    assert (trial.pass_index, trial.fresh, trial.repeat_of, trial.session) == (3, True, "t77", "s4")
    assert (trial.control, trial.design, trial.tainted, trial.mapped_ids) == (Control.SECONDARY, Design.THREE_ARM, False, 0)
    assert all(1 <= trial.in_flight <= 16 for trial in harness.trials)
    assert Counter(role for role, _ in harness.sent) == dict.fromkeys(ROLES, 20)
    assert sum(trial.warm_up for trial in harness.trials) == 5


def test_the_coin_gives_every_order_and_the_seed_repeats_it() -> None:
    async def main(seed: int) -> list[tuple[Role, ...]]:
        harness = Harness(seed=seed)
        await run_pass(job(reads(120), concurrency=1), harness.io)
        starts = [tuple(role for role, _ in harness.sent[at : at + 3]) for at in range(0, 360, 3)]
        assert starts == [trial.order for trial in harness.trials]
        return starts

    first = asyncio.run(main(7))
    assert set(first) == set(permutations(ROLES))
    assert first == asyncio.run(main(7))
    assert first != asyncio.run(main(8))


def test_arms_do_not_wait_for_each_other() -> None:
    async def main() -> PassResult:
        waiting: dict[str, asyncio.Barrier] = {}

        async def send(role: Role, sent: Request) -> Exchange:
            await waiting.setdefault(sent.target, asyncio.Barrier(3)).wait()
            return Exchange(request=sent, response=response())

        return await asyncio.wait_for(run_pass(job(reads(6)), Harness(send).io), 60)

    assert asyncio.run(main()).emitted == 6


def test_a_session_is_sent_one_by_one_and_sessions_at_once() -> None:
    async def main() -> tuple[int, list[str]]:
        active: Counter[str] = Counter()
        most = 0
        overlaps: list[str] = []

        async def send(role: Role, sent: Request) -> Exchange:
            nonlocal most
            name = sent.headers[1][1]
            active[name] += 1
            most = max(most, len(+active))
            if active[name] > 3:
                overlaps.append(name)
            for _ in range(5):
                await asyncio.sleep(0)
            active[name] -= 1
            return Exchange(request=sent, response=response())

        entries = [entry(request(target=f"/{at}", headers=user(f"user{at % 4}"))) for at in range(40)]
        harness = Harness(send)
        await run_pass(job(entries, concurrency=3), harness.io)
        for name in range(4):
            targets = [int(trial.request.target[1:]) for trial in harness.trials if trial.session == f"s{name}"]
            assert targets == sorted(targets)
            assert len(targets) == 10
        return most, overlaps

    most, overlaps = asyncio.run(main())
    assert most == 3
    assert overlaps == []


@pytest.mark.parametrize(("concurrency", "sessions", "alone"), [(1, 4, True), (4, 1, True), (2, 2, False)])
def test_a_trial_knows_whether_its_pass_sends_one_request_at_a_time(concurrency: int, sessions: int, alone: bool) -> None:
    harness = Harness()
    entries = [entry(request(target=f"/x/{number}", headers=user(f"user{number % sessions}"))) for number in range(8)]
    result = asyncio.run(run_pass(job(entries, concurrency=concurrency), harness.io))
    assert {trial.alone for trial in harness.trials} == {alone}
    assert result.alone is alone
    assert len(harness.trials) == 8


def test_how_long_the_trials_took_one_after_the_other_is_told() -> None:
    """Two at once: the pass is shorter than its trials together."""

    async def send(role: Role, sent: Request) -> Exchange:
        await asyncio.sleep(0.05)
        return Exchange(request=sent, response=response(200))

    result = asyncio.run(run_pass(job(reads(6), concurrency=6), Harness(send).io))
    assert result.sent_s >= 6 * 0.05
    assert result.sent_s > result.elapsed_s


def test_requests_are_made_fit_and_the_trial_keeps_them_as_captured() -> None:
    captured = Request("GET", "/", (("Host", "a"), ("Connection", "keep-alive"), ("Accept-Encoding", "br")), host="a")

    async def main() -> Harness:
        harness = Harness()
        await run_pass(job([entry(captured)]), harness.io)
        return harness

    harness = asyncio.run(main())
    assert {sent.headers for _, sent in harness.sent} == {(("Host", "a"), ("Accept-Encoding", "br"))}
    assert harness.trials[0].request == captured


def test_writes_are_skipped_unless_allowed_and_trace_always() -> None:
    entries = [entry(request(method)) for method in ("GET", "POST", "DELETE", "HEAD", "TRACE", "OPTIONS", "PUT")]

    async def main(*, allow: bool) -> tuple[PassResult, list[str], Tally]:
        harness = Harness()
        result = await run_pass(job(entries, allow_writes=allow), harness.io)
        return result, [trial.request.method for trial in harness.trials], harness.tally

    result, methods, tally = asyncio.run(main(allow=False))
    assert result.skipped == {SkipReason.WRITE: 4}
    assert sorted(methods) == ["GET", "HEAD", "OPTIONS"]
    assert tally.under_way == 0
    assert tally.totals().requests == 7
    result, methods, _ = asyncio.run(main(allow=True))
    assert result.skipped == {SkipReason.WRITE: 1}
    assert "TRACE" not in methods


def test_a_self_control_answers_safe_methods_only() -> None:
    async def main() -> list[Trial]:
        harness = Harness()
        entries = [entry(request("GET")), entry(request("POST"))]
        await run_pass(job(entries, allow_writes=True, secondary_safe_only=True, control=Control.SELF), harness.io)
        return sorted(harness.trials, key=lambda trial: trial.request.method)

    safe, unsafe = asyncio.run(main())
    assert safe.secondary is not None
    assert (safe.control, safe.design) == (Control.SELF, Design.THREE_ARM)
    assert unsafe.secondary is None
    assert (unsafe.control, unsafe.design) == (Control.NONE, Design.NO_CONTROL)
    assert sorted(unsafe.order) == [Role.CANDIDATE, Role.STABLE]


@pytest.mark.parametrize("roles", [(Role.STABLE,), (Role.STABLE, Role.CANDIDATE)])
def test_fewer_arms_will_do(roles: tuple[Role, ...]) -> None:
    async def main() -> Trial:
        harness = Harness()
        await run_pass(job(reads(1), roles=roles, control=Control.NONE, design=Design.NO_CONTROL), harness.io)
        return harness.trials[0]

    trial = asyncio.run(main())
    assert [arm.role for arm in trial.arms()] == list(roles)
    assert trial.design is Design.NO_CONTROL


def test_errors_of_a_target_are_outcomes_of_a_trial() -> None:
    async def send(role: Role, sent: Request) -> Exchange:
        if role is Role.CANDIDATE:
            return Exchange(request=sent, error=TransportError(ErrorKind.REFUSED, "no"))
        return Exchange(request=sent, response=response())

    async def main() -> Harness:
        harness = Harness(send)
        await run_pass(job(reads(4)), harness.io)
        return harness

    harness = asyncio.run(main())
    assert all(trial.candidate is not None and trial.candidate.exchange.error is not None for trial in harness.trials)
    assert harness.tally.totals().errors == {"candidate": 4}


def shop() -> tuple[Send, dict[Role, list[str]]]:
    """Three stores with ids of their own: POST /orders makes one, GET /orders/N reads it."""
    ids = {Role.STABLE: count(500), Role.SECONDARY: count(700), Role.CANDIDATE: count(900)}
    stores: dict[Role, dict[str, int]] = {role: {} for role in ids}
    seen: dict[Role, list[str]] = {role: [] for role in ids}

    async def send(role: Role, sent: Request) -> Exchange:
        await asyncio.sleep(0)
        seen[role].append(sent.target)
        if sent.method == "POST":
            number = next(ids[role])
            stores[role][f"/orders/{number}"] = number
            return Exchange(request=sent, response=response(201, {"id": number}))
        found = stores[role].get(sent.target)
        answer = response(404, {"error": "none"}) if found is None else response(200, {"id": found})
        return Exchange(request=sent, response=answer)

    return send, seen


def flow() -> list[CaptureEntry]:
    made = [entry(request("POST", "/orders", {"n": at}), response(201, {"id": 100 + at})) for at in range(3)]
    used = [entry(request(target=f"/orders/{100 + at}"), response(200, {"id": 100 + at})) for at in range(3)]
    return [*made, *used, *used]


def test_identifiers_are_carried_along_and_answers_restored() -> None:
    send, seen = shop()

    async def main() -> tuple[Harness, PassResult]:
        harness = Harness(send)
        return harness, await run_pass(job(flow(), allow_writes=True), harness.io)

    harness, result = asyncio.run(main())
    assert (result.emitted, result.mapped_ids, result.tainted) == (9, 9, 0)
    for trial in harness.trials:
        assert {arm.exchange.response for arm in trial.arms()} == {trial.recorded}
    assert sum(trial.mapped_ids for trial in harness.trials) == 18
    assert "/orders/900" in seen[Role.CANDIDATE]
    assert "/orders/900" not in seen[Role.STABLE]


def test_followers_of_a_lost_creation_are_tainted() -> None:
    inner, _ = shop()

    async def send(role: Role, sent: Request) -> Exchange:
        if role is Role.CANDIDATE and sent.method == "POST":
            return Exchange(request=sent, response=response(500))
        return await inner(role, sent)

    async def main() -> tuple[Harness, PassResult]:
        harness = Harness(send)
        return harness, await run_pass(job(flow()[::3], allow_writes=True), harness.io)

    harness, result = asyncio.run(main())
    assert [trial.tainted for trial in harness.trials] == [False, True, True]
    assert result.tainted == 2


def test_a_read_alone_is_compared_as_it_came() -> None:
    async def send(role: Role, sent: Request) -> Exchange:
        return Exchange(request=sent, response=response(200, {"uuid": f"3f2c8a4e-7d1b-4c55-9a0e-2b6f1d8c9e0{ROLES.index(role)}"}))

    async def main() -> Trial:
        harness = Harness(send)
        recorded = response(200, {"uuid": "aaaaaaaa-7d1b-4c55-9a0e-2b6f1d8c9e09"})
        await run_pass(job([entry(request(target="/uuid"), recorded)]), harness.io)
        return harness.trials[0]

    assert len({arm.exchange.response for arm in asyncio.run(main()).arms()}) == 3


def test_back_pressure_stops_the_sending() -> None:
    async def main() -> tuple[int, int]:
        harness = Harness()
        gate = asyncio.Event()
        plain = harness.emit

        async def emit(trial: Trial) -> None:
            await gate.wait()
            await plain(trial)

        task = asyncio.create_task(run_pass(job(reads(50), concurrency=4), msgspec.structs.replace(harness.io, emit=emit)))
        while len(harness.sent) < 12:
            await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)
        before = len(harness.sent)
        gate.set()
        return before, (await task).emitted

    assert asyncio.run(main()) == (12, 50)


def test_a_stop_ends_what_hangs_and_counts_the_rest() -> None:
    async def main() -> tuple[PassResult, Harness]:
        async def send(role: Role, sent: Request) -> Exchange:
            if sent.target == "/items/7":
                harness.stop.set()
                await asyncio.Event().wait()
            return Exchange(request=sent, response=response())

        harness = Harness(send)
        io = msgspec.structs.replace(harness.io, stop_grace_s=0.05)
        return await asyncio.wait_for(run_pass(job(reads(30), concurrency=2), io), 60), harness

    result, harness = asyncio.run(main())
    assert result.interrupted
    assert result.emitted + result.skipped[SkipReason.INTERRUPTED] == 30
    assert 6 <= result.emitted <= 9
    assert harness.tally.under_way == 0
    assert [trial.seq for trial in harness.trials] == list(range(result.emitted))


def test_a_stop_lets_what_is_under_way_end() -> None:
    async def main() -> PassResult:
        async def send(role: Role, sent: Request) -> Exchange:
            harness.stop.set()
            await asyncio.sleep(0.01)
            return Exchange(request=sent, response=response())

        harness = Harness(send)
        return await run_pass(job(reads(30), concurrency=2), harness.io)

    result = asyncio.run(main())
    assert result.emitted in {1, 2}
    assert result.skipped == {SkipReason.INTERRUPTED: 30 - result.emitted}


def test_a_stop_beforehand_sends_nothing() -> None:
    async def main() -> tuple[PassResult, Harness]:
        harness = Harness()
        harness.stop.set()
        return await run_pass(job(reads(3)), harness.io), harness

    result, harness = asyncio.run(main())
    assert result.skipped == {SkipReason.INTERRUPTED: 3}
    assert harness.sent == []


def test_an_empty_pass_is_nothing() -> None:
    async def main() -> PassResult:
        return await run_pass(job([]), Harness().io)

    assert asyncio.run(main()).entered == 0


@pytest.mark.parametrize("where", ["send", "emit"])
def test_errors_of_our_own_come_out_as_they_are_and_lose_no_count(where: str) -> None:
    async def main() -> Tally:
        harness = Harness()

        async def broken(*_: object) -> Exchange:
            raise SetupError("the disk is full")

        io = msgspec.structs.replace(harness.io, **{where: broken})
        with pytest.raises(SetupError, match="disk"):
            await run_pass(job(reads(9)), io)
        return harness.tally

    tally = asyncio.run(main())
    assert tally.under_way == 0
    assert tally.totals().skipped == {"interrupted": 9}


def test_cancelling_the_pass_loses_no_count() -> None:
    async def main() -> Tally:
        started = asyncio.Event()

        async def send(role: Role, sent: Request) -> Exchange:
            started.set()
            await asyncio.Event().wait()
            raise AssertionError

        harness = Harness(send)
        task = asyncio.create_task(run_pass(job(reads(9)), harness.io))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return harness.tally

    assert asyncio.run(main()).under_way == 0


def test_due_times_are_kept() -> None:
    entries = [entry(request(target=f"/{at}"), response()) for at in range(5)]

    async def main() -> tuple[Harness, PassResult, int]:
        harness = Harness()
        began = time.monotonic_ns()
        return harness, await run_pass(job(entries, speed=100.0), harness.io), began

    harness, result, began = asyncio.run(main())
    assert result.elapsed_s >= 0.04
    assert result.late_ms_max >= 0
    intended = [trial.stable.intended_ns - began for trial in sorted(harness.trials, key=lambda trial: trial.request.target)]
    assert [round((at - intended[0]) / 1e6) for at in intended] == [0, 10, 20, 30, 40]


def test_a_stop_ends_a_long_wait() -> None:
    async def main() -> PassResult:
        harness = Harness()
        task = asyncio.create_task(run_pass(job(reads(3), speed=0.001), harness.io))
        while not harness.trials:
            await asyncio.sleep(0)
        harness.stop.set()
        return await asyncio.wait_for(task, 60)

    result = asyncio.run(main())
    assert result.skipped == {SkipReason.INTERRUPTED: 2}


def test_warm_up_is_fixed_beforehand() -> None:
    assert [warm_up_trials(sent) for sent in (0, 10, 60, 500, 5000)] == [5, 5, 6, 50, 200]


methods = st.sampled_from(["GET", "GET", "POST", "HEAD", "TRACE"])
fates = st.sampled_from(["ok", "error", "slow"])


@given(
    st.lists(st.tuples(methods, st.sampled_from(["", "alice", "bobby"]), fates), max_size=25),
    st.sampled_from([(Role.STABLE,), (Role.STABLE, Role.CANDIDATE), ROLES]),
    st.integers(1, 6),
    st.booleans(),
    st.none() | st.integers(0, 30),
)
def test_every_entry_ends_exactly_once(
    raw: list[tuple[str, str, str]], roles: tuple[Role, ...], concurrency: int, allow: bool, stop_after: int | None
) -> None:
    entries = [
        entry(request(method, f"/{at}?{fate}", headers=user(name) if name else ()), response(200, {"id": at}))
        for at, (method, name, fate) in enumerate(raw)
    ]

    async def main() -> tuple[Harness, PassResult]:
        async def send(role: Role, sent: Request) -> Exchange:
            if stop_after is not None and len(harness.sent) > stop_after:
                harness.stop.set()
            if sent.target.endswith("slow"):
                await asyncio.sleep(0)
            if sent.target.endswith("error"):
                return Exchange(request=sent, error=TransportError(ErrorKind.TIMEOUT))
            return Exchange(request=sent, response=response(200, {"id": len(harness.sent)}))

        harness = Harness(send)
        return harness, await run_pass(job(entries, roles=roles, concurrency=concurrency, allow_writes=allow), harness.io)

    harness, result = asyncio.run(main())
    emitted = [trial.capture.entry for trial in harness.trials if trial.capture is not None]
    assert len(set(emitted)) == len(emitted) == result.emitted
    assert result.entered == len(entries) == result.emitted + sum(result.skipped.values())
    assert [trial.seq for trial in harness.trials] == list(range(result.emitted))
    assert harness.tally.under_way == 0
    if stop_after is None:
        assert result.skipped.get(SkipReason.INTERRUPTED, 0) == 0


def order_service(first: int) -> web.Application:
    """A real service with a log-in, a store and ids of its own."""
    numbers = count(first)
    orders: dict[str, dict[str, object]] = {}
    tokens: set[str] = set()

    async def login(_: web.Request) -> web.Response:
        token = f"tok{next(numbers)}x9Y8z7W6v5"
        tokens.add(token)
        answer = web.json_response({"ok": True})
        answer.set_cookie("sid", token)
        return answer

    async def create(req: web.Request) -> web.Response:
        if req.cookies.get("sid") not in tokens:
            return web.json_response({"error": "who"}, status=401)
        number = next(numbers)
        orders[str(number)] = {"id": number, **(await req.json())}
        return web.json_response(orders[str(number)], status=201)

    async def show(req: web.Request) -> web.Response:
        if req.cookies.get("sid") not in tokens:
            return web.json_response({"error": "who"}, status=401)
        found = orders.get(req.match_info["number"])
        return web.json_response(found or {"error": "none"}, status=200 if found else 404)

    app = web.Application()
    app.add_routes([web.post("/login", login), web.post("/orders", create), web.get("/orders/{number}", show)])
    return app


async def _exchange(client: ClientSession, server: TestServer, sent: Request) -> Exchange:
    headers = [(name, value) for name, value in sent.headers if name.lower() != "host"]
    async with client.request(sent.method, server.make_url(sent.target), data=sent.body.data or None, headers=headers) as answer:
        data = await answer.read()
        return Exchange(request=sent, response=Response(answer.status, tuple(answer.headers.items()), body_of(data)))


def test_a_real_log_in_and_store_are_replayed_with_the_identifiers_of_each_target() -> None:
    async def main() -> list[Trial]:
        servers = {role: TestServer(order_service(first)) for role, first in zip((*ROLES, None), (500, 700, 900, 100), strict=True)}
        for server in servers.values():
            await server.start_server()
        async with ClientSession(cookie_jar=DummyCookieJar()) as client:

            async def ask(sent: Request) -> tuple[CaptureEntry, Response]:
                answer = (await _exchange(client, servers[None], sent)).response
                assert answer is not None
                return entry(sent, answer), answer

            first, answer = await ask(request("POST", "/login"))
            sid = dict(answer.headers)["Set-Cookie"].split(";")[0]
            second, answer = await ask(request("POST", "/orders", {"item": "pen"}, headers=(("Cookie", sid),)))
            number = msgspec.json.decode(answer.body.data)["id"]
            third, _ = await ask(request(target=f"/orders/{number}", headers=(("Cookie", sid),)))
            harness = Harness(lambda role, sent: _exchange(client, servers[role], sent))
            await run_pass(job([first, second, third], allow_writes=True), harness.io)
        for server in servers.values():
            await server.close()
        return harness.trials

    trials = asyncio.run(main())
    assert [[arm.exchange.response.status for arm in trial.arms() if arm.exchange.response] for trial in trials] == [
        [200] * 3,
        [201] * 3,
        [200] * 3,
    ]
    for trial in trials:
        assert trial.recorded is not None
        assert {arm.exchange.response.body for arm in trial.arms() if arm.exchange.response} == {trial.recorded.body}
