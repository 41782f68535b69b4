"""An exemplar from a redacted trial: what a reader sees of one request and its answers. Pure."""

from collections.abc import Sequence

from harness.core.labels import ErrorKind, Kind, Role
from harness.core.limits import EXPLAIN_CHARS_MAX, REPORT_HEADERS_MAX
from harness.core.values import Arm, Comparison, Difference, Exchange, Request, Trial
from harness.evidence.snapshot import Evidence
from harness.report.bodies import Lines, read_body, view_bodies
from harness.report.command import Secret, is_secret_header, reproducing_command
from harness.report.model import AnswerView, BodyView, Exemplar, RequestView
from harness.report.text import bounded, clean, clean_headers, visible
from harness.report.words import KIND_WORDS


def build_exemplar(
    finding: Evidence,
    trial: Trial,
    comparison: Comparison | None,
    *,
    stable: str,
    candidate: str,
    earlier: Sequence[Request] = (),
    explanation: str = "",
    replay: str = "",
    is_secret: Secret = is_secret_header,
) -> Exemplar:
    """One example of a finding.

    `trial` must be redacted: everything in it is shown. `stable` and `candidate` are base URLs for the command,
    `earlier` the session's requests before this one (redacted too). The explanation begins with a sentence made from the
    comparison's difference (redacted as well) at the finding's place; `explanation` may add lines to it.
    `replay` is the command line that replays the trial's session.
    """
    difference = _difference_at(finding, comparison)
    bodies = view_bodies([_lines(trial.stable), _lines(trial.candidate), _lines(trial.secondary)])
    return Exemplar(
        finding=finding.id,
        trial_id=clean(trial.id),
        request=_request(trial.request),
        stable=_answer(trial.stable, bodies[0]),
        candidate=_answer(trial.candidate, bodies[1]) if trial.candidate else None,
        secondary=_answer(trial.secondary, bodies[2]) if trial.secondary else None,
        where=clean((difference.where or difference.path) if difference else finding.path),
        explanation=_joined(_explained(finding, difference), explanation),
        command=reproducing_command(
            trial.request,
            stable=stable,
            candidate=candidate,
            earlier=earlier,
            mapped_ids=trial.mapped_ids,
            is_secret=is_secret,
            replay=replay,
            title=f"{finding.endpoint}: {finding.aspect.value} {finding.path}: {KIND_WORDS[finding.kind]}",
        ),
    )


def _difference_at(finding: Evidence, comparison: Comparison | None) -> Difference | None:
    """The difference that made the trial an example; the nearest kind at the place where the exact one is not there."""
    here = [
        difference
        for difference in (comparison.stable_candidate if comparison else ())
        if (difference.aspect, difference.path) == (finding.aspect, finding.path)
    ]
    return next((difference for difference in here if difference.kind is finding.kind), here[0] if here else None)


def _joined(sentence: str, lines: str) -> str:
    more = visible(bounded(lines.strip(), EXPLAIN_CHARS_MAX))
    return f"{sentence}\n{more}" if more else sentence


def _explained(finding: Evidence, difference: Difference | None) -> str:
    if difference is None:
        return KIND_WORDS[finding.kind].capitalize() + "."
    absent = "an answer" if finding.kind is Kind.ERROR else "nothing"
    sides = [f"{role} {_value(value, absent)}" for role, value in (("stable", difference.left), ("candidate", difference.right))]
    note = f" ({clean(difference.note)})" if difference.note else ""
    return clean(f"{KIND_WORDS[finding.kind].capitalize()}: {', '.join(sides)}{note}.")


def _value(value: object, absent: str) -> str:
    if value is None:
        return absent
    return f'"{clean(value, 120)}"' if isinstance(value, str) else clean(str(value), 120)


def _request(request: Request) -> RequestView:
    return RequestView(
        method=clean(request.method),
        target=clean(request.target),
        host=clean(request.host),
        headers=clean_headers(request.headers, REPORT_HEADERS_MAX),
        body=view_bodies([read_body(request.headers, request.body)])[0],
    )


def _lines(arm: Arm | None) -> Lines | None:
    response = arm.exchange.response if arm else None
    return read_body(response.headers, response.body) if response else None


def _answer(arm: Arm, body: BodyView) -> AnswerView:
    exchange = arm.exchange
    response = exchange.response
    return AnswerView(
        status=response.status if response else None,
        headers=clean_headers(response.headers, REPORT_HEADERS_MAX) if response else (),
        body=body,
        error=_error(exchange, arm.role),
        latency_ms=exchange.latency_ms if exchange.ended_ns else None,
    )


_ERROR_WORDS = {
    ErrorKind.REFUSED: "refused the connection",
    ErrorKind.TIMEOUT: "did not answer in time",
    ErrorKind.RESET: "closed the connection before the answer was complete",
    ErrorKind.GARBAGE: "sent bytes that are not HTTP",
    ErrorKind.TOO_LARGE: "sent an answer beyond the bound",
    ErrorKind.TLS: "failed the TLS handshake",
}


def _error(exchange: Exchange, role: Role) -> str | None:
    if exchange.error is None:
        return None
    words = f"{role.value} {_ERROR_WORDS[exchange.error.kind]}"
    return f"{words}: {clean(exchange.error.message)}" if exchange.error.message else words
