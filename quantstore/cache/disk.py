"""Answers in files, shared by all processes of a machine.

A file is made under another name and renamed, so that it is there whole or not at all; nothing is synced, as a file
that a crash leaves damaged fails its checksum and counts for nothing. Any process may delete any file at any time.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import xxhash

_MARK = b"QSCACHE1"
_HASH_BYTES = 16
_SUFFIX = ".answer"
_TEMPORARY = ".tmp"
_OWN = re.compile(r"[0-9a-f]{40}(\.answer|-[0-9a-f]{32}\.tmp)")
_ABANDONED_SECONDS = 3600.0
_KEPT_SHARE = 0.8
"""How full the folder is after old answers were deleted."""
_SCANS = 16
"""The folder is looked through each time this fraction of its limit was written."""


class DiskCache:
    """Bytes by key in a folder, bounded by bytes and age; what was used longest ago goes first.

    Args:
        folder: Where; the first `put` makes it.
        max_bytes: What all files together may take; also what must stay free on the device.
        max_age_seconds: How long a file may lie unused.
        is_read_only: Whether nothing may be written.
        clock: Seconds since the epoch, as files are stamped.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        max_age_seconds: float,
        *,
        is_read_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._max_age = max_age_seconds
        self._is_read_only = is_read_only
        self._clock = clock
        self._unseen = max_bytes  # the first put looks through the folder

    def get(self, key: str) -> bytes | None:
        """Return the bytes of a key, or None where they are not there or not as they were written."""
        path = self._path(key)
        try:
            if self._clock() - path.stat().st_mtime > self._max_age:
                return None
            content = path.read_bytes()
        except OSError:
            return None
        length = len(_MARK) + len(key) + _HASH_BYTES
        head, body = content[:length], content[length:]
        if head != _head(key, body):
            if not self._is_read_only:
                with suppress(OSError):
                    path.unlink()
            return None
        if not self._is_read_only:
            with suppress(OSError):
                os.utime(path)  # used now
        return body

    def put(self, key: str, body: bytes) -> None:
        """Keep bytes; where they cannot be written, nothing happens."""
        if self._is_read_only or len(body) > self.max_bytes:
            return
        path = self._path(key)
        temporary = self.folder / f"{key}-{uuid4().hex}{_TEMPORARY}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self.folder).free < self.max_bytes + len(body):
                return
            with temporary.open("xb") as file:
                file.write(_head(key, body))
                file.write(body)
            temporary.rename(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            return
        self._written(len(body))

    def damaged(self) -> list[str]:
        """Return the names of files that are not as they were written; nothing is changed."""
        found = []
        for path, _, _ in self._files():
            if path.suffix != _SUFFIX:
                continue
            with suppress(OSError):
                content, key = path.read_bytes(), path.stem
                length = len(_MARK) + len(key) + _HASH_BYTES
                if content[:length] != _head(key, content[length:]):
                    found.append(path.name)
        return found

    def drop(self, name: str) -> None:
        """Delete a file by its name."""
        if _OWN.fullmatch(name) and not self._is_read_only:
            with suppress(OSError):
                (self.folder / name).unlink()

    def clear(self) -> None:
        """Delete everything, also what other processes have kept."""
        if not self._is_read_only:
            for path, _, _ in self._files():
                with suppress(OSError):
                    path.unlink()

    def size(self) -> tuple[int, int]:
        """Return how many files there are and how many bytes they take."""
        sizes = [size for path, size, _ in self._files() if path.suffix == _SUFFIX]
        return len(sizes), sum(sizes)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _written(self, size: int) -> None:
        self._unseen += size
        if self._unseen * _SCANS >= self.max_bytes:
            self._unseen = 0
            self._trim()

    def _trim(self) -> None:
        """Delete what is too old, and what was used longest ago where there is too much of all."""
        now = self._clock()
        files = sorted(self._files(), key=lambda file: file[2])
        total = sum(size for _, size, _ in files)
        goal = self.max_bytes * _KEPT_SHARE if total > self.max_bytes else self.max_bytes
        for path, size, used in files:
            age = now - used
            is_abandoned = path.suffix == _TEMPORARY and age > _ABANDONED_SECONDS
            if is_abandoned or age > self._max_age or (total > goal and path.suffix == _SUFFIX):
                with suppress(OSError):
                    path.unlink()
                total -= size

    def _files(self) -> list[tuple[Path, int, float]]:
        """Return the files of the cache with their sizes and when they were used last; no others are ever touched."""
        found = []
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                if _OWN.fullmatch(entry.name):
                    with suppress(OSError):
                        status = entry.stat(follow_symlinks=False)
                        found.append((Path(entry.path), status.st_size, status.st_mtime))
        return found


def _head(key: str, body: bytes) -> bytes:
    """Return what stands before the bytes of a key: whose they are, and what proves them whole."""
    proof = xxhash.xxh3_128(key.encode())
    proof.update(body)
    head: bytes = _MARK + key.encode() + proof.digest()
    return head
