"""A build that calls the outside, by its proxy and past it; standard library only: `python -m tests.e2e.effects.caller HOST PORT`.

Its answers are always the same. What it does while it answers is named by the environment: PROXIED, URLs that it asks for as
its proxy settings say; DIRECT, `HOST PORT` pairs that it connects to itself; LOOKUP, names that it looks up itself; ROLE, who
it is, told with each call; NOTES, a file to which it writes how the latter two ended, a line each.
"""

import json
import os
import socket
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

WAIT_S = 20.0
ROLE = os.environ.get("ROLE", "")


def note(what: str, ended: str) -> None:
    """One line of the notes; short enough not to be torn."""
    with Path(os.environ["NOTES"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps([ROLE, what, ended]) + "\n")


def proxied(url: str, trace: dict[str, str]) -> None:
    """A charge, by whatever proxy the environment names."""
    request = urllib.request.Request(
        url, json.dumps({"amount": 10}).encode(), {"Content-Type": "application/json", "X-Role": ROLE, **trace}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        answer.read()


def direct(host: str, port: str) -> None:
    """A charge that heeds no settings. The gateway is where the proxy is."""
    if host == "GATEWAY":
        host = urlsplit(os.environ["HTTP_PROXY"]).hostname or ""
    try:
        with socket.create_connection((host, int(port)), WAIT_S) as connection:
            connection.sendall(f"POST /direct HTTP/1.0\r\nHost: x\r\nX-Role: {ROLE}\r\nContent-Length: 0\r\n\r\n".encode())
            ended = "reached" if connection.recv(100) else "closed"
    except OSError as error:
        ended = type(error).__name__
    note(f"direct {port}", ended)


def look_up(name: str) -> None:
    """A name, by the system's resolver."""
    try:
        ended = socket.getaddrinfo(name.replace("ROLE", ROLE), 80, socket.AF_INET)[0][4][0]
    except OSError:
        ended = "unknown"
    note("lookup", str(ended))


class Answers(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path != "/":
            trace = {name: value for name, value in self.headers.items() if name.lower() in {"traceparent", "baggage"}}
            for url in os.environ.get("PROXIED", "").split():
                proxied(url, trace)
            pairs = os.environ.get("DIRECT", "").split()
            for host, port in zip(pairs[::2], pairs[1::2], strict=True):
                direct(host, port)
            for name in os.environ.get("LOOKUP", "").split():
                look_up(name)
        body = json.dumps({"path": self.path, "ok": True}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Answers).serve_forever()
