"""Which entries are sent: variations after the first of each endpoint, and chosen sessions only."""

import pytest

from harness.app.traffic import chosen_sessions, with_variants
from harness.core.endpoint import EndpointMapper
from harness.core.errors import UsageError
from harness.core.values import Request, Response
from replay.entry import CaptureEntry


def entry(index: int, target: str, method: str = "GET", client: str = "") -> CaptureEntry:
    return CaptureEntry(
        index=index,
        file="t.gor",
        request=Request(method, target),
        recorded=Response(200),
        offset_s=float(index),
        client=client or f"c{index}",
    )


ENTRIES = (entry(0, "/items?limit=5&sort=name"), entry(1, "/items?limit=7"), entry(2, "/health"), entry(3, "/orders?n=1", "POST"))


def varied(count: int, seed: int = 1) -> tuple[CaptureEntry, ...]:
    return with_variants(ENTRIES, count, seed, endpoint_of=EndpointMapper().endpoint, is_sent=lambda request: request.method == "GET")


def test_without_variations_the_entries_are_the_captures() -> None:
    assert varied(0) == ENTRIES


def test_variations_follow_the_first_entry_of_each_endpoint_that_is_sent() -> None:
    found = varied(6)
    made = [e for e in found if e.file == "t.gor (varied)"]
    assert [e for e in found if e not in made] == list(ENTRIES), "nothing captured is lost or moved"
    assert len(made) == 6, "only /items has a query, and the POST is not sent"
    assert [e.index for e in made] == list(range(6))
    assert found[1:7] == tuple(made)
    assert len({e.request for e in made}) == 6
    assert all(e.recorded is None and e.offset_s == 0.0 and e.client == "c0" for e in made)
    assert all(e.request.target.startswith("/items") and e.request != ENTRIES[0].request for e in made)


def test_a_seed_makes_the_same_variations() -> None:
    assert varied(8, seed=3) == varied(8, seed=3)
    assert varied(8, seed=3) != varied(8, seed=4)


def test_sessions_are_chosen_by_key_and_unknown_ones_refused() -> None:
    everything = chosen_sessions(ENTRIES, ())
    assert [session.key for session in everything] == ["s0", "s1", "s2", "s3"]
    assert [session.key for session in chosen_sessions(ENTRIES, ("s2", "s0"))] == ["s0", "s2"]
    with pytest.raises(UsageError) as caught:
        chosen_sessions(ENTRIES, ("s1", "nine"))
    assert "nine" in caught.value.what
    assert "s0" in caught.value.fix
