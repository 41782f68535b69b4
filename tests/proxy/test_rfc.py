"""HTTP as a proxy must: the table of cases against the real relay, whole, byte by byte and pipelined.

Both sides are read by a strict parser of the tests' own.
"""

import asyncio
import importlib

import pytest

from tests.proxy.cases import CASES, ELSEWHERE, STABLE_AUTHORITY, Case, Refusal
from tests.proxy.rig import LOOPS, Behaviour, Rig, Seen, Upstream, answers, get, hang, ok, read_answers, rig, run, talk, until
from tests.proxy.strict import Message, NotStrict, take_answers, take_request
from tests.proxy.test_ingress import SMUGGLING

TIMES = 3
WAYS = ("whole", "byte by byte", "pipelined")


def cut(raw: bytes, way: str) -> list[bytes]:
    """The input in the pieces that are sent."""
    if way == "byte by byte":
        # A very long head goes in two pieces: byte by byte it shows nothing new.
        return [raw[i : i + 1] for i in range(len(raw))] if len(raw) < 2000 else [raw[:1000], raw[1000:]]
    return [raw * TIMES if way == "pipelined" else raw]


def expected_at_stable(case: Case, r: Rig, count: int) -> list[Message]:
    if case.upstream is None:
        return []
    taken = take_request(case.upstream.replace(STABLE_AUTHORITY, f"127.0.0.1:{r.stable.port}".encode()))
    assert taken is not None
    assert not taken[1]
    return [taken[0]] * count


def seen_at(target: Upstream) -> list[Message]:
    """Everything that a target got, read strictly: each request is one, and nothing is left over."""
    out = []
    for seen in target.seen:
        taken = take_request(seen.head + seen.raw_body)
        assert taken is not None
        assert not taken[1]
        out.append(taken[0])
    return out


def method_of(case: Case) -> str:
    return case.request.lstrip(b"\r\n").split(b" ")[0].decode()


