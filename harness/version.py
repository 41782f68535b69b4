"""The version of this installation."""

from importlib import metadata


def package_version() -> str:
    """As installed; `unknown` where the package is used without being installed."""
    try:
        return metadata.version("shadowdiff")
    except metadata.PackageNotFoundError:
        return "unknown"
