"""What targets are told of the client, as a function; on the wire it stands in the table of cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.values import Headers
from harness.proxy.forwarding import ForwardingOptions, announced
from harness.proxy.wire import RequestHead, request_head

ALL = ForwardingOptions(via=True, forwarded_for=True)
TOLD = {"via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}


def head(*headers: tuple[str, str], version: str = "1.1") -> RequestHead:
    return request_head("GET", "/", (("Host", "h"), *headers), version=version, keep_alive=True, upgrade=False)


def told(given_head: RequestHead, options: ForwardingOptions = ALL, peer: str = "2001:db8::1") -> Headers:
    return announced(given_head, options, peer=peer, scheme="https").headers


def test_nothing_asked_nothing_changed() -> None:
    before = head()
    assert announced(before, ForwardingOptions(), peer="10.0.0.1", scheme="http") is before


def test_all_of_it() -> None:
    assert told(head()) == (
        ("Host", "h"),
        ("Via", "1.1 shadowdiff"),
        ("X-Forwarded-For", "2001:db8::1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "h"),
    )


def test_a_client_on_a_unix_socket_has_no_address() -> None:
    assert told(head(("X-Forwarded-For", "10.0.0.9")), peer="")[1] == ("X-Forwarded-For", "10.0.0.9")


@pytest.mark.parametrize(("before", "after"), [("", "2001:db8::1"), ("a", "a, 2001:db8::1")])
def test_an_empty_list_gets_one_element(before: str, after: str) -> None:
    assert ("X-Forwarded-For", after) in told(head(("X-Forwarded-For", before)))


@given(st.lists(st.tuples(st.sampled_from(["A", "Via", "via", "X-Forwarded-For", "x-forwarded-PROTO", "X-Forwarded-Host"]), st.text("ab"))))
def test_all_else_stays_and_each_is_said_once(headers: list[tuple[str, str]]) -> None:
    got = told(head(*headers))
    assert [pair for pair in got if pair[0].lower() not in TOLD] == [("Host", "h"), *(pair for pair in headers if pair[0] == "A")]
    for name, value in (("x-forwarded-proto", "https"), ("x-forwarded-host", "h")):
        assert [known for key, known in got if key.lower() == name] == [value]
    for name in ("via", "x-forwarded-for"):
        before = [known for key, known in headers if key.lower() == name]
        after = [known for key, known in got if key.lower() == name]
        assert after[: len(before) - 1] == before[:-1]
        assert len(after) == max(1, len(before))
        assert after[-1].endswith(("1.1 shadowdiff", "2001:db8::1"))
