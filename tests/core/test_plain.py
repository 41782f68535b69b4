"""Plain trials: read by their fields they are what was sent and answered, and an outline says the same of them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.plan import build_plan
from comparators.registry import load_comparators
from comparators.trial import compare_trial
from harness.bus.packing import decode_trial, encode_trial
from harness.core.labels import Control, Design, Role
from harness.core.plain import PlainAnswer, PlainExchange, PlainTrial, arm_beside, opened, opened_exchange, outlined, stables_arm
from harness.core.values import Arm, Comparison, Exchange, Headers, Request, Response, Trial, body_of
from harness.counters import TrialCounts
from harness.evidence.bets import bets_of

NAMES = st.text("abcXYZ-09!", min_size=1, max_size=8)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=255).filter(lambda char: not 127 <= ord(char) < 160), min_size=1, max_size=8)
FIELDS = st.lists(st.tuples(NAMES, st.builds("{} : {}".format, VALUES, VALUES) | VALUES), max_size=4).map(tuple)
BODIES = st.sampled_from([b"", b"{}", b"\r\n\r\nHTTP/1.1 500 No\r\n", b"x" * 300])
STATUSES = st.sampled_from([(200, "OK"), (503, ""), (404, "Not  Here")])
ANSWERS = st.builds(lambda status, fields, body: Response(status[0], fields, body_of(body), status[1]), STATUSES, FIELDS, BODIES)
PLAN = build_plan((), load_comparators())


def lines(headers: Headers) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n"


def head_of(request: Request) -> bytes:
    return f"{request.method} {request.target} HTTP/1.1\r\n{lines(request.headers)}".encode("latin-1")


def written(answer: Response) -> PlainAnswer:
    head = f"HTTP/1.1 {answer.status} {answer.reason}\r\n{lines(answer.headers)}".encode("latin-1")
    return PlainAnswer(head + answer.body.data, len(head), True, ())


@st.composite
def trials(draw: st.DrawFn) -> tuple[Trial, PlainTrial]:
    """A trial by its fields, and the same as it is handed on."""
    body = body_of(draw(BODIES))
    request = Request(draw(st.sampled_from(["GET", "PUT"])), draw(st.sampled_from(["/", "/a?b=c+d"])), draw(FIELDS), body, "h:1")
    first = draw(ANSWERS)
    answers = [first, *(draw(st.sampled_from([first, draw(ANSWERS), Response(first.status, (), first.body)])) for _ in range(2))]
    sent = [Request(request.method, request.target, draw(FIELDS), body, "h:1") for _ in range(3)]
    times = [draw(st.integers(0, 2**60)) for _ in range(3)]
    exchanges = [
        Exchange(request=sent[i], response=answers[i], started_ns=times[i], first_byte_ns=times[i] + 1, ended_ns=times[i] + 2)
        for i in range(3)
    ]
    plain = [PlainExchange(head_of(sent[i]), written(answers[i]), times[i], times[i] + 1, times[i] + 2) for i in range(3)]
    arms = [
        Arm(role=role, exchange=exchanges[i], intended_ns=times[i] if role is Role.STABLE else times[i] - 7) for i, role in enumerate(Role)
    ]
    beside = [arm_beside(plain[0], plain[i], times[i] - 7) for i in (1, 2)]
    secondary = draw(st.booleans())
    control, design = (Control.SECONDARY, Design.TWO_ARM) if secondary else (Control.NONE, Design.NO_CONTROL)
    order = (Role.STABLE, Role.CANDIDATE, Role.SECONDARY) if secondary else (Role.STABLE, Role.CANDIDATE)
    whole = Trial(
        id="t7",
        seq=3,
        endpoint="GET /",
        request=request,
        stable=arms[0],
        secondary=arms[1] if secondary else None,
        candidate=arms[2],
        control=control,
        design=design,
        order=order,
        session="s",
        entity="GET /",
        in_flight=2,
        warm_up=True,
    )
    handed_on = PlainTrial(
        *("t7", 3, "GET /", head_of(request), "h:1", body.data, stables_arm(plain[0]), beside[0] if secondary else None, beside[1]),
        *(control, design, order, "s", "GET /", 2, True),
    )
    for exchange, same in zip(exchanges, plain, strict=True):
        assert opened_exchange(same, request) == opened_exchange(exchange, request) == exchange
    return whole, handed_on


@given(trials())
def test_a_plain_trial_comes_out_of_its_bytes_as_it_went_in(pair: tuple[Trial, PlainTrial]) -> None:
    whole, plain = pair
    assert opened(plain) == opened(whole) == whole
    assert decode_trial(encode_trial(plain)) == plain
    assert opened(decode_trial(encode_trial(whole))) == whole


@given(trials())
def test_what_is_alike_has_no_difference_and_its_outline_says_all_that_is_counted_of_it(pair: tuple[Trial, PlainTrial]) -> None:
    whole, plain = pair
    answers = {arm.exchange.response for arm in whole.arms()}
    assert plain.alike is (len(answers) == 1)
    if not plain.alike:
        return
    comparison = Comparison(trial=plain.id, seq=plain.seq)
    assert compare_trial(whole, PLAN) == comparison
    assert bets_of(outlined(plain), comparison, b"secret") == bets_of(whole, comparison, b"secret")
    stable = plain.stable
    without_body = msgspec.structs.replace(
        plain, stable=msgspec.structs.replace(stable, answer=stable.answer[: stable.head_bytes], same_body=True)
    )
    assert outlined(without_body) == outlined(plain)
    with pytest.raises(ValueError, match="left out"):
        opened(without_body)
    counts = TrialCounts(), TrialCounts()
    for count, trial in zip(counts, (outlined(plain), whole), strict=True):
        count.observe_trial(trial, comparison)
    assert counts[0].counters == counts[1].counters


def test_what_stable_said_too_is_carried_once() -> None:
    answer = written(Response(200, (("A", "b"),), body_of(b"x" * 10_000)))
    request = head_of(Request("GET", "/"))
    stable = PlainExchange(request, answer, 1, 2, 3)
    other = written(Response(200, (("A", "c"),), body_of(b"x" * 10_000)))
    for exchange, kept in ((stable, b""), (PlainExchange(request, other, 1, 2, 3), other.data[: other.head_bytes])):
        assert arm_beside(stable, exchange, 0).answer == kept
