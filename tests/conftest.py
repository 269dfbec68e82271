"""Shared fixtures: a store in a temporary folder, real data, frames of every type."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import quantstore as qs

# Tests ask the same thing twice to see it read twice; those of the cache open their stores with it.
os.environ.setdefault("QUANTSTORE_CACHE", "off")

DATA = Path(os.environ.get("QUANTSTORE_DATA", Path(__file__).parents[2] / "shared" / "data"))


def skip_or_fail(reason: str) -> None:
    """Skip on a user's machine, fail where everything must be present."""
    if os.environ.get("QUANTSTORE_CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def store(tmp_path):
    """A new store on the embedded defaults."""
    with qs.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture(scope="session")
def real_data():
    """The folder of real market data."""
    if not DATA.is_dir():
        skip_or_fail(f"no real market data at {DATA}; set QUANTSTORE_DATA")
    return DATA
