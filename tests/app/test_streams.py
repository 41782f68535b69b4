"""When trials are given up: never while a result may be under way, and each stream's end is told once, whoever dies first."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.app.streams import Streams

Step = Callable[["Model"], None]


class Told:
    """The outlet: what it was told, in order."""

    def __init__(self) -> None:
        self.steps: list[tuple[object, ...]] = []

    def lost(self, stream: int, seqs: tuple[int, ...]) -> None:
        self.steps.append(("lost", stream, seqs))

    def close(self, stream: int, handed_on: int) -> None:
        self.steps.append(("close", stream, handed_on))


def made(*streams: int, comparers: tuple[int, ...] = ()) -> tuple[Streams, Told]:
    told = Told()
    made = Streams(told)
    for comparer in comparers:
        made.comparer_begins(comparer)
    for stream in streams:
        made.begin(stream)
        for comparer in comparers:
            made.connected(stream, comparer)
    return made, told


def test_what_a_sender_lost_waits_until_its_comparer_is_over() -> None:
    streams, told = made(1, 2, comparers=(7, 8))
    streams.lost(1, 7, (3, 4))
    assert told.steps == [], "its results may still be on their way"
    streams.comparer_over(8)
    assert told.steps == []
    streams.comparer_over(7)
    assert told.steps == [("lost", 1, (3, 4))]


def test_or_until_its_part_in_the_stream_is_over() -> None:
    streams, told = made(1, 2, comparers=(7,))
    streams.lost(1, 7, (3,))
    streams.lost(2, 7, (5,))
    streams.part_over(1, 7)
    assert told.steps == [("lost", 1, (3,))]
    streams.lost(1, 7, (4,))
    assert told.steps[1:] == [("lost", 1, (4,))], "nothing of it can come any more"
    streams.comparer_over(7)
    assert told.steps[2:] == [("lost", 2, (5,))]


@pytest.mark.parametrize("comparer", [-1, 9], ids=["nobody", "one that is over already"])
def test_what_was_with_nobody_is_lost_at_once(comparer: int) -> None:
    streams, told = made(1, comparers=(7, 9))
    streams.comparer_over(9)
    streams.connected(1, 9)
    streams.lost(1, comparer, (0,))
    assert told.steps == [("lost", 1, (0,))]


ORDERS: dict[str, tuple[list[str], int]] = {
    "the comparer first": (["comparer", "sender"], 1),
    "the sender first": (["sender", "comparer"], 1),
    "its part, then the sender, then all of it": (["part", "sender", "comparer"], 1),
    "the sender, then its part, then all of it": (["sender", "part", "comparer"], 1),
}


@pytest.mark.parametrize("order", ORDERS)
def test_a_stream_is_closed_once_both_ends_are_over(order: str) -> None:
    streams, told = made(1, comparers=(7,))
    steps, at = ORDERS[order]
    for number, step in enumerate(steps):
        assert (("close", 1, 5) in told.steps) is (number > at)
        if step == "comparer":
            streams.comparer_over(7)
        elif step == "part":
            streams.part_over(1, 7)
        else:
            streams.sender_over(1, 5)
    assert told.steps == [("close", 1, 5)]
    assert streams.open == 0


def test_what_is_said_of_a_closed_stream_changes_nothing() -> None:
    streams, told = made(1, comparers=(7,))
    streams.comparer_over(7)
    streams.sender_over(1, 2)
    streams.connected(1, 7)
    streams.part_over(1, 7)
    streams.part_over(-1, 7)
    streams.comparer_over(7)
    assert told.steps == [("close", 1, 2)]


class Model:
    """A run as it may go: senders, compare workers, what is on its way on each connection, and who has died."""

    def __init__(self, draw: Callable[[int], int]) -> None:
        self.draw = draw
        self.streams, self.told = made()
        self.senders: dict[int, int] = {}
        """Trials handed on, by sender that lives."""
        self.undone: dict[tuple[int, int], list[int]] = {}
        """Of a connection: what was handed on and not compared yet."""
        self.upward: dict[int, list[tuple[int, int]]] = {}
        """Results that a compare worker has sent and nobody has read; kept after its death until its end is read."""
        self.dead: set[int] = set()
        self.came: set[tuple[int, int]] = set()
        self.numbers = 0

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def pick(self, among: list[int]) -> int | None:
        return sorted(among)[self.draw(len(among) - 1)] if among else None

    def start_sender(self) -> None:
        if len(self.senders) < 3:
            stream = self.number()
            self.streams.begin(stream)
            self.senders[stream] = 0

    def start_comparer(self) -> None:
        if len(self.upward) < 3:
            comparer = self.number()
            self.streams.comparer_begins(comparer)
            self.upward[comparer] = []

    def hand_on(self) -> None:
        stream, comparer = self.pick(list(self.senders)), self.pick([one for one in self.upward if one not in self.dead])
        if stream is None:
            return
        seq, self.senders[stream] = self.senders[stream], self.senders[stream] + 1
        if comparer is None:
            self.streams.lost(stream, -1, (seq,))
            return
        if (stream, comparer) not in self.undone:
            self.streams.connected(stream, comparer)
            self.undone[stream, comparer] = []
        self.undone[stream, comparer].append(seq)

    def compare(self) -> None:
        for (stream, comparer), undone in self.undone.items():
            if comparer not in self.dead and undone:
                self.upward[comparer].append((stream, undone.pop(0)))

    def read(self) -> None:
        comparer = self.pick([one for one, results in self.upward.items() if results])
        if comparer is not None:
            self.arrive(*self.upward[comparer].pop(0))

    def arrive(self, stream: int, seq: int) -> None:
        assert not any(stream == step[1] and step[0] == "close" for step in self.told.steps), "closed while a result was under way"
        assert not any(step[0] == "lost" and step[1] == stream and seq in step[2] for step in self.told.steps), "given up too early"  # type: ignore[operator]  # a "lost" step has numbers
        self.came.add((stream, seq))

    def kill_comparer(self) -> None:
        comparer = self.pick([one for one in self.upward if one not in self.dead])
        if comparer is not None:
            self.dead.add(comparer)

    def notice(self) -> None:
        """A sender sees that a compare worker is gone."""
        for stream, comparer in list(self.undone):
            if comparer in self.dead and stream in self.senders:
                seqs = self.undone.pop((stream, comparer))
                self.streams.lost(stream, comparer, tuple(seqs))

    def kill_sender(self) -> None:
        stream = self.pick(list(self.senders))
        if stream is not None:
            self.streams.sender_over(stream, self.senders.pop(stream))

    def finish_stream(self) -> None:
        """A compare worker reads to the end of a connection whose sender is gone, and says so after the results."""
        for stream, comparer in list(self.undone):
            if stream not in self.senders and comparer not in self.dead and comparer in self.upward:
                self.upward[comparer] += [(stream, seq) for seq in self.undone.pop((stream, comparer))]
                self.drain(comparer)
                self.streams.part_over(stream, comparer)

    def drain(self, comparer: int) -> None:
        while self.upward[comparer]:
            self.arrive(*self.upward[comparer].pop(0))

    def see_end(self) -> None:
        """The supervisor has read all of a dead compare worker."""
        comparer = self.pick([one for one in self.upward if one in self.dead])
        if comparer is not None:
            self.drain(comparer)
            del self.upward[comparer]
            self.streams.comparer_over(comparer)

    def end(self) -> None:
        while self.senders:
            self.kill_sender()
        self.dead |= set(self.upward)
        while self.upward:
            self.see_end()


STEPS: tuple[Step, ...] = (
    Model.start_sender,
    Model.start_comparer,
    Model.hand_on,
    Model.hand_on,
    Model.compare,
    Model.read,
    Model.kill_comparer,
    Model.notice,
    Model.kill_sender,
    Model.finish_stream,
    Model.see_end,
)


@given(data=st.data(), steps=st.lists(st.sampled_from(STEPS), max_size=80))
def test_no_order_of_deaths_and_messages_gives_up_what_may_still_come(data: st.DataObject, steps: list[Step]) -> None:
    model = Model(lambda most: data.draw(st.integers(0, most)))
    for step in steps:
        step(model)
    started = set(model.senders) | {int(str(step[1])) for step in model.told.steps if step[0] == "close"}
    model.end()
    closed = [step[1] for step in model.told.steps if step[0] == "close"]
    assert len(closed) == len(set(closed)), "told once"
    assert set(closed) >= started
    assert model.streams.open == 0


def test_an_end_that_is_heard_before_its_beginning_holds_up_nothing() -> None:
    """Sender and compare worker are heard over connections of their own, so either may be heard first."""
    streams, told = made(1)
    streams.comparer_begins(7)
    streams.part_over(1, 7)
    streams.connected(1, 7)
    streams.sender_over(1, 5)
    assert told.steps == [("close", 1, 5)]
    assert streams.open == 0
