from pathlib import Path

import pytest

from harness.core.labels import NEXT_STEP, ReasonCode, VerdictState
from harness.evidence.snapshot import Reason, Verdict
from harness.web.answer import AdminState, VerdictAnswer, verdict_answer


def state(verdict: VerdictState | None, *, message: str = "because", as_of: float = 100.0) -> AdminState:
    reasons = (Reason(code=ReasonCode.DIVERGENCE, message=message),)
    return AdminState(
        run="run-1",
        build="b-1",
        ready=True,
        verdict=None if verdict is None else Verdict(state=verdict, reasons=reasons),
        requests=40,
        needed=7,
        as_of=as_of,
    )


@pytest.mark.parametrize(("verdict", "code"), [(VerdictState.PASS, 1), (VerdictState.FAIL, 0), (VerdictState.INCONCLUSIVE, -1)])
@pytest.mark.parametrize("build", [None, "b-1"])
def test_a_fresh_verdict_is_said(verdict: VerdictState, code: int, build: str | None) -> None:
    answer = verdict_answer(state(verdict), build=build, now=110.0)
    assert (answer.verdict, answer.code, answer.reason, answer.message) == (verdict, code, ReasonCode.DIVERGENCE, "because")
    assert (answer.build, answer.run, answer.requests, answer.needed, answer.as_of) == ("b-1", "run-1", 40, 7, 100.0)


@pytest.mark.parametrize(
    ("given", "build", "now", "reason"),
    [
        (state(VerdictState.PASS), "b-2", 110.0, ReasonCode.OTHER_BUILD),
        (state(VerdictState.PASS), "", 110.0, ReasonCode.OTHER_BUILD),
        (state(VerdictState.PASS), None, 161.0, ReasonCode.STALE),
        (state(VerdictState.FAIL), None, 161.0, ReasonCode.STALE),
        (state(None), None, 110.0, ReasonCode.NO_DATA),
        (AdminState(run="r", verdict=Verdict(state=VerdictState.PASS, reasons=()), as_of=100.0), None, 110.0, ReasonCode.NO_DATA),
    ],
)
def test_every_doubt_is_inconclusive(given: AdminState, build: str | None, now: float, reason: ReasonCode) -> None:
    answer = verdict_answer(given, build=build, now=now)
    assert (answer.verdict, answer.code, answer.reason) == (VerdictState.INCONCLUSIVE, -1, reason)
    assert NEXT_STEP[reason] in answer.message


def test_a_reason_without_a_message_gives_its_next_step() -> None:
    assert verdict_answer(state(VerdictState.FAIL, message=""), build=None, now=100.0).message == NEXT_STEP[ReasonCode.DIVERGENCE]


def test_who_asks_for_another_build_hears_which_one_is_under_test() -> None:
    assert verdict_answer(state(VerdictState.PASS), build="b-2", now=110.0).message.startswith("The build b-1 is under test.")
    unnamed = AdminState(run="r", verdict=None)
    assert "SHADOWDIFF_BUILD" in verdict_answer(unnamed, build="b-2", now=110.0).message


def test_every_key_of_the_answer_is_documented() -> None:
    doc = (Path(__file__).parents[2] / "docs/live.md").read_text(encoding="utf-8")
    assert [key for key in VerdictAnswer.__struct_fields__ if f"| `{key}` |" not in doc] == []
