from harness.evidence.keys import KeyBudget, KeyMemory


def test_a_key_is_new_once() -> None:
    memory = KeyMemory(KeyBudget())
    assert [memory.add(key) for key in (1, 2, 1, 2, 3)] == [True, True, False, False, True]


def test_the_least_recently_seen_key_is_forgotten() -> None:
    memory = KeyMemory(KeyBudget(), maximum=2)
    memory.add(1)
    memory.add(2)
    memory.add(1)
    assert memory.add(3)
    assert len(memory) == 2
    assert not memory.add(1)
    assert memory.add(2)


def test_all_memories_together_are_bounded() -> None:
    budget = KeyBudget(maximum=5)
    memories = [KeyMemory(budget) for _ in range(3)]
    for key in range(50):
        memories[key % 3].add(key)
    assert sum(len(memory) for memory in memories) <= 5 + len(memories)
    assert all(len(memory) for memory in memories)
