"""Which layer follows on a connection, byte by byte."""

import random
from typing import Any

import pytest
from mitmproxy.proxy import layer, layers

from harness.proxy.mitm_choice import Chooser
from harness.proxy.mitm_flow import ConnectLayer, FrontTls, Http1Layer
from harness.proxy.mitm_streams import FrontLayer
from tests.proxy.mitm_layers import Connection, a_context, data


@pytest.mark.parametrize(
    ("raw", "explicit", "expected", "needed"),
    [
        (b"GET / HTTP/1.1\r\n", False, Http1Layer, 1),
        (b"\x16\x03\x01\x02\x00", False, FrontTls, 1),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", False, FrontLayer, 24),
        (b"PRINT / HTTP/1.1\r\n", False, Http1Layer, 4),
        (b"PUT / HTTP/1.1\r\n", False, Http1Layer, 2),
        (b"CONNECT x:1 HTTP/1.1\r\n", True, ConnectLayer, 8),
        (b"CONNECT x:1 HTTP/1.1\r\n", False, Http1Layer, 1),
        (b"COPY / HTTP/1.1\r\n", True, Http1Layer, 3),
        (random.Random(1).randbytes(9), True, Http1Layer, 1),
    ],
)
def test_what_follows_is_told_by_the_first_bytes(raw: bytes, explicit: bool, expected: type, needed: int) -> None:
    owner = Connection()
    for count in range(len(raw) + 1):
        asked = layer.NextLayer(a_context())
        asked.events = [data(asked.context.client, raw[at : at + 1]) for at in range(count)]
        Chooser(lambda _: owner, explicit=explicit).next_layer(asked)
        assert type(asked.layer) is (expected if count >= needed else type(None)), count


def test_a_second_tunnel_within_a_tunnel_is_left_to_the_native_path() -> None:
    asked = layer.NextLayer(a_context())
    ConnectLayer(asked.context)
    asked.events = [data(asked.context.client, b"CONNECT x:1 HTTP/1.1\r\n")]
    Chooser(lambda _: Connection(), explicit=True).next_layer(asked)
    assert type(asked.layer) is Http1Layer


def test_the_owner_is_asked_for_by_the_client() -> None:
    asked = layer.NextLayer(a_context())
    asked.events = [data(asked.context.client, b"G")]
    seen: list[Any] = []

    def owner_of(client: Any) -> Connection:
        seen.append(client)
        return Connection()

    Chooser(owner_of, explicit=False).next_layer(asked)
    assert seen == [asked.context.client]
    assert not isinstance(asked.layer, layers.TCPLayer)


def test_a_connection_that_is_not_welcome_is_cut_at_its_first_byte() -> None:
    owner = Connection()
    owner.unwanted = True
    asked = layer.NextLayer(a_context())
    chooser = Chooser(lambda _: owner, explicit=False)
    chooser.next_layer(asked)
    assert owner.cuts == 0
    asked.events = [data(asked.context.client, b"G")]
    chooser.next_layer(asked)
    assert (owner.cuts, asked.layer) == (1, None)
