"""Copies of requests become trials: who is asked, in which words, what is skipped and shed, and that all of it is counted."""

import asyncio
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Control, Design, ErrorKind, Role
from harness.core.limits import CAPTURE_BODY_BYTES_MAX
from harness.core.values import Body, Exchange, Request
from harness.proxy.address import HostRule
from harness.proxy.capture import NOTHING
from harness.proxy.copies import CopiesServer, original_host
from harness.proxy.copies_ingress import Copy
from harness.proxy.dispatch import DispatchOptions
from harness.proxy.server import ProxyOptions
from harness.proxy.wire import Framing, RequestHead
from tests.proxy.copies_rig import accepted, copies
from tests.proxy.rig import LONG_S, LOOPS, SHORT_S, Behaviour, Seen, Upstream, answers, get, hang, ok, read_answers, reset, run, until

POST = b"POST /orders HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 2\r\n\r\nhi"
MOODS: dict[str, Behaviour] = {"hangs": hang, "resets": reset, "babbles": answers(b"nonsense\r\n\r\n"), "closes": answers(b"", close=True)}


@pytest.mark.parametrize(
    ("marked", "host"),
    [
        ("shop.example-shadow", "shop.example"),
        ("shop.example-shadow:8080", "shop.example:8080"),
        ("shop.example:8080-shadow", "shop.example:8080"),
        ("SHOP-Shadow", "SHOP"),
        ("10.0.0.7-shadow:80", "10.0.0.7:80"),
        ("[::1]-shadow:80", "[::1]:80"),
        ("[::1]-shadow", "[::1]"),
        ("shop-shadow-shadow", "shop-shadow"),
        ("shop.example", "shop.example"),
        ("shop-shadow.example", "shop-shadow.example"),
        ("shop-shadows", "shop-shadows"),
        ("-shadow", "-shadow"),
        ("-shadow:80", "-shadow:80"),
        ("", ""),
    ],
)
def test_the_mark_that_envoy_sets_is_taken_off(marked: str, host: str) -> None:
    assert original_host(marked) == host


HOSTS = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,30}[a-z0-9])?", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map("[{}]".format),
)
PORTS = st.one_of(st.just(""), st.integers(0, 65535).map(":{}".format))


@given(HOSTS, PORTS)
def test_taking_the_mark_off_undoes_what_envoy_does_and_nothing_else(host: str, port: str) -> None:
    assert original_host(f"{host}-shadow{port}") == host + port
    assert original_host(f"{host}{port}-shadow") == host + port
    if not host.endswith("-shadow"):
        assert original_host(host + port) == host + port


@pytest.mark.parametrize("loop", LOOPS)
def test_a_copy_is_answered_at_once_and_becomes_one_trial_of_three_arms(loop: str) -> None:
    async def main() -> None:
        copy = get("/x?y=1", "X-A: 1", "x-a: 2", "Cookie: a=b").replace(b"shop.example", b"Shop.example-shadow:81")
        async with copies(answers(ok(b"one")), secondary=answers(ok(b"two")), candidate=answers(ok(b"three"))) as r:
            accepted(await r.talk(copy), "GET")
            await r.settled()
            (trial,) = r.trials
            assert trial.request.host == "shop.example:81"
            assert trial.request.headers == (("Host", "Shop.example:81"), ("X-A", "1"), ("x-a", "2"), ("Cookie", "a=b"))
            assert {arm.role.value: arm.exchange.response.body.data for arm in trial.arms() if arm.exchange.response} == {
                "stable": b"one",
                "secondary": b"two",
                "candidate": b"three",
            }
            assert (trial.control, trial.design, trial.order[0], trial.seq) == (Control.SECONDARY, Design.TWO_ARM, Role.STABLE, 0)
            (seen,) = r.stable.seen
            assert seen.head == get("/x?y=1", "X-A: 1", "x-a: 2", "Cookie: a=b", "x-shadowdiff-shadow: 1").replace(
                b"shop.example", b"Shop.example:81"
            )
            assert r.secondary.seen[0].head == r.candidate.seen[0].head == seen.head, "all arms get the same bytes"

    run(main(), loop)


