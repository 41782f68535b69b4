"""Paths that begin with somebody's home folder."""

from pathlib import Path

import pytest

from harness.app.audit import audit_file
from harness.app.expecting import file_of
from harness.core.errors import UsageError
from harness.core.home import expanded
from harness.settings.git_ref import read_at_ref
from harness.settings.policies import load_policy
from harness.settings.schema import AuditSettings

NOBODY = "~no-such-user-here/x.yaml"


def test_a_home_folder_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    assert expanded("~/runs") == Path("/home/anna/runs")
    assert expanded(Path("runs/~x")) == Path("runs/~x")


@pytest.mark.parametrize(
    "read",
    [
        lambda _: expanded(NOBODY),
        lambda _: file_of(NOBODY, None),
        lambda _: audit_file(AuditSettings(file=NOBODY), Path()),
        lambda _: read_at_ref(Path(NOBODY), "HEAD"),
        lambda folder: load_policy(NOBODY, folder=folder),
    ],
    ids=["itself", "accepted changes", "audit", "ref", "policy"],
)
def test_a_user_who_does_not_exist_is_no_internal_error(read: object, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no home folder for ~no-such-user-here") as caught:
        read(tmp_path)  # type: ignore[operator]  # a reader
    assert caught.value.fix
