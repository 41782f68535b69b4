"""Target URLs: what they mean, and what is said of bad ones."""

from pathlib import Path

import pytest

from harness.core.errors import SetupError, UsageError
from harness.proxy.address import UpstreamAddress, parse_address, tls_context


@pytest.mark.parametrize(
    ("url", "address", "authority"),
    [
        ("http://a", UpstreamAddress(host="a", port=80), "a"),
        ("http://a:8080/base/", UpstreamAddress(host="a", port=8080, base_path="/base"), "a:8080"),
        ("https://a.example", UpstreamAddress(host="a.example", port=443, tls=True), "a.example"),
        ("https://a:80", UpstreamAddress(host="a", port=80, tls=True), "a:80"),
        ("http://[::1]:81", UpstreamAddress(host="::1", port=81), "[::1]:81"),
        ("unix:/run/app.sock", UpstreamAddress(unix_path="/run/app.sock"), "localhost"),
    ],
)
def test_urls_and_back(url: str, address: UpstreamAddress, authority: str) -> None:
    assert parse_address(url) == address
    assert address.authority == authority
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a:80",
        "ftp://a",
        "http://",
        "http://a:x",
        "http://a:99999",
        "http://a?b",
        "http://a#b",
        "http://u:p@a",
        "unix:rel",
        "http://[::1",
        "http://a/\u00e9",
    ],
)
def test_bad_urls_are_usage_errors_with_a_hint(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(url)
    assert caught.value.where == url
    assert caught.value.fix


def test_a_client_certificate_and_its_key() -> None:
    address = parse_address("https://a", server_name="b", client_cert="c.pem", client_key="k.pem")
    assert (address.server_name, address.client_cert, address.client_key) == ("b", "c.pem", "k.pem")
    with pytest.raises(UsageError, match=r"k\.pem: a client key needs its certificate"):
        parse_address("https://a", client_key="k.pem")


def test_a_client_certificate_that_cannot_be_used_is_a_set_up_error_that_names_it(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    for path, message in ((nothing, "not a usable certificate"), (tmp_path / "missing.pem", "no such certificate file")):
        with pytest.raises(SetupError, match=message) as caught:
            tls_context(parse_address("https://a", client_cert=str(path)))
        assert caught.value.where == str(path)


def test_tls_only_where_the_url_says_so() -> None:
    assert tls_context(parse_address("http://a")) is None
    context = tls_context(parse_address("https://a"))
    assert context is not None
    assert context.check_hostname
