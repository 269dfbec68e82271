"""The catalog's database: connections, transactions and what their failures mean."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Select, create_engine, event
from sqlalchemy.exc import DBAPIError

from quantstore.catalog import capture, journal, upgrades
from quantstore.catalog.failures import exists, explain, refuse_foreign, unreadable
from quantstore.catalog.file_systems import refuse_network
from quantstore.catalog.journal import Journal
from quantstore.catalog.private_copy import PrivateCopy, can_open
from quantstore.errors import (
    AccessDeniedError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    QuantStoreError,
    UnavailableError,
)

BUSY_SECONDS = 60.0
CHANGED = "quantstore_changed"
"""Marks a connection whose transaction changes what the store holds, or where."""
PROOF = "quantstore_proof"
"""Names the query that finds something if, and only if, a connection's transaction took effect."""
_FILE = "quantstore_file"
"""Tells which file a connection was opened on."""
_CANNOT_OPEN = ("readonly", "unable to open")


class Database:
    """A SQLite database in WAL mode with one policy for every connection.

    `synchronous=FULL` syncs the log on every commit; writers take the lock when they begin, so no transaction fails
    half-way because another one committed; readers see one snapshot from first to last statement.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        read_only: bool = False,
        before_making: Callable[[], None] | None = None,
    ) -> None:
        self.path = path.absolute()
        self.read_only = read_only
        is_there = exists(path)
        if not create and not is_there:
            raise NotFoundError(f"There is no catalog at {path}; open the store with create=True to make one.")
        refuse_network(path.parent)
        if before_making is not None and not is_there:
            _unless(path.exists, before_making)
        refuse_foreign(path)
        self._lock = threading.Lock()
        self.listeners: list[Callable[[], None]] = []
        self._pid = os.getpid()
        self._copy: PrivateCopy | None = None
        self._journal = Journal(self.path)
        self._engine = self._make_engine(self.path)
        try:
            self._bring_up_to_date(before_making)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one snapshot and writes nothing."""
        with self._explained(), self._reading() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, *, is_synced: bool = True) -> Iterator[Connection]:
        """Open a transaction that holds the write lock; it commits, durably, when the block ends.

        A commit that fails may have taken effect all the same, as where only its reply was lost. Where the transaction
        left a proof, that is looked up, and what did take effect is no failure.

        Args:
            is_synced: Whether to wait for the disk; else a power failure may take the transaction back, though no
                crash of a process can, and the next one that is synced makes it durable too.

        Raises:
            AccessDeniedError: The store was opened read-only.
            UnavailableError: Another process held the lock for a minute, or a commit failed and whether it took effect
                could not be looked up.
        """
        if self.read_only:
            raise AccessDeniedError("The store is open read-only; open it with read_only=False to change it.")
        proof: Select[Any] | None = None
        is_change = False
        number: int | None = None
        with self._explained():
            try:
                with self._current_engine().connect() as connection:
                    connection = connection.execution_options(quantstore_write=True, quantstore_synced=is_synced)
                    connection.info.pop(CHANGED, None)
                    connection.info.pop(PROOF, None)
                    connection.info.pop(capture.STATEMENTS, None)
                    try:
                        with connection.begin():
                            self._journal.settle(_driver(connection))
                            yield connection
                            number = self._write_down(connection)
                            is_change = connection.info.pop(CHANGED, False)
                            proof = connection.info.pop(PROOF, None)
                    finally:
                        if not is_synced:
                            _set_synced(connection, is_synced=True)
            except DBAPIError as error:
                if proof is None or not self._took_effect(proof, error):
                    raise
            else:
                self._journal.committed(number)
        for listener in self.listeners if is_change else ():
            listener()

    def _write_down(self, connection: Connection) -> int | None:
        """Write what a transaction did into the journal, right before it commits, and return its number there.

        Raises:
            IntegrityError: The catalog was deleted, or another one put in its place, while the store was open.
        """
        statements = connection.info.pop(capture.STATEMENTS, None)
        if not statements:
            return None
        if connection.info.get(_FILE) != _identity(self.path):
            raise IntegrityError(
                f"The catalog {self.path} was deleted or replaced while the store was open; nothing was changed. Close "
                "the store and open it again.",
                path=str(self.path),
            )
        return self._journal.append(_driver(connection), statements)

    def renew_journal(self, *, always: bool = False) -> bool:
        """Make the journal durable, and begin a new one where it is long or `always`; return whether that was done."""
        with self.write() as connection:
            return self._journal.renew(_driver(connection), always=always)

    def _took_effect(self, proof: Select[Any], error: DBAPIError) -> bool:
        """Look up whether a transaction whose commit failed took effect.

        Raises:
            UnavailableError: That cannot be told.
        """
        try:
            with self.read() as connection:
                return connection.execute(proof).first() is not None
        except (QuantStoreError, DBAPIError):
            raise UnavailableError(
                f"The catalog {self.path} did not say whether a commit took effect ({error.orig}), and could not be "
                "asked. Look at the store again, or repeat the same write with the same write_id, which adds nothing "
                "twice.",
                path=str(self.path),
                is_unknown=True,
            ) from error

    def close(self) -> None:
        """Close every pooled connection."""
        self._journal.close()
        self._engine.dispose()
        if self._copy is not None:
            self._copy.close()

    def _reading(self) -> Connection:
        """Open a connection for reading; to a private copy where this user may not write and nothing else will do."""
        engine = self._current_engine()
        if not self.read_only or can_open(self.path):
            try:
                return engine.connect()
            except DBAPIError as error:
                if not self.read_only or not _is_sign(error, _CANNOT_OPEN):
                    raise
        return self._copied_engine().connect()

    def _copied_engine(self) -> Engine:
        with self._lock:
            try:
                if self._copy is None or self._copy.pid != os.getpid():
                    self._copy = PrivateCopy(self.path, self._make_engine)
                return self._copy.engine()
            except OSError as error:
                raise unreadable(self.path, error) from error

    def _current_engine(self) -> Engine:
        if os.getpid() != self._pid:
            with self._lock:
                if os.getpid() != self._pid:
                    # SQLite connections must not cross a fork; the parent closes its own.
                    self._engine.dispose(close=False)
                    self._engine = self._make_engine(self.path)
                    self._pid = os.getpid()
        return self._engine

    def _make_engine(self, path: Path) -> Engine:
        engine = create_engine(
            URL.create("sqlite", database=str(path)),  # text would give `?` and `%` in a path a meaning
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
            pool_size=4,
            max_overflow=64,
        )
        event.listen(engine, "connect", self._on_connect)
        event.listen(engine, "begin", _on_begin)
        if not self.read_only:
            capture.listen(engine)
        return engine

    def _on_connect(self, connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout = 60000")
        if self.read_only:
            cursor.execute("PRAGMA query_only = ON")
            cursor.execute("SELECT 1 FROM sqlite_master LIMIT 1")  # fails here, where another way to read can be taken
        else:
            _use_wal(cursor)
            record.info[_FILE] = _identity(self.path)
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA cache_size = -65536")
        cursor.execute("PRAGMA temp_store = MEMORY")
        cursor.close()

    def _bring_up_to_date(self, before_making: Callable[[], None] | None) -> None:
        with self.read() as connection:
            form = upgrades.current_form(connection)
            is_empty = upgrades.is_empty(connection)
        upgrades.check_form(form, str(self.path))
        if form == len(upgrades.STEPS):
            self._keep_journal()
            return
        if form == 0:
            self._check_new(before_making, is_empty=is_empty)
        if self.read_only:
            raise upgrades.too_old(form, str(self.path))
        with self.write() as connection:
            upgrades.apply_steps(connection, upgrades.current_form(connection))
            journal.forget(_driver(connection))
            connection.info.pop(capture.STATEMENTS, None)
        self._keep_journal()

    def _keep_journal(self) -> None:
        """Make the journal agree with the catalog."""
        if self.read_only:
            return
        with self.read() as connection:
            agrees = self._journal.agrees(_driver(connection))
        if not agrees:
            with self.write() as connection:
                self._journal.ensure(_driver(connection))

    def _check_new(self, before_making: Callable[[], None] | None, *, is_empty: bool) -> None:
        """Refuse to make a catalog inside another program's database, or where the caller says that one was lost."""
        if not is_empty:
            raise InvalidInputError(
                f"{self.path} is a SQLite database and no catalog of quantstore; nothing in it was changed. Give the "
                "store another place.",
                path=str(self.path),
            )
        if self.read_only:
            raise NotFoundError(f"{self.path} is empty: the store was never made. Open it with read_only=False.")
        if before_making is not None:
            _unless(self._is_made, before_making)

    def _is_made(self) -> bool:
        with self.read() as connection:
            return upgrades.current_form(connection) > 0

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:  # the latter where a connection is made, and from the journal
            found = explain(error, self.path, read_only=self.read_only)
            if found is None:
                raise
            raise found from error


def _unless(is_made: Callable[[], bool], check: Callable[[], None]) -> None:
    """Run a check of a catalog not made yet; its verdict means nothing if another process makes it meanwhile."""
    try:
        check()
    except IntegrityError:
        if not is_made():
            raise


def _driver(connection: Connection) -> sqlite3.Connection:
    driver: Any = connection.connection.dbapi_connection
    found: sqlite3.Connection = driver
    return found


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one in its place; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - at every commit
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_sign(error: DBAPIError, signs: tuple[str, ...]) -> bool:
    text = str(error.orig).lower()
    return any(sign in text for sign in signs)


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
    options = connection.get_execution_options()
    if not options.get("quantstore_synced", True):
        _set_synced(connection, is_synced=False)
    is_write = options.get("quantstore_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")


def _set_synced(connection: Connection, *, is_synced: bool) -> None:
    """Say whether commits of a connection wait for the disk; outside of a transaction, where alone that can be said."""
    driver: Any = connection.connection.dbapi_connection
    if driver is not None:  # else the connection is gone, and with it what was said
        if driver.in_transaction:  # a commit that failed may leave it open
            driver.rollback()
        driver.execute(f"PRAGMA synchronous = {'FULL' if is_synced else 'NORMAL'}")
