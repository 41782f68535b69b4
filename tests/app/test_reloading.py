"""What a configuration that is read again may change: what is mirrored and what clients see, never what is compared with what."""

import msgspec
import pytest

from harness.app.reloading import RELOADABLE, change
from harness.core.canon import Rule, RuleAction
from harness.settings.schema import ProxySettings, Settings, StoreSettings, TargetSettings, TargetsSettings

PRESENT = Settings(targets=TargetsSettings(stable=TargetSettings(url="http://a")), proxy=ProxySettings(listen="127.0.0.1:80"))


def changed(**proxy: object) -> Settings:
    return msgspec.structs.replace(PRESENT, proxy=msgspec.structs.replace(PRESENT.proxy, **proxy))


def test_nothing_new_changes_nothing() -> None:
    found = change(PRESENT, PRESENT)
    assert (found.settings, found.changed, found.kept) == (PRESENT, (), ())


@pytest.mark.parametrize("name", RELOADABLE)
def test_what_may_change_is_taken_over(name: str) -> None:
    present = changed(tls_cert="old.pem", tls_key="old.key")
    new = msgspec.structs.replace(present, proxy=msgspec.structs.replace(present.proxy, **{name: "of another value"}))
    found = change(present, new)
    assert found.settings == new
    assert (found.changed, found.kept) == ((f"proxy.{name}",), ())


def test_what_belongs_to_the_run_stays_and_is_named() -> None:
    new = msgspec.structs.replace(
        changed(listen="127.0.0.1:81", workers=4, sample=5.0),
        rules=(Rule(action=RuleAction.IGNORE, path="$.a"),),
        store=StoreSettings(keep="all"),
        targets=TargetsSettings(stable=TargetSettings(url="http://b")),
    )
    found = change(PRESENT, new)
    assert found.settings == changed(sample=5.0)
    assert found.changed == ("proxy.sample",)
    assert found.kept == ("proxy.listen", "proxy.workers", "targets", "rules", "store")


@pytest.mark.parametrize("there", [True, False])
def test_an_open_port_does_not_begin_or_cease_to_speak_tls(there: bool) -> None:
    plain, tls = changed(sample=5.0), changed(sample=5.0, tls_cert="a.pem", tls_key="a.key")
    present, new = (tls, plain) if there else (plain, tls)
    found = change(present, new)
    assert found.settings == present
    assert (found.changed, found.kept) == ((), ("proxy.tls_cert", "proxy.tls_key"))


def test_every_reloadable_key_is_one() -> None:
    assert set(RELOADABLE) <= set(ProxySettings.__struct_fields__)


def test_another_label_of_the_build_is_taken_over() -> None:
    new = msgspec.structs.replace(PRESENT, build="b-2")
    found = change(PRESENT, new)
    assert (found.settings, found.changed, found.kept) == (new, ("build",), ())
