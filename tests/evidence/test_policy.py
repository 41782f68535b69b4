import msgspec
import pytest

from harness.evidence.policy import EffectRule, Policy, content_of


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


def test_rules_on_effects_are_values_too() -> None:
    read = msgspec.convert({"effects": [{"effect": "SET *", "at_most": 0}], "require_effects": ["redis"]}, Policy)
    assert read.effects == (EffectRule(effect="SET *", endpoint="*", at_most=0),)
    assert read.require_effects == ("redis",)
    assert msgspec.json.decode(msgspec.json.encode(read), type=Policy) == read
    with pytest.raises(msgspec.ValidationError, match="effect"):
        msgspec.convert({"effects": [{"at_most": 0}]}, Policy)


def test_a_policy_of_before_there_were_effects_is_read() -> None:
    assert msgspec.json.decode(b'{"name":"default","preset":"capture","alpha":0.01}', type=Policy) == Policy()


def test_fields_that_came_later_are_content_only_where_they_are_set() -> None:
    assert list(content_of(Policy())) == list(Policy.__struct_fields__[: Policy.__struct_fields__.index("effects")])
    assert content_of(Policy(alpha=0.5))["alpha"] == 0.5
    rule = EffectRule(effect="x", at_most=0)
    later = Policy(effects=(rule,), require_effects=("http",), effects_seen_share_min=0.9)
    assert {name: content_of(later)[name] for name in ("effects", "require_effects", "effects_seen_share_min")} == {
        "effects": (rule,),
        "require_effects": ("http",),
        "effects_seen_share_min": 0.9,
    }
