"""What a run knows of effects survives being stored, and says nothing where nothing was watched."""

import msgspec

from harness.core.watched import EffectsFacts, LapseFact, TableDifference, Unattributed, Watched, joined

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


def test_what_two_processes_saw_of_a_run_adds_up() -> None:
    now = EffectsFacts(
        watched=(
            Watched(collector="http", version="1", seen={"stable": 1, "candidate": 2}, lapses=(LapseFact(what="x", count=1),)),
            Watched(collector="redis", version="1"),
        ),
        complete=4,
        unattributed=(Unattributed(collector="http", operation="GET a", counts={"candidate": 2, "stable": 1}),),
    )
    both = joined(FACTS, now)
    http, redis = both.watched
    assert (http.seen, http.lapses, redis.collector) == ({"stable": 4, "candidate": 2}, (LapseFact(what="x", count=3),), "redis")
    assert (both.complete, both.timed_out) == (7, 1)
    assert [one.counts for one in both.unattributed] == [{"candidate": 3, "stable": 1}]
    assert joined(EffectsFacts(), now).watched == now.watched
