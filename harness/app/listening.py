"""The sockets on which clients are served: opened here, so that they outlive the workers that serve on them."""

import asyncio
import socket
from contextlib import ExitStack
from typing import Final

from harness.core.errors import SetupError
from harness.core.limits import LISTEN_BACKLOG_MAX

AGAIN_SECONDS: Final = 0.1


def listening_sockets(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` sockets that listen on one address; the kernel spreads connections over them. Port 0 takes a free one.

    Raises SetupError where the address cannot be listened on, also because another program does so already.
    """
    try:
        # Alone first: with SO_REUSEPORT another harness on the same port would get half of the clients.
        first = _listening(host, port, shared=False)
        if count == 1:
            return [first]
        port = first.getsockname()[1]
        first.close()
        with ExitStack() as opened:
            sockets = [opened.enter_context(_listening(host, port, shared=True)) for _ in range(count)]
            opened.pop_all()
        return sockets
    except (OSError, UnicodeError) as error:  # a name that cannot be one raises UnicodeError
        what = f"cannot listen: {error.strerror or error}" if isinstance(error, OSError) else "not the name of a host"
        raise SetupError(what, where=f"{host}:{port}", fix="choose another address, or free this one") from error


async def freed_sockets(host: str, port: int, count: int, patience_s: float) -> list[socket.socket]:
    """The same; an address that is in use is tried again for `patience_s` seconds."""
    deadline_s = asyncio.get_running_loop().time() + patience_s
    while True:
        try:
            return listening_sockets(host, port, count)
        except SetupError:
            if asyncio.get_running_loop().time() >= deadline_s:
                raise
        await asyncio.sleep(AGAIN_SECONDS)


def _listening(host: str, port: int, *, shared: bool) -> socket.socket:
    found = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda info: info[0] is not socket.AF_INET)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        sock.listen(LISTEN_BACKLOG_MAX)
    except OSError:
        sock.close()
        raise
    return sock
