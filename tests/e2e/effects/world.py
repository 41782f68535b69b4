"""The world around the shop of the tests: payments and mail on loopback, a PostgreSQL, a Redis, and a configuration over all."""

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.effects.shop import CHECKOUTS
from tests.e2e.support import ROOT, write_har
from tests.effects.postgres.server import AbsentError, postgres_server

PAYMENTS, MAIL = "payments.test", "mail.test"
ROLES = ("stable", "secondary", "candidate")
_SHOP = ROOT / "tests" / "e2e" / "effects" / "shop.py"


class Outside:
    """Payments and mail: counts what comes, by host and path."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        outside = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outside.seen[f"{self.headers.get('Host')}{self.path}"] += 1
                body = b'{"ok": true}'
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Outside":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class World:
    """All that a run of the shop needs; `redis` and `database` are addresses."""

    def __init__(self, outside: Outside, redis: str, database: str) -> None:
        self.outside = outside
        self.redis = redis
        self.database = database

    def config(
        self, framework: str, *, faults: bool = False, collect: Sequence[str], mode: str = "virtualise", **effects: Any
    ) -> dict[str, Any]:
        """A configuration: stable and candidate as commands, watched by these collectors."""
        python = ROOT / ".cache" / "instrumented" / "bin"
        run = f"{python / 'opentelemetry-instrument'} {python / 'python'}" if "otlp" in collect else str(python / "python")
        command = f"{run} {_SHOP} --port {{port}} --framework {framework}"
        environment = {"PAYMENTS": f"http://{PAYMENTS}", "MAIL": f"http://{MAIL}"}
        if "sqlite" in collect:
            environment["SQLITE"] = "{sqlite}"
        if "postgres" in collect:
            environment["DATABASE_URL"] = f"{self.database}/shop_{{role}}"
        if "redis" in collect:
            environment["REDIS_URL"] = "{redis_url}"
        target = {"env": environment, "ready_timeout_s": 120}
        return {
            "targets": {
                "stable": {**target, "command": command},
                "candidate": {**target, "command": command + (" --faults" if faults else "")},
            },
            "replay": {"allow_writes": True, "state": "shared", "seed": 1},
            "effects": {
                "collect": list(collect),
                "ordered": ["http POST *"],
                "http": {"mode": mode, "hosts": {host: {"upstream": self.outside.address} for host in (PAYMENTS, MAIL)}},
                "postgres": {"dsn": f"{self.database}/shop_{{role}}"},
                "redis": {"upstream": self.redis, "database_of": {role: number for number, role in enumerate(ROLES)}},
                **effects,
            },
        }


def interpreter() -> Path:
    """The one that the shop runs with; skips the test, by name, where it is not installed."""
    python = ROOT / ".cache" / "instrumented" / "bin" / "python"
    if not python.exists():
        pytest.skip("the instrumented environment is not installed: run sh tests/prepare.sh")
    return python


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """HOST:PORT of a server; skips the test, by name, where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed: run sh tests/prepare.sh")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), "--logfile", "log"]
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "the server never came up"
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    """Everything; skips the test, by name, where a part of it cannot be had."""
    interpreter()
    with contextlib.ExitStack() as parts:
        try:
            database = parts.enter_context(postgres_server())
        except AbsentError as absent:
            pytest.skip(f"{absent}: run sh tests/prepare.sh")
        for role in ROLES:
            database.create_database(f"shop_{role}")
        redis = parts.enter_context(redis_server(folder / "redis"))
        yield World(parts.enter_context(Outside()), redis, database.dsn("").rstrip("/"))


def checkouts(path: Path, times: int, names: Sequence[str] = CHECKOUTS) -> Path:
    """A capture of so many checkouts at each path."""
    return write_har(
        path,
        [
            {
                "method": "POST",
                "url": f"http://shop.test/checkout/{name}",
                "headers": [("Content-Type", "application/json")],
                "body": json.dumps({"customer": 100 + number, "amount": 50 + number}),
                "status": 200,
            }
            for number in range(times)
            for name in names
        ],
    )
