"""A small disk that can be filled and emptied."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path


class SmallDisk:
    """A mounted file system with a ballast that takes all room but a given rest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    @contextmanager
    def full(self, rest: int = 0):
        """Leave `rest` bytes free inside the block."""
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            free = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize
            os.posix_fallocate(descriptor, 0, max(free - rest, 1))
        finally:
            os.close(descriptor)
        try:
            yield
        finally:
            self._ballast.unlink()

    def rows(self):
        """Every file of rows on it, temporary ones included."""
        files = (
            path
            for path in self.folder.rglob("*")
            if path.is_file() and path.parent.name not in ("s", "catalog.journal")
        )
        return sorted(str(path.relative_to(self.folder)) for path in files if path != self._ballast)

    def remount(self, *options: str) -> None:
        """Mount it anew with other options."""
        subprocess.run(["mount", "-o", ",".join(["remount", *options]), str(self.folder)], check=True)
