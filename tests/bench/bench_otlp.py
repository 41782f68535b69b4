"""OpenTelemetry spans a second, received over HTTP, decoded, filed and given out, and what that costs beside sending them.

The sender runs in a process of its own, over one connection, with exports as an SDK's batch processor makes them; it sends bytes
made before. CPU time is the receiving process's own, so that a machine that does other things as well does not change the figures.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import orjson
import uvloop

from harness.core import limits
from harness.core.labels import Role
from harness.core.redact import Redactor
from harness.core.trace import trace_id
from harness.effects.api import OpenTrial, Workplace
from harness.effects.otlp.collector import SpanCollector
from harness.effects.otlp.spans import INTERNAL
from tests.effects.otlp.spanning import Made, SystemClock, export, json_export, server, span_id

SPANS_PER_SECOND_MIN = 10_000
BATCH = 512
"""As many as the batch processor of an SDK sends at once (OTEL_BSP_MAX_EXPORT_BATCH_SIZE)."""
_ROLE = Role.CANDIDATE
_PER_TRIAL = 8
_FORMS = {"protobuf": "application/x-protobuf", "json": "application/json"}


def spans_of(number: int) -> list[Made]:
    """The spans of one request: its own, three inner ones, two statements, two calls."""
    trace = trace_id(number)
    made = [server(_ROLE, trace=trace)]
    for index, kind_and_attributes in enumerate(_WORK, start=2):
        kind, attributes = kind_and_attributes
        more = {key: value.replace("$N", str(number)) if isinstance(value, str) else value for key, value in attributes.items()}
        span = span_id(number * 16 + index)
        made.append(Made(trace=bytes.fromhex(trace), span=span, parent=span_id(1), kind=kind, started_ns=index, attributes=more))
    return made


_NOISE: dict[str, Any] = {"thread.id": 7, "thread.name": "worker-7", "code.function.name": "shop.orders.create", "server.port": 8080}
_SQL: dict[str, Any] = {"db.system.name": "postgresql", "db.namespace": "shop", **_NOISE}
_HTTP: dict[str, Any] = {"http.request.method": "POST", "http.response.status_code": 201, "network.protocol.version": "1.1", **_NOISE}
_WORK: list[tuple[int, dict[str, Any]]] = [
    (INTERNAL, _NOISE),
    (INTERNAL, _NOISE),
    (INTERNAL, _NOISE),
    (3, {**_SQL, "db.query.text": "SELECT id, sku, price FROM products WHERE id IN ($N, 2, 3) AND active = true"}),
    (3, {**_SQL, "db.query.text": "INSERT INTO orders (id, sku, quantity) VALUES ($1, $2, $3)"}),
    (3, {**_HTTP, "url.full": "http://payments.test:8080/charges/$N?currency=EUR"}),
    (4, {"messaging.system": "kafka", "messaging.destination.name": "orders", "messaging.operation.type": "send", **_NOISE}),
]


def exports(trials: int, form: str) -> list[bytes]:
    """All spans of all trials, in the order of the trials, BATCH at a time."""
    made = [span for number in range(1, trials + 1) for span in spans_of(number)]
    batches = [made[start : start + BATCH] for start in range(0, len(made), BATCH)]
    return [export(batch) if form == "protobuf" else orjson.dumps(json_export(batch)) for batch in batches]


def send(pipe: Connection, trials: int, form: str) -> None:
    """The sending process: says when it is ready, sends all when told where to, and says how much CPU time that took it."""
    bodies = exports(trials, form)
    pipe.send("ready")
    url = pipe.recv()

    async def go() -> None:
        headers = {"Content-Type": _FORMS[form]}
        async with aiohttp.ClientSession() as session:
            for body in bodies:
                async with session.post(f"{url}/v1/traces", data=body, headers=headers) as answer:
                    if answer.status != 200 or len(await answer.read()) > 2:
                        raise RuntimeError(f"an export was not taken: {answer.status}")

    before = time.process_time()
    asyncio.run(go())
    pipe.send(time.process_time() - before)


async def receive(pipe: Connection, trials: int, folder: Path) -> tuple[float, float, int]:
    """Seconds, CPU seconds of this process, and effects given out."""
    clock = SystemClock()
    place = Workplace(folder=folder, clock=clock, rng=Random(1), redactor=Redactor(b"bench"))
    collector = SpanCollector.make({"quiet_ms": 0, "wait_ms": 60_000}, place)
    await collector.open([_ROLE])
    todo = [OpenTrial(trace=trace_id(number), roles=(_ROLE,), request="r") for number in range(1, trials + 1)]
    for trial in todo:
        collector.begin(trial)
    began, cpu = time.perf_counter(), time.process_time()
    pipe.send(collector.names(_ROLE)["otlp"])
    effects = 0
    for trial in todo:
        if not await collector.settle(trial, clock.monotonic_ns() + 60_000_000_000):
            raise RuntimeError(f"the spans of a trial did not come: {collector.lapses()}")
        effects += len(await collector.drain())
        collector.end(trial)
    took = time.perf_counter() - began, time.process_time() - cpu
    await collector.close()
    return *took, effects


def measure(trials: int, form: str) -> tuple[float, float, float]:
    """Spans a second, spans a CPU second of the receiver, and the receiver's CPU time over the sender's. Raises where any is missing."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    sender = context.Process(target=send, args=(theirs, trials, form))
    sender.start()
    try:
        ours.recv()
        with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            seconds, cpu, effects = runner.run(receive(ours, trials, Path(folder)))
        sent_cpu = ours.recv()
    finally:
        sender.join(30)
        if sender.is_alive():
            sender.terminate()
    if effects != 4 * trials:
        raise RuntimeError(f"{effects} effects instead of {4 * trials}")
    count = trials * _PER_TRIAL
    return count / seconds, count / cpu, cpu / sent_cpu


def main(arguments: list[str] | None = None) -> int:
    """Print the table. Returns 1 when a form is below SPANS_PER_SECOND_MIN."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=4_000, help=f"requests of {_PER_TRIAL} spans in a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments or [])
    trials = min(options.trials, limits.EFFECTS_UNDRAINED_MAX // _PER_TRIAL)
    print(f"OTLP spans over HTTP, exports of {BATCH}, {_PER_TRIAL} spans and 4 effects a request (medians of {options.rounds} rounds)")
    print(f"{'form':<10} {'spans/s':>9} {'spans/CPU s':>12} {'receiver CPU / sender CPU':>27}")
    missed = False
    found: dict[str, list[tuple[float, float, float]]] = {form: [] for form in _FORMS}
    for _ in range(options.rounds):
        for form, rounds in found.items():
            rounds.append(measure(trials, form))
    for form, rounds in found.items():
        per_second, per_cpu, ratio = (statistics.median(column) for column in zip(*rounds, strict=True))
        missed = missed or per_cpu < SPANS_PER_SECOND_MIN
        print(f"{form:<10} {per_second:>9.0f} {per_cpu:>12.0f} {ratio:>26.1f}x")
    print(f"\naim: at least {SPANS_PER_SECOND_MIN} spans a second on one core")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
