"""A trial as bytes: large bodies that several arms have in common are carried once.

Arms get the same request, and mostly give the same answer; without this a megabyte would be copied through the bus seven
times. Pure.
"""

from typing import Final

import msgspec

from harness.core.limits import BUS_SHARED_BODY_BYTES_MIN
from harness.core.plain import AnyTrial, PlainTrial
from harness.core.values import Arm, Body, Trial

_SAME: Final = Body(size=-1)
"""Stands for the body of the trial's request, or of stable's answer; no body has this size."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Trial).decode
_decode_plain: Final = msgspec.msgpack.Decoder(PlainTrial).decode
_ARRAY: Final = frozenset({*range(0x90, 0xA0), 0xDC, 0xDD})
"""First bytes of a MessagePack array, as which a plain trial is written; another is a map."""


def encode_trial(trial: AnyTrial) -> bytes:
    """The trial's bytes."""
    return _encode(trial if isinstance(trial, PlainTrial) else _exchanged(trial, shared=True))


def decode_trial(data: bytes) -> AnyTrial:
    """The inverse of `encode_trial`. Raises msgspec.MsgspecError on anything else."""
    if data and data[0] in _ARRAY:
        return _decode_plain(data)
    return _exchanged(_decode(data), shared=False)


def _exchanged(trial: Trial, *, shared: bool) -> Trial:
    """The trial with bodies that arms have in common left to the first one, or put back where they were left out."""
    asked, response = trial.request.body, trial.stable.exchange.response
    answered = Body() if response is None else response.body
    if max(len(asked.data), len(answered.data)) < BUS_SHARED_BODY_BYTES_MIN:
        return trial

    def swapped(arm: Arm) -> Arm:
        of_stable = None if arm is trial.stable else answered
        if shared:
            return _swapped(arm, asked, _SAME, of_stable, _SAME)
        return _swapped(arm, _SAME, asked, None if of_stable is None else _SAME, answered)

    return msgspec.structs.replace(
        trial,
        stable=swapped(trial.stable),
        secondary=None if trial.secondary is None else swapped(trial.secondary),
        candidate=None if trial.candidate is None else swapped(trial.candidate),
    )


def _swapped(arm: Arm, asked: Body, asked_by: Body, answered: Body | None, answered_by: Body) -> Arm:
    """The arm with one body for the other, in request and answer (None: not there), wherever it is found."""
    exchange = arm.exchange
    if exchange.request.body == asked:
        exchange = msgspec.structs.replace(exchange, request=msgspec.structs.replace(exchange.request, body=asked_by))
    response = exchange.response
    if answered is not None and response is not None and response.body == answered:
        exchange = msgspec.structs.replace(exchange, response=msgspec.structs.replace(response, body=answered_by))
    return arm if exchange is arm.exchange else msgspec.structs.replace(arm, exchange=exchange)
