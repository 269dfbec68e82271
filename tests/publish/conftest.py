"""What the tests of publishing share: other engines, where they can be had."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from lake import Engines, install

collect_ignore_glob = [] if find_spec("pyiceberg") else ["test_*.py"]


@pytest.fixture(scope="session")
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """DuckDB 1.5.5 with its Iceberg extension, and Daft.

    They cannot live beside the versions that the store uses, so they are installed into a folder of their own, once:
    `$QUANTSTORE_ENGINES`, or one that pytest keeps.
    """
    given = os.environ.get("QUANTSTORE_ENGINES")
    folder = Path(given) if given else Path(request.config.cache.mkdir("quantstore-engines")) / "packages"
    if not (folder / "daft").is_dir():
        fresh = tmp_path_factory.mktemp("engines") / "packages"
        problem = install(fresh)
        if problem is not None:
            reason = f"other engines cannot be installed: {problem}"
            pytest.fail(reason) if os.environ.get("QUANTSTORE_CI") else pytest.skip(reason)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(fresh, folder)
    with Engines(folder, tmp_path_factory.mktemp("answers")) as started:
        yield started
