"""DuckDB in process: one in-memory database, one cursor per statement, errors in our words."""

from __future__ import annotations

import os
import queue
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from quantstore.errors import InvalidInputError
from quantstore.query.failures import explained, spill_folder
from quantstore.query.mistakes.refusals import check_statements
from quantstore.stores.engine_types import quote

BATCH_ROWS = 100_000
_STOP_SECONDS = 10.0
_STOP_TRIES = 200
_Made = TypeVar("_Made")


_ENGINES: weakref.WeakSet[Engine] = weakref.WeakSet()
_ABANDONED: list[Any] = []


class Engine:
    """Runs read-only SQL over Arrow tables and Parquet files.

    Args:
        memory_limit: As DuckDB takes it (`"2GB"`), or None for DuckDB's own default.
        threads: Worker threads, or None for one per core.
    """

    def __init__(self, memory_limit: str | None = None, threads: int | None = None) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._config = {"memory_limit": memory_limit, "threads": threads}
        self._connection: duckdb.DuckDBPyConnection | None = None
        _ENGINES.add(self)

    @contextmanager
    def cursor(self, tables: Mapping[str, pa.Table] | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a cursor of its own that knows `tables` by name.

        Raises:
            InvalidInputError: The engine cannot make sense of the statement.
            CapacityError: The engine ran out of memory or disk.
        """
        cursor = self._database().cursor()
        try:
            with explained():
                for name, table in (tables or {}).items():
                    cursor.register(name, table)
                yield cursor
        finally:
            cursor.close()

    def read(
        self,
        sql: str,
        params: Mapping[str, Any],
        tables: Mapping[str, pa.Table],
        views: Mapping[str, str] | None = None,
        kept: KeptCursor | None = None,
    ) -> Generator[Any, None, None]:
        """Yield the result's Arrow schema, then its record batches as they are made.

        Args:
            sql: One statement.
            params: Bound values by name.
            tables: Arrow tables by the name the statement calls them.
            views: Queries by the name the statement calls them.
            kept: A hold on the cursor of an earlier run, which knows its tables; `tables` are new to it.
        """
        with self._prepared(tables, kept) as cursor:
            reader, batches = interruptible(cursor, lambda: _started(_relation(cursor, sql, params, views)))
            yield reader.schema
            while batches:
                yield from batches
                is_all = sum(batch.num_rows for batch in batches) < BATCH_ROWS
                batches = [] if is_all else interruptible(cursor, lambda: _some(reader))

    @contextmanager
    def _prepared(self, tables: Mapping[str, pa.Table], kept: KeptCursor | None) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a cursor that knows the tables, or use the one `kept` handed out; leave it there if all goes well."""
        if kept is None:
            with self.cursor(tables) as cursor:
                yield cursor
            return
        with explained():
            cursor = kept.taken or self._database().cursor()
            try:
                for name, table in tables.items():
                    cursor.register(name, table)
                yield cursor
            except BaseException:
                cursor.close()
                raise
            kept.put(cursor)

    def relation(
        self,
        sql: str,
        params: Mapping[str, Any],
        tables: Mapping[str, pa.Table],
        views: Mapping[str, str] | None = None,
    ) -> duckdb.DuckDBPyRelation:
        """Return a statement as a relation that has not run yet; see `read` for the arguments."""
        cursor = self._database().cursor()  # lives as long as the relation
        with explained():
            for name, table in tables.items():
                cursor.register(name, table)
            return _relation(cursor, sql, params, views)

    def evaluate(self, expressions: list[str], params: Mapping[str, Any]) -> list[Any]:
        """Return the values of column-free expressions; an expression that fails fails all, as None."""
        sql = "SELECT " + ", ".join(expressions)
        try:
            with self.cursor() as cursor:
                named = cursor.extract_statements(sql)[0].named_parameters
                row = cursor.execute(sql, {name: params[name] for name in named if name in params}).fetchone()
        except InvalidInputError:
            return [None] * len(expressions)
        return list(row or [None] * len(expressions))

    def check_statement(self, sql: str) -> frozenset[str]:
        """Check that `sql` is one statement that only reads; return the names of its parameters.

        Raises:
            InvalidInputError: Several statements, none, or one that does more than read.
        """
        with self.cursor() as cursor:
            statements = cursor.extract_statements(sql)
        if len(statements) > 1 and not any(statement.query for statement in statements):
            statements = statements[-1:]  # a PIVOT that DuckDB 1.x takes apart: it looks its columns up first
        check_statements([statement.type.name for statement in statements], sql)
        return frozenset(statements[0].named_parameters)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def _database(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            if self._connection is None:
                self._connection = self._connect()
            return self._connection

    def leave_to_parent(self) -> None:
        """Start anew in a forked child: the parent's database has threads that do not exist here."""
        _ABANDONED.append(self._connection)  # closing it would wait for those threads
        self._lock, self._pid, self._connection = threading.Lock(), os.getpid(), None

    def _connect(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect()
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute("SET GLOBAL python_enable_replacements = false")
        if duckdb.__version__.startswith("1."):
            # DuckDB 1.5 pushes Bloom filters of joins into Arrow scans, which then refuse them.
            # Its elimination of windows for the first rows of each group fails where a BETWEEN stands below it.
            connection.execute("SET GLOBAL disabled_optimizers = 'join_filter_pushdown,top_n_window_elimination'")
        spill = f"{spill_folder()}/quantstore-{os.getpid()}".replace("'", "''")
        connection.execute(f"SET GLOBAL temp_directory = '{spill}'")
        for name, value in self._config.items():
            if value is not None:
                connection.execute(f"SET GLOBAL {name} = '{value}'")
        return connection


class KeptCursor:
    """One run's hold on a cursor that waits between the runs of a statement, or on none.

    Args:
        place: Holds at most one cursor between runs; runs at the same time find it empty.
    """

    def __init__(self, place: list[duckdb.DuckDBPyConnection]) -> None:
        self._place = place
        try:
            self.taken: duckdb.DuckDBPyConnection | None = place.pop()
        except IndexError:
            self.taken = None

    def put(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Leave a cursor to the next run, unless one waits already."""
        if self._place:
            cursor.close()
        else:
            self._place.append(cursor)


def _relation(
    cursor: duckdb.DuckDBPyConnection, sql: str, params: Mapping[str, Any], views: Mapping[str, str] | None
) -> duckdb.DuckDBPyRelation:
    for name, query in (views or {}).items():
        cursor.execute(f"CREATE TEMP VIEW {quote(name)} AS {query}")
    relation = cursor.sql(sql, params=dict(params) or None)
    if relation is None:
        raise InvalidInputError("The statement gives no rows; only SELECT and the like can be read.")
    return relation


def _started(relation: duckdb.DuckDBPyRelation) -> tuple[pa.RecordBatchReader, list[pa.RecordBatch]]:
    reader = relation.to_arrow_reader(BATCH_ROWS)
    return reader, _some(reader)


def _some(reader: pa.RecordBatchReader) -> list[pa.RecordBatch]:
    """Return the next batches; fewer than `BATCH_ROWS` rows in all are the last ones."""
    batches, rows = [], 0
    while rows < BATCH_ROWS and (batch := next(reader, None)) is not None:
        batches.append(batch)
        rows += batch.num_rows
    return batches


def interruptible(cursor: duckdb.DuckDBPyConnection, action: Callable[[], _Made]) -> _Made:
    """Return what `action` makes; called from the main thread, it runs in another, so that Ctrl-C reaches this one."""
    if threading.current_thread() is not threading.main_thread():
        return action()
    return _WORKER.run(cursor, action)


class _Worker:
    """A thread that does one thing after the other for the main thread; made when first needed."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._jobs: queue.SimpleQueue[Callable[[], None]] | None = None

    def run(self, cursor: duckdb.DuckDBPyConnection, action: Callable[[], _Made]) -> _Made:
        """Return what `action` makes; at Ctrl-C it is interrupted, by its cursor, and waited for a while."""
        outcome: Future[_Made] = Future()
        done = threading.Lock()
        done.acquire()

        def work() -> None:
            try:
                outcome.set_result(action())
            except BaseException as error:  # noqa: BLE001 - handed to the waiting thread
                outcome.set_exception(error)
            finally:
                done.release()

        self._queue().put(work)
        try:
            done.acquire()
        except KeyboardInterrupt:
            for _ in range(_STOP_TRIES):  # the engine forgets an interruption that comes just as it starts a statement
                cursor.interrupt()
                if done.acquire(timeout=_STOP_SECONDS / _STOP_TRIES):
                    break
            else:
                self._jobs = None  # it may never come back; what comes next gets a thread of its own
            raise
        return outcome.result()

    def _queue(self) -> queue.SimpleQueue[Callable[[], None]]:
        if self._jobs is None or self._pid != os.getpid():
            self._pid, self._jobs = os.getpid(), queue.SimpleQueue()
            threading.Thread(target=_work_on, args=(self._jobs,), name="quantstore-query", daemon=True).start()
        return self._jobs


def _work_on(jobs: queue.SimpleQueue[Callable[[], None]]) -> None:
    while True:
        jobs.get()()


_WORKER = _Worker()


def _after_fork() -> None:
    for engine in list(_ENGINES):
        engine.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
