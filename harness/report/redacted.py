"""A trial and its comparison without secrets: the redactor of core applied to every place that can hold one. Pure."""

import msgspec

from harness.core.redact import Redactor
from harness.core.values import Arm, Comparison, Difference, Effect, TransportError, Trial


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
                left=redactor.value(difference.where or difference.path, difference.left),
                right=redactor.value(difference.where or difference.path, difference.right),
                note=redactor.text(difference.note),
            )
            for difference in differences
        )

    return msgspec.structs.replace(
        comparison,
        stable_candidate=safe(comparison.stable_candidate),
        stable_secondary=safe(comparison.stable_secondary),
        secondary_candidate=safe(comparison.secondary_candidate),
    )


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
        effects=tuple(Effect(effect.collector, redactor.text(effect.operation), redactor.text(effect.detail)) for effect in arm.effects),
    )
