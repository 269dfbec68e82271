"""From a place to an open catalog: everything is checked before anything is made."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quantstore.catalog.catalog import Catalog
from quantstore.catalog.failures import exists
from quantstore.catalog.file_systems import refuse_network
from quantstore.catalog.journal_files import bases, folder_of, logs
from quantstore.core.folders import make_folder, missing_folders
from quantstore.core.space import disk_full
from quantstore.errors import (
    AccessDeniedError,
    IntegrityError,
    InvalidInputError,
    QuantStoreError,
    UnsupportedError,
)

FILE_NAME = "catalog.sqlite"
_EMPTY_LOG_BYTES = 200
"""More than the first line of a log takes, and less than any line after it."""
_SUFFIXES = {".sqlite", ".sqlite3", ".db"}


def open_catalog(
    target: Any, *, read_only: bool = False, create: bool = True, find_rows: Callable[[], str | None] | None = None
) -> Catalog:
    """Open the catalog at a place, and make it where it is missing and may be made.

    Args:
        target: File or folder of the catalog, or a `Catalog`.
        read_only: Whether to refuse every change.
        create: Whether to make a missing catalog.
        find_rows: Returns where rows are kept already that a new catalog would know nothing of, or None.

    Raises:
        NotFoundError: There is none, and it is not to be made.
        InvalidInputError: `target` cannot be the place of a catalog.
        IntegrityError: It is damaged, or it is gone and the rows it knew are still there.
        AccessDeniedError: This user may not read or make it.
        UnsupportedError: A newer release made it, it is on a network file system, or `target` is a URL.
        CapacityError: The disk is full.
    """
    if isinstance(target, Catalog):
        return target
    path = catalog_path(target)
    makes = create and not read_only

    def check_new() -> None:
        rows = (None if find_rows is None else find_rows()) or _journal_of(path)
        if rows is not None:
            raise _lost(path, rows)

    if makes and not exists(path):
        refuse_network(path.parent)
        if not path.parent.is_dir():
            _make_folder(path.parent, check_new)
    return Catalog(path, create=makes, read_only=read_only, before_making=check_new)


def catalog_path(target: Any) -> Path:
    """Return the file of the catalog that `target`, a file or folder, means.

    Raises:
        InvalidInputError: It is no path, or something else is in its place.
        UnsupportedError: It is a URL.
    """
    if not isinstance(target, str | os.PathLike):
        raise InvalidInputError(f"metadata_catalog must be a path or a Catalog, not {type(target).__name__}.")
    text = os.fspath(target)
    if "://" in text:
        scheme = text.partition("://")[0]
        raise UnsupportedError(f"The catalog cannot be on {scheme}://; give a file or folder on a local disk.")
    path = Path(text).expanduser()
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except PermissionError:
        is_folder = is_file = False  # whoever opens it says what may not be looked at
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{text!r} cannot be the place of a catalog: {error}.") from error
    if is_folder and path.suffix in _SUFFIXES:
        raise InvalidInputError(f"{path} is a folder, where the catalog's file should be. Choose another place.")
    return path if is_file or (path.suffix and not is_folder) else path / FILE_NAME


def _journal_of(path: Path) -> str | None:
    """Return the journal of a catalog that changed ever; None where there is none."""
    folder = folder_of(path)
    written = any(log.stat().st_size > _EMPTY_LOG_BYTES for log in logs(folder).values())
    return str(folder) if written or any(base.number for base in bases(folder)) else None


def _make_folder(folder: Path, check: Callable[[], None]) -> None:
    try:
        missing_folders(folder)
        check()
        make_folder(folder)
    except OSError as error:
        raise _not_made(folder, error) from error


def _not_made(folder: Path, error: OSError) -> QuantStoreError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return disk_full(f"make the folder {folder}", folder, error.strerror or "no space left")
    reason = f"{error.filename} is a file" if error.errno in {errno.ENOTDIR, errno.EEXIST} else error.strerror
    way = "Choose another place" if error.errno != errno.EACCES else "Choose another place, or ask for write permission"
    kind = InvalidInputError if error.errno == errno.ENAMETOOLONG else AccessDeniedError
    return kind(f"The folder {folder} cannot be made: {reason}. {way}.", path=str(folder))


def _lost(path: Path, rows: str) -> IntegrityError:
    return IntegrityError(
        f"The catalog {path} is gone, and files of rows are still there ({rows}). No new one is made, as it would know "
        "nothing of them. Run `quantstore rebuild`, bring the catalog back from a backup, or start anew in an empty "
        "folder.",
        path=str(path),
        location=rows,
    )
