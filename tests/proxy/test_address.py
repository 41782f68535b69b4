"""Target URLs: what they mean, and what is said of bad ones."""

import pytest

from harness.core.errors import UsageError
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


def test_tls_only_where_the_url_says_so() -> None:
    assert tls_context(parse_address("http://a")) is None
    context = tls_context(parse_address("https://a"))
    assert context is not None
    assert context.check_hostname
