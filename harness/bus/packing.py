"""A trial as bytes: large bodies that several arms have in common are carried once.

Arms get the same request, and mostly give the same answer; without this a megabyte would be copied through the bus seven
times. Pure.
"""

from typing import Final

import msgspec

from harness.core.limits import BUS_SHARED_BODY_BYTES_MIN
from harness.core.values import Arm, Body, Trial

_SAME: Final = Body(size=-1)
"""Stands for the body of the trial's request, or of stable's answer; no body has this size."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Trial).decode


def encode_trial(trial: Trial) -> bytes:
    """The trial's bytes."""
    asked = trial.request.body
    response = trial.stable.exchange.response
    answered = None if response is None else response.body
    if len(asked.data) >= BUS_SHARED_BODY_BYTES_MIN or (answered is not None and len(answered.data) >= BUS_SHARED_BODY_BYTES_MIN):
        trial = msgspec.structs.replace(
            trial,
            stable=_swapped(trial.stable, asked, _SAME, None, None),
            secondary=None if trial.secondary is None else _swapped(trial.secondary, asked, _SAME, answered, _SAME),
            candidate=None if trial.candidate is None else _swapped(trial.candidate, asked, _SAME, answered, _SAME),
        )
    return _encode(trial)


def decode_trial(data: bytes) -> Trial:
    """The inverse of `encode_trial`. Raises msgspec.MsgspecError on anything else."""
    trial = _decode(data)
    asked = trial.request.body
    response = trial.stable.exchange.response
    answered = None if response is None else response.body
    if len(asked.data) >= BUS_SHARED_BODY_BYTES_MIN or (answered is not None and len(answered.data) >= BUS_SHARED_BODY_BYTES_MIN):
        trial = msgspec.structs.replace(
            trial,
            stable=_swapped(trial.stable, _SAME, asked, None, None),
            secondary=None if trial.secondary is None else _swapped(trial.secondary, _SAME, asked, _SAME, answered),
            candidate=None if trial.candidate is None else _swapped(trial.candidate, _SAME, asked, _SAME, answered),
        )
    return trial


def _swapped(arm: Arm, asked: Body, asked_by: Body, answered: Body | None, answered_by: Body | None) -> Arm:
    """The arm with one body for the other, in request and answer, wherever it is found."""
    exchange = arm.exchange
    if exchange.request.body == asked:
        exchange = msgspec.structs.replace(exchange, request=msgspec.structs.replace(exchange.request, body=asked_by))
    response = exchange.response
    if answered is not None and answered_by is not None and response is not None and response.body == answered:
        exchange = msgspec.structs.replace(exchange, response=msgspec.structs.replace(response, body=answered_by))
    return arm if exchange is arm.exchange else msgspec.structs.replace(arm, exchange=exchange)
