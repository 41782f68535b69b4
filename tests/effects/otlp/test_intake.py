"""What receivers share: bounds on what is held, whatever comes of an export, and large ones one by one."""

import asyncio
import gzip
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import limits
from harness.core.labels import Role
from harness.effects.otlp.decode import Incoming
from harness.effects.otlp.intake import BAD, BUSY, LARGE, Intake, Refused, check_size, too_slow
from tests.effects.otlp.spanning import Taken, call, export, server

SPANS = [server(Role.STABLE), call(2, 1)]
GOOD = export(SPANS)


def handed_on(taken: Taken, *pieces: bytes, codings: tuple[str, ...] = (), json: bool = False) -> int:
    async def go() -> int:
        with taken.intake.parcel() as parcel:
            for piece in pieces:
                parcel.add(piece)
            return await parcel.hand_on(Role.STABLE, codings, json=json)

    return asyncio.run(go())


@given(st.lists(st.integers(0, len(GOOD)), max_size=8), st.sampled_from(["", "gzip", " X-GZIP ", "deflate", "identity"]))
def test_pieces_of_any_size_and_coding(cuts: list[int], coding: str) -> None:
    sent = gzip.compress(GOOD) if "gzip" in coding.lower() else zlib.compress(GOOD) if coding == "deflate" else GOOD
    places = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    taken = Taken(rejects=1)
    assert handed_on(taken, *(sent[a:b] for a, b in pairwise(places)), codings=(coding,)) == 1
    assert taken.spans == [(Role.STABLE, span.span) for span in SPANS]
    assert taken.intake.bytes_held == 0


@given(st.binary(max_size=200), st.sampled_from(["", "gzip", "deflate", "br"]), st.booleans())
def test_whatever_comes_is_taken_or_refused(data: bytes, coding: str, json: bool) -> None:
    taken = Taken()
    refused: list[Refused] = []
    try:
        handed_on(taken, data, codings=(coding,), json=json)
    except Refused as error:
        refused.append(error)
    assert all(error.lapse == BAD and error.status in {400, 415} for error in refused)
    assert taken.intake.bytes_held == 0


def test_sizes() -> None:
    check_size(limits.SPAN_EXPORT_BYTES_MAX)
    with pytest.raises(Refused) as caught:
        check_size(limits.SPAN_EXPORT_BYTES_MAX + 1)
    assert (caught.value.status, caught.value.code, caught.value.lapse) == (413, 8, LARGE)
    assert (too_slow().status, too_slow().code) == (408, 14)


def test_what_it_unfolds_to_counts_as_held_until_it_was_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes may unfold to many: while these are taken apart, others are put off."""
    big = export([call(number, 1) for number in range(2, 2002)])
    monkeypatch.setattr(limits, "SPAN_EXPORTS_BYTES_MAX", len(big) + 100)
    held: list[int] = []

    def take(role: Role | None, spans: list[Incoming]) -> int:
        held.append(intake.bytes_held)
        return 0

    intake = Intake(take)

    async def go() -> tuple[Any, ...]:
        async def one() -> int:
            with intake.parcel() as parcel:
                parcel.add(gzip.compress(big))
                return await parcel.hand_on(Role.STABLE, ("gzip",))

        return tuple(await asyncio.gather(one(), one(), return_exceptions=True))

    first, second = asyncio.run(go())
    assert first == 0
    assert isinstance(second, Refused)
    assert (second.status, second.lapse) == (503, BUSY)
    assert min(held) >= len(big)
    assert intake.bytes_held == 0


@pytest.mark.parametrize("large", [True, False])
def test_large_exports_are_taken_apart_one_by_one(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPAN_EXPORT_SHARED_BYTES_MAX", 10 if large else 1_000_000)
    order: list[int] = []

    def take(role: Role | None, spans: list[Incoming]) -> int:
        order.append(spans[0].kind)
        return 0

    async def go() -> None:
        intake = Intake(take)

        async def one(kind: int) -> None:
            with intake.parcel() as parcel:
                spans = [call(number, 1) for number in range(2, 1000)]
                for span in spans:
                    span.kind = kind
                parcel.add(export(spans))
                await parcel.hand_on(Role.STABLE)

        await asyncio.gather(one(1), one(3))

    asyncio.run(go())
    assert (order == sorted(order)) is large


def test_closing_twice_counts_once() -> None:
    taken = Taken()
    parcel = taken.intake.parcel()
    parcel.add(b"abc")
    assert taken.intake.bytes_held == 3
    parcel.close()
    parcel.close()
    assert taken.intake.bytes_held == 0
