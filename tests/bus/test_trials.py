"""Handing trials on: to whom, what is known to be undone, and what is told when a compare worker dies."""

import asyncio
import random
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.bus import trials as module
from harness.bus.link import Link
from harness.bus.messages import Connected, Done, Hello, Lost
from harness.bus.room import FairRoom
from harness.bus.trials import NOBODY, TrialBus
from harness.core.errors import ShadowdiffError
from harness.core.limits import SEQUENCER_WINDOW_MAX, SHADOW_TRIALS_IN_FLIGHT_MAX
from harness.core.outcomes import Tally
from tests.app.support import trial
from tests.bus.support import Comparer
from tests.proxy.rig import run, until


class Rig:
    """A bus, its tally, and what it tells the supervisor."""

    def __init__(self, room: FairRoom | None = None) -> None:
        self.told: list[Connected | Lost] = []
        self.tally = Tally()
        self.bus = TrialBus(4, self.tally, self.told.append, room)
        self.seq = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.bus.stop(0)

    def put(self, count: int = 1, endpoint: str = "GET /a") -> None:
        for _ in range(count):
            self.bus.put(trial(self.seq, endpoint=endpoint))
            self.seq += 1


def test_trials_go_to_who_has_the_fewest_and_are_done_when_that_is_said(tmp_path: Path) -> None:
    async def main() -> None:
        async with Rig() as rig, Comparer(tmp_path, 0) as one, Comparer(tmp_path, 1) as two:
            rig.bus.use([one.socket, two.socket])
            await rig.bus.settled()
            assert sorted(told.comparer for told in rig.told) == [0, 1]
            assert rig.bus.connected == 2
            rig.put(6)
            await until(lambda: len(one.seqs) == len(two.seqs) == 3)
            assert sorted(one.seqs + two.seqs) == list(range(6))
            assert (rig.bus.waiting, rig.tally.trials_handed_on) == (6, 6)
            assert one.streams == two.streams == [4]
            one.done(2)
            one.done(1)
            await until(lambda: rig.bus.waiting == 3)
            rig.put(3)
            await until(lambda: len(one.seqs) == 6)
            one.done(3)
            two.done(3)
            await rig.bus.stop(10)
            assert rig.bus.waiting == 0
            assert not any(isinstance(told, Lost) for told in rig.told)

    run(main())


def test_what_a_dead_one_had_is_lost_and_the_others_carry_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with Rig() as rig, Comparer(tmp_path, 0) as one, Comparer(tmp_path, 1) as two:
            rig.bus.use([one.socket, two.socket])
            await rig.bus.settled()
            rig.put(4)
            await until(lambda: len(one.seqs) == 2)
            one.done(1)
            await until(lambda: rig.bus.waiting == 3)
            one.die()
            await until(lambda: rig.bus.connected == 1)
            assert rig.told[2:] == [Lost(0, (one.seqs[1],))]
            rig.bus.use([one.socket, two.socket])
            await rig.bus.settled()
            assert rig.bus.connected == 1, "what broke is not tried again; the supervisor starts another"
            rig.put(2)
            await until(lambda: len(two.seqs) == 4)
            assert rig.bus.waiting == 4
            async with Comparer(tmp_path, 2) as three:
                rig.bus.use([two.socket, three.socket])
                await rig.bus.settled()
                assert rig.bus.connected == 2
                assert rig.told[-1] == Connected(2)

    run(main())


def test_with_nobody_to_compare_there_is_no_room_and_what_was_sent_already_is_lost(tmp_path: Path) -> None:
    async def main() -> None:
        rig = Rig()
        assert not rig.bus.has_room("GET /a", 0)
        rig.put(2)
        assert rig.told == [Lost(NOBODY, (0,)), Lost(NOBODY, (1,))]
        assert (rig.bus.waiting, rig.tally.trials_handed_on) == (0, 2)
        rig.bus.use([(3, str(tmp_path / "none"))])
        await rig.bus.settled()
        assert rig.bus.connected == 0, "it ended meanwhile"
        await rig.bus.stop(1)

    run(main())


