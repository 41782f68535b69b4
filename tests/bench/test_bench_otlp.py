"""The benchmark of spans measures what it says: every span arrives, and each request has its four effects."""

import pytest

from tests.bench import bench_otlp


@pytest.mark.parametrize("form", ["protobuf", "json"])
def test_all_arrive(form: str) -> None:
    per_second, per_cpu, ratio = bench_otlp.measure(100, form)
    assert per_second > 0
    assert per_cpu > 0
    assert ratio > 0


def test_the_exports_are_as_an_sdk_sends_them() -> None:
    bodies = bench_otlp.exports(200, "protobuf")
    assert len(bodies) == -(-200 * 8 // bench_otlp.BATCH)
    assert bodies == bench_otlp.exports(200, "protobuf")
