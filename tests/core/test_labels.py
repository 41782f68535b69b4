"""The closed sets of labels: complete tables, one spelling, and kinds that mirror each other."""

from enum import StrEnum

import pytest

from harness.core import labels
from harness.core.labels import CHANNEL_DEPTH, CHANNEL_OF, MIRRORED_KIND, NEXT_STEP, Channel, Kind, ReasonCode, Role

ENUMS = [kind for kind in vars(labels).values() if isinstance(kind, type) and issubclass(kind, StrEnum) and kind is not StrEnum]


@pytest.mark.parametrize("kind", ENUMS, ids=lambda kind: kind.__name__)
def test_a_label_is_written_as_its_name(kind: type[StrEnum]) -> None:
    assert len(kind) > 1
    for member in kind:
        assert member.value == member.name.lower()
        assert str(member) == member.value


def test_each_reason_has_a_next_step_of_its_own() -> None:
    assert set(NEXT_STEP) == set(ReasonCode)
    assert len(set(NEXT_STEP.values())) == len(ReasonCode)
    assert all(step.endswith(".") and step[0].isupper() for step in NEXT_STEP.values())


def test_each_kind_of_difference_is_seen_on_one_channel() -> None:
    assert set(CHANNEL_OF) == set(Kind)
    assert set(CHANNEL_OF.values()) == set(Channel)
    assert sorted(CHANNEL_DEPTH.values()) == list(range(len(Channel)))
    assert CHANNEL_DEPTH[Channel.KIND] == 0, "coarsest"


def test_swapping_the_sides_twice_changes_nothing() -> None:
    for kind, mirrored in MIRRORED_KIND.items():
        assert MIRRORED_KIND[mirrored] is kind
        assert CHANNEL_OF[mirrored] is CHANNEL_OF[kind]


def test_stable_comes_first() -> None:
    assert list(Role) == [Role.STABLE, Role.SECONDARY, Role.CANDIDATE]
