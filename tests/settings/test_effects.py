"""The sections of collectors are their options: same keys, same defaults, and what the one takes the other takes."""

from typing import Any

import msgspec
import pytest

from harness.effects.egress import options as egress
from harness.effects.egress.faults import EgressFault
from harness.effects.otlp import options as otlp
from harness.effects.postgres import options as postgres
from harness.effects.redis import collector as redis
from harness.effects.sqlite import collector as sqlite
from harness.settings.effects import EffectsSettings, EgressFaultSettings, EgressHostSettings

PAIRS = [
    (EffectsSettings().http, egress.Options()),
    (EffectsSettings().otlp, otlp.Options()),
    (EffectsSettings().postgres, postgres.Options()),
    (EffectsSettings().redis, redis.Options()),
    (EffectsSettings().sqlite, sqlite.Options()),
    (EgressHostSettings(), egress.HostOptions()),
    (EgressFaultSettings(), EgressFault()),
]


@pytest.mark.parametrize(("section", "options"), PAIRS, ids=lambda one: type(one).__name__)
def test_a_section_has_the_keys_and_defaults_of_the_options(section: msgspec.Struct, options: msgspec.Struct) -> None:
    def said(one: msgspec.Struct) -> dict[str, Any]:
        return {name: value or None for name, value in msgspec.to_builtins(one).items()}

    assert said(section) == said(options)
