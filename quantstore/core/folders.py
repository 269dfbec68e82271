"""Directories that are durable once they are made."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def missing_folders(folder: Path) -> list[Path]:
    """Return the directories to make, outermost first.

    Raises:
        NotADirectoryError: Something else stands in the place of one of them.
    """
    missing = []
    while not folder.is_dir():
        if os.path.lexists(folder) and not folder.is_dir():  # another process may have made it just now
            raise NotADirectoryError(20, "it is a file", str(folder))
        missing.append(folder)
        folder = folder.parent
    return missing[::-1]


def make_folder(folder: Path) -> None:
    """Make a directory and what is missing above it; the new entries are durable on return."""
    for new in missing_folders(folder):
        new.mkdir(exist_ok=True)  # another process may have made it just now
        with suppress(PermissionError):  # a parent that may be written but not listed
            sync_folder(new.parent)


def sync_folder(folder: Path) -> None:
    """Make the entries of a directory durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
