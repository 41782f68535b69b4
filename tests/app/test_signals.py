"""Interruption: asked first, made second; real signals to this process."""

import asyncio
import os
import signal

import pytest

from harness.app.signals import SIGNALS, Stop, StoppedError, with_stop
from harness.core.errors import SetupError


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_asks(number: signal.Signals, code: int) -> None:
    notices: list[str] = []

    async def body(stop: Stop) -> int:
        assert not stop.requested
        send(number)
        await stop.wait()
        await asyncio.sleep(0)
        return stop.exit_code

    assert asyncio.run(with_stop(body, notice=notices.append)) == code
    assert notices == ["stopping; once more to stop at once"]


def test_the_second_signal_cancels_and_cleaning_up_still_runs() -> None:
    cleaned: list[bool] = []

    async def body(stop: Stop) -> int:
        send(signal.SIGTERM)
        await stop.wait()
        try:
            send(signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)
        return 0

    assert asyncio.run(with_stop(body)) == 143
    assert cleaned == [True]


def test_a_body_that_ends_by_itself_has_its_own_code() -> None:
    async def body(stop: Stop) -> int:
        assert stop.exit_code == 0
        return 3

    assert asyncio.run(with_stop(body)) == 3


def test_a_command_may_ask_itself_and_a_signal_after_that_cancels() -> None:
    async def ended(stop: Stop) -> int:
        stop.request()
        await stop.wait()
        return stop.exit_code

    async def forced(stop: Stop) -> int:
        stop.request()
        stop.request(signal.SIGTERM)
        send(signal.SIGINT)
        await asyncio.Event().wait()
        return 0

    assert asyncio.run(with_stop(ended)) == 0
    assert asyncio.run(with_stop(forced)) == 130


def test_errors_and_cancellation_from_elsewhere_pass_through() -> None:
    async def failing(stop: Stop) -> int:
        raise ValueError("x")

    async def waiting(stop: Stop) -> int:
        await asyncio.Event().wait()
        return 0

    async def cancelled() -> None:
        task = asyncio.create_task(with_stop(waiting))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with pytest.raises(ValueError, match="x"):
        asyncio.run(with_stop(failing))
    asyncio.run(cancelled())


def test_handlers_are_put_back() -> None:
    async def body(stop: Stop) -> int:
        return 0

    before = [signal.getsignal(number) for number in SIGNALS]
    asyncio.run(with_stop(body))
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_work_that_heeds_a_stop_ends_at_the_first_signal_and_has_cleaned_up() -> None:
    log: list[str] = []

    async def work() -> None:
        try:
            send(signal.SIGTERM)
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.01)
            log.append("cleaned up")

    async def body(stop: Stop) -> int:
        with pytest.raises(StoppedError):
            await stop.heeded(work())
        log.append("stopped")
        with pytest.raises(StoppedError):
            await stop.heeded(work())  # it is not begun
        return stop.exit_code

    assert asyncio.run(with_stop(body)) == 143
    assert log == ["cleaned up", "stopped"]


def test_work_that_nobody_stops_gives_what_it_gives() -> None:
    async def answer() -> int:
        return 3

    async def fails() -> None:
        raise SetupError("no database")

    async def body(stop: Stop) -> int:
        with pytest.raises(SetupError, match="no database"):
            await stop.heeded(fails())
        return await stop.heeded(answer())

    assert asyncio.run(with_stop(body)) == 3


def test_work_that_fails_by_being_stopped_is_stopped_and_a_defect_is_a_defect() -> None:
    async def fails(error: Exception) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise error from None

    async def main() -> None:
        for error, seen in ((SetupError("cut off"), StoppedError), (KeyError("a defect"), KeyError)):
            stop = Stop()
            asyncio.get_running_loop().call_soon(stop.request)
            with pytest.raises(seen):
                await stop.heeded(fails(error))

    asyncio.run(main())


def test_work_that_waits_for_an_answer_to_its_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.app.signals._END_SECONDS", 0.05)
    asked = 0

    async def stubborn() -> None:
        nonlocal asked
        while asked < 3:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                asked += 1
        raise asyncio.CancelledError

    async def main() -> None:
        stop = Stop()
        asyncio.get_running_loop().call_later(0.01, stop.request)
        async with asyncio.timeout(60):
            with pytest.raises(StoppedError):
                await stop.heeded(stubborn())

    asyncio.run(main())
    assert asked == 3


def test_the_second_signal_ends_work_that_heeds_a_stop_too() -> None:
    cleaned: list[bool] = []

    async def work() -> None:
        try:
            send(signal.SIGINT)
            await asyncio.sleep(3600)
        finally:
            cleaned.append(True)
            send(signal.SIGINT)
            await asyncio.sleep(3600)

    async def body(stop: Stop) -> int:
        await stop.heeded(work())
        return 0

    assert asyncio.run(with_stop(body)) == 130
    assert cleaned == [True]
