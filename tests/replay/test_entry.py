from replay.entry import BrokenEntry, BrokenKind, CaptureEntry
from tests.replay.build import request


def test_only_what_lost_no_request_is_harmless() -> None:
    assert {kind for kind in BrokenKind if kind.harmless} == {BrokenKind.NOT_HTTP, BrokenKind.LONE_RESPONSE}


def test_entries_start_with_nothing_known() -> None:
    entry = CaptureEntry(index=0, file="x", request=request())
    assert (entry.recorded, entry.offset_s, entry.client) == (None, 0.0, "")
    assert BrokenEntry(index=0, file="x", what="y").kind is BrokenKind.MALFORMED
