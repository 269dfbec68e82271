"""A plug-in of pytest that puts the defect named by `QUANTSTORE_BROKEN` into the run."""

from __future__ import annotations

import os

import defects


def pytest_configure() -> None:
    """Break what is to be broken before any test is imported."""
    name = os.environ.get("QUANTSTORE_BROKEN")
    if name:
        defects.load()[name].apply()
