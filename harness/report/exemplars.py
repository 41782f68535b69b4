"""An exemplar from a redacted trial: what a reader sees of one request and its answers. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from harness.core.labels import Aspect, ErrorKind, Kind, Role
from harness.core.limits import EXPLAIN_CHARS_MAX, REPORT_HEADERS_MAX
from harness.core.values import Arm, Comparison, Difference, Exchange, Request, Trial
from harness.evidence.snapshot import Evidence
from harness.report.bodies import Lines, read_body, view_bodies
from harness.report.command import Secret, is_secret_header, reproducing_command
from harness.report.effect_views import ShownEffects, effect_times, effect_views
from harness.report.effect_words import named_place, note_words, often_words, times_words
from harness.report.model import AnswerView, BodyView, EffectMark, Exemplar, RequestView
from harness.report.text import bounded, clean, clean_headers, visible
from harness.report.words import kind_words, place_words


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
    effects = effect_views(trial, finding.aspect, finding.path)
    times = _times(finding, trial)
    bodies = view_bodies([_lines(trial.stable), _lines(trial.candidate), _lines(trial.secondary)])
    return Exemplar(
        finding=finding.id,
        trial_id=clean(trial.id),
        request=_request(trial.request),
        stable=_answer(trial.stable, bodies[0]),
        candidate=_answer(trial.candidate, bodies[1]) if trial.candidate else None,
        secondary=_answer(trial.secondary, bodies[2]) if trial.secondary else None,
        where=clean((difference.where or difference.path) if difference else finding.path),
        explanation=_joined(_explained(finding, trial, difference, effects, times), explanation),
        command=reproducing_command(
            trial.request,
            stable=stable,
            candidate=candidate,
            earlier=earlier,
            mapped_ids=trial.mapped_ids,
            is_secret=is_secret,
            replay=replay,
            title=f"{finding.endpoint}: {place_words(finding)}: {kind_words(finding)}",
            beside=finding.aspect is Aspect.EFFECTS,
        ),
        times=times,
        effects=effects.views,
        effects_left_out=effects.left_out,
        effects_seen=trial.effects_seen,
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


_COUNTED: Final = (Kind.MISSING, Kind.EXTRA, Kind.DUPLICATED, Kind.FEWER)
_COUNTS: Final = re.compile(r"[0-9]+ times?(?: against [0-9]+)?")
"""What a comparator notes of counts, which are said already."""


def _times(finding: Evidence, trial: Trial) -> dict[Role, int]:
    """How often each target does what the finding is about, where it is that."""
    if finding.aspect is not Aspect.EFFECTS or finding.kind not in _COUNTED:
        return {}
    times = effect_times(trial, finding.path)
    return times if times.get(Role.STABLE) != times.get(Role.CANDIDATE) else {}


def _explained(finding: Evidence, trial: Trial, difference: Difference | None, effects: ShownEffects, times: Mapping[Role, int]) -> str:
    if times:
        notes = "; ".join(_effect_notes(finding, trial, difference, effects))
        return clean(f"{_sentence(often_words(finding.kind, times))}: {times_words(times)}{f' ({notes})' if notes else ''}.")
    if difference is None or _is_one_sided(finding):
        return _sentence(kind_words(finding)) + "."
    absent = "an answer" if finding.kind is Kind.ERROR else "nothing"
    sides = [f"{role} {_value(value, absent)}" for role, value in (("stable", difference.left), ("candidate", difference.right))]
    note = f" ({clean(_note(finding, difference.note))})" if difference.note else ""
    return clean(f"{_sentence(kind_words(finding))}: {', '.join(sides)}{note}.")


def _is_one_sided(finding: Evidence) -> bool:
    """One side of the difference is a whole effect: its document says nothing of what is wrong."""
    whole = (place := named_place(finding.path)) is not None and place.whole
    return finding.aspect is Aspect.EFFECTS and whole and finding.kind in (Kind.MISSING, Kind.EXTRA)


def _note(finding: Evidence, note: str) -> str:
    return note_words(note) if finding.aspect is Aspect.EFFECTS else note


def _effect_notes(finding: Evidence, trial: Trial, difference: Difference | None, effects: ShownEffects) -> list[str]:
    """How those were answered that the candidate does and stable does not, then what was noted of the difference besides.

    Which of several is one too many is for the rows to say, so that the words and they agree.
    """
    place = named_place(finding.path)
    notes: list[str] = []
    if place is not None:
        own = [
            view for view in effects.views.get(Role.CANDIDATE, ()) if (view.collector, view.operation) == (place.collector, place.operation)
        ]
        notes = [view.note for view in own if view.note and view.mark in (EffectMark.EXTRA, EffectMark.DUPLICATED)]
    of_effects = {part for arm in trial.arms() for effect in arm.effects for part in effect.note.split("; ")}
    parts = difference.note.split("; ") if difference is not None else []
    notes += [part for part in parts if part and part not in of_effects and not _COUNTS.fullmatch(part)]
    return list(dict.fromkeys(notes))


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


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
