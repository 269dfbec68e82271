"""A file system of which room and names can be counted out, and calls to the operating system that fail."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

PAGE = 4096
_PLENTY = 64 << 20
_REMOUNT = 32
_DETACH = 2
CALLS = ("fsync", "open", "write", "rename", "mkdir", "unlink", "ftruncate")


class CountedDisk:
    """A tmpfs that can be left with so many pages or files to give.

    Args:
        folder: Where it is mounted.

    Raises:
        PermissionError: This user may not mount.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._mount(0, f"size={_PLENTY}")

    @contextmanager
    def left(self, *, pages: int | None = None, files: int | None = None) -> Iterator[None]:
        """Leave only so many pages, or so many files and directories, to be taken inside the block."""
        status = os.statvfs(self.folder)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        size = _PLENTY if pages is None else used + pages * PAGE
        names = status.f_files if files is None else status.f_files - status.f_ffree + files
        self._mount(_REMOUNT, f"size={size},nr_inodes={names}")
        try:
            yield
        finally:
            self._mount(_REMOUNT, f"size={_PLENTY},nr_inodes={status.f_files}")

    def used(self) -> tuple[int, int]:
        """Return how many pages and how many files and directories are taken."""
        status = os.statvfs(self.folder)
        return (status.f_blocks - status.f_bfree) * status.f_frsize // PAGE, status.f_files - status.f_ffree

    def close(self) -> None:
        """Unmount it."""
        self._libc.umount2(os.fsencode(self.folder), _DETACH)

    def _mount(self, flags: int, options: str) -> None:
        if self._libc.mount(b"tmpfs", os.fsencode(self.folder), b"tmpfs", flags, options.encode()):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(self.folder))


class FailingCalls:
    """Makes the so-manieth call of a kind below a folder fail, as a device or a quota would.

    Attributes:
        made: Calls below the folder, in order.
    """

    def __init__(self, folder: Path, fails_at: int | None = None, number: int = errno.EIO) -> None:
        self._folder = str(folder)
        self._fails_at = fails_at
        self._number = number
        self._real: dict[str, Callable[..., Any]] = {}
        self.made: list[str] = []

    def __enter__(self) -> Self:
        for name in CALLS:
            self._real[name] = getattr(os, name)
            setattr(os, name, self._failing(name, self._real[name]))
        return self

    def __exit__(self, *_: object) -> None:
        for name, call in self._real.items():
            setattr(os, name, call)

    def _failing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def failing(*arguments: Any, **options: Any) -> Any:
            if self._concerns(name, arguments):
                self.made.append(name)
                if len(self.made) == self._fails_at:
                    raise OSError(self._number, os.strerror(self._number))
            return call(*arguments, **options)

        return failing

    def _concerns(self, name: str, arguments: tuple[Any, ...]) -> bool:
        first = arguments[0]
        if name == "open" and not (len(arguments) > 1 and arguments[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR)):
            return False
        path = Path(f"/proc/self/fd/{first}").readlink() if isinstance(first, int) else os.fspath(first)
        return str(path).startswith(self._folder)
