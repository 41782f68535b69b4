"""The upstream pools of a run: one for each role, opened anew when the targets have new addresses."""

import asyncio
from typing import Final

from harness.app import parts
from harness.app.context import Context
from harness.core.labels import ErrorKind, Role
from harness.core.values import Exchange, Request, TransportError
from harness.proxy.upstream import UpstreamPool
from harness.proxy.wire import UnsendableRequestError

CONNECT_TIMEOUT_S: Final = 5.0


class Pools:
    """Sends a request to the target of a role. Never raises for what a target does."""

    def __init__(self, context: Context, *, shadow_timeout_s: float) -> None:
        self._context = context
        self._timeout_s = shadow_timeout_s
        self._pools: dict[Role, UpstreamPool] = {}

    def open(self, addresses: dict[Role, str]) -> None:
        """Send to these addresses from now on; what was open before must have been closed."""
        assert not self._pools, "a pool that is left open is one that nobody closes"
        self._pools = {role: self.pool(role, url) for role, url in addresses.items()}

    def pool(self, role: Role, url: str) -> UpstreamPool:
        """A pool for one target, with the target's options."""
        address, host = parts.address_of(url, parts.target_settings(self._context.settings, role))
        return UpstreamPool(
            address,
            clock=self._context.clock,
            host=host,
            connect_timeout_s=min(CONNECT_TIMEOUT_S, self._timeout_s),
            exchange_timeout_s=self._timeout_s,
        )

    async def send(self, role: Role, request: Request) -> Exchange:
        """See `replay.runner.Send`.

        The capture's own requests are known to be writable; what is not is so through an identifier that the target
        itself gave, and that is an outcome of the target like any other.
        """
        try:
            return await self._pools[role].send(request)
        except UnsendableRequestError as error:
            now_ns = self._context.clock.monotonic_ns()
            return Exchange(request=request, error=TransportError(ErrorKind.GARBAGE, error.what), started_ns=now_ns, ended_ns=now_ns)

    async def close(self) -> None:
        """Close all connections."""
        pools, self._pools = self._pools.values(), {}
        await asyncio.gather(*(pool.close() for pool in pools))
