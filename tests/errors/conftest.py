"""Fixtures that need an administrator: a small disk, and a process of another user."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import SmallDisk
from others import OtherUser


def skip_or_fail(reason: str) -> None:
    """Skip on a user's machine, fail where everything must be present."""
    if os.environ.get("QUANTSTORE_CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A file system of a few megabytes in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        skip_or_fail("there is no mount command")
    if done.returncode:
        skip_or_fail(f"mounting is not permitted: {done.stderr.strip()}")
    yield SmallDisk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def other_user() -> Iterator[OtherUser]:
    """A process that runs as nobody."""
    if os.geteuid() != 0:
        skip_or_fail("only an administrator can act as another user")
    with OtherUser() as started:
        yield started
