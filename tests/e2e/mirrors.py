"""Programs that mirror requests (nginx, Envoy), builds that answer and log (nginx), and the server of copies, as processes."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from harness.resources import read_config
from harness.targets.listeners import listens_below
from tests.e2e.live import WAIT_S, free_port
from tests.e2e.support import ROOT, SHADOWDIFF

BUILDS = ("origin", "stable", "secondary", "candidate")
"""What the clients are served from, its double, and the two others."""
EXAMPLES = {"nginx": "nginx/copies.conf", "envoy": "envoy/copies.yaml"}
"""The documented configurations, which are what is tested."""

PORT_ATTEMPTS = 5

_NGINX = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {inside}
}}
"""
_BUILD = """
  server {{
    listen 127.0.0.1:{port};
    access_log {folder}/{name}.log seen;
    location / {{ return 200 "$request_method $host $request_uri of {name}\\n"; }}
  }}
"""


def needed(kind: str) -> str:
    """The path of nginx or Envoy; skips the test, by name, where it is not installed."""
    packaged = ROOT / ".cache" / "envoy" / "envoy" / "_bin" / "envoy"
    found = shutil.which(kind) or (str(packaged) if kind == "envoy" and packaged.exists() else None)
    if found is None:
        pytest.skip(f"{kind} is not installed: run sh tests/prepare.sh")
    return found


class Builds:
    """Four builds that answer alike but for their name, and what each was asked."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        self.ports = ports
        self._folder = folder

    def url(self, name: str) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def seen(self, name: str) -> list[tuple[str, str, str, str]]:
        """What it was asked: Host, method, target, and the mark of a mirrored request (`-` for none)."""
        whole = (self._folder / f"{name}.log").read_text(encoding="utf-8").rpartition("\n")[0]
        return [(host, method, target, mark) for host, method, target, mark in (line.split(" ") for line in whole.splitlines())]


class PortTakenError(Exception):
    """Somebody else took a port between the moment when it was free and the one when a program was to listen on it."""


def on_free_ports(scenario: Callable[[Path], Coroutine[None, None, None]], folder: Path) -> None:
    """Play a scenario in a folder of its own; where a port that it chose is taken meanwhile, anew, with other ports."""
    for attempt in range(PORT_ATTEMPTS - 1):
        with suppress(PortTakenError):
            asyncio.run(scenario(_made(folder / str(attempt))))
            return
    asyncio.run(scenario(_made(folder / "last")))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _alive(process: "subprocess.Popen[bytes] | subprocess.Popen[str]", *logs: Path) -> None:
    """Raise what a program that has ended says: PortTakenError, or what else is wrong with it."""
    if process.poll() is not None:
        said = "\n".join(log.read_text(encoding="utf-8") for log in logs if log.exists())
        if "address already in use" in said.lower():
            raise PortTakenError(said)
        raise AssertionError(said)


@contextmanager
def _running(command: list[str], ports: Collection[int], *logs: Path) -> Iterator[None]:
    """A program that listens on ports itself, ended when its test ends. Its output goes to the first log."""
    with logs[0].open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink)
    try:
        deadline = time.monotonic() + WAIT_S
        while True:
            _alive(process, *logs)
            assert time.monotonic() < deadline, f"{command[0]} never listened"
            if all(map(_is_ours, ports)):
                break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ours(port: int) -> bool:
    """Whether a program that was started here listens on the port, as far as that can be told: a stranger may, too."""
    if Path("/proc/net/tcp").exists():
        return listens_below(os.getpid(), port)
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _nginx(folder: Path, inside: str) -> list[str]:
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, inside=inside), encoding="utf-8")
    return [needed("nginx"), "-c", str(config), "-e", str(folder / "early")]


@contextmanager
def builds(folder: Path) -> Iterator[Builds]:
    """The builds, as one nginx."""
    ports = {name: free_port() for name in BUILDS}
    place = folder / "builds"
    servers = "".join(_BUILD.format(port=port, folder=place, name=name) for name, port in ports.items())
    seen = "log_format seen '$http_host $request_method $request_uri $http_x_shadowdiff_shadow';"
    with _running(_nginx(place, seen + servers), ports.values(), folder / "builds.log", place / "early", place / "errors"):
        yield Builds(place, ports)


@contextmanager
def mirror(kind: str, folder: Path, *, origin: int, copies: int) -> Iterator[int]:
    """nginx or Envoy as config/ has it, before `origin`, with copies to the port `copies`; yields its own port."""
    port = free_port()
    example = read_config(EXAMPLES[kind]).decode()
    for documented, real in (("8080", port), ("8081", origin), ("8082", copies)):
        assert example.count(f"127.0.0.1:{documented};") + example.count(f"port_value: {documented}}}") == 1
        example = example.replace(f"127.0.0.1:{documented};", f"127.0.0.1:{real};")
        example = example.replace(f"port_value: {documented}}}", f"port_value: {real}}}")
    if kind == "nginx":
        command = _nginx(folder / "mirror", example)
    else:
        config = folder / "envoy.yaml"
        config.write_text(example, encoding="utf-8")
        command = [needed("envoy"), "-c", str(config), "--concurrency", "1", "-l", "error", "--disable-hot-restart"]
    with _running(command, [port], folder / "mirror.log", folder / "mirror" / "early", folder / "mirror" / "errors"):
        yield port


class Copies:
    """`shadowdiff proxy --ingress copies` under way, with its workers."""

    def __init__(self, process: "subprocess.Popen[str]", out: Path) -> None:
        self.process = process
        self._out = out

    def signal(self, number: signal.Signals) -> None:
        """To all of its processes at once, as a container gets it."""
        os.killpg(self.process.pid, number)

    def end(self) -> dict[str, int | dict[str, int]]:
        """Stop it in order; where every request went."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(WAIT_S) == 0
        totals: dict[str, int | dict[str, int]] = json.loads((self._out / "report.json").read_bytes())["totals"]
        return totals


@contextmanager
def copies(folder: Path, port: int, targets: Builds) -> Iterator[Copies]:
    """The receiver of copies on a port, between the builds."""
    out = folder / f"copies-{time.monotonic_ns()}"
    said = out.with_suffix(".stderr")
    arms = [word for role in ("stable", "secondary", "candidate") for word in (f"--{role}", targets.url(role))]
    listen = ["--listen", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0", "--out", str(out)]
    command = [*SHADOWDIFF, "proxy", "--ingress", "copies", *listen, *arms]
    with said.open("wb") as sink:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=sink, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + WAIT_S
        while "serving on" not in said.read_text(encoding="utf-8"):
            _alive(process, said)
            assert time.monotonic() < deadline, "it never served"
            time.sleep(0.02)
        yield Copies(process, out)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
