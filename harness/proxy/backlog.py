"""The end of a listening socket: nobody whose connection the kernel has made is reset.

Closing a listening socket resets whoever waits in its queue. So first the kernel is told to begin no further connections,
then the queue is emptied by those who accept, and only then is it closed. It knows nothing of who accepts, or why.
"""

import asyncio
import ctypes
import select
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Any, Final

SETTLE_SECONDS = 0.1
"""How long connections that had begun may take until the kernel has made them: a packet there and back."""
_TURNS: Final = 3
"""Turns of the loop from the acceptance of a connection until its protocol hears of it."""
_TRIES_MAX: Final = 100
"""Where the kernel goes on to begin connections, the queue may never be found empty."""
_SO_ATTACH_FILTER: Final = 26
"""Of Linux; not in Python's socket module."""
_NO_SYN: Final = (
    (0x30, 0, 0, 13),  # load the byte of TCP's header with the flags
    (0x45, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # take it
)
"""A packet filter (classic BPF). A listening socket gets SYNs, and what completes the connections that they began."""


def begin_no_more(sock: socket.socket) -> bool:
    """Have the kernel begin no further connections on a listening TCP socket, for all processes that have it and for good.

    Who connects from then on hears nothing; a second later he tries again, and gets another listener or is refused. The
    queue can be accepted on. Returns whether it was done: only Linux can, and only with TCP.
    """
    if sys.platform != "linux" or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _NO_SYN))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(_NO_SYN), ctypes.addressof(code)))
    except OSError:  # a kernel built without it
        return False
    return True


def waiting(sock: socket.socket) -> bool:
    """Whether a connection waits to be accepted."""
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


async def emptied(sockets: Sequence[Any], seconds: float) -> None:
    """Let the running loop accept what waits on its listening sockets, and what comes within `seconds`. They can be closed then."""
    if seconds > 0:
        await asyncio.sleep(seconds)
    for _ in range(_TRIES_MAX):
        empty = not any(waiting(sock) for sock in sockets)
        # Also where nobody waits: an accepted connection whose protocol has not heard of it by the closing is lost.
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        if empty and not any(waiting(sock) for sock in sockets):
            return
