import msgspec
import pytest

from harness.evidence.policy import Policy


def test_a_policy_is_a_value() -> None:
    assert msgspec.convert({"name": "strict", "alpha": 0.001}, Policy) == Policy(name="strict", alpha=0.001)
    with pytest.raises(AttributeError):
        Policy().alpha = 0.5  # type: ignore[misc]  # frozen: that is the test


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="alhpa"):
        msgspec.convert({"alhpa": 0.1}, Policy)


def test_the_defaults_are_those_of_the_design() -> None:
    policy = Policy()
    assert (policy.alpha, policy.beta, policy.delta, policy.delta_status) == (0.01, 0.05, 0.01, 0.005)
    assert (policy.passes_min, policy.passes_max, policy.latency_requests_min) == (2, 20, 100)
