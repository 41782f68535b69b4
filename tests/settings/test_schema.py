"""The schema: closed, frozen, and fit for what reads it."""

import msgspec
import pytest
from msgspec import inspect

from harness.settings.keys import all_keys
from harness.settings.schema import Settings, TargetSettings
from harness.targets.spec import TargetSpec


def test_defaults_need_no_configuration() -> None:
    settings = msgspec.convert({}, Settings)
    assert settings == Settings()
    assert settings.targets.stable is None
    assert settings.replay.passes == "auto"
    assert settings.replay.allow_writes is settings.proxy.allow_writes is False
    assert settings.redact.enabled is True
    assert settings.proxy.admin is not None
    assert settings.proxy.admin.startswith("127.0.0.1:")


def test_every_section_is_frozen_and_closed() -> None:
    structs = [Settings, *(type(getattr(Settings(), name)) for name in Settings.__struct_fields__), TargetSettings]
    for struct in structs:
        if isinstance(struct, type) and issubclass(struct, msgspec.Struct):
            assert struct.__struct_config__.frozen
            assert struct.__struct_config__.forbid_unknown_fields


def test_every_key_says_what_it_means() -> None:
    assert [key.name for key in all_keys().values() if not key.facts.doc.endswith((".", "model."))] == []


def test_target_fields_are_those_of_the_spec() -> None:
    target = TargetSettings(command="serve {port}", env={"A": "b"}, ready="/up")
    fields = target.spec_fields()
    assert set(fields) == set(TargetSpec.__struct_fields__)
    spec = msgspec.convert(fields, TargetSpec)
    assert (spec.command, spec.env, spec.ready) == ("serve {port}", {"A": "b"}, "/up")


def test_target_defaults_are_those_of_the_spec() -> None:
    kind = inspect.type_info(TargetSpec)
    assert isinstance(kind, inspect.StructType)
    of_spec = {field.name: field.default for field in kind.fields if field.default is not msgspec.NODEFAULT}
    ours = TargetSettings().spec_fields()
    assert {name: ours[name] for name in of_spec} == of_spec


@pytest.mark.parametrize(("fields", "has"), [({}, False), ({"url": "http://a"}, True), ({"command": "a {port}"}, True)])
def test_has_address(fields: dict[str, str], has: bool) -> None:
    assert TargetSettings(**fields).has_address is has  # type: ignore[arg-type]  # of a case's choice
