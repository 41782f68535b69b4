"""The verdict endpoint's answer: one flat value from the ledger's last word. Pure; says inconclusive whenever in doubt."""

from typing import Final

import msgspec

from harness.core.labels import NEXT_STEP, ReasonCode, VerdictState
from harness.core.limits import VERDICT_STALE_SECONDS_MAX
from harness.evidence.snapshot import Verdict

CODES: Final = {VerdictState.PASS: 1, VerdictState.FAIL: 0, VerdictState.INCONCLUSIVE: -1}


class AdminState(msgspec.Struct, frozen=True, kw_only=True):
    """What the admin port may say at one moment."""

    run: str
    build: str = ""
    ready: bool = False
    """Whether the harness takes traffic."""
    verdict: Verdict | None = None
    """None where nothing was judged (yet)."""
    requests: int = 0
    """Requests compared for it."""
    needed: int | None = None
    """About how many more are needed; None where unknown or nothing is."""
    as_of: float = 0.0
    """When the ledger last spoke, in seconds since the epoch."""


class VerdictAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of GET /api/v1/verdict."""

    verdict: VerdictState
    code: int
    """1 pass, 0 fail, -1 inconclusive."""
    reason: ReasonCode
    message: str
    build: str
    run: str
    requests: int
    needed: int | None
    as_of: float


def verdict_answer(state: AdminState, *, build: str | None, now: float, stale_seconds: float = VERDICT_STALE_SECONDS_MAX) -> VerdictAnswer:
    """What to say to somebody who asks for `build` (None: whichever is under test) at `now` (seconds since the epoch).

    Another build, no verdict, and one older than `stale_seconds` are inconclusive: none of them may pass or stop a rollout.
    """
    if build is not None and build != state.build:
        under_test = f"The build {state.build} is" if state.build else "A build that was given no label (key build, SHADOWDIFF_BUILD) is"
        return _unsure(state, ReasonCode.OTHER_BUILD, f"{under_test} under test.")
    if state.verdict is None:
        return _unsure(state, ReasonCode.NO_DATA, "Nothing was judged yet.")
    if now - state.as_of > stale_seconds:
        return _unsure(state, ReasonCode.STALE, f"The last word is {now - state.as_of:.0f} s old.")
    headline = state.verdict.reasons[0] if state.verdict.reasons else None
    if headline is None:
        return _unsure(state, ReasonCode.NO_DATA, "The verdict has no reason, so it is not believed.")
    return _answer(state, state.verdict.state, headline.code, headline.message or NEXT_STEP[headline.code])


def _unsure(state: AdminState, code: ReasonCode, message: str) -> VerdictAnswer:
    return _answer(state, VerdictState.INCONCLUSIVE, code, f"{message} {NEXT_STEP[code]}")


def _answer(state: AdminState, verdict: VerdictState, code: ReasonCode, message: str) -> VerdictAnswer:
    return VerdictAnswer(
        verdict=verdict,
        code=CODES[verdict],
        reason=code,
        message=message,
        build=state.build,
        run=state.run,
        requests=state.requests,
        needed=state.needed,
        as_of=state.as_of,
    )
