"""A folder beside the catalog for bytes that belong to nobody or are damaged: moved there whole, never deleted."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from quantstore.core.folders import make_folder, sync_folder
from quantstore.core.process import author

FOLDER = "lost+found"
RECORD = "repairs.jsonl"
_PART = ".part"


class LostAndFound:
    """Takes files in, and keeps a record of every repair.

    Args:
        catalog: The catalog's file; the folder lies beside it.
    """

    def __init__(self, catalog: Path) -> None:
        path = catalog.absolute()
        self.folder = path.with_name(FOLDER if path.name == "catalog.sqlite" else f"{path.stem}-{FOLDER}")

    def take(self, path: Path, name: str, suffix: str = "") -> Path | None:
        """Move a file here, durably, and return where it is; None where it is gone already.

        Args:
            path: The file.
            name: Its name here, with folders.
            suffix: Says what is wrong with it; a number follows where the name is taken.
        """
        for number in range(1, 10_000):
            wanted = self.folder / f"{name}{suffix}{f'-{number}' if suffix or number > 1 else ''}"
            if not os.path.lexists(wanted):
                break
        try:
            relocate(path, wanted)
        except FileNotFoundError:
            return None
        return wanted

    def files(self) -> Iterator[Path]:
        """Yield what was taken in."""
        for folder, _, names in os.walk(self.folder):
            for name in sorted(names):
                if name != RECORD and not name.endswith(_PART):
                    yield Path(folder) / name

    def note(self, **event: Any) -> None:
        """Add a line to the record of repairs, durably."""
        make_folder(self.folder)
        line = {"at_ns": time.time_ns(), "author": author(), **event}
        with (self.folder / RECORD).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=repr) + "\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.folder)

    def noted(self) -> list[dict[str, Any]]:
        """Return the record of repairs, oldest first; a line that a crash cut short is left out."""
        found = []
        with suppress(FileNotFoundError), (self.folder / RECORD).open(encoding="utf-8", errors="replace") as file:
            for line in file:
                with suppress(ValueError):
                    found.append(json.loads(line))
        return found


def relocate(source: Path, target: Path) -> None:
    """Move a file so that at any moment it is whole in one place at least, and durably in the new one on return.

    Raises:
        FileNotFoundError: It is gone.
    """
    make_folder(target.parent)
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        part = target.with_name(target.name + _PART)
        shutil.copy2(source, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.rename(target)
        sync_folder(target.parent)
        source.unlink()
    sync_folder(target.parent)
    with suppress(FileNotFoundError):
        sync_folder(source.parent)
