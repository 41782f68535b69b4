"""Replay at full speed with comparison: a capture of 2 KB JSON answers, three arms over real sockets, bets and fold included.

`requests per CPU second` counts what the harness itself spends (its loop and its evidence thread), so that a busy machine
and the upstream servers' own share do not blur it: it is what one core does.
"""

import asyncio
import random
import subprocess
import sys
import time
from typing import Final

import uvloop

from comparators.plan import build_plan
from comparators.registry import load_comparators
from harness.app.parts import CountedIds, SystemClock
from harness.core.endpoint import EndpointMapper, entity_of
from harness.core.labels import Role
from harness.core.outcomes import Tally
from harness.core.values import Exchange, Request
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.fold import Fold
from harness.pipeline import Pipeline
from harness.proxy.address import parse_address
from harness.proxy.upstream import UpstreamPool
from replay.entry import CaptureEntry
from replay.runner import PassJob, RunnerIO, run_pass
from replay.schedule import plan as schedule
from replay.sessions import group_sessions

AIM: Final = 3000.0
"""Requests sent and compared for each second of one core."""
_TRIALS: Final = 4000
_CONCURRENCY: Final = 32
_SERVER: Final = """
import asyncio, sys, uvloop
BODY = sys.argv[1].encode()
class Answer(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport; self.data = b""
    def data_received(self, data):
        self.data += data
        while b"\\r\\n\\r\\n" in self.data:
            head, _, self.data = self.data.partition(b"\\r\\n\\r\\n")
            Answer.count += 1
            body = BODY.replace(b"@@@@@@@@", b"%08d" % Answer.count)
            head = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n"
            self.transport.write(head % len(body) + body)
    count = 0
async def main():
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
uvloop.run(main())
"""


def document(noise: str) -> str:
    """About 2 KB of JSON; `noise` is a member's value."""
    rng = random.Random(7)
    items = [{"sku": f"s{n}", "price": round(rng.random() * 100, 2), "tags": ["a", "b"], "stock": rng.randrange(90)} for n in range(25)]
    return str({"trace": noise, "items": items}).replace("'", '"')


def entries(count: int) -> tuple[CaptureEntry, ...]:
    """Requests without a session, over forty URLs of four endpoints."""
    return tuple(
        CaptureEntry(
            index=n,
            file="bench",
            request=Request("GET", f"/v{n % 4}/items/{n % 40}", (("Host", "bench"), ("Accept", "*/*")), host="bench"),
            recorded=None,
            offset_s=0.0,
            client=f"c{n}",
        )
        for n in range(count)
    )


async def measure(ports: dict[Role, int], sent: tuple[CaptureEntry, ...]) -> tuple[float, float]:
    """Seconds of wall time and of the harness's CPU for one pass."""
    clock, tally = SystemClock(), Tally()
    pools = {
        role: UpstreamPool(parse_address(f"http://127.0.0.1:{port}"), connect_timeout_s=5, exchange_timeout_s=30, clock=clock)
        for role, port in ports.items()
    }

    async def send(role: Role, request: Request) -> Exchange:
        return await pools[role].send(request)

    mapper = EndpointMapper()
    pipeline = Pipeline(plan=build_plan((), load_comparators()), fold=Fold(Ledger(Policy())), tally=tally)
    pipeline.start()
    job = PassJob(sessions=schedule(group_sessions(sent), None), roles=tuple(ports), concurrency=_CONCURRENCY, fresh=True)
    io = RunnerIO(
        send=send,
        emit=pipeline.put,
        clock=clock,
        rng=random.Random(1),
        ids=CountedIds(),
        tally=tally,
        endpoint_of=mapper.endpoint,
        entity_of=entity_of,
        stop=asyncio.Event(),
    )
    wall, cpu = time.perf_counter(), time.process_time()
    await run_pass(job, io)
    await pipeline.drain()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await pipeline.stop()
    await asyncio.gather(*(pool.close() for pool in pools.values()))
    assert tally.totals().compared == len(sent)
    return wall, cpu


def main() -> bool:
    """Print the table; True where the aim was missed."""
    missed = False
    print(f"{'answers':<34} {'trials/s':>9} {'requests/s':>11} {'requests per CPU second':>24}")
    for name, noise in (("identical bytes", "constant"), ("one member differs in each answer", "@@@@@@@@")):
        servers = [subprocess.Popen([sys.executable, "-c", _SERVER, document(noise)], stdout=subprocess.PIPE, text=True) for _ in Role]
        try:
            ports = {role: int((server.stdout or sys.stdin).readline()) for role, server in zip(Role, servers, strict=True)}
            rounds = sorted(uvloop.run(measure(ports, entries(_TRIALS))) for _ in range(3))
        finally:
            for server in servers:
                server.kill()
                server.communicate()
        wall, cpu = rounds[1]
        requests = len(ports) * _TRIALS
        print(f"{name:<34} {_TRIALS / wall:>9.0f} {requests / wall:>11.0f} {requests / cpu:>24.0f}")
        missed = missed or requests / cpu < AIM
    return missed
