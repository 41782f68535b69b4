"""Keeps the traceback of an unexpected error in a file, so that people see one line and nothing is lost."""

import os
import platform
import tempfile
import traceback
from pathlib import Path
from typing import Final

from harness.version import package_version

_ENTRIES_MAX: Final = 100


def report_of(error: BaseException) -> str:
    """Version, platform and traceback. Local variables are left out: they may hold traffic."""
    head = f"shadowdiff {package_version()}, Python {platform.python_version()}, {platform.platform()}\n"
    return head + "".join(traceback.format_exception(error, limit=_ENTRIES_MAX))


def write_report(error: BaseException, folder: Path | None) -> Path | None:
    """Writes the report to a file that only this user can read, in `folder` or where temporary files go; None where that fails."""
    for place in (folder, None) if folder is not None else (None,):
        try:
            handle, name = tempfile.mkstemp(prefix="shadowdiff-error-", suffix=".txt", dir=place)
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(report_of(error))
        except OSError:
            continue
        return Path(name)
    return None