def test_the_double_is_asked_before_the_others() -> None:
    async def main() -> None:
        async with copies() as r:
            accepted(await r.talk(*[get(f"/{i}") for i in range(30)]), *["GET"] * 30)
            await r.settled()
            for trial in r.trials:
                first, second, third = ({arm.role: arm for arm in trial.arms()}[role] for role in trial.order)
                assert first.role is Role.STABLE
                assert first.exchange.ended_ns <= second.intended_ns <= third.intended_ns
            assert {trial.order[1] for trial in r.trials} == {Role.SECONDARY, Role.CANDIDATE}
            assert sorted(trial.seq for trial in r.trials) == list(range(30))

    run(main())


def test_writes_go_to_nobody_unless_they_are_allowed() -> None:
    async def main() -> None:
        bodies = (POST, POST.replace(b"POST", b"DELETE"), get("/").replace(b"GET", b"TRACE"), get("/").replace(b"GET", b"OPTIONS"))
        for allowed in (False, True):
            async with copies(allow_writes=allowed) as r:
                accepted(await r.talk(*bodies), "POST", "DELETE", "TRACE", "OPTIONS")
                await r.settled()
                assert r.tally.totals().skipped == ({"write": 1} if allowed else {"write": 3})
                for target in (r.stable, r.secondary, r.candidate):
                    asked = [seen.body for seen in sorted(target.seen, key=lambda seen: seen.line)]
                    assert asked == ([b"hi", b"", b"hi"] if allowed else [b""])

    run(main())


def test_a_chunked_body_is_sent_on() -> None:
    async def main() -> None:
        chunked = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-T: 1\r\n\r\n"
        async with copies(allow_writes=True) as r:
            accepted(await r.talk(chunked), "POST")
            await r.settled()
            assert {target.seen[0].body for target in (r.stable, r.secondary, r.candidate)} == {b"abcdefg"}

    run(main())


def test_what_is_not_to_be_compared_is_not_asked() -> None:
    async def main() -> None:
        async with copies(allow_writes=True, dispatch=DispatchOptions(exclude=("/internal/**",))) as r:
            large = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (CAPTURE_BODY_BYTES_MAX + 1)
            accepted(await r.talk(large, bytes(CAPTURE_BODY_BYTES_MAX + 1)), "POST")
            accepted(
                await r.talk(
                    get("/", "Connection: Upgrade", "Upgrade: websocket"),
                    get("/", "X-Shadowdiff-Shadow: 1"),
                    get("/logout"),
                    get("/internal/x"),
                ),
                *["GET"] * 4,
            )
            assert r.tally.totals().skipped == {"excluded": 2, "loop": 1, "truncated_request": 1, "upgrade": 1}
            assert not r.stable.seen
        for options in ({"without": ("secondary", "candidate")}, {"dispatch": DispatchOptions(sample=0.0)}):
            async with copies(**options) as r:
                accepted(await r.talk(get()), "GET")
                assert r.tally.totals().skipped == ({"no_shadow": 1} if "without" in options else {"sampled_out": 1})
                assert not r.stable.seen

    run(main())


def test_a_part_is_sampled_once_and_the_double_is_asked_for_that_part_only() -> None:
    async def main() -> None:
        async with copies(dispatch=DispatchOptions(sample=50.0)) as r:
            accepted(await r.talk(*[get(f"/{i}") for i in range(100)]), *["GET"] * 100)
            await r.settled()
            totals = r.tally.totals()
            assert totals.compared == len(r.stable.seen) == 100 - totals.skipped["sampled_out"]
            assert 40 <= totals.compared <= 60, "drawn twice it would be a quarter"

    run(main())


def test_switching_off_spares_the_double_too() -> None:
    async def main() -> None:
        async with copies() as r:
            r.proxy.mirror(0)
            accepted(await r.talk(get()), "GET")
            assert (r.tally.totals().skipped, len(r.stable.seen)) == ({"switched_off": 1}, 0)

    run(main())


