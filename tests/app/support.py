"""What the tests of the wiring share: a Ui that remembers, builds that answer on a port of their own, captures, settings."""

import io
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from rich.console import Console

from harness.core.labels import Control, Design, Role
from harness.core.values import Arm, Exchange, Headers, Request, Response, Trial, body_of
from harness.report.model import Report, decode_report
from harness.settings.load import Loaded
from harness.settings.schema import ReplaySettings, Settings, StoreSettings, TargetSettings, TargetsSettings
from harness.store import RUN_FILE, RunRecord
from replay.entry import CaptureEntry
from replay.formats.gor import FORMAT

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Heard:
    """A Ui that keeps what it is told, results as text."""

    def __init__(self) -> None:
        self.infos: list[str] = []
        self.warnings: list[str] = []
        self.hints: list[str] = []
        self.results: list[str] = []
        self.steps: list[tuple[str, int, int | None]] = []
        self.folder: Path | None = None

    def info(self, text: str) -> None:
        self.infos.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def hint(self, text: str) -> None:
        self.hints.append(text)

    def progress(self, label: str, done: int, total: int | None) -> None:
        self.steps.append((label, done, total))

    def result(self, item: object) -> None:
        out = io.StringIO()
        Console(file=out, width=200).print(item, markup=False)
        self.results.append(out.getvalue())

    def use_folder(self, folder: Path) -> None:
        self.folder = folder

    @property
    def text(self) -> str:
        """All results, white space folded."""
        return " ".join(" ".join(self.results).split())


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """The base URL of a build that answers every request with `handler`."""
    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def shop(**changes: Any) -> Handler:
    """A build that answers with the path and a price; `changes` are members of its answer that are other than stable's."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"path": request.path, "price": 10, **changes})

    return answer


@asynccontextmanager
async def builds(candidate: Handler, *, stable: Handler | None = None) -> AsyncIterator[dict[Role, str]]:
    """Stable, secondary and candidate, by role."""
    chosen = stable or shop()
    async with serving(chosen) as first, serving(chosen) as second, serving(candidate) as third:
        yield {Role.STABLE: first, Role.SECONDARY: second, Role.CANDIDATE: third}


def settings(run_dir: Path, urls: dict[Role, str], **sections: Any) -> Loaded:
    """Settings for builds that somebody else started and that remember nothing."""
    targets = TargetsSettings(**{role.value: TargetSettings(url=url) for role, url in urls.items()})
    sections.setdefault("replay", ReplaySettings(state="stateless", seed=1))
    return Loaded(Settings(targets=targets, store=StoreSettings(run_dir=str(run_dir)), **sections), {})


def get(target: str, headers: Headers = (), *, method: str = "GET", body: bytes = b"") -> Request:
    """A captured request to the shop."""
    return Request(method, target, (("Host", "shop.test"), *headers), body_of(body), "shop.test")


def items(count: int) -> list[Request]:
    """Requests of one endpoint, each of another URL."""
    return [get(f"/items/{number}") for number in range(count)]


def capture(path: Path, requests: Iterable[Request], answer: Response | None = None) -> Path:
    """A .gor file with these requests, a second apart."""
    entries = (
        CaptureEntry(index=index, file=path.name, request=request, recorded=answer, offset_s=float(index))
        for index, request in enumerate(requests)
    )
    path.write_bytes(b"".join(FORMAT.write(entries, epoch_s=1_700_000_000)))
    return path


def report_in(folder: Path) -> Report:
    """report.json of a run."""
    return decode_report((folder / "report.json").read_bytes())


def record_in(folder: Path) -> RunRecord:
    """run.json of a run."""
    return msgspec.json.decode((folder / RUN_FILE).read_bytes(), type=RunRecord)


def exchange(target: str, data: bytes, status: int = 200) -> Exchange:
    """An answer after 5 ms."""
    response = Response(status, (("Content-Type", "application/json"),), body_of(data))
    return Exchange(request=get(target), response=response, started_ns=1_000_000, first_byte_ns=5_000_000, ended_ns=6_000_000)


def trial(seq: int, *, candidate: bytes = b'{"price":10}', **changes: Any) -> Trial:
    """A trial of `GET /items/{int}`; `candidate` is the body that the candidate answers."""
    target = f"/items/{seq}"
    fields: dict[str, Any] = {
        "id": f"t{seq}",
        "seq": seq,
        "endpoint": "GET /items/{int}",
        "request": get(target),
        "stable": Arm(role=Role.STABLE, exchange=exchange(target, b'{"price":10}')),
        "secondary": Arm(role=Role.SECONDARY, exchange=exchange(target, b'{"price":10}')),
        "candidate": Arm(role=Role.CANDIDATE, exchange=exchange(target, candidate)),
        "control": Control.SECONDARY,
        "design": Design.THREE_ARM,
        "entity": target,
        "fresh": True,
    }
    return Trial(**{**fields, **changes})


def evidence_threads() -> list[str]:
    """The pipelines' threads that are still there."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("evidence", "recorder"))]
