"""What all tests share: how Hypothesis behaves on machines that are slow and busy, and names that stay the same."""

import os

from hypothesis import HealthCheck, settings

# A deadline would test the machine, not the code. CI draws the same examples each time; elsewhere they are new ones.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are no good names: they may hold the time (gzip), and the processes that share the tests must agree on names."""
    return argname if isinstance(val, bytes) else None