def test_no_room_for_comparison_is_shed() -> None:
    async def main() -> None:
        async with copies(has_room=lambda endpoint, _held: endpoint != "GET /full") as r:
            accepted(await r.talk(get("/full"), get("/other")), "GET", "GET")
            await r.settled()
            assert (r.tally.totals().shed, len(r.candidate.seen)) == ({"queue_full": 1}, 1)

    run(main())


def test_a_recorder_hears_of_the_doubles_answers() -> None:
    async def main() -> None:
        heard: list[tuple[Request, Exchange]] = []
        async with copies(on_exchange=lambda request, exchange: heard.append((request, exchange))) as r:
            accepted(await r.talk(get("/a").replace(b"example", b"example-shadow"), POST), "GET", "POST")
            await r.settled()
            ((request, exchange),) = heard
            assert (request.host, request.target) == ("shop.example", "/a")
            assert exchange.response is not None
            assert exchange.response.body.data == b"hello"

    run(main())


@pytest.mark.parametrize("options", [{"control": Control.SELF}, {"without": ("secondary",)}, {"without": ("candidate",)}])
def test_other_sets_of_targets(options: dict[str, Any]) -> None:
    async def main() -> None:
        async with copies(**options) as r:
            accepted(await r.talk(get()), "GET")
            await r.settled()
            assert r.tally.totals().compared == 1
            assert len(r.stable.seen) == (2 if "control" in options else 1)

    run(main())


def test_hosts_can_be_rewritten_per_side() -> None:
    async def main() -> None:
        async with copies(stable_host=HostRule.REWRITE) as r:
            accepted(await r.talk(get()), "GET")
            await r.settled()
            assert r.stable.seen[0].headers[0] == (b"Host", f"127.0.0.1:{r.stable.port}".encode())
            assert r.candidate.seen[0].headers[0] == (b"Host", b"shop.example")

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("mood", MOODS)
@pytest.mark.parametrize("role", list(Role))
def test_whatever_a_target_does_each_copy_is_answered_and_compared(role: Role, mood: str, loop: str) -> None:
    async def main() -> None:
        targets: dict[str, Any] = {role.value: MOODS[mood]}
        async with copies(**targets, shadow_timeout_s=SHORT_S if mood == "hangs" else LONG_S) as r:
            accepted(await r.talk(*[get(f"/{i}") for i in range(5)]), *["GET"] * 5)
            await r.settled()
            totals = r.tally.totals()
            assert (totals.requests, totals.compared) == (5, 5)
            assert totals.errors == {role.value: 5}
            kinds = {arm.exchange.error.kind for trial in r.trials for arm in trial.arms() if arm.exchange.error is not None}
            known = {"hangs": ErrorKind.TIMEOUT, "babbles": ErrorKind.GARBAGE}
            assert kinds == {known.get(mood, ErrorKind.RESET)}

    run(main(), loop)


def test_a_dead_double_is_an_outcome_of_the_trial() -> None:
    async def main() -> None:
        async with copies(dead_stable=True) as r:
            accepted(await r.talk(get()), "GET")
            await r.settled()
            (trial,) = r.trials
            assert trial.stable.exchange.error is not None
            assert trial.stable.exchange.error.kind is ErrorKind.REFUSED
            assert trial.candidate is not None
            assert trial.candidate.exchange.response is not None

    run(main())


