"""Every way to say it, and everything that is not one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from harness.core.errors import UsageError
from harness.counters import TargetBreakers
from harness.web.switch import MirrorAnswer, asked_percent, mirror_answer


@pytest.mark.parametrize(
    ("query", "body", "percent"),
    [
        ({}, b'{"mirror": "on"}', 100.0),
        ({}, b'{"mirror": "off"}', 0.0),
        ({}, b'{"percent": 0}', 0.0),
        ({}, b'{"percent": 33.3}', 33.3),
        ({}, b'{"percent": "7"}', 7.0),
        ({"percent": "100"}, b"", 100.0),
        ({"mirror": "on"}, b"", 100.0),
    ],
)
def test_reads(query: dict[str, str], body: bytes, percent: float) -> None:
    assert asked_percent(query, body) == percent


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ({}, b""),
        ({}, b"off"),
        ({}, b"[]"),
        ({}, b"null"),
        ({}, b'{"mirror": "OFF"}'),
        ({}, b'{"mirror": 0}'),
        ({}, b'{"mirror": ["off"]}'),
        ({}, b'{"mirror": true}'),
        ({}, b'{"percent": true}'),
        ({}, b'{"percent": null}'),
        ({}, b'{"percent": NaN}'),
        ({}, b'{"percent": 100.1}'),
        ({}, b'{"percent": -1}'),
        ({}, b'{"percent": 1e999}'),
        ({}, b'{"percent": 5, "mirror": "on"}'),
        ({}, b'{"percents": 5}'),
        ({"mirror": "on"}, b'{"mirror": "on"}'),
        ({"mirror": "on", "percent": "1"}, b""),
        ({"percent": "nan"}, b""),
        ({"percent": "many"}, b""),
        ({"percent": ""}, b""),
    ],
)
def test_refuses(query: dict[str, str], body: bytes) -> None:
    with pytest.raises(UsageError) as refused:
        asked_percent(query, body)
    assert refused.value.fix


def test_a_name_that_is_repeated_is_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        asked_percent(MultiDict([("percent", "0"), ("percent", "100")]), b"")


@given(st.dictionaries(st.sampled_from(["mirror", "percent", "x"]), st.text(max_size=5), max_size=2), st.binary(max_size=40))
def test_any_request_is_read_or_refused(query: dict[str, str], body: bytes) -> None:
    try:
        percent = asked_percent(query, body)
    except UsageError:
        return
    assert 0.0 <= percent <= 100.0


def test_the_answer_says_off_only_where_nothing_is_mirrored() -> None:
    assert mirror_answer(0.0, {}) == MirrorAnswer(mirror="off", percent=0.0, breakers={})
    breakers = {"candidate": TargetBreakers(open=1, opened=4)}
    assert mirror_answer(0.5, breakers) == MirrorAnswer(mirror="on", percent=0.5, breakers=breakers)
