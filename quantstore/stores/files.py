"""Files that are complete and durable, or absent: how embedded stores write, list and delete.

A batch of files costs one `fsync` per file and one per directory. The checksum is taken of the bytes as they are handed
to the operating system, so nothing is read back.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import xxhash

from quantstore.core import failpoints
from quantstore.core.folders import missing_folders, sync_folder
from quantstore.core.space import disk_full
from quantstore.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidInputError,
    QuantStoreError,
    UnavailableError,
)
from quantstore.stores.base import Stored, Written

CHECKSUM = "xxh3_128"
TEMPORARY = ".tmp"

_ATTEMPT = re.compile(r"[0-9a-f]{32}-")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_SMALL_WRITES = 1 << 18
_LONGEST_NAME = 120
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


class HashingFile:
    """A file open for writing that hashes what passes through; small writes are gathered, large ones not copied."""

    closed = False

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "wb", buffering=_SMALL_WRITES)
        self._hash = xxhash.xxh3_128()
        self.size_bytes = 0
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        """Write bytes or a buffer and return their number."""
        try:
            self._file.write(content)
        except OSError as error:
            # Writers may wrap it, and the number that tells a full disk from other failures is needed later.
            self.error = error
            raise
        self._hash.update(content)
        size = memoryview(content).nbytes
        self.size_bytes += size
        return size

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self.size_bytes

    def flush(self) -> None:
        """Do nothing: `sync` hands over what was gathered."""

    def sync(self) -> None:
        """Make the content and the read-only mode durable."""
        self._file.flush()
        descriptor = self._file.fileno()
        os.fchmod(descriptor, os.fstat(descriptor).st_mode & 0o444)
        os.fsync(descriptor)

    def close(self) -> None:
        """Close the file, keeping quiet about gathered bytes that no longer fit."""
        with suppress(OSError):
            self._file.close()

    @property
    def checksum(self) -> str:
        """The checksum of what was written, as the catalog records it."""
        return f"{CHECKSUM}:{self._hash.hexdigest()}"


Encode = Callable[[HashingFile], None]


class LocalFiles:
    """The files of one store below one directory.

    Locations are relative POSIX paths. Errors name the store and the location.

    Args:
        root: The directory; the first write makes it.
        store: Name of the store, for messages.
    """

    def __init__(self, root: str | os.PathLike[str], store: str) -> None:
        self.root = Path(root).absolute()
        self.store = store

    def path(self, location: str) -> str:
        """Return the absolute path of a location.

        Raises:
            InvalidInputError: The location is absolute or leaves the root.
        """
        parts = location.split("/")
        if "\0" in location or not {"", ".", ".."}.isdisjoint(parts):
            raise InvalidInputError(
                f"{location!r} is no location: it must be a relative path without '..'.", location=location
            )
        return f"{self.root}/{location}"

    def write(self, files: Sequence[tuple[str, Encode]], workers: int = 1) -> list[Written]:
        """Write files so that all are durable on return; after an error none is kept.

        Args:
            files: Locations, each with a function that writes the content.
            workers: How many to write at a time.

        Raises:
            CapacityError: The device or a quota is full.
            AccessDeniedError: The operating system refuses to write there.
            ConflictError: A location is taken.
            UnavailableError: Another failure of the device.
        """
        made: list[Path] = []

        def write_one(file: tuple[str, Encode]) -> Written:
            return self._write_one(*file, made)

        try:
            directories = self._make_directories([location for location, _ in files])
            if min(workers, len(files)) > 1:
                with ThreadPoolExecutor(workers) as pool:
                    written = list(pool.map(write_one, files))
            else:
                written = [write_one(file) for file in files]
            for directory, location in directories.items():
                with self._explained(location):
                    sync_folder(directory)
        except BaseException:
            for path in made:
                with suppress(OSError):
                    path.unlink()
            raise
        return written

    def _make_directories(self, locations: Sequence[str]) -> dict[Path, str]:
        """Make what is missing; return what to sync: the files' directories and the parents of new ones."""
        directories: dict[Path, str] = {}
        for location in locations:
            directory = Path(self.path(location)).parent
            directories[directory] = location
            with self._explained(location):
                for new in missing_folders(directory):
                    new.mkdir(exist_ok=True)  # another writer may have made it just now
                    directories[new.parent] = location
        return directories

    def _write_one(self, location: str, encode: Encode, made: list[Path]) -> Written:
        with self._explained(location):
            path = Path(self.path(location))
            temporary = path.with_name(path.name + TEMPORARY)
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, "taken")
            file = HashingFile(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
            made.append(temporary)
            try:
                failpoints.reach("write.file.opened")
                encode(file)
                failpoints.reach("write.file.written")
                file.sync()
                failpoints.reach("write.file.synced")
            except Exception:
                if file.error is not None:
                    raise file.error from None
                raise
            finally:
                file.close()
            made.append(path)
            temporary.rename(path)
        failpoints.reach("write.file.renamed")
        return Written(location, file.size_bytes, file.checksum)

    @contextmanager
    def _explained(self, location: str) -> Iterator[None]:
        """Turn errors of the operating system into ours, which name the store and the location."""
        try:
            yield
        except QuantStoreError:
            raise
        except OSError as error:
            raise self._explain(error, location) from error

    def _explain(self, error: OSError, location: str) -> QuantStoreError:
        context = {"store": self.store, "location": location}
        if error.errno in _FULL:
            return disk_full(
                f"write {location} in store {self.store!r}",
                self.root,
                (error.strerror or "no space left").lower(),
                **context,
            )
        where = f"{location} in store {self.store!r} ({self.root})"
        if error.errno in _DENIED:
            way = f"Ask the owner of {self.root} for permission, or open the store with read_only=True to read it"
            return AccessDeniedError(f"Access to {where} was refused: {error.strerror}. {way}.", **context)
        if error.errno == errno.ENOTDIR:
            place = next((one for one in (self.root, *self.root.parents) if one.is_file()), error.filename)
            return InvalidInputError(
                f"{place} is a file, where the {self.store} store needs a folder. Move it away, or give the store "
                "another folder.",
                **context,
            )
        if error.errno == errno.EEXIST:
            return ConflictError(f"Something is already stored as {where}; write under a new name.", **context)
        return UnavailableError(f"Access to {where} failed: {error}.", **context)

    def delete(self, location: str) -> None:
        """Delete a file; one that is not there is no error.

        Raises:
            AccessDeniedError: The operating system refuses.
        """
        with self._explained(location), suppress(FileNotFoundError, NotADirectoryError):
            Path(self.path(location)).unlink()

    def scan(self) -> Iterator[Stored]:
        """Yield every file that bears an attempt's name (32 hex digits and a dash), temporary ones included."""
        pending = [""]
        while pending:
            prefix = pending.pop()
            for entry in self._entries(prefix):
                location = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append(location + "/")
                elif _ATTEMPT.match(entry.name):
                    with suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        yield Stored(location, status.st_size, status.st_mtime_ns)

    def _entries(self, prefix: str) -> list[os.DirEntry[str]]:
        """Read a directory at once, so that the caller may delete while it iterates."""
        with self._explained(prefix or "."), suppress(FileNotFoundError), os.scandir(self.root / prefix) as found:
            return sorted(found, key=lambda entry: entry.name)
        return []


def quote_component(text: str) -> str:
    """Return `text` as the name of one directory or file; different texts give different names.

    Letters, digits, `_`, `-` and inner dots stay, the rest becomes `%XX` per byte; nothing at all becomes `%`. Long
    names end in a hash of the text. Letter case is kept: on a file system that ignores it `FX` and `fx` share a
    directory, which is harmless because file names carry the uuid of their attempt.
    """
    if not text:
        return "%"
    content = text.encode("utf-8", "surrogatepass")
    name = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in content)
    if name[0] == ".":
        name = "%2E" + name[1:]
    if name[-1] == ".":
        name = name[:-1] + "%2E"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 33]}~{xxhash.xxh3_128_hexdigest(content)}"
