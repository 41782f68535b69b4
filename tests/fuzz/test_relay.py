"""Whatever bytes come from a client, from stable or from the candidate: the client's bytes are stable's, and one request stays one."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.relay_target import RelayTarget, check_client_bytes, check_stable_bytes, mutated
from tests.fuzz.seeds import ANSWERS, DICTIONARY, FOUND_OF_STABLE, REQUESTS

BOUNDED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""The target lives on from example to example on purpose, as a proxy does."""
ROUNDS = 1500


@pytest.fixture(scope="module")
def target() -> Iterator[RelayTarget]:
    made = RelayTarget()
    yield made
    made.close()


@pytest.fixture(scope="module")
def mirroring() -> Iterator[RelayTarget]:
    made = RelayTarget(shadow=True)
    yield made
    made.close()


@pytest.mark.parametrize("raw", FOUND_OF_STABLE)
def test_what_fuzzing_found_stays_mended(target: RelayTarget, raw: bytes) -> None:
    check_stable_bytes(target, raw)


def test_a_seeded_run_of_client_bytes(target: RelayTarget) -> None:
    rng = random.Random(20_240_501)
    for raw in REQUESTS:
        check_client_bytes(target, raw)
    for _ in range(ROUNDS):
        raw = mutated(rng, REQUESTS, DICTIONARY)
        check_client_bytes(target, raw, tuple(rng.randrange(len(raw) + 1) for _ in range(rng.randrange(4))))


def test_a_seeded_run_of_stable_bytes(target: RelayTarget) -> None:
    rng = random.Random(20_240_502)
    for raw in ANSWERS:
        check_stable_bytes(target, raw)
    for _ in range(ROUNDS):
        check_stable_bytes(target, mutated(rng, ANSWERS, DICTIONARY), rng.choice(("GET", "HEAD")))


names = st.sampled_from(
    ["X-A", "x-a", "Connection", "Content-Length", "Transfer-Encoding", "Expect", "Upgrade", "TE", "Host", "Trailer", "X:"]
)
values = st.sampled_from(
    ["", "a", "close", "keep-alive", "chunked", "0", "5", "05", "5, 5", "100-continue", "websocket", "upgrade", "trailers", " h", "a\tb"]
)
field_lines = st.tuples(names, st.sampled_from([":", ": ", " :", ":\t"]), values, st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", " \r\n"]))
bodies = st.sampled_from(
    [b"", b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5;x\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", b"5\nhello\n0\n\n", b"0\r\n\r\n"]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "get", "GET "]))
    target = draw(st.sampled_from(["/", "/a?b", "*", "http://h/x", "//h", ""]))
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0"]))
    lines = "".join("".join(line) for line in draw(st.lists(field_lines, max_size=4)))
    host = draw(st.sampled_from(["Host: h\r\n", "Host: h\r\n", "Host: h\r\n", ""]))
    return f"{method} {target} {version}\r\n{host}{lines}\r\n".encode() + draw(bodies)


@BOUNDED
@given(raw=st.lists(requests(), min_size=1, max_size=4).map(b"".join), cuts=st.lists(st.integers(0, 600), max_size=5).map(tuple))
def test_requests_that_are_nearly_right(target: RelayTarget, raw: bytes, cuts: tuple[int, ...]) -> None:
    check_client_bytes(target, raw, cuts)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    start = draw(
        st.sampled_from(["HTTP/1.1 200 OK", "HTTP/1.1 200 ", "HTTP/1.0 200 OK", "HTTP/1.1 204 No", "HTTP/1.1 304 Not", "HTTP/1.1 100 C"])
    )
    lines = "".join("".join(line) for line in draw(st.lists(field_lines, max_size=4)))
    return f"{start}\r\n{lines}\r\n".encode() + draw(bodies)


@BOUNDED
@given(raw=st.lists(answers(), min_size=1, max_size=3).map(b"".join), method=st.sampled_from(["GET", "HEAD", "POST"]))
def test_answers_that_are_nearly_right(target: RelayTarget, raw: bytes, method: str) -> None:
    check_stable_bytes(target, raw, method)


@BOUNDED
@given(raw=answers() | st.binary(max_size=100), sent=requests())
def test_what_the_candidate_answers_never_shows(mirroring: RelayTarget, raw: bytes, sent: bytes) -> None:
    mirroring.shadow.answer = raw
    check_client_bytes(mirroring, sent)