def test_one_that_cannot_be_reached_for_now_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_AGAIN_SECONDS", 0.01)

    async def main() -> None:
        loop, tries = asyncio.get_running_loop(), list[str]()
        real = loop.create_unix_connection

        async def busy(factory: Callable[[], Link], path: str) -> object:
            tries.append(path)
            if len(tries) < 3:
                raise OSError(24, "Too many open files")
            return await real(factory, path)

        monkeypatch.setattr(loop, "create_unix_connection", busy)
        async with Rig() as rig, Comparer(tmp_path, 0) as one:
            rig.bus.use([one.socket])
            await rig.bus.settled()
            assert len(tries) == 3
            assert rig.bus.connected == 1

    run(main())


def test_a_connection_that_is_over_at_once_is_of_no_use_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_AGAIN_SECONDS", 0.01)

    async def main() -> None:
        loop, tries = asyncio.get_running_loop(), list[Link]()
        real = loop.create_unix_connection

        async def cut(factory: Callable[[], Link], path: str) -> object:
            made = await real(factory, path)
            tries.append(made[1])
            if len(tries) < 3:
                assert made[1]._transport is not None
                made[1]._transport.abort()
                await made[1]._over.wait()
            return made

        monkeypatch.setattr(loop, "create_unix_connection", cut)
        async with Rig() as rig, Comparer(tmp_path, 0) as one:
            rig.bus.use([one.socket])
            await rig.bus.settled()
            assert len(tries) == 3
            assert rig.told == [Connected(0)]
            rig.put(3)
            await until(lambda: len(one.seqs) == 3)
            one.done(3)
            await until(lambda: rig.bus.waiting == 0)

    run(main())


@settings(max_examples=30)
@given(steps=st.lists(st.sampled_from(["put", "put", "put", "done", "die", "come"]), max_size=40))
def test_the_oldest_that_is_not_done_is_known_whoever_comes_and_goes(steps: list[str]) -> None:
    """In small: how far ahead is asked after every step, and by `has_room` only where it may matter."""

    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="sd") as name:
            made: list[Comparer] = []
            async with AsyncExitStack() as stack:
                rig = await stack.enter_async_context(Rig(FairRoom(10**6, 10**9, held_back=0)))
                rng = random.Random(len(steps))
                for step in steps:
                    there = [one for one in made if one.links]
                    if step == "come":
                        made.append(await stack.enter_async_context(Comparer(Path(name), len(made))))
                        rig.bus.use([one.socket for one in made])
                        await rig.bus.settled()
                        await until(lambda: bool(made[-1].links))
                    elif step == "put":
                        rig.put()
                    elif there and step == "die":
                        before = rig.bus.connected
                        rng.choice(there).die()
                        await until(lambda: rig.bus.connected == before - 1)  # noqa: B023 - awaited at once
                    elif step == "done" and (busy := [one for one in rig.bus._comparers if one.undone]):
                        comparer, waiting = rng.choice(busy), rig.bus.waiting
                        next(one for one in made if one.number == comparer.number).done(1)
                        await until(lambda: rig.bus.waiting == waiting - 1)  # noqa: B023 - awaited at once
                    undone = [seq for one in rig.bus._comparers for seq, _, _ in one.undone]
                    assert len(undone) == rig.bus.waiting
                    assert rig.bus._oldest <= min(undone, default=rig.seq), "what is remembered is never too late"
                    assert rig.bus._ahead() == rig.seq - min(undone, default=rig.seq)
                    assert rig.bus.has_room("GET /rare", 1) is (rig.bus.connected > 0)
                lost = [seq for told in rig.told if isinstance(told, Lost) for seq in told.seqs]
                assert len(lost) == len(set(lost))

    run(main())


