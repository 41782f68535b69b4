"""What a command cannot do without."""

import pytest

from harness.settings.need import check_needed
from harness.settings.problems import ConfigError
from harness.settings.schema import ProxySettings, Settings, TargetSettings, TargetsSettings

OPTIONS = {"targets.stable": "--stable", "targets.candidate": "--candidate", "proxy.listen": "--listen"}


def test_everything_missing_is_named_with_the_ways_to_give_it() -> None:
    with pytest.raises(ConfigError) as caught:
        check_needed(Settings(), ("targets.stable", "proxy.listen", "build"), command="proxy", options=OPTIONS)
    assert [problem.text() for problem in caught.value.problems] == [
        "targets.stable: is needed by `proxy` and was not given; give --stable, SHADOWDIFF_TARGETS_STABLE or the key targets.stable",
        "proxy.listen: is needed by `proxy` and was not given; give --listen, SHADOWDIFF_PROXY_LISTEN or the key proxy.listen",
        "build: is needed by `proxy` and was not given; give SHADOWDIFF_BUILD or the key build",
    ]


def test_a_target_without_an_address_is_missing_even_where_it_is_optional() -> None:
    settings = Settings(
        targets=TargetsSettings(stable=TargetSettings(url="http://a"), secondary=TargetSettings(ready="/up")),
        proxy=ProxySettings(listen="127.0.0.1:0"),
    )
    with pytest.raises(ConfigError, match=r"targets\.secondary: has neither url nor command"):
        check_needed(settings, ("targets.stable", "proxy.listen"), command="proxy", options=OPTIONS)


def test_nothing_missing_is_silence() -> None:
    settings = Settings(targets=TargetsSettings(stable=TargetSettings(url="http://a")))
    check_needed(settings, ("targets.stable",), command="gate", options=OPTIONS)
