"""What a run knows of effects survives being stored, and says nothing where nothing was watched."""

import msgspec

from harness.core.watched import EffectsFacts, LapseFact, TableDifference, Unattributed, Watched

FACTS = EffectsFacts(
    watched=(Watched(collector="http", version="1", mode="virtualise", seen={"stable": 3}, lapses=(LapseFact(what="x", count=2),)),),
    complete=3,
    timed_out=1,
    unattributed=(Unattributed(collector="http", operation="GET a", counts={"candidate": 1}),),
    tables=(TableDifference(collector="sqlite", table="t", values={"stable": "1", "candidate": "2"}, rows=({"stable": "{}"},)),),
    tables_compared=1,
)


def test_it_is_read_as_it_was_written() -> None:
    for fact in (FACTS, EffectsFacts()):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(fact), type=EffectsFacts) == fact
        assert msgspec.json.decode(msgspec.json.encode(fact), type=EffectsFacts) == fact


def test_facts_of_a_run_without_effects_are_empty() -> None:
    assert EffectsFacts().watched == ()
    assert msgspec.json.decode(b"{}", type=EffectsFacts) == EffectsFacts()
