"""A server of copies between three targets, with what it counts and the trials it makes."""

import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

from harness.core.outcomes import Tally
from harness.core.plain import AnyTrial, opened
from harness.core.values import Comparison, Exchange, Request, Trial
from harness.proxy.copies import CopiesServer
from harness.proxy.dispatch import Naming, Sink
from harness.proxy.server import ProxyOptions
from tests.proxy.rig import LONG_S, Answer, Behaviour, CountingIds, Rig, SystemClock, Upstream, answers, nobody_on_the_way, ok, read_answers

ACCEPTED = b"HTTP/1.1 202 Accepted"


def accepted(raw: bytes, *methods: str) -> list[Answer]:
    """The answers, each a 202 without a body."""
    found = read_answers(raw, *methods)
    for answer in found:
        assert (answer.line, answer.body, answer.header(b"content-length")) == (ACCEPTED, b"", b"0")
    return found


@contextlib.asynccontextmanager
async def copies(
    stable: Behaviour | None = None,
    *,
    secondary: Behaviour | None = None,
    candidate: Behaviour | None = None,
    without: tuple[str, ...] = (),
    dead_stable: bool = False,
    has_room: Callable[[str, int], bool] = lambda _endpoint, _held: True,
    on_exchange: Callable[[Request, Exchange], None] | None = None,
    endpoint_of: Callable[[Request], str] = lambda request: f"{request.method} {request.target.partition('?')[0]}",
    grace_s: float = LONG_S,
    lag_s_max: float = LONG_S,
    **options: Any,
) -> AsyncIterator[Rig]:
    """Targets that answer unless told otherwise, and the server. On leaving, everything that entered has an outcome."""
    async with (
        Upstream(None if dead_stable else stable or answers(ok())) as first,
        Upstream(secondary or answers(ok())) as second,
        Upstream(candidate or answers(ok())) as third,
    ):
        tally, trials = Tally(), list[Trial]()

        def keep(came: AnyTrial) -> None:
            trial = opened(came)
            trials.append(trial)
            tally.compared(trial, Comparison(trial=trial.id, seq=trial.seq))

        targets = {"secondary": second.address, "candidate": third.address}
        settings = {"shadow_timeout_s": LONG_S, "connect_timeout_s": LONG_S} | {key: targets[key] for key in targets if key not in without}
        server = CopiesServer(
            ProxyOptions(**(settings | {"stable": first.address} | options)),
            clock=SystemClock(),
            rng=random.Random(7),
            tally=tally,
            naming=Naming(endpoint_of=endpoint_of, entity_of=lambda request: request.target, ids=CountingIds(), session_key=b"k"),
            sink=Sink(put=keep, has_room=has_room),
            on_exchange=on_exchange,
            lag_s_max=lag_s_max,
        )
        await server.start()
        made = Rig(server, first, second, third)
        made.tally, made.trials = tally, trials
        try:
            yield made
        finally:
            with nobody_on_the_way():
                await server.stop(grace_s)
        assert tally.under_way == 0, tally.totals()
        assert server.connections == 0
        assert server.in_flight == 0
