"""What the durability tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness import Zygote


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """A process that forks children for jobs."""
    with Zygote(tmp_path_factory.mktemp("zygote")) as started:
        yield started
