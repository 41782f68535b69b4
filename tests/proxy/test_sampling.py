"""Samples: by chance, and by a key that keeps together what belongs together."""

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UsageError
from harness.core.values import Request
from harness.proxy.sampling import SampleKey, Sampler, parse_sample_key
from harness.settings.forms import FORMS, FormError


def request(target: str = "/", *headers: tuple[str, str]) -> Request:
    return Request(method="GET", target=target, headers=headers)


def sampler(key: str = "", secret: bytes = b"s", seed: int = 1) -> Sampler:
    return Sampler(parse_sample_key(key) if key else None, rng=random.Random(seed), secret=secret)


@pytest.mark.parametrize(
    ("key", "given_", "value"),
    [
        ("header:X-Tenant", request("/", ("x-tenant", "acme"), ("X-Tenant", "other")), "acme"),
        ("header:X-Tenant", request("/"), ""),
        ("cookie:sid", request("/", ("Cookie", "a=1; sid=x=y; sid=2")), "x=y"),
        ("cookie:sid", request("/", ("Cookie", "SID=1"), ("cookie", " sid = 5 ")), "5"),
        ("cookie:sid", request("/", ("Cookie", "side=1; nosid=2")), ""),
        ("path:0", request("/acme/orders?x=1"), "acme"),
        ("path:2", request("http://h/a//b;v=1/c%20d?x#y"), "c d"),
        ("path:2", request("/a/b"), ""),
        ("path:0", request("*"), ""),
    ],
)
def test_where_the_value_stands(key: str, given_: Request, value: str) -> None:
    assert parse_sample_key(key).value_of(given_) == value


@pytest.mark.parametrize("text", ["", "x", "header:", "cookie:", "path:", "path:x", "path:²", "query:a"])
def test_an_unknown_key_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="sample key"):
        parse_sample_key(text)


@given(st.one_of(st.text(max_size=12), st.builds("{}:{}".format, st.sampled_from(["header", "cookie", "path"]), st.text(max_size=4))))
def test_what_the_configuration_accepts_can_be_read(text: str) -> None:
    try:
        accepted = FORMS["sample_key"](text)
    except FormError:
        return
    assert isinstance(parse_sample_key(str(accepted)), SampleKey)


@given(st.text(min_size=1, max_size=20), st.floats(0, 1), st.floats(0, 1), st.binary(max_size=80))
def test_a_key_is_always_in_or_always_out_and_a_smaller_share_is_a_part(value: str, one: float, other: float, secret: bytes) -> None:
    asked = request("/", ("X-Tenant", value))
    less, more = sorted((one, other))
    here, elsewhere = sampler("header:X-Tenant", secret, seed=1), sampler("header:X-Tenant", secret, seed=2)
    assert len({here.takes(asked, less) for _ in range(3)} | {elsewhere.takes(asked, less)}) == 1
    assert here.takes(asked, more) or not here.takes(asked, less)
    assert here.takes(asked, 1.0)
    assert not here.takes(asked, 0.0)


@pytest.mark.parametrize("share", [0.01, 0.25, 0.9])
def test_the_share_is_kept_by_chance_and_by_key(share: float) -> None:
    by_chance, by_key = sampler(), sampler("header:k")
    count = 20_000
    chosen = sum(by_chance.takes(request(), share) for _ in range(count))
    keyed = sum(by_key.takes(request("/", ("k", str(i))), share) for i in range(count))
    without = sum(by_key.takes(request(), share) for _ in range(count))
    five_sigma = 5 * (count * share * (1 - share)) ** 0.5
    assert all(abs(found - count * share) < five_sigma for found in (chosen, keyed, without))


def test_another_secret_chooses_others() -> None:
    values = [request("/", ("k", letter)) for letter in string.ascii_letters]
    assert len({tuple(sampler("header:k", secret).takes(value, 0.5) for value in values) for secret in (b"1", b"2", b"3")}) == 3


def test_steady_patterns_of_traffic_are_sampled_alike() -> None:
    by_chance = sampler()
    taken = [index % 2 for index in range(10_000) if by_chance.takes(request(), 0.5)]
    assert abs(sum(taken) / len(taken) - 0.5) < 0.05, "every second request would be of one kind only"
