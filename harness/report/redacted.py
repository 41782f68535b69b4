"""A trial and its comparison without secrets: the redactor of core applied to every place that can hold one. Pure."""

import hashlib
import re
from typing import Any, Final

import msgspec

from harness.core.labels import Aspect, Kind
from harness.core.redact import Redactor
from harness.core.values import Arm, Body, Comparison, Difference, Effect, Scalar, TransportError, Trial, body_of
from harness.core.watched import EffectsFacts

_JSON: Final = "application/json"
_LABEL: Final = re.compile(r"(\{[a-z_]+\})")
_PROBE: Final = "probe"
_SECRET: Final = b'{"secret":', b"}"
"""Put around a document that stands under the name of a secret."""


def redact_trial(redactor: Redactor, trial: Trial) -> Trial:
    """The trial as it may be stored and shown. Equal secrets stay equal; ids, order and times are kept."""
    return msgspec.structs.replace(
        trial,
        request=redactor.request(trial.request),
        recorded=None if trial.recorded is None else redactor.response(trial.recorded),
        stable=_arm(redactor, trial.stable),
        secondary=None if trial.secondary is None else _arm(redactor, trial.secondary),
        candidate=None if trial.candidate is None else _arm(redactor, trial.candidate),
        session=str(redactor.value("session", trial.session)) if trial.session else "",
        entity=redactor.target(trial.entity),
    )


def redact_comparison(redactor: Redactor, comparison: Comparison) -> Comparison:
    """The comparison as it may be stored and shown: previews and notes by the path they stand at."""

    def safe(differences: tuple[Difference, ...]) -> tuple[Difference, ...]:
        return tuple(
            msgspec.structs.replace(
                difference,
                left=_preview(redactor, difference, difference.left),
                right=_preview(redactor, difference, difference.right),
                further=None,
                note=redactor.text(difference.note),
            )
            for difference in differences
        )

    return msgspec.structs.replace(
        comparison,
        stable_candidate=safe(comparison.stable_candidate),
        stable_secondary=safe(comparison.stable_secondary),
        secondary_candidate=safe(comparison.secondary_candidate),
        again=tuple(msgspec.structs.replace(one, differences=safe(one.differences)) for one in comparison.again),
    )


def redact_facts(redactor: Redactor, facts: EffectsFacts) -> EffectsFacts:
    """What is known of effects beside the trials, as it may be stored and shown; the rows of stored tables are redacted as they come."""
    return msgspec.structs.replace(
        facts,
        watched=tuple(
            msgspec.structs.replace(
                each, lapses=tuple(msgspec.structs.replace(lapse, what=redactor.text(lapse.what)) for lapse in each.lapses)
            )
            for each in facts.watched
        ),
        unattributed=tuple(msgspec.structs.replace(each, operation=_operation(redactor, each.operation)) for each in facts.unattributed),
    )


def redact_row(redactor: Redactor, row: dict[str, Any]) -> dict[str, Any]:
    """A row of a stored table, by the names of its columns and of what is within their values."""
    body = redactor.body(body_of(msgspec.json.encode(row)), _JSON, ())
    redacted: dict[str, Any] = msgspec.json.decode(body.data)
    return redacted


def _arm(redactor: Redactor, arm: Arm) -> Arm:
    exchange = arm.exchange
    error = exchange.error
    return msgspec.structs.replace(
        arm,
        exchange=msgspec.structs.replace(
            exchange,
            request=redactor.request(exchange.request),
            response=None if exchange.response is None else redactor.response(exchange.response),
            error=None if error is None else TransportError(error.kind, redactor.text(error.message)),
        ),
        effects=tuple(_effect(redactor, effect) for effect in arm.effects),
    )


def _preview(redactor: Redactor, difference: Difference, value: Scalar) -> Scalar:
    if difference.aspect is Aspect.EFFECTS and difference.kind in (Kind.DUPLICATED, Kind.FEWER):
        return value  # how often, whatever the name of the operation says
    return redactor.value(difference.where or difference.path, value)


def _effect(redactor: Redactor, effect: Effect) -> Effect:
    """An effect as it may be stored: its document as a JSON body.

    An operation may be named after a secret (`SET session:{id}`), and then its document says no more what it holds: all of it is
    replaced, as it is in the previews of differences below such an operation. What cannot be read is a keyed digest.
    """
    named_secret = redactor.value(f"$['{effect.collector} {effect.operation}']", _PROBE) != _PROBE
    if _is_readable(effect.document, strictly=named_secret):
        before, after = _SECRET if named_secret else (b"", b"")
        body = redactor.body(body_of(before + effect.document + after), _JSON, ())
        document = body.data.removeprefix(before).removesuffix(after)
    else:
        digest = hashlib.sha256(effect.document).hexdigest()
        body = redactor.body(Body(size=len(effect.document), digest=digest), _JSON, ())
        document = msgspec.json.encode({"size": body.size, "digest": body.digest})
    operation = _operation(redactor, effect.operation)
    return msgspec.structs.replace(effect, operation=operation, document=document, note=redactor.text(effect.note))


def _operation(redactor: Redactor, operation: str) -> str:
    """Only what stands between the labels of a template: `session:{id}` has no value that could be secret."""
    return "".join(part if _LABEL.fullmatch(part) else redactor.text(part) for part in _LABEL.split(operation))


def _is_readable(document: bytes, *, strictly: bool) -> bool:
    """Whether secrets in a document can be found: it is text, and JSON where that is asked for."""
    try:
        document.decode()
        if strictly:
            msgspec.json.decode(document)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return False
    return True
