"""What the failures of the catalog's database mean, and what to do about them."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from quantstore.core.space import disk_full, free_bytes
from quantstore.errors import (
    AccessDeniedError,
    IntegrityError,
    InvalidInputError,
    QuantStoreError,
    UnavailableError,
)

_HARDLY_ANY_BYTES = 256 * 1024
_RESTORE = (
    "Close the store everywhere and run `quantstore rebuild`, or restore it from a backup; leave the other files of "
    "the store where they are."
)
_HEADER = b"SQLite format 3\0"
_SMALLEST_DATABASE = 4096
"""Bytes of a page, of which a catalog has one at least."""
_CAUSES = (
    ("locked", UnavailableError, "is locked by another process that writes. Try again."),
    ("busy", UnavailableError, "is busy. Try again."),
    ("disk i/o error", UnavailableError, "could not be read or written. Check the disk."),
    ("malformed", IntegrityError, f"is damaged. {_RESTORE}"),
    ("no such table", IntegrityError, f"was emptied, or deleted while the store was open. {_RESTORE}"),
    ("could not decode", IntegrityError, f"is damaged. {_RESTORE}"),
    ("not a database", IntegrityError, f"is damaged or no catalog at all. {_RESTORE}"),
)


def explain(error: DBAPIError | sqlite3.Error, path: Path, *, read_only: bool) -> QuantStoreError | None:
    """Return the error that a failure of the database at `path` means; None where it means a fault in the program."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    text = str(cause).lower()
    if "disk is full" in text or ("disk i/o error" in text and (free_bytes(path) or 0) < _HARDLY_ANY_BYTES):
        return disk_full("write the catalog", path)
    if "readonly" in text or "unable to open" in text:
        return _closed(path, str(cause), read_only=read_only)
    for sign, kind, what in _CAUSES:
        if sign in text:
            return _named(kind, path, f"{what} ({cause})")
    return None


def exists(path: Path) -> bool:
    """Whether there is a catalog at `path`.

    Raises:
        AccessDeniedError: This user may not look.
    """
    try:
        path.stat()
    except PermissionError:
        raise _closed(path, read_only=True) from None
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be the place of a catalog: {error.strerror}.") from error
    return True


def unreadable(path: Path, error: OSError) -> QuantStoreError:
    """Return the error for a catalog whose file the operating system refuses."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        place = Path(error.filename2 or error.filename or path)
        return disk_full(f"copy the catalog {path}, which this user may not write,", place, error.strerror or "full")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return _closed(path, read_only=True)
    return _named(UnavailableError, path, f"could not be read: {error.strerror}. Try again.")


def refuse_foreign(path: Path) -> None:
    """Refuse a file that is no SQLite database; a small one would be taken for an empty database and overwritten.

    Files that may be databases are left to SQLite. To open one here and close it again would let go of every lock that
    this process has on it: another process would take itself for the last one, and delete the log of what was written.

    Raises:
        IntegrityError: Names the file.
        AccessDeniedError: This user may not read it.
    """
    try:
        if not path.is_file() or not 0 < path.stat().st_size < _SMALLEST_DATABASE:
            return
        with path.open("rb") as file:
            start = file.read(len(_HEADER))
    except OSError as error:
        raise unreadable(path, error) from error
    if start and start != _HEADER:
        raise _named(IntegrityError, path, f"is damaged or no catalog at all. {_RESTORE}")


def _closed(path: Path, reason: str = "", *, read_only: bool) -> QuantStoreError:
    """Return the error for a database that cannot be opened, or not be written."""
    if os.path.isdir(path):  # noqa: PTH112 - says no of what may not be looked at
        return InvalidInputError(f"{path} is a folder, where the catalog's file should be. Choose another place.")
    if read_only or not os.access(path, os.R_OK):
        what = (
            f"cannot be read by this user. Ask its owner{_owner(path)} for permission to read the folder and its files."
        )
        return _named(AccessDeniedError, path, what)
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        return _named(
            UnavailableError, path, f"cannot be opened. Check the disk and the limit of open files. ({reason})"
        )
    return _named(
        AccessDeniedError,
        path,
        "cannot be written by this user; nothing was changed. Open the store with read_only=True to read it, or ask "
        f"its owner{_owner(path)} for permission to write.",
    )


def _owner(path: Path) -> str:
    try:
        return f" (uid {path.stat().st_uid})"
    except OSError:
        return ""


def _named(kind: type[QuantStoreError], path: Path, what: str) -> QuantStoreError:
    return kind(f"The catalog {path} {what}", path=str(path))
