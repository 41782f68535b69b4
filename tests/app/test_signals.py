"""Interruption: asked first, made second; real signals to this process."""

import asyncio
import os
import signal

import pytest

from harness.app.signals import SIGNALS, Stop, with_stop


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
