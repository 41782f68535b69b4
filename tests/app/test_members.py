"""A fleet's places count what a worker had in hand when it was lost, once, whoever comes after it."""

import asyncio
import os
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.app.members import Members, Place, Worker
from harness.bus.link import Link
from harness.bus.messages import Mirror
from harness.core.labels import RefusedReason, ShedReason, SkipReason
from harness.counters import Counters

LIVES = st.lists(st.lists(st.sampled_from(["hand on", "shed", "skip", "refuse", "die with it"]), max_size=10), max_size=5)


@given(lives=LIVES)
def test_each_request_is_accounted_for_once_over_many_lives(lives: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as sock:
        place = Place(sock, Path(folder) / "counts")
        tally = place.slots.tally
        for requests in lives:
            for fate in requests:
                tally.entered()
                if fate == "hand on":
                    tally.handed_on()
                elif fate == "shed":
                    tally.shed(ShedReason.RATE)
                elif fate == "skip":
                    tally.skipped(SkipReason.WRITE)
                elif fate == "refuse":
                    tally.refused(RefusedReason.BAD_REQUEST)
            place.slots.show(shadows=3, uncompared=2)
            assert place.vacated() == (requests.count("die with it"), requests.count("hand on"))
            assert place.vacated() == (0, 0), "told once"
            assert (place.slots.shadows, place.slots.uncompared) == (0, 0)


def test_an_outcome_too_many_is_not_hidden(tmp_path: Path) -> None:
    with socket.socket() as sock:
        place = Place(sock, tmp_path / "counts")
        place.slots.tally.shed(ShedReason.RATE)
        assert place.vacated() == (0, 0)
        place.slots.tally.entered(3)
        assert place.vacated() == (2, 0)


def test_a_process_is_killed_and_one_that_has_ended_keeps_its_exit_code() -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(100)")
        worker = Worker(process, 0, 0, ingress=False, since_s=0.0)
        worker.kill()
        worker.kill()
        assert await process.wait() == -9
        worker.kill()
        for _ in range(20):
            process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "import os; os._exit(3)")
            with suppress(ChildProcessError):  # the loop's watcher may have been first
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            ended = Worker(process, 0, 0, ingress=False, since_s=0.0)
            ended.kill()
            assert await process.wait() == 3
            ended.exited = True
            ended.kill()

    asyncio.run(main())


class Told(Link):
    """A link that keeps what is sent."""

    def __init__(self) -> None:
        super().__init__(lambda *_: None, lambda _: None)
        self.said: list[object] = []

    def send(self, message: object) -> None:
        self.said.append(message)


def test_members_are_found_by_number_before_they_greet_and_by_link_afterwards() -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "")
        await process.wait()
        members = Members()
        ingress, late, comparer = (
            Worker(process, number, place, ingress=kind, since_s=0.0) for number, place, kind in ((4, 0, True), (6, 1, True), (5, 0, False))
        )
        for worker in (ingress, late, comparer):
            members.add(worker)
        assert members.pids == {"ingress 0": process.pid, "ingress 1": process.pid, "compare 0": process.pid}
        assert [members.awaited(number) for number in (4, 5, 7, None)] == [ingress, comparer, None, None]
        assert members.comparers == []
        one, two = Told(), Told()
        members.linked(ingress, one)
        members.linked(comparer, two)
        assert (members.of(one), members.of(two), members.of(Told())) == (ingress, comparer, None)
        assert members.awaited(4) is None, "it has greeted"
        assert members.comparers == [comparer]
        members.tell_ingress(Mirror(5.0))
        assert (one.said, two.said) == ([Mirror(5.0)], [])
        comparer.over = True
        assert members.comparers == []
        assert [members.unlinked(two), members.unlinked(two)] == [comparer, None]
        for worker in members:
            members.remove(worker)
            assert worker not in members
        assert len(members) == 0

    asyncio.run(main())


def test_what_those_that_are_gone_have_counted_stays_and_is_counted_once() -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "")
        await process.wait()
        members, key = Members(), ("e", "stable", "2xx")
        for number in range(3):
            worker = Worker(process, number, 0, ingress=False, since_s=0.0)
            members.add(worker)
            worker.counters = Counters(requests={key: 10})
            assert members.counters().requests == {key: 10 * (number + 1)}
            members.retire(worker)
            members.retire(worker)
            assert members.counters().requests == {key: 10 * (number + 1)}
            members.remove(worker)

    asyncio.run(main())
