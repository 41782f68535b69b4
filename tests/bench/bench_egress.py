"""Outbound calls through the egress proxy: sent outside, and answered from stable's.

`calls per CPU second` counts what the proxy's process itself spends, so that the service outside and the build, which run
beside it, do not blur it: it is what one core does. Every call is recorded as an effect.
"""

import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from harness.app.parts import SystemClock
from harness.core.labels import Role
from harness.core.redact import Redactor
from harness.effects.api import OpenTrial, Workplace
from harness.effects.egress.collector import EgressCollector

AIM: Final = 900.0
"""Calls that are answered from stable's, for each second of one core."""
CALLS: Final = 3000
_CONNECTIONS: Final = 8
_BODY: Final = '{"items": [' + ", ".join(f'{{"sku": "s{n}", "price": {n}.5}}' for n in range(40)) + "]}"
_SERVICE: Final = """
import asyncio, sys, uvloop
BODY = sys.argv[1].encode()
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(BODY) + BODY
class Answer(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport; self.data = b""
    def data_received(self, data):
        self.data += data
        while b"\\r\\n\\r\\n" in self.data:
            head, _, rest = self.data.partition(b"\\r\\n\\r\\n")
            size = int(head.lower().partition(b"content-length:")[2].split(b"\\r\\n")[0] or 0)
            if len(rest) < size: return
            self.data = rest[size:]
            self.transport.write(ANSWER)
async def main():
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
uvloop.run(main())
"""
_BUILD: Final = """
import asyncio, sys, uvloop
port, count, connections, method = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
numbers = iter(range(count))
good = 0
async def calls():
    global good
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in numbers:
        body = b'{"order": %d, "currency": "eur"}' % number if method == "POST" else b""
        head = f"{method} http://payments.test/charges/{number}?page=1 HTTP/1.1\\r\\nHost: payments.test\\r\\nAccept: */*\\r\\n"
        head += f"Content-Type: application/json\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n" if body else "\\r\\n"
        writer.write(head.encode() + body)
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        size = int(head.lower().partition(b"content-length:")[2].split(b"\\r\\n")[0])
        await reader.readexactly(size)
        good += head.startswith(b"HTTP/1.1 200")
    writer.close()
async def main():
    await asyncio.gather(*(calls() for _ in range(connections)))
    print(good)
uvloop.run(main())
"""


class Figures(msgspec.Struct, frozen=True):
    """One way's calls."""

    good: int
    """Answered with 200."""
    effects: int
    cpu_s: float
    wall_s: float

    @property
    def rate(self) -> float:
        """Calls for each second of CPU time."""
        return self.good / max(self.cpu_s, 1e-9)


async def measure(count: int = CALLS, method: str = "GET") -> dict[str, Figures]:
    """Stable's calls go outside, then the candidate makes the same ones. Up to as many as a trial's tape holds."""
    service = await asyncio.create_subprocess_exec(sys.executable, "-c", _SERVICE, _BODY, stdout=subprocess.PIPE)
    assert service.stdout is not None
    port = int(await service.stdout.readline())
    with tempfile.TemporaryDirectory() as folder:
        workplace = Workplace(folder=Path(folder), clock=SystemClock(), rng=random.Random(1), redactor=Redactor(b"bench"))
        options = {"mode": "virtualise", "hosts": {"payments.test": {"upstream": f"127.0.0.1:{port}"}}}
        collector = EgressCollector.make(options, workplace)
        try:
            await collector.open((Role.STABLE, Role.CANDIDATE))
            await collector.attach()
            return await _ways(collector, count, method)
        finally:
            await collector.close()
            service.kill()
            await service.wait()


async def _ways(collector: EgressCollector, count: int, method: str) -> dict[str, Figures]:
    trial = OpenTrial(trace=f"{1:032x}", roles=(Role.STABLE, Role.CANDIDATE), request="bench")
    collector.begin(trial)
    found = {}
    for way, role in (("sent outside and taped", Role.STABLE), ("answered from stable's", Role.CANDIDATE)):
        build = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _BUILD, collector.names(role)["egress"].rpartition(":")[2], str(count), str(_CONNECTIONS), method),
            stdout=subprocess.PIPE,
        )
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        out, _ = await build.communicate()
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
        found[way] = Figures(int(out), len(await collector.drain()), cpu_s, wall_s)
        collector.answered(trial, role)
    return found


def main(arguments: Sequence[str] = ()) -> int:
    """Print the rates. 1 when the aim was missed, or calls or effects are missing."""
    count = int(arguments[0]) if arguments else CALLS
    missed = False
    for method in ("GET", "POST"):
        for way, figures in uvloop.run(measure(count, method)).items():
            print(
                f"{method:4} {way:24} {figures.rate:7,.0f} calls per CPU second, {figures.good / figures.wall_s:7,.0f}/s,"
                f" {1e6 * figures.cpu_s / max(1, figures.good):5,.0f} µs each"
            )
            if figures.good != count or figures.effects != count:
                print(f"MISSED: {figures.good} good answers and {figures.effects} effects of {count} calls")
                missed = True
            missed |= way.startswith("answered") and figures.rate < AIM
    print(f"aim: {AIM:,.0f} answered calls per CPU second")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
