"""The mirroring proxies of others, each with one worker and everything mirrored to the candidate. None of them keeps answers."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from tests.bench.live import programs
from tests.bench.live.upstreams import Upstreams

_NGINX: Final = """\
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream stable {{ server {stable}; keepalive 64; keepalive_requests 100000000; }}
  upstream candidate {{ server {candidate}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ mirror /shadow; proxy_pass http://stable; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    location = /shadow {{
      internal; proxy_pass http://candidate$request_uri; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
}}
"""
_ENVOY: Final = """\
static_resources:
  listeners:
  - name: ingress
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: stable, request_mirror_policies: [{{cluster: candidate}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
"""
_ENVOY_CLUSTER: Final = """\
  - name: {arm}
    type: STATIC
    load_assignment:
      cluster_name: {arm}
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]
"""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """How a peer is started."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = {}


def _nginx(folder: Path, port: int, upstreams: Upstreams) -> Start:
    stable, candidate = (f"127.0.0.1:{upstreams.ports[arm]}" for arm in ("stable", "candidate"))
    file = folder / "nginx.conf"
    file.write_text(_NGINX.format(folder=folder, port=port, stable=stable, candidate=candidate))
    return Start(command=(programs.program("nginx"), "-e", str(folder / "error.log"), "-c", str(file)))


def _envoy(folder: Path, port: int, upstreams: Upstreams) -> Start:
    clusters = (_ENVOY_CLUSTER.format(arm=arm, port=upstreams.ports[arm]) for arm in ("stable", "candidate"))
    file = folder / "envoy.yaml"
    file.write_text(_ENVOY.format(port=port) + "".join(clusters))
    options = ("-c", str(file), "--concurrency", "1", "-l", "error", "--disable-hot-restart")
    return Start(command=(programs.program("envoy"), *options))


def _aiohttp(folder: Path, port: int, upstreams: Upstreams) -> Start:
    module = ("-m", "tests.bench.live.aiohttp_mirror")
    return Start(command=(sys.executable, *module, f"127.0.0.1:{port}", upstreams.url("stable"), upstreams.url("candidate")))


def _mitmproxy(folder: Path, port: int, upstreams: Upstreams) -> Start:
    addon = Path(__file__).with_name("mitm_mirror.py")
    # Its own folder for certificates, so that nobody's own one is touched.
    options = ("-q", "-m", f"reverse:{upstreams.url('stable')}@127.0.0.1:{port}", "-s", str(addon), "--set", f"confdir={folder}")
    return Start(command=(programs.program("mitmdump"), *options), environment={"MIRROR_TO": upstreams.url("candidate")})


PEERS: Final[Mapping[str, Callable[[Path, int, Upstreams], Start]]] = {
    "nginx-mirror": _nginx,
    "envoy-mirror": _envoy,
    "aiohttp-mirror": _aiohttp,
    "mitmproxy-mirror": _mitmproxy,
}
"""ngx_http_mirror; Envoy's request_mirror_policies; a plain aiohttp server and client; mitmdump with an addon."""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A running peer."""

    port: int
    pid: int


@contextlib.contextmanager
def peer(name: str, folder: Path, upstreams: Upstreams) -> Iterator[Peer]:
    """Start one of PEERS. Raises AbsentError, StartError."""
    own = folder / name
    own.mkdir(mode=0o755)
    port = programs.free_port()
    start = PEERS[name](own, port, upstreams)
    log = folder / f"{name}.log"
    with programs.running(start.command, port=port, log=log, environment=start.environment, folder=programs.ROOT) as process:
        yield Peer(port=port, pid=process.pid)
