"""The journal: what every transaction of the catalog did, so that a lost catalog can be made again exactly.

SQLite is the truth, and the journal follows from it. A line is written right before its transaction commits, while that
holds the write lock: no committed transaction is without its line. The reverse can be, where a process dies in between;
whoever writes next finds a line too many and takes it off. Lines are not synced one by one.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType

from quantstore.catalog import journal_files
from quantstore.catalog.journal_files import Line, Statement
from quantstore.core.failpoints import reach
from quantstore.core.folders import make_folder, sync_folder
from quantstore.core.space import disk_full
from quantstore.errors import AccessDeniedError, IntegrityError, QuantStoreError, UnavailableError

SETTING = "journal"
"""Name of the setting that says which epoch of the journal, and which of its lines, the catalog has come to."""
KEPT_BASES = 2
SMALL_LOG_BYTES = 4 << 20
OUTGROWN = 4
"""A log that is so many times as long as its base takes up calls for a new one."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FIND = f"SELECT value FROM settings WHERE name = '{SETTING}'"
_SET = (
    f"INSERT INTO settings (name, value) VALUES ('{SETTING}', ?) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_TEMPORARY = "new-base.sqlite"


class Journal:
    """Appends to the journal of one catalog; whoever calls it holds the catalog's write lock, but for `sync`.

    Args:
        catalog: The catalog's file.
    """

    def __init__(self, catalog: Path) -> None:
        self._catalog = catalog
        self.folder = journal_files.folder_of(catalog)
        self._descriptor: int | None = None
        self._pid = os.getpid()
        self._epoch = 0
        self._number = -1
        self._end = -1
        self._is_synced = True
        self._in_doubt: int | None = None
        """Number of a line of which the transaction is not known to have committed."""

    def append(self, driver: sqlite3.Connection, statements: list[Statement]) -> int:
        """Write down what a transaction did, before it commits, and return its number.

        Raises:
            CapacityError: The disk is full.
            AccessDeniedError: This user may not write there.
            UnavailableError: The device failed.
        """
        with _Explained(self.folder):
            self.ensure(driver)
            number = self._number + 1
            self._in_doubt = number
            self._write(journal_files.encode(number, {"at": time.time_ns(), "do": statements}))
            self._number = number
            driver.execute(_SET, (f"{self._epoch}:{number}",))
        reach("journal.written")
        return number

    def committed(self, number: int | None) -> None:
        """Know that a transaction committed; the lock is gone by now, and the line in doubt may be a later one."""
        if self._in_doubt == number:
            self._in_doubt = None

    def settle(self, driver: sqlite3.Connection) -> None:
        """Take off a line of this process whose transaction did not commit; what fails here the next line does."""
        if self._in_doubt is not None:
            with suppress(OSError):
                epoch, number = stand_of(driver)
                self._agrees(epoch, number)
                self._in_doubt = None

    def ensure(self, driver: sqlite3.Connection) -> bool:
        """Make the journal agree with the catalog, by a new base where it does not; return whether one was made."""
        with _Explained(self.folder):
            epoch, number = stand_of(driver)
            goes_on = bool(epoch) and self._agrees(epoch, number)
            if goes_on and self._is_newest(epoch):
                return False
            self._make_base(driver, number, continues=epoch if goes_on else None)
            return True

    def agrees(self, driver: sqlite3.Connection) -> bool:
        """Whether the journal ends where the catalog does; needs no lock, so that a no may be a mistake."""
        epoch, number = stand_of(driver)
        with suppress(OSError):
            log = journal_files.log_path(self.folder, epoch)
            with log.open("rb") as file:
                found = _last(file.fileno())
                return bool(epoch) and found is not None and found.number == number and self._is_newest(epoch)
        return False

    def renew(self, driver: sqlite3.Connection, *, always: bool = False) -> bool:
        """Make a new base where the log outgrew the one it goes on from, or `always`; return whether one was made."""
        with _Explained(self.folder):
            if self.ensure(driver):
                return True
            epoch, number = stand_of(driver)
            if not always and not self.is_outgrown():
                self.sync()
                return False
            self._make_base(driver, number, continues=epoch)
            return True

    def is_outgrown(self) -> bool:
        """Whether the log is so long that a new base is worth its while."""
        newest = next(iter(journal_files.bases(self.folder)), None)
        if newest is None:
            return True
        with suppress(OSError):
            size = journal_files.log_path(self.folder, newest.epoch).stat().st_size
            return size > max(SMALL_LOG_BYTES, OUTGROWN * newest.path.stat().st_size)
        return True

    def sync(self) -> None:
        """Make the lines of this process durable."""
        if self._descriptor is not None and self._pid == os.getpid() and not self._is_synced:
            with suppress(OSError):
                os.fsync(self._descriptor)
                self._is_synced = True

    def close(self) -> None:
        """Make the lines of this process durable and close the log."""
        self.sync()
        self._let_go()

    def _agrees(self, epoch: int, number: int) -> bool:
        """Open the log the catalog is at, and take off what no transaction that committed wrote; False where lost."""
        descriptor = self._open(epoch)
        if descriptor is None:
            return False
        if self._number == number and os.fstat(descriptor).st_size == self._end:
            return True
        found = _last(descriptor)
        while found is not None and (found.is_torn or found.number == number + 1):
            os.ftruncate(descriptor, found.start)
            found = _last(descriptor)
        if found is None or found.number != number:
            return False
        self._number, self._end = number, found.end
        return True

    def _is_newest(self, epoch: int) -> bool:
        """Whether no later epoch was begun, by what never committed or before an older catalog was put back.

        A rebuild takes the newest; what is written to an older log would be lost to it.
        """
        return journal_files.newest_epoch(self.folder) == epoch

    def _open(self, epoch: int) -> int | None:
        if self._pid != os.getpid():
            self._descriptor = None  # the parent's
        if self._descriptor is not None and self._epoch == epoch and os.fstat(self._descriptor).st_nlink:
            return self._descriptor
        self._let_go()
        path = journal_files.log_path(self.folder, epoch)
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        self._pid, self._epoch, self._number, self._end = os.getpid(), epoch, -1, -1
        return self._descriptor

    def _let_go(self) -> None:
        if self._descriptor is not None and self._pid == os.getpid():
            os.close(self._descriptor)
        self._descriptor = None

    def _write(self, line: bytes) -> None:
        """Append a line wholly, or not at all."""
        descriptor = self._descriptor
        if descriptor is None:
            raise IntegrityError(f"The journal {self.folder} is not open.")
        view = memoryview(line)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, self._end)
            raise
        self._end += len(line)
        self._is_synced = False

    def _make_base(self, driver: sqlite3.Connection, number: int, *, continues: int | None) -> None:
        """Keep the catalog as it was before this transaction, and begin a new log."""
        self._let_go()
        self._make_folder()
        epoch = max(stand_of(driver)[0], journal_files.newest_epoch(self.folder)) + 1
        temporary = self.folder / _TEMPORARY
        self._copy(temporary)
        reach("journal.base.copied")
        base = self.folder / journal_files.base_name(epoch, number, journal_files.file_checksum(temporary))
        temporary.rename(base)
        self._begin_log(epoch, number, continues)
        sync_folder(self.folder)
        reach("journal.base.placed")
        driver.execute(_SET, (f"{epoch}:{number}",))
        self._open(epoch)
        if not self._agrees(epoch, number):
            raise IntegrityError(f"The journal {self.folder} does not hold what was just written; check the disk.")
        self._delete_old(epoch if continues is None else continues)

    def _make_folder(self) -> None:
        if self.folder.is_dir():
            return
        make_folder(self.folder)
        with suppress(OSError):  # whoever may write the catalog may write its journal
            self.folder.chmod(self._catalog.parent.stat().st_mode & 0o7777)

    def _copy(self, target: Path) -> None:
        """Copy the catalog as last committed to a file, durably."""
        target.unlink(missing_ok=True)
        try:
            with closing(sqlite3.connect(self._catalog)) as source, closing(sqlite3.connect(target)) as copy:
                source.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
                (state,) = copy.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise IntegrityError(
                    f"The catalog {self._catalog} is damaged ({state}); its journal is left as it was. Close the store "
                    "and run: quantstore rebuild",
                    path=str(self._catalog),
                )
            self._like_catalog(target)
            descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except sqlite3.Error as error:
            target.unlink(missing_ok=True)
            if "full" in str(error):
                raise OSError(errno.ENOSPC, "no space left", str(target)) from error
            raise OSError(errno.EIO, str(error), str(target)) from error

    def _begin_log(self, epoch: int, number: int, continues: int | None) -> None:
        path = journal_files.log_path(self.folder, epoch)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            os.write(descriptor, journal_files.encode(number, {"at": time.time_ns(), "continues": continues}))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._like_catalog(path)

    def _like_catalog(self, path: Path) -> None:
        with suppress(OSError):  # as SQLite does with its own log: whoever may write the catalog may write this
            path.chmod(self._catalog.stat().st_mode & 0o777)

    def _delete_old(self, used: int) -> None:
        """Delete bases and logs but of the newest two epochs and of `used`, where the catalog was until now."""
        found = journal_files.bases(self.folder)
        newest = [one.epoch for one in found[:KEPT_BASES]]
        for base in found:
            if base.epoch not in {used, *newest}:
                base.path.unlink(missing_ok=True)
        for epoch, path in journal_files.logs(self.folder).items():
            if epoch != used and epoch < min(newest):
                path.unlink(missing_ok=True)


