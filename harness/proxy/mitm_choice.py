"""What follows on a client's connection, told by its first bytes: TLS, HTTP/2, HTTP/3, a tunnel, or HTTP/1.1."""

from collections.abc import Callable
from typing import Any

from harness.proxy.mitm_flow import ConnectLayer, FrontTls, Http1Layer, Owner
from harness.proxy.mitm_streams import FrontLayer, FrontQuic

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Chooser:
    """The addon that tells mitmproxy what follows on a connection."""

    def __init__(self, owner_of: Callable[[Any], Owner], *, explicit: bool) -> None:
        """`explicit`: clients know of the proxy and may ask for a tunnel."""
        self._owner_of = owner_of
        self._explicit = explicit

    def next_layer(self, next_layer: Any) -> None:
        """mitmproxy's hook: called with all the bytes so far, again and again until a layer is chosen."""
        context, data = next_layer.context, next_layer.data_client()
        owner = self._owner_of(context.client)
        if data and owner.unwelcome():
            owner.cut()
        elif context.client.transport_protocol == "udp":
            next_layer.layer = FrontQuic(context, owner)
        elif context.client.alpn == b"h2" and isinstance(context.layers[-1], FrontTls):
            next_layer.layer = FrontLayer(context, owner)
        elif data[:1] == b"\x16":
            next_layer.layer = FrontTls(context)
        elif _begins(data, _PREFACE):
            if len(data) >= len(_PREFACE):
                context.client.alpn = b"h2"
                next_layer.layer = FrontLayer(context, owner)
        elif self._explicit and _begins(data, b"CONNECT ") and not any(isinstance(outer, ConnectLayer) for outer in context.layers):
            if len(data) >= len(b"CONNECT "):
                next_layer.layer = ConnectLayer(context)
        elif data:
            next_layer.layer = Http1Layer(context, owner)


def _begins(data: bytes, start: bytes) -> bool:
    return bool(data) and (data.startswith(start) or start.startswith(data))
