"""The only place that resolves files of config/: packaged beside the code in a wheel, else the checkout's own folder."""

from pathlib import Path, PurePosixPath
from typing import Final

from harness.core.errors import SetupError

PACKAGED: Final = Path(__file__).parent / "_config"
CHECKOUT: Final = Path(__file__).parent.parent / "config"


def config_path(name: str, *, roots: tuple[Path, ...] = (PACKAGED, CHECKOUT)) -> Path:
    """The file `name` (a relative path with `/`) of config/. Raises SetupError where there is none.

    `roots` are looked at in order; the first folder that exists is the configuration's, the others do not count,
    so that a file missing from a wheel is not silently taken from somewhere else.
    """
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise SetupError(f"not a name inside config/: {name!r}", fix="give a relative path such as policies/default.yaml")
    for root in roots:
        if root.is_dir():
            path = root.joinpath(*parts.parts)
            if path.is_file():
                return path
            raise SetupError("a file of shadowdiff's configuration data is missing", where=str(path), fix="install shadowdiff again")
    looked = " and ".join(str(root) for root in roots)
    raise SetupError("shadowdiff's configuration data is missing", where=looked, fix="install shadowdiff again")


def read_config(name: str, *, roots: tuple[Path, ...] = (PACKAGED, CHECKOUT)) -> bytes:
    """The content of a file of config/. Raises SetupError where it is missing or cannot be read."""
    path = config_path(name, roots=roots)
    try:
        return path.read_bytes()
    except OSError as error:
        raise SetupError(f"cannot be read: {error.strerror}", where=str(path), fix="check the installation's permissions") from error