def behaviour(case: Case) -> Behaviour:
    """Stable in this case."""

    async def behave(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(case.answer)
        await writer.drain()
        if case.answer_closes:
            raise ConnectionResetError

    return behave


def without_close(message: Message) -> Message:
    """The client half-closes after its last request, so that the last answer may say so."""
    fields = tuple(pair for pair in message.fields if pair[0] != b"Connection")
    return Message(message.start, fields, message.body, message.trailers, message.interim)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_side_gets_what_the_rfc_says(case: Case, way: str, loop: str) -> None:
    refusal = case.client if isinstance(case.client, Refusal) else None
    closes = case.closes if refusal is None else refusal.closes
    count = TIMES if way == "pipelined" and not closes else 1
    method = method_of(case)

    async def main() -> None:
        async with rig(behaviour(case), mirror=False, **case.options) as r:
            raw = await r.talk(*cut(case.request, way), pause=way == "byte by byte")
            got = take_answers(raw, [method] * count)
            assert seen_at(r.stable) == expected_at_stable(case, r, count)
            assert len(got) == count
            if refusal is None:
                assert isinstance(case.client, bytes)
                (expected,) = take_answers(case.client, [method])
                assert got[:-1] == [expected] * (count - 1)
                assert without_close(got[-1]) == without_close(expected)
                assert got[-1].last or not closes
                await r.settled()
                assert not r.tally.totals().refused
                return
            for each in got:
                assert (each.status, each.values(b"x-shadowdiff-error")) == (refusal.status, [refusal.reason.encode()])
                assert each.body.endswith(b"\n")
            assert got[-1].last or not refusal.closes
            assert r.tally.totals().refused == {refusal.reason: count}

    run(main(), loop)


@pytest.mark.parametrize("case", [case for case in CASES if isinstance(case.client, bytes)], ids=str)
def test_the_shadows_get_what_stable_got(case: Case) -> None:
    """But for Expect, which only a live client can wait for, trailers, which are not captured, and the mark of a shadow."""

    def common(message: Message, target: Upstream) -> Message:
        own = f"127.0.0.1:{target.port}".encode()
        fields = tuple((name, value) for name, value in message.fields if name.lower() not in {b"expect", b"x-shadowdiff-shadow"})
        return Message(message.start, tuple((name, b"(own)" if value == own else value) for name, value in fields), message.body)

    async def main() -> None:
        options = case.options | ({"shadow_host": case.options["stable_host"]} if "stable_host" in case.options else {})
        async with rig(behaviour(case), secondary=answers(ok()), candidate=answers(ok()), allow_writes=True, **options) as r:
            await r.talk(case.request)
            await r.settled()
            if r.tally.totals().skipped:
                assert method_of(case) == "TRACE" or b"Upgrade" in case.request
                assert not r.candidate.seen
                return
            (stable,) = seen_at(r.stable)
            for target in (r.secondary, r.candidate):
                (seen,) = seen_at(target)
                assert common(seen, target) == common(stable, r.stable)

    run(main())


@pytest.mark.parametrize("name", SMUGGLING)
def test_requests_before_one_that_can_be_read_in_two_ways_are_answered(name: str) -> None:
    """Pipelined: what was good is answered in order, then comes the refusal, and nothing after it is looked at."""

    async def main() -> None:
        async with rig(answers(ok(b"1"), ok(b"2")), mirror=False) as r:
            raw = get("/1") + get("/2") + SMUGGLING[name] + get("/smuggled")
            first, second, third = take_answers(await r.talk(raw), ["GET"] * 3)
            assert (first.body, second.body) == (b"1", b"2")
            assert third.status in {400, 501, 505}
            assert third.last
            assert [message.target for message in seen_at(r.stable) if message.target != b"/things"] == [b"/1", b"/2"]
            await r.settled()
            assert r.tally.totals().refused == {"bad_request": 1}

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_stable_that_closes_after_each_answer_costs_none(loop: str) -> None:
    """RFC 9112 9.3.1, 9.5: idle connections end at any time."""

    async def once(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(ok(seen.line.split()[1]))
        await writer.drain()
        raise ConnectionResetError

    async def main() -> None:
        async with rig(once, mirror=False) as r:
            for i in range(20):
                (answer,) = read_answers(await r.talk(get(f"/{i}")), "GET")
                assert answer.body == b"/%d" % i
            assert len(r.stable.seen) == 20, "each request was sent once"

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_that_half_closes_gets_its_answers(loop: str) -> None:
    """RFC 9112 9.6: the end of the client's sending is not the end of its reading."""
    release = asyncio.Event()

    async def late(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await until(release.is_set)
        writer.write(ok(seen.line.split()[1]))

    async def main() -> None:
        async with rig(late, mirror=False) as r:
            talking = asyncio.ensure_future(talk(r.proxy.port, get("/1") + get("/2")))
            await until(lambda: len(r.stable.seen) == 1)
            release.set()
            first, second = take_answers(await talking, ["GET", "GET"])
            assert (first.body, second.body) == (b"/1", b"/2")
            assert second.last

    run(main(), loop)


def test_no_answer_in_time_is_a_504_and_nothing_is_sent_twice() -> None:
    """RFC 9110 15.6.5, 9.2.2."""

    async def main() -> None:
        async with rig(hang, mirror=False, stable_silence_s=0.2) as r:
            for method in (b"GET", b"POST", b"DELETE"):
                (answer,) = take_answers(await r.talk(get("/").replace(b"GET", method)), [method.decode()])
                assert answer.status == 504
                assert answer.values(b"x-shadowdiff-error") == [b"upstream_timeout"]
            await until(lambda: len(r.stable.seen) == 3)

    run(main())


@pytest.mark.parametrize(("section", "what", "module", "test"), ELSEWHERE, ids=lambda value: value[:40])
def test_what_the_table_leaves_to_others_is_there(section: str, what: str, module: str, test: str) -> None:
    assert callable(getattr(importlib.import_module(f"tests.proxy.{module}"), test))


def test_names_of_cases_are_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\nHost: h\n\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab",
    ],
)
def test_the_second_opinion_is_strict(raw: bytes) -> None:
    with pytest.raises(NotStrict):
        take_request(raw)
