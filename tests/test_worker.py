"""The thread beside the loop: calls in order, errors where they are awaited, and an end even where a call never returns."""

import asyncio
import threading

import pytest

from harness.worker import Worker


def test_calls_are_made_in_order_and_answered() -> None:
    made: list[int] = []

    def call(number: int, *, doubled: bool) -> int:
        made.append(number)
        return number * 2 if doubled else number

    async def body() -> list[int]:
        worker = Worker("test")
        answers = await asyncio.gather(*(worker.call(call, number, doubled=number % 2 == 0) for number in range(6)))
        assert await worker.stop(5)
        return answers

    assert asyncio.run(body()) == [0, 1, 4, 3, 8, 5]
    assert made == list(range(6))


def test_an_error_is_raised_where_it_is_awaited_and_the_next_call_is_made() -> None:
    async def body() -> None:
        worker = Worker("test")
        with pytest.raises(ZeroDivisionError):
            await worker.call(lambda: 1 // 0)
        assert await worker.call(lambda: 7) == 7
        assert await worker.stop(5)

    asyncio.run(body())


def test_a_call_that_hangs_is_left_behind() -> None:
    reached, release = threading.Event(), threading.Event()

    def hang() -> None:
        reached.set()
        release.wait()

    async def body() -> bool:
        worker = Worker("test")
        hanging = asyncio.create_task(worker.call(hang))
        assert await asyncio.to_thread(reached.wait, 60)
        hanging.cancel()
        ended = await worker.stop(0.1)
        release.set()
        return ended

    assert asyncio.run(body()) is False


def test_a_worker_that_was_never_asked_has_no_thread() -> None:
    before = threading.active_count()
    worker = Worker("test")
    assert threading.active_count() == before
    assert asyncio.run(worker.stop(0)) is True
