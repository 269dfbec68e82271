"""The catalog's database: connections, transactions and what their failures mean."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from quantstore.catalog import upgrades
from quantstore.errors import (
    AccessDeniedError,
    CapacityError,
    IntegrityError,
    NotFoundError,
    QuantStoreError,
    UnavailableError,
    UnsupportedError,
)

BUSY_SECONDS = 60.0
NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs",
        "nfs3",
        "nfs4",
        "cifs",
        "smb2",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ncpfs",
        "glusterfs",
        "lustre",
        "beegfs",
    }
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse"}
)
_CAUSES: tuple[tuple[str, type[QuantStoreError], str], ...] = (
    ("locked", UnavailableError, "is locked by another process; try again"),
    ("busy", UnavailableError, "is busy; try again"),
    ("disk is full", CapacityError, "could not be written: the disk is full; free space and try again"),
    ("disk i/o error", UnavailableError, "could not be read or written; check the disk"),
    ("readonly", AccessDeniedError, "cannot be written; open the store with read_only=True"),
    (
        "unable to open",
        AccessDeniedError,
        "cannot be opened; check that the folder exists and may be written",
    ),
    ("malformed", IntegrityError, "is damaged; restore it from a backup"),
    ("not a database", IntegrityError, "is not a catalog or is damaged; restore it from a backup"),
)


class Database:
    """A SQLite database in WAL mode with one policy for every connection.

    `synchronous=FULL` syncs the log on every commit; writers take the lock when they begin, so no transaction fails
    half-way because another one committed; readers see one snapshot from first to last statement.
    """

    def __init__(self, path: Path, *, create: bool = True, read_only: bool = False) -> None:
        self.path = path.absolute()
        self.read_only = read_only
        if not create and not path.exists():
            raise NotFoundError(f"There is no catalog at {path}; open the store with create=True to make one.")
        _refuse_network_file_system(path.parent)
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._engine = self._make_engine()
        self._bring_up_to_date()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one snapshot and writes nothing."""
        with self._explained(), self._current_engine().connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that holds the write lock; it commits, durably, when the block ends.

        Raises:
            AccessDeniedError: The store was opened read-only.
            UnavailableError: Another process held the lock for a minute.
        """
        if self.read_only:
            raise AccessDeniedError("The store is open read-only; open it with read_only=False to change it.")
        with self._explained(), self._current_engine().connect() as connection:
            connection = connection.execution_options(quantstore_write=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()

    def _current_engine(self) -> Engine:
        if os.getpid() != self._pid:
            with self._lock:
                if os.getpid() != self._pid:
                    # SQLite connections must not cross a fork; the parent closes its own.
                    self._engine.dispose(close=False)
                    self._engine = self._make_engine()
                    self._pid = os.getpid()
        return self._engine

    def _make_engine(self) -> Engine:
        engine = create_engine(
            URL.create("sqlite", database=str(self.path)),  # text would give `?` and `%` in a path a meaning
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
            pool_size=4,
            max_overflow=64,
        )
        event.listen(engine, "connect", self._on_connect)
        event.listen(engine, "begin", _on_begin)
        return engine

    def _on_connect(self, connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout = 60000")
        if self.read_only:
            cursor.execute("PRAGMA query_only = ON")
        else:
            _use_wal(cursor)
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA cache_size = -65536")
        cursor.execute("PRAGMA temp_store = MEMORY")
        cursor.close()

    def _bring_up_to_date(self) -> None:
        with self.read() as connection:
            form = upgrades.current_form(connection)
        upgrades.check_form(form, str(self.path))
        if form == len(upgrades.STEPS):
            return
        with self.write() as connection:
            upgrades.apply_steps(connection, upgrades.current_form(connection))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            text = str(error.orig).lower()
            for sign, kind, advice in _CAUSES:
                if sign in text:
                    raise kind(f"The catalog {self.path} {advice}. ({error.orig})") from error
            raise


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Switch to the write-ahead log; where two processes that make a catalog switch at once, SQLite does not wait."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.005)
        else:
            return


def _on_begin(connection: Connection) -> None:
    is_write = connection.get_execution_options().get("quantstore_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")


def _refuse_network_file_system(folder: Path) -> None:
    kind = file_system(folder)
    if kind in NETWORK_FILE_SYSTEMS:
        raise UnsupportedError(
            f"{folder} is on a network file system ({kind}), where SQLite's locks cannot be trusted. "
            "Put the store on a local disk."
        )


def file_system(folder: Path) -> str:
    """Return the type of the file system `folder` lies on, from /proc; empty where unknown."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    wanted = str(folder.resolve())
    best, kind = "", ""
    for line in lines:
        left, _, right = line.partition(" - ")
        mount = left.split()[4].replace("\\040", " ")
        inside = wanted == mount or wanted.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, right.split()[0]
    return kind
