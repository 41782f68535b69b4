"""Takes copies of requests as a process of its own, until SIGTERM; then says as JSON where every request went."""

import argparse
import asyncio
import itertools
import json
import random
import signal
import sys
import time

import msgspec
import uvloop

from harness.core.outcomes import Tally
from harness.core.values import Comparison, Request, Trial
from harness.proxy.address import parse_address
from harness.proxy.copies import CopiesServer
from harness.proxy.dispatch import Naming, Sink
from harness.proxy.server import ProxyOptions


class _Clock:
    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def time(self) -> float:
        return time.time()


class _Ids:
    def __init__(self) -> None:
        self._count = itertools.count()

    def next_id(self) -> str:
        return f"t{next(self._count)}"


def _path(request: Request) -> str:
    return request.target.partition("?")[0]


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM; what is under way then has ten seconds."""
    tally = Tally()

    def put(trial: Trial) -> None:
        tally.compared(trial, Comparison(trial=trial.id, seq=trial.seq))

    host, _, port = arguments.listen.rpartition(":")
    server = CopiesServer(
        ProxyOptions(
            stable=parse_address(arguments.stable),
            secondary=parse_address(arguments.secondary),
            candidate=parse_address(arguments.candidate),
            listen_host=host,
            listen_port=int(port),
        ),
        clock=_Clock(),
        rng=random.Random(1),
        tally=tally,
        naming=Naming(endpoint_of=_path, entity_of=_path, ids=_Ids()),
        sink=Sink(put=put, has_room=lambda _endpoint, _held: True),
    )
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await server.start()
    print(f"serving on http://{server.address}", file=sys.stderr, flush=True)
    await ended.wait()
    await server.stop(10.0)
    print(json.dumps(msgspec.to_builtins(tally.totals())), flush=True)


def main() -> None:
    """See the options of `shadowdiff proxy`."""
    parser = argparse.ArgumentParser()
    for name in ("listen", "stable", "secondary", "candidate"):
        parser.add_argument(f"--{name}", required=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