class _Last:
    """What stands at the end of a log."""

    __slots__ = ("end", "is_torn", "number", "start")

    def __init__(self, line: Line | None, start: int, end: int, *, is_torn: bool) -> None:
        self.number = -2 if line is None else line.number
        self.start, self.end, self.is_torn = start, end, is_torn


def _last(descriptor: int) -> _Last | None:
    found = journal_files.last_line(descriptor)
    if found is None:
        return None
    raw, start = found
    return _Last(journal_files.decode(raw, start), start, start + len(raw), is_torn=not raw.endswith(b"\n"))


def stand_of(driver: sqlite3.Connection) -> tuple[int, int]:
    """Return the epoch and the number that a catalog has come to; zeros where it has no journal, or cannot tell."""
    found = driver.execute(_FIND).fetchone()
    epoch, _, number = str(found[0]).partition(":") if found is not None else ("", "", "")
    if not (epoch.isdecimal() and number.isdecimal()):
        return 0, 0  # damaged: a new epoch begins, as where there is none
    return int(epoch), int(number)


def forget(driver: sqlite3.Connection) -> None:
    """Let the next to write begin a new epoch, as what this transaction does cannot be written as a line."""
    driver.execute("DELETE FROM settings WHERE name = ?", (SETTING,))


class _Explained:
    """Turns errors of the operating system into ours."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise _explain(error, self._folder) from error


def _explain(error: OSError, folder: Path) -> QuantStoreError:
    if error.errno in _FULL:
        return disk_full("write the catalog's journal", folder, (error.strerror or "no space left").lower())
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return AccessDeniedError(
            f"The catalog's journal {folder} cannot be written by this user; nothing was changed. Ask its owner for "
            "permission to write the folder and its files, or open the store with read_only=True to read it.",
            path=str(folder),
        )
    return UnavailableError(
        f"The catalog's journal {folder} could not be written ({error.strerror}); nothing was changed. Check the disk.",
        path=str(folder),
    )
