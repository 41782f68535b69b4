"""The table of keys."""

from msgspec import inspect

from harness.settings.forms import FORM_WORDS
from harness.settings.keys import ENV_PREFIX, all_keys, describe, env_name, target_paths


def test_environment_names_are_derived_and_tell_keys_apart() -> None:
    assert env_name(("replay", "concurrency")) == "SHADOWDIFF_REPLAY_CONCURRENCY"
    names = [key.env for key in all_keys().values()] + [env_name(path) for path in target_paths()]
    assert len(names) == len(set(names))
    assert all(name.startswith(ENV_PREFIX) for name in names)


def test_targets_are_walked_and_may_be_one_text() -> None:
    assert target_paths() == (("targets", "stable"), ("targets", "secondary"), ("targets", "candidate"))
    assert ("targets", "candidate", "ready_timeout_s") in all_keys()


def test_forms_are_known() -> None:
    assert {key.facts.form for key in all_keys().values()} - {""} <= set(FORM_WORDS)


def test_types_in_plain_words() -> None:
    def words(*path: str) -> str:
        key = all_keys()[path]
        return describe(key.type, key.facts.form)

    assert words("replay", "passes") == "auto, or a whole number from 1 to 20"
    assert words("replay", "speed") == "max, or a factor such as 0.5, 2 or 2x"
    assert words("replay", "timeout_s") == "seconds, or text such as 90s, 10m or 1h30m, above 0 up to 3600"
    assert words("proxy", "duration_s") == "seconds, or text such as 90s, 10m or 1h30m, above 0"
    assert words("proxy", "gate") == "true or false"
    assert words("build") == "text"
    assert words("rules") == "a list of rules"
    assert words("redact", "names") == "a list of text"
    assert words("replay", "hosts") == "a list, each a host"
    assert words("provenance") == "names and texts"
    assert describe(inspect.FloatType()) == "a number"
