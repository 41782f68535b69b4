"""The options of the egress proxy: read, checked, all problems at once."""

from typing import Any

import pytest

from harness.core.errors import UsageError
from harness.core.labels import Role
from harness.effects.egress.options import Mode, Unmatched, address_of, listen_address, read_options


def test_without_options_everything_is_observed_on_loopback() -> None:
    options = read_options({})
    assert options.mode is Mode.OBSERVE
    assert options.verify_upstream
    assert listen_address(options, Role.CANDIDATE) == ("127.0.0.1", 0)


def test_all_keys_are_read() -> None:
    options = read_options(
        {
            "mode": "record",
            "tape": "calls.tape",
            "unmatched": "stub",
            "hosts": {"API.test": {"unmatched": "pass", "upstream": "[::1]:8080", "ignore": True, "stub_headers": {"a": "b"}}},
            "headers": ["X-Tenant", "x-tenant"],
            "listen": {"candidate": "0.0.0.0:9000"},
            "faults": [{"host": "api.test", "error": 503}],
            "verify_upstream": False,
        }
    )
    assert options.mode is Mode.RECORD
    assert options.headers == ("x-tenant",)
    assert options.host("api.test", 80).unmatched is Unmatched.PASS
    assert listen_address(options, Role.CANDIDATE) == ("0.0.0.0", 9000)
    assert options.faults[0].error == 503


def test_the_most_exact_host_holds() -> None:
    hosts = {
        "*": {"stub_body": "any"},
        "*.test": {"stub_body": "pattern"},
        "a.test": {"stub_body": "host"},
        "a.test:81": {"stub_body": "port"},
    }
    options = read_options({"hosts": dict(reversed(hosts.items()))})
    assert [options.host(*where).stub_body for where in (("a.test", 81), ("a.test", 80), ("b.test", 80), ("c.org", 1))] == [
        "port",
        "host",
        "pattern",
        "any",
    ]
    assert read_options({}).host("a.test", 80).stub_status == 200


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("a.test:80", ("a.test", 80)),
        ("[::1]:0", ("::1", 0)),
        ("a.test", None),
        (":80", None),
        ("::1:80", None),
        ("a:b", None),
        ("a:70000", None),
        ("a:-1", None),
        ("a:²", None),
        ("", None),
    ],
)
def test_addresses(text: str, address: tuple[str, int] | None) -> None:
    assert address_of(text) == address


@pytest.mark.parametrize(
    ("given", "where", "said"),
    [
        ({"mode": "observed"}, "effects.http.mode", "observed"),
        ({"mode": "tape"}, "effects.http.tape", "needs the path of a tape file"),
        ({"mode": "record"}, "effects.http.tape", "needs the path of a tape file"),
        ({"hdrs": []}, "effects.http.hdrs", "unknown key"),
        ({"unmatch": "fail"}, "effects.http.unmatch", 'did you mean "unmatched"'),
        ({"headers": ["Authorization"]}, "effects.http.headers", "authorization never goes into a document"),
        ({"headers": ["traceparent"]}, "effects.http.headers", "traceparent never"),
        ({"listen": {"candidate": "nowhere"}}, "effects.http.listen", "'nowhere' is not HOST:PORT"),
        ({"listen": {"shadow": "a:1"}}, "effects.http.listen", "shadow"),
        ({"listen": {"stable": "a:1", "candidate": "a:1"}}, "effects.http.listen", "an address of its own"),
        ({"hosts": {"a": {"upstream": "b"}}}, "effects.http.hosts", "upstream 'b' is not HOST:PORT"),
        ({"hosts": {"a": {"stub_status": 99}}}, "effects.http.hosts", "stub_status"),
        ({"hosts": {"a": {"stub": 1}}}, "effects.http.hosts", "stub"),
        ({"faults": [{"share": 2}]}, "effects.http.faults[0]", "share"),
    ],
)
def test_what_is_wrong_is_told_under_its_key(given: dict[str, Any], where: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_options(given)
    assert where in str(raised.value)
    assert said in str(raised.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(UsageError) as raised:
        read_options({"mode": "x", "extra": 1, "headers": ["cookie"], "tape": 5})
    for key in ("mode", "extra", "headers", "tape"):
        assert f"effects.http.{key}: " in str(raised.value)