def test_room_is_kept_for_rare_endpoints_and_the_window_of_the_sequencer(tmp_path: Path) -> None:
    async def main() -> None:
        async with Rig(FairRoom(10**6, 10**9, held_back=0)) as rig, Comparer(tmp_path, 0) as one, Comparer(tmp_path, 1) as two:
            rig.bus.use([one.socket, two.socket])
            await rig.bus.settled()
            rig.put(2)
            await until(lambda: bool(one.seqs and two.seqs))
            fast, head = (one, two) if two.seqs == [0] else (two, one)
            done = 0
            while rig.bus.has_room("GET /a", 1):
                rig.put(16)
                await until(lambda: len(fast.seqs) + len(head.seqs) == rig.seq)
                fast.done(len(fast.seqs) - done)
                done = len(fast.seqs)
                await until(lambda: rig.bus.waiting == len(head.seqs))
            assert head.seqs[0] == 0, "which is not done"
            assert SEQUENCER_WINDOW_MAX - SHADOW_TRIALS_IN_FLIGHT_MAX <= rig.seq <= SEQUENCER_WINDOW_MAX
            assert not rig.bus.has_room("GET /rare", 1)
            head.done(len(head.seqs))
            await until(lambda: rig.bus.has_room("GET /a", 1))

    run(main())


def test_a_full_buffer_has_no_room(tmp_path: Path) -> None:
    async def main() -> None:
        async with Rig(FairRoom(4, 10**9, held_back=0)) as rig, Comparer(tmp_path, 0) as one:
            rig.bus.use([one.socket])
            await rig.bus.settled()
            rig.put(2)
            assert not rig.bus.has_room("GET /a", 1)
            assert rig.bus.has_room("GET /rare", 1)

    run(main())


@pytest.mark.parametrize("data", [Done(2), Done(0), Done(-1), Hello(1, ingress=True)], ids=repr)
def test_word_of_what_was_never_handed_on_ends_the_connection_and_loses_what_was(data: Done | Hello, tmp_path: Path) -> None:
    async def main() -> None:
        async with Rig() as rig, Comparer(tmp_path, 0) as one:
            rig.bus.use([one.socket])
            await rig.bus.settled()
            rig.put()
            await until(lambda: one.seqs == [0])
            one.links[0].send(data)
            await until(lambda: rig.bus.connected == 0)
            assert rig.told == [Connected(0), Lost(0, (0,))]

    run(main())


def test_a_trial_that_cannot_be_handed_on_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with Rig() as rig, Comparer(tmp_path, 0) as one:
            rig.bus.use([one.socket])
            await rig.bus.settled()
            monkeypatch.setattr(module, "BUS_FRAME_BYTES_MAX", 100)
            with pytest.raises(ShadowdiffError, match="beyond the bound"):
                rig.bus.put(trial(0))
            monkeypatch.undo()
            assert (rig.bus.waiting, rig.tally.trials_handed_on) == (0, 0)
            rig.put()
            await until(lambda: one.seqs == [0])

    run(main())


def test_the_end_waits_for_what_is_undone_and_then_gives_it_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with Rig() as rig, Comparer(tmp_path, 0) as one:
            rig.bus.use([one.socket])
            await rig.bus.settled()
            rig.put(2)
            stopping = asyncio.create_task(rig.bus.stop(10))
            await until(lambda: len(one.seqs) == 2)
            assert not stopping.done()
            one.done(2)
            await stopping
            assert rig.told == [Connected(0)]
        async with Rig() as rig, Comparer(tmp_path, 1) as one:
            rig.bus.use([one.socket, (9, str(tmp_path / "never"))])
            await until(lambda: rig.bus.connected == 1)
            rig.put(2)
            await rig.bus.stop(0.02)
            assert Lost(1, (0, 1)) in rig.told
            await until(lambda: one.seqs == [0, 1])

    run(main())
