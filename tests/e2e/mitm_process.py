"""The mitmproxy ingress as a process of its own: `python -m tests.e2e.mitm_process CONFDIR STABLE SECONDARY CANDIDATE SHADOW_TIMEOUT_S`.

It prints its port, serves until SIGTERM, then prints its counts as JSON. Every trial counts as compared and is forgotten.
"""

import asyncio
import json
import random
import signal
import sys

import msgspec
import uvloop

from harness.core.outcomes import Tally
from harness.core.plain import AnyTrial, opened
from harness.core.values import Comparison
from harness.proxy.address import parse_address
from harness.proxy.dispatch import Naming, Sink
from harness.proxy.mitm import MitmOptions, MitmServer
from harness.proxy.server import ProxyOptions
from tests.proxy.rig import CountingIds, SystemClock


async def main(confdir: str, stable: str, secondary: str, candidate: str, shadow_timeout_s: str) -> None:
    """Serve."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    tally = Tally()

    def put(came: AnyTrial) -> None:
        trial = opened(came)
        tally.compared(trial, Comparison(trial=trial.id, seq=trial.seq))

    server = MitmServer(
        ProxyOptions(
            stable=parse_address(stable),
            secondary=parse_address(secondary),
            candidate=parse_address(candidate),
            shadow_timeout_s=float(shadow_timeout_s),
        ),
        mitm=MitmOptions(confdir=confdir),
        clock=SystemClock(),
        rng=random.Random(1),
        tally=tally,
        naming=Naming(endpoint_of=lambda request: request.method, entity_of=lambda request: request.target, ids=CountingIds()),
        sink=Sink(put=put, has_room=lambda _endpoint, _body_bytes: True),
    )
    await server.start()
    print(server.port, flush=True)
    await ended.wait()
    await server.stop(10.0)
    print(json.dumps(msgspec.to_builtins(tally.totals())), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*sys.argv[1:]))
