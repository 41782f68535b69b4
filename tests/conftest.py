"""What all tests share: how Hypothesis behaves on machines that are slow and busy, names that stay the same, and the order."""

import os

import pytest
from hypothesis import HealthCheck, settings

# A deadline would test the machine, not the code. CI draws the same examples each time; elsewhere they are new ones.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are no good names: they may hold the time (gzip), and the processes that share the tests must agree on names."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that may take longest come first, so that no process is left with a long one when the others are done."""

    def may_take_s(item: pytest.Item) -> float:
        marker = item.get_closest_marker("timeout")
        return float(marker.args[0]) if marker is not None else 0.0

    items.sort(key=may_take_s, reverse=True)