@pytest.mark.parametrize("role", list(Role))
def test_copies_beyond_the_bound_are_shed_and_answered_all_the_same(role: Role) -> None:
    async def main() -> None:
        hanging: dict[str, Any] = {role.value: held}
        async with copies(**hanging, dispatch=DispatchOptions(trials_in_flight_max=2)) as r:
            hung = getattr(r, role)
            for i in range(5):
                accepted(await r.talk(get(f"/{i}")), "GET")
                if i < 2:
                    await until(lambda i=i: len(hung.seen) == i + 1)  # type: ignore[misc]  # mypy infers no lambda with a default
            assert r.tally.totals().shed == {"in_flight": 3}
            assert r.proxy.in_flight == 2
            release.set()
            await r.settled()
            assert len(r.stable.seen) == 2, "the double is not asked in vain"
            accepted(await r.talk(get("/more")), "GET")
            assert r.tally.totals().shed == {"in_flight": 3}, "there is room again"

    async def held(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await release.wait()
        writer.write(ok())

    release = asyncio.Event()
    run(main())


def test_copies_are_shed_by_the_bytes_they_hold() -> None:
    async def main() -> None:
        async with copies(held, allow_writes=True, dispatch=DispatchOptions(bytes_in_flight_max=3)) as r:
            accepted(await r.talk(POST, POST), "POST", "POST")
            assert r.tally.totals().shed == {"in_flight": 1}
            release.set()
            await r.settled()
            accepted(await r.talk(POST), "POST")
            assert r.tally.totals().shed == {"in_flight": 1}, "what was held is given back"

    async def held(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await release.wait()
        writer.write(ok(b""))

    release = asyncio.Event()
    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_stopping_waits_for_the_double_and_then_for_the_others(loop: str) -> None:
    async def behave(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await release.wait()
        writer.write(ok())

    async def main() -> None:
        async with copies(behave, candidate=behave) as r:
            accepted(await r.talk(get()), "GET")
            await until(lambda: len(r.stable.seen) == 1)
            stopping = asyncio.ensure_future(r.proxy.stop(LONG_S))
            await until(lambda: r.proxy._server is not None and not r.proxy._server.is_serving())
            release.set()
            await stopping
            assert r.tally.totals().compared == 1

    release = asyncio.Event()
    run(main(), loop)


@pytest.mark.parametrize("role", list(Role))
def test_what_is_not_done_after_the_grace_is_shed(role: Role) -> None:
    async def main() -> None:
        hanging: dict[str, Any] = {role.value: hang}
        async with copies(**hanging, grace_s=0.05) as r:
            accepted(await r.talk(get("/1"), get("/2")), "GET", "GET")
            await until(lambda: len(getattr(r, role).seen) == 2)
            await r.proxy.stop(0.05)
            assert r.tally.totals().shed == {"shutdown": 2}
            assert r.proxy.in_flight == 0

    run(main())


def test_what_raises_is_a_fault_and_costs_one_trial() -> None:
    async def main() -> None:
        def endpoint_of(request: Request) -> str:
            assert "bad" not in request.target
            return request.target

        def recorder(request: Request, exchange: Exchange) -> None:
            raise ValueError

        async with copies(endpoint_of=endpoint_of, on_exchange=recorder) as r:
            accepted(await r.talk(get("/bad"), get("/good")), "GET", "GET")
            await r.settled()
            assert (r.tally.totals().shed, r.tally.totals().compared) == ({"fault": 1}, 1)

    run(main())


def test_what_no_connection_hands_over_is_counted_too() -> None:
    def copy(target: str = "/") -> Copy:
        headers = (("Host", "h"),)
        return Copy(
            RequestHead(
                method="GET", target=target, headers=headers, authority="h", framing=Framing.NONE, length=0, http10=False, keep_alive=True
            ),
            NOTHING,
            starved=False,
        )

    async def main() -> None:
        async with copies() as r:
            assert isinstance(r.proxy, CopiesServer)
            double = r.proxy._double
            assert double is not None
            r.tally.entered(4)
            double.take(msgspec.structs.replace(copy(), body=Body(size=3), starved=True))
            double.take(copy("no path"))
            double.take(copy())
            await until(lambda: r.tally.under_way == 1)
            await double.stop(LONG_S)
            double.take(copy())
            assert r.tally.totals().shed == {"fault": 1, "in_flight": 1, "shutdown": 1}
            assert len(r.stable.seen) == 1

    run(main())


def test_a_server_that_never_started_stops() -> None:
    async def main() -> None:
        async with copies() as r:
            again = CopiesServer(
                r.proxy._options, clock=r.proxy._clock, rng=r.proxy._rng, tally=r.tally, naming=r.proxy._naming, sink=r.proxy._sink
            )
            assert again.in_flight == 0
            await again.stop(1.0)

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_load_of_many_senders_in_all_moods_adds_up(loop: str) -> None:
    async def sender(port: int, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        mood = number % 5
        try:
            for i in range(5):
                writer.write(POST if mood == 1 else get(f"/{number}/{i}"))
                if mood == 2 and i == 3:
                    writer.transport.abort()
                    return
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202")
            if mood == 3:
                writer.write(b"nonsense\r\n\r\n")
                assert b" 501 " in await reader.read()
            if mood == 4:
                writer.write(POST[:-1])
                writer.write_eof()
                assert b" 400 " in await reader.read()
        finally:
            writer.close()

    async def main() -> None:
        async with copies(candidate=answers(b"", close=True), dispatch=DispatchOptions(trials_in_flight_max=16)) as r:
            await asyncio.gather(*[sender(r.proxy.port, number) for number in range(40)])
            await r.settled()
            totals = r.tally.totals()
            assert totals.skipped == {"write": 40}
            assert (totals.refused["bad_request"], totals.refused["client_gone"]) == (8, 8)
            assert totals.errors.get("candidate", 0) == totals.compared > 0
            assert sorted(trial.seq for trial in r.trials) == list(range(totals.compared))
            outcomes = totals.compared + sum(sum(group.values()) for group in (totals.shed, totals.skipped, totals.refused))
            assert totals.requests == outcomes

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_sender_too_many_is_told_so_and_counted_and_a_reload_makes_room(loop: str) -> None:
    async def main() -> None:
        async with copies(clients_max=1) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            await until(lambda: r.proxy.connections == 1)
            for _ in range(3):
                (answer,) = read_answers(await r.talk(get()), "GET")
                assert (answer.status, answer.header(b"x-shadowdiff-error")) == (503, b"too_many_clients")
                assert answer.header(b"connection") == b"close"
            r.proxy.reload(ProxyOptions(stable=r.stable.address, clients_max=2))
            accepted(await r.talk(get("/more")), "GET")
            writer.write(get("/kept", "Connection: close"))
            accepted(await reader.read(), "GET")
            writer.close()
            await r.settled()
            assert sorted(seen.line.split()[1] for seen in r.candidate.seen) == [b"/kept", b"/more"]
            assert r.tally.totals().refused == {"too_many_clients": 3}

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_crowd_of_senders_beyond_the_cap_is_cut_and_counted(monkeypatch: pytest.MonkeyPatch, loop: str) -> None:
    monkeypatch.setattr("harness.proxy.clients.CLIENTS_TURNED_AWAY_MAX", 2)

    async def main() -> None:
        async with copies(clients_max=1) as r:
            crowd = [await asyncio.open_connection("127.0.0.1", r.proxy.port) for _ in range(6)]
            await until(lambda: r.tally.totals().refused == {"too_many_clients": 5})
            await until(lambda: r.proxy.connections == 3)
            for _, writer in crowd:
                writer.close()

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_while_the_receiver_is_behind_copies_are_answered_and_shed_and_then_compared_again(loop: str) -> None:
    async def main() -> None:
        async with copies(lag_s_max=0.1) as r:
            assert isinstance(r.proxy, CopiesServer)
            running, over = asyncio.get_running_loop(), False

            def hold_up() -> None:
                time.sleep(0.25)
                if not over:
                    running.call_soon(hold_up)

            running.call_soon(hold_up)
            assert r.proxy._lag is not None
            await until(r.proxy._lag.behind)
            accepted(await r.talk(get("/late"), POST), "GET", "POST")
            assert r.tally.totals().shed == {"lag": 1}
            assert r.tally.totals().skipped == {"write": 1}, "what is never compared is not shed"
            assert not r.stable.seen, "not even the double is asked"
            over = True
            while not r.tally.totals().compared:
                accepted(await r.talk(get("/again")), "GET")
                await r.settled()
            assert {seen.line.split()[1] for seen in r.candidate.seen} == {b"/again"}

    run(main(), loop)
