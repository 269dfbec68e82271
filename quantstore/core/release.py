"""Which release of quantstore this is."""

from __future__ import annotations


def release() -> str:
    """Return the version of the installed package."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and rarely asked for

    try:
        return version("quantstore")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"
