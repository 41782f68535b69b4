"""The proxy's own connections, known by both their addresses: a firewall's rule that is too wide sends them back to it.

Served, such a connection to stable would ask stable through the proxy again, without an end; and such a connection to the
candidate would be answered by stable, so that a candidate that was never asked would look like stable's twin.
"""

import asyncio
from collections.abc import Callable

from harness.proxy.outbox import Outbox

_Ends = tuple[str, int, str, int]
"""Address and port at the near end, then at the far one. The near one alone is not enough: the system gives one port to connections
with several far ends, so a client of this machine may have the same."""
_SWEEP_EVERY = 64
"""After so many new connections those that are closed are forgotten."""


class OwnConnections(Outbox):
    """An Outbox that knows the connections it was asked for as long as they are open. Belongs to the running event loop."""

    def __init__(self) -> None:
        super().__init__()
        self._closing: dict[_Ends, Callable[[], bool]] = {}
        self._sweep_at = _SWEEP_EVERY

    def outlet(self, transport: asyncio.BaseTransport) -> asyncio.Transport:
        """As Outbox's."""
        ends = _ends(transport.get_extra_info("sockname"), transport.get_extra_info("peername"))
        if ends is not None:
            if len(self._closing) >= self._sweep_at:
                self._closing = {known: closing for known, closing in self._closing.items() if not closing()}
                self._sweep_at = len(self._closing) + _SWEEP_EVERY
            self._closing[ends] = transport.is_closing
        return super().outlet(transport)

    def __len__(self) -> int:
        """How many are known; some of them may be closed by now."""
        return len(self._closing)

    def has(self, peername: object, wanted: object) -> bool:
        """Whether a connection from the one address, meant for the other, is one of them. Addresses are as a socket tells them."""
        ends = _ends(peername, wanted)
        closing = None if ends is None else self._closing.get(ends)
        return closing is not None and not closing()


def _ends(near: object, far: object) -> _Ends | None:
    if isinstance(near, tuple) and isinstance(far, tuple) and len(near) > 1 and len(far) > 1:
        return _host(near[0]), int(near[1]), _host(far[0]), int(far[1])
    return None


def _host(told: object) -> str:
    """A listener for IPv6 tells of IPv4 clients in a form of its own."""
    return str(told).lower().removeprefix("::ffff:")
