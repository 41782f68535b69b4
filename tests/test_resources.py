from pathlib import Path

import pytest

from harness.core.errors import SetupError
from harness.resources import config_path, read_config


def test_files_of_the_checkout_are_found() -> None:
    assert config_path("schemas/report-1.json").is_file()
    assert read_config("prometheus/alerts.yml").startswith(b"#")


def test_the_packaged_folder_goes_first_and_is_not_mixed(tmp_path: Path) -> None:
    packaged, checkout = tmp_path / "_config", tmp_path / "config"
    for root in (packaged, checkout):
        root.mkdir()
        (root / "a.txt").write_text(root.name)
    (checkout / "only.txt").write_text("x")
    assert read_config("a.txt", roots=(packaged, checkout)) == b"_config"
    with pytest.raises(SetupError, match="missing"):
        config_path("only.txt", roots=(packaged, checkout))
    assert read_config("only.txt", roots=(tmp_path / "none", checkout)) == b"x"


@pytest.mark.parametrize("name", ["../pyproject.toml", "/etc/passwd", "", "a/../../b"])
def test_names_stay_inside(name: str) -> None:
    with pytest.raises(SetupError, match="not a name inside"):
        config_path(name)


def test_no_data_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="configuration data is missing"):
        config_path("a", roots=(tmp_path / "x", tmp_path / "y"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("x")

    def refuse(_path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(SetupError, match="cannot be read: Permission denied"):
        read_config("a", roots=(tmp_path,))
