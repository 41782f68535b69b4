"""Promise 1: the client gets stable's answer, whatever anything else does. Promise 2: everything has one outcome."""

import asyncio

import pytest

from harness.core.labels import ErrorKind, Role
from harness.core.values import Exchange, Request, Trial
from tests.proxy.rig import LONG_S, LOOPS, RUN_S, SHORT_S, Behaviour, answers, get, hang, ok, read_answers, reset, rig, run, slowly, talk

GARBAGE = answers(b"\x00\x01 this is not HTTP\r\n\r\n", close=True)
CASES: dict[str, tuple[bytes, bytes]] = {
    "plain": (get("/a?b=c"), ok(b"hello", b"X-One: 1")),
    "repeated headers in order and case": (
        get("/"),
        ok(b"x", b"Set-Cookie: a=1; Path=/", b"x-B: 2", b"Set-Cookie: b=2", b"X-b: 1", b'ETag: "q"', b"X-Latin: caf\xe9"),
    ),
    "empty header value": (get("/", "X-Empty:"), ok(b"x", b"X-Empty:")),
    "no reason phrase": (get("/"), b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"),
    "odd status": (get("/"), b"HTTP/1.1 299 Very Odd\r\nContent-Length: 2\r\n\r\nok"),
    "404": (get("/"), b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope"),
    "500": (get("/"), b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\nboom"),
    "redirect": (get("/"), b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n"),
    "204": (get("/"), b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"),
    "304 with a length": (get("/"), b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 55\r\n\r\n"),
    "empty body": (get("/"), ok(b"")),
    "binary body": (get("/"), ok(bytes(range(256)) * 40)),
    "chunked": (
        get("/"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\nabc\r\n10;x=y\r\n0123456789abcdef\r\n0\r\n\r\n",
    ),
    "chunked and empty": (get("/"), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunked with trailers": (
        get("/", "TE: trailers", "Connection: TE"),
        b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\nX-B: a\r\nX-B: b\r\n\r\n",
    ),
    "body until close": (get("/"), b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nall there is"),
    "connection close with length": (get("/"), b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
    "answer of HTTP/1.0": (get("/"), b"HTTP/1.0 200 OK\r\n\r\nold"),
    "early hints first": (get("/"), b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok()),
}


async def direct_and_through(request: bytes, answer: bytes, method: str = "GET") -> tuple[bytes, bytes]:
    close = answer.endswith((b"all there is", b"old")) or b"Connection: close" in answer
    async with rig(answers(answer, close=close), secondary=hang, candidate=reset, shadow_timeout_s=0.1) as r:
        return await talk(r.stable.port, request), await r.talk(request)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", CASES)
def test_the_client_gets_the_same_directly_and_through_the_proxy(name: str, loop: str) -> None:
    request, answer = CASES[name]

    async def main() -> None:
        direct, through = await direct_and_through(request, answer)
        (expected,), (got,) = read_answers(direct, "GET"), read_answers(through, "GET")
        if expected.line.startswith(b"HTTP/1.0"):
            expected.line = expected.line.replace(b"HTTP/1.0", b"HTTP/1.1")
        assert got.end_to_end() == expected.end_to_end()
        assert (b"103 Early Hints" in direct) == (b"103 Early Hints" in through)

    run(main(), loop)


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_head_has_the_headers_and_no_body(framing: bytes) -> None:
    async def main() -> None:
        answer = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\nX-A: b\r\n\r\n"
        request = get("/x").replace(b"GET", b"HEAD")
        async with rig(answers(answer), secondary=answers(answer), candidate=answers(answer)) as r:
            raw = await r.talk(request, request)
            (first, second) = read_answers(raw, "HEAD", "HEAD")
            assert first.header(b"X-A") == b"b"
            if framing.startswith(b"Content-Length"):
                assert second.header(b"content-length") == b"5"
            await r.settled()
            assert r.stable.connections == 1, "the connection is used again"
            assert [arm.exchange.error for trial in r.trials for arm in trial.arms()] == [None] * 6

    run(main())


SHADOWS: dict[str, Behaviour | None] = {
    "dead": None,
    "hanging": hang,
    "slow": slowly(ok(b"slow answer"), 0.01),
    "garbage": GARBAGE,
    "resetting": reset,
    "closing early": answers(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nab", close=True),
    "giant head": answers(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 200_000 + b"\r\n\r\n", close=True),
    "many interim": answers(b"HTTP/1.1 100 Continue\r\n\r\n" * 40),
    "well": answers(ok(b"well")),
}
OUTCOME = {
    "dead": ErrorKind.REFUSED,
    "hanging": ErrorKind.TIMEOUT,
    "slow": None,
    "garbage": ErrorKind.GARBAGE,
    "resetting": ErrorKind.RESET,
    "closing early": ErrorKind.RESET,
    "giant head": ErrorKind.TOO_LARGE,
    "many interim": ErrorKind.GARBAGE,
    "well": None,
}


def shadow_timeout_s(name: str) -> float:
    """Short only where it must come: the others are as slow as the machine."""
    return SHORT_S if name == "hanging" else LONG_S


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", SHADOWS)
@pytest.mark.parametrize("role", [Role.CANDIDATE, Role.SECONDARY])
def test_a_shadow_in_trouble_is_an_outcome_and_the_client_sees_nothing(name: str, role: Role, loop: str) -> None:
    async def main() -> None:
        shadows = {"secondary": SHADOWS["well"], "candidate": SHADOWS["well"]} | {role.value: SHADOWS[name]}
        async with rig(answers(ok(b"hi")), shadow_timeout_s=shadow_timeout_s(name), **shadows) as r:  # type: ignore[arg-type]  # roles by name
            raw = await r.talk(*[get(f"/{i}") for i in range(3)])
            assert [answer.body for answer in read_answers(raw, "GET", "GET", "GET")] == [b"hi"] * 3
            await r.settled()
            assert sorted(trial.seq for trial in r.trials) == [0, 1, 2]
            for trial in r.trials:
                arms = {arm.role: arm.exchange for arm in trial.arms()}
                error = arms[role].error
                assert (None if error is None else error.kind) == OUTCOME[name]
                other = arms[Role.SECONDARY if role is Role.CANDIDATE else Role.CANDIDATE]
                assert other.response is not None
                assert other.response.body.data == b"well"

    run(main(), loop)


def test_live_latency_does_not_wait_for_a_hanging_candidate() -> None:
    async def main() -> None:
        async with rig(answers(ok(b"hi")), secondary=hang, candidate=hang, shadow_timeout_s=RUN_S, grace_s=0.05) as r:
            for i in range(20):
                assert read_answers(await r.talk(get(f"/{i}")), "GET")[0].body == b"hi"
            assert r.proxy.in_flight == 20, "all have their answers, and no candidate has answered"
        assert r.tally.totals().shed == {"shutdown": 20}

    run(main())


def test_a_sink_and_a_recorder_that_raise_do_not_touch_the_client() -> None:
    def broken_sink(trial: Trial) -> None:
        raise RuntimeError(trial.id)

    def broken_recorder(request: Request, exchange: Exchange) -> None:
        raise OSError("disk full")

    async def main() -> None:
        async with rig(
            answers(ok(b"hi")), secondary=answers(ok()), candidate=answers(ok()), put=broken_sink, on_exchange=broken_recorder
        ) as r:
            raw = await r.talk(get("/1"), get("/2"))
            assert [answer.body for answer in read_answers(raw, "GET", "GET")] == [b"hi", b"hi"]
            await r.settled()
            assert r.tally.totals().shed == {"fault": 2}

    run(main())


def test_a_naming_function_that_raises_does_not_touch_the_client() -> None:
    def endpoint_of(request: Request) -> str:
        raise ValueError(request.target)

    async def main() -> None:
        async with rig(answers(ok(b"hi")), secondary=answers(ok()), candidate=answers(ok()), endpoint_of=endpoint_of) as r:
            assert read_answers(await r.talk(get("/1")), "GET")[0].body == b"hi"
            assert r.tally.totals().shed == {"fault": 1}

    run(main())


def test_a_shadow_goes_out_only_after_the_client_has_its_answer() -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def stable(upstream: object, reader: object, writer: asyncio.StreamWriter, seen: object) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
            await release.wait()
            writer.write(b"cd")

        async with rig(stable, secondary=answers(ok()), candidate=answers(ok())) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(get("/"))
            assert (await reader.readuntil(b"\r\n\r\nab")).endswith(b"ab")
            assert not r.candidate.seen
            assert r.proxy.in_flight == 0
            release.set()
            assert await reader.readexactly(2) == b"cd"
            await r.settled()
            assert len(r.candidate.seen) == len(r.secondary.seen) == 1
            writer.close()

    run(main())
