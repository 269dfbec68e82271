"""Reading a catalog that this user may read and not write.

SQLite opens a database with a write-ahead log only where it can write, or where the log and its index are there
already. A catalog closed by its owner has neither. Then its bytes are copied to a folder of this process, at a moment
when nobody changes them, and copied again when they have changed: every read sees a state that was committed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine

from quantstore.errors import UnavailableError

_TRIES = 50
_TICK_SECONDS = 0.02
"""Longer than the steps in which file systems stamp files: a change within one of them leaves no trace."""

Signature = tuple[tuple[int, ...] | None, ...]


def can_open(path: Path) -> bool:
    """Whether SQLite can open the catalog itself for reading."""
    if wal(path).exists():
        return True
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def wal(path: Path) -> Path:
    """Return the place of a database's write-ahead log."""
    return path.with_name(path.name + "-wal")


class PrivateCopy:
    """A copy of a catalog for reading, kept up with its original.

    Args:
        path: The catalog.
        make_engine: Makes the engine for a database.
    """

    def __init__(self, path: Path, make_engine: Callable[[Path], Engine]) -> None:
        self.pid = os.getpid()
        self._path = path
        self._make_engine = make_engine
        self._folder = Path(tempfile.mkdtemp(prefix="quantstore-catalog-"))
        self._number = 0
        self._signature: Signature | None = None
        self._engine: Engine | None = None
        self._finalizer = weakref.finalize(self, _delete, self._folder, self.pid)

    def engine(self) -> Engine:
        """Return the engine of a copy of what the catalog holds now.

        Raises:
            UnavailableError: It did not stand still long enough to be copied.
            OSError: It cannot be read, or there is no room for the copy.
        """
        if self._engine is None or _signature(self._path) != self._signature:
            self.close_engine()
            self._copy()
            self._engine = self._make_engine(self._current())
        return self._engine

    def close(self) -> None:
        """Close and delete the copy."""
        self.close_engine()
        self._finalizer()

    def close_engine(self) -> None:
        """Close the engine and delete what it read; connections in use stay valid."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
            for old in self._folder.iterdir():
                old.unlink(missing_ok=True)

    def _current(self) -> Path:
        return self._folder / f"{self._number}.sqlite"

    def _copy(self) -> None:
        for _ in range(_TRIES):
            before = _signature(self._path)
            if _is_quiet(before):
                self._number += 1
                shutil.copyfile(self._path, self._current())
                if before[1] is not None:
                    shutil.copyfile(wal(self._path), wal(self._current()))
                if _signature(self._path) == before:
                    self._signature = before
                    return
            time.sleep(_TICK_SECONDS)
        raise UnavailableError(
            f"The catalog {self._path} is changed all the time, and this user may not write there, so it could not be "
            "read at rest. Try again, or ask its owner for write permission.",
            path=str(self._path),
        )


def _signature(path: Path) -> Signature:
    """Return what changes when the database or its log does; None for a log that is not there."""
    return _status(path, required=True), _status(wal(path), required=False)


def _status(path: Path, *, required: bool) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        if required:
            raise
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _is_quiet(signature: Signature) -> bool:
    """Whether nothing changed within the last step of the file system's clock."""
    newest = max(max(status[3:]) for status in signature if status is not None)
    return time.time_ns() - newest > _TICK_SECONDS * 1e9


def _delete(folder: Path, pid: int) -> None:
    if os.getpid() == pid:  # a forked child leaves it to its parent
        shutil.rmtree(folder, ignore_errors=True)
