"""Whether a file still holds the bytes that were written.

Files are read through a buffer, never through a map: a map of a file that is cut short under it kills the process.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import pyarrow as pa
import xxhash

from quantstore.errors import AccessDeniedError, IntegrityError, QuantStoreError, UnavailableError
from quantstore.stores.files import CHECKSUM

if TYPE_CHECKING:
    from quantstore.core.segment import Copy

_BUFFER_BYTES = 1 << 20
_CLOCK_TICK_NS = 20_000_000
"""Longer than the steps in which file systems stamp files: a change within one of them leaves no trace."""


def require_rows(table: pa.Table, rows: int, copy: Copy, *, exactly: bool = False) -> pa.Table:
    """Return what a store gave of a copy, checked to be no less than it must be.

    A file that is whole cannot lack rows; a store that breaks its promise, or a cache in front of it, can.

    Args:
        table: What was read.
        rows: How many rows the copy holds of what was asked for.
        copy: The copy.
        exactly: Whether more is wrong, too.

    Raises:
        IntegrityError: Rows are missing.
    """
    if table.num_rows < rows or (exactly and table.num_rows > rows):
        raise IntegrityError(
            f"{copy.location} in store {copy.store!r} reads as {table.num_rows:,} rows where it holds {rows:,}.",
            store=copy.store,
            location=copy.location,
        )
    return table


class Signature(NamedTuple):
    """What changes when a file does."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        """Return the signature in a file's status."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Verifier:
    """Compares files with their checksums, once per process and again whenever they change.

    Safe to share between threads.

    Args:
        store: Name of the store, for messages.
    """

    def __init__(self, store: str) -> None:
        self._store = store
        self._known: dict[str, tuple[Signature, str]] = {}
        self._lock = threading.Lock()
        self._local = threading.local()

    def verify(self, path: str, size_bytes: int, checksum: str, *, deep: bool = False, location: str) -> Signature:
        """Check a file; return its signature, which stays the same while its content does.

        Args:
            path: Absolute path.
            size_bytes: Size of what was written.
            checksum: `xxh3_128:<hex>` of what was written.
            deep: Read the file even if it was read before.
            location: Named in errors.

        Raises:
            IntegrityError: The file is missing, has another size or other content, or changes while it is read.
            AccessDeniedError: The operating system refuses to read it.
        """
        with self.reading(location):
            signature = Signature.of(os.stat(path))  # noqa: PTH116 - on every read of every copy
            with self._lock:
                known = self._known.get(path)
            if known == (signature, checksum) and not deep:
                return signature
            return self._read(path, size_bytes, checksum, location)

    @contextmanager
    def reading(self, location: str) -> Iterator[None]:
        """Turn errors met while a file is read into ours."""
        try:
            yield
        except QuantStoreError:
            raise
        except FileNotFoundError:
            self._fail(location, "is missing")
        except OSError as error:
            self._explain(error, location)
        except pa.ArrowInvalid as error:
            self._fail(location, f"cannot be understood ({error})")

    def forget(self, path: str) -> None:
        """Drop what is remembered of a file."""
        with self._lock:
            self._known.pop(path, None)

    def _read(self, path: str, size_bytes: int, checksum: str, location: str) -> Signature:
        started_ns = time.time_ns()
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - paths are text here
            before = Signature.of(os.fstat(file.fileno()))
            if before.size_bytes < size_bytes:
                self._fail(location, f"is truncated to {before.size_bytes} of {size_bytes} bytes")
            if before.size_bytes > size_bytes:
                self._fail(location, f"has grown from {size_bytes} to {before.size_bytes} bytes")
            digest = xxhash.xxh3_128()
            buffer = self._buffer()
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
            after = Signature.of(os.fstat(file.fileno()))
        if after[:4] != before[:4]:
            self._fail(location, "changes while it is read")
        if f"{CHECKSUM}:{digest.hexdigest()}" != checksum:
            self._fail(location, f"has {size_bytes} bytes as written, but its content differs")
        stamped_ns = max(after.modified_ns, after.changed_ns)
        just_now = started_ns - _CLOCK_TICK_NS < stamped_ns <= time.time_ns()
        if after == before and not just_now:
            with self._lock:
                self._known[path] = (after, checksum)
        return after

    def _buffer(self) -> memoryview:
        if not hasattr(self._local, "buffer"):
            self._local.buffer = memoryview(bytearray(_BUFFER_BYTES))
        buffer: memoryview = self._local.buffer
        return buffer

    def _explain(self, error: OSError, location: str) -> NoReturn:
        if error.errno in {errno.EACCES, errno.EPERM}:
            raise AccessDeniedError(
                f"Access to {location} in store {self._store!r} was refused: {error.strerror}. Ask the owner of "
                "the store for permission to read its folders and files.",
                store=self._store,
                location=location,
            ) from error
        if error.errno in {None, errno.EIO, errno.ENOTDIR, errno.EISDIR}:  # None: Arrow's own complaint
            self._fail(location, f"cannot be read ({error})")
        raise UnavailableError(
            f"{location} in store {self._store!r} could not be read: {error}.", store=self._store, location=location
        ) from error

    def _fail(self, location: str, what: str) -> NoReturn:
        raise IntegrityError(
            f"{location} in store {self._store!r} {what}.", store=self._store, location=location
        ) from None
