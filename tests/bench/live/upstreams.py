"""The targets of the benchmarks: one nginx for each arm, that serves JSON and counts what it was asked.

Three prefixes: none (files, the same bytes from each arm), `/live` (made for each answer: one member differs every time, so
that no comparison of bytes settles it) and `/planted` (as `/live`, and one id in a hundred has another state in the candidate).
"""

import contextlib
import re
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.bench.live import documents, programs

ARMS: Final = ("stable", "secondary", "candidate")
LIVE: Final = "/live"
PLANTED: Final = "/planted"
_CONFIGURATION: Final = """\
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s; sendfile on; default_type application/json;
  open_file_cache max=1000; open_file_cache_valid 600s;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  map $uri $state {{ default paid; {planted} }}
  server {{
    listen 127.0.0.1:{port} backlog=4096; root {root};
    location / {{ try_files $uri.json =404; }}
    location ~ ^/(?:live|planted)/(?<document>[a-z]+/[0-9]+)$ {{ add_header X-Trace $request_id; return 200 '{answer}'; }}
    location = /nginx_status {{ stub_status; }}
  }}
}}
"""
_DIVERGES: Final = "~^/planted/.*00$ void;"


class Upstreams:
    """The running targets."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        """`ports` by arm."""
        self.ports = ports
        self._questions = 0

    def url(self, arm: str) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.ports[arm]}"

    def asked(self) -> dict[str, int]:
        """Requests that each arm was sent so far, those of this function left out."""
        self._questions += 1
        return {arm: self._count(arm) - self._questions for arm in self.ports}

    def _count(self, arm: str) -> int:
        with urllib.request.urlopen(f"{self.url(arm)}/nginx_status", timeout=30) as answer:
            said = answer.read().decode()
        found = re.search(r"^ *\d+ +\d+ +(\d+)", said, re.MULTILINE)
        assert found is not None, said
        return int(found[1])


@contextlib.contextmanager
def upstreams(folder: Path) -> Iterator[Upstreams]:
    """Serve the ordinary documents from `folder`/www, where further ones may be written. Raises AbsentError, StartError."""
    root = folder / "www"
    documents.write(root)
    ports = {arm: programs.free_port() for arm in ARMS}
    with contextlib.ExitStack() as stack:
        for arm, port in ports.items():
            log = folder / f"{arm}.log"
            stack.enter_context(programs.running(_command(folder / arm, root, arm, port), port=port, log=log))
        yield Upstreams(ports)


def _command(folder: Path, root: Path, arm: str, port: int) -> list[str]:
    folder.mkdir(mode=0o755)
    answer = documents.template().replace("@ID@", "$document").replace("@STATE@", "$state").replace("@TRACE@", "$request_id")
    planted = _DIVERGES if arm == "candidate" else ""
    file = folder / "nginx.conf"
    file.write_text(_CONFIGURATION.format(folder=folder, root=root, port=port, answer=answer, planted=planted))
    return [programs.program("nginx"), "-e", str(folder / "error.log"), "-c", str(file)]
