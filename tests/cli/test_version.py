"""The version."""

from importlib import metadata

import pytest

from harness.version import package_version


def test_it_is_the_installed_one() -> None:
    assert package_version() == metadata.version("shadowdiff")


def test_without_installation_it_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert package_version() == "unknown"
