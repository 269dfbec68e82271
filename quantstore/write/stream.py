"""Streaming appends: rows gathered in memory, made durable in batches by one thread."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from quantstore.core.render import counted
from quantstore.errors import InvalidInputError, QuantStoreError, UnavailableError

if TYPE_CHECKING:
    import pyarrow as pa

    from quantstore.write.result import WriteResult

_GLANCE_SECONDS = 0.1
"""How long callers wait before they look up: libraries install handlers of Ctrl-C that do not end a wait."""
Fit = Callable[[Any], "pa.Table"]
"""Brings what a caller appends into the table's form, in memory that nobody else changes, or refuses it."""
WriteBatch = Callable[["pa.Table", str], "WriteResult"]
"""Makes rows durable under a write id, once, however often it is called."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a stream writes, and how much it holds.

    Attributes:
        max_rows: Rows after which a batch is written.
        max_seconds: Age of the oldest row after which one is; None for no limit.
        max_pending: Rows that are not durable yet beyond which `append` waits.
    """

    max_rows: int
    max_seconds: float | None
    max_pending: int

    def __post_init__(self) -> None:
        """Refuse limits that mean nothing."""
        if self.max_rows < 1:
            raise InvalidInputError(f"max_rows={self.max_rows!r} must be at least 1.")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise InvalidInputError(f"max_seconds={self.max_seconds!r} must be above 0, or None for no limit.")
        if self.max_pending < self.max_rows:
            raise InvalidInputError(
                f"max_pending={self.max_pending!r} must be at least max_rows={self.max_rows!r}, or no batch would fill."
            )


@dataclass(frozen=True, slots=True)
class _Lot:
    """Rows of one append: how many of the stream there are with them, and when they came."""

    rows: pa.Table
    end: int
    came: float


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows that are being written; the id stays the same however often that is tried."""

    rows: pa.Table
    end: int
    write_id: str


class Stream:
    """Appends to one table that return at once and become durable soon.

    Rows become durable in the order in which they were appended, so `durable_rows` says exactly which are. Leaving a
    `with` block makes the rest durable, after Ctrl-C or another error too; a second Ctrl-C gives that up. Methods may
    be called from several threads.

    Args:
        table: Name of the table, for messages.
        fit: See `Fit`.
        write: See `WriteBatch`.
        limits: When to write and how much to hold.
    """

    def __init__(self, table: str, fit: Fit, write: WriteBatch, limits: Limits) -> None:
        self.table = table
        self._fit = fit
        self._write = write
        self._limits = limits
        self._name = uuid4().hex
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._lots: deque[_Lot] = deque()
        self._batch: _Batch | None = None
        self._batches = 0
        self._wanted = 0
        self._durable_rows = 0
        self._durable_version: int | None = None
        self._error: BaseException | None = None
        self._is_closing = self._is_given_up = self._is_over = False
        self._thread = threading.Thread(target=self._work, name=f"quantstore stream of {table}", daemon=True)
        self._thread.start()

    @property
    def durable_version(self) -> int | None:
        """The newest version that holds rows of this stream; None before there is one."""
        return self._durable_version

    @property
    def durable_rows(self) -> int:
        """How many of the rows appended are durable: the first so many."""
        return self._durable_rows

    @property
    def appended_rows(self) -> int:
        """How many rows were appended."""
        try:
            return self._lots[-1].end
        except IndexError:
            return self._batch_end()

    @property
    def pending(self) -> int:
        """How many of the rows appended are not durable yet."""
        return self.appended_rows - self._durable_rows

    def append(self, rows: Any) -> None:
        """Add rows; they are checked now and durable soon, or after `flush`.

        Waits while too many rows are pending. The rows are copied where the caller could change them.

        Args:
            rows: A frame or Arrow table as `write` takes it, a dict of columns, or a list of dicts, one per row.

        Raises:
            InvalidInputError: They do not fit the table, or the stream is closed; none of them was taken.
            QuantStoreError: Writing earlier rows failed; none of these was taken. The next call tries again.
        """
        self._require_open()
        table = self._fit(rows)
        if table.num_rows == 0:
            return
        with self._changed:
            while self.pending and self.pending + table.num_rows > self._limits.max_pending:
                self._raise_failure()
                self._require_open()
                self._wanted = max(self._wanted, self._durable_rows + 1)
                self._changed.notify_all()
                self._changed.wait(_GLANCE_SECONDS)
            self._raise_failure()
            self._require_open()
            # One step, so that whatever interrupts this thread the rows are all there, or none.
            self._lots.append(_Lot(table, self.appended_rows + table.num_rows, time.monotonic()))
            self._changed.notify_all()

    def flush(self) -> int | None:
        """Return once all rows appended so far are durable; return the version that holds them, None without any.

        Raises:
            QuantStoreError: Writing failed; the rows stay pending and the next call tries again.
        """
        self._require_this_process()
        with self._changed:
            self._wait_for(self.appended_rows)
        return self._durable_version

    def close(self) -> None:
        """Make all rows durable and end the stream; closing it again does nothing.

        Raises:
            QuantStoreError: Writing failed; how many rows are lost is told.
        """
        if os.getpid() != self._pid:  # the rows are those of the process that appended them
            return
        with self._changed:
            if not self._is_closing:
                self._is_closing, self._error = True, None  # what failed before is tried once more
            self._changed.notify_all()
            try:
                while not self._is_over:
                    self._changed.wait(_GLANCE_SECONDS)
            except BaseException:  # a second Ctrl-C
                self._is_given_up = True
                self._changed.notify_all()
                raise
            self._raise_failure()

    def __enter__(self) -> Self:
        """Return the stream."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Make all rows durable and end the stream, whatever ended the block."""
        if error is None:
            self.close()
            return
        try:
            self.close()
        except Exception as failure:  # noqa: BLE001 - what ended the block matters more
            error.add_note(str(failure))

    def __repr__(self) -> str:
        """Tell table, rows and state."""
        state = "closed" if self._is_closing else "open"
        version = "" if self._durable_version is None else f" (version {self._durable_version})"
        return (
            f"<stream of {self.table!r}, {state}: {counted(self._durable_rows, 'row')} durable{version}, "
            f"{self.pending:,} pending>"
        )

    def _batch_end(self) -> int:
        batch = self._batch
        return self._durable_rows if batch is None else batch.end

    def _wait_for(self, rows: int) -> None:
        self._wanted = max(self._wanted, rows)
        self._changed.notify_all()
        while self._durable_rows < rows:
            self._raise_failure()
            if self._is_over:
                self._require_open()
            self._changed.wait(_GLANCE_SECONDS)

    def _require_this_process(self) -> None:
        if os.getpid() != self._pid:
            raise InvalidInputError(
                f"The stream of table {self.table!r} belongs to the process that opened it; open one in this process.",
                table=self.table,
            )

    def _require_open(self) -> None:
        self._require_this_process()
        if self._is_closing:
            raise InvalidInputError(f"The stream of table {self.table!r} is closed; open another.", table=self.table)

    def _raise_failure(self) -> None:
        """Raise what ended the last try to write, once; what is tried after that may succeed."""
        error, self._error = self._error, None
        if error is None:
            return
        self._changed.notify_all()
        rows = f"{counted(self.pending, 'row')} appended after row {self._durable_rows:,} of the stream"
        what = f"{rows} are lost" if self._is_closing else f"{rows} are not durable yet; flush() tries again"
        context = {"table": self.table, "durable_rows": self._durable_rows, "pending": self.pending}
        if isinstance(error, QuantStoreError):
            raise type(error)(f"{error} {what[:1].upper()}{what[1:]}.", **{**error.context, **context}) from error
        raise UnavailableError(f"Writing to table {self.table!r} failed: {error!r}. {what}.", **context) from error

    def _work(self) -> None:
        """Write in a thread of its own, to the end."""
        try:
            self._write_batches()
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def _write_batches(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                result = self._write(batch.rows, batch.write_id)
            except BaseException as error:  # noqa: BLE001 - told to whoever calls next
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                    if self._is_closing:
                        return
            else:
                with self._changed:
                    self._durable_version = result.version
                    self._durable_rows = batch.end
                    self._batch = None
                    self._changed.notify_all()

    def _next_batch(self) -> _Batch | None:
        """Wait until there is something to write; None once there will never be."""
        with self._changed:
            while not self._is_given_up:
                if self._batch is not None and self._error is None:
                    return self._batch  # the one that failed, once that was told
                if self._error is None and self._is_due():
                    return self._take()
                if self._is_closing and (self._error is not None or (self._batch is None and not self._lots)):
                    return None
                self._changed.wait(self._patience())
        return None

    def _is_due(self) -> bool:
        if not self._lots:
            return False
        limit = self._limits.max_seconds
        return (
            self._is_closing
            or self._wanted > self._durable_rows
            or self._lots[-1].end - self._durable_rows >= self._limits.max_rows
            or (limit is not None and time.monotonic() - self._lots[0].came >= limit)
        )

    def _patience(self) -> float | None:
        """Return after how many seconds to look again."""
        limit = self._limits.max_seconds
        if limit is None or not self._lots or self._error is not None:
            return None
        return max(0.0, self._lots[0].came + limit - time.monotonic())

    def _take(self) -> _Batch:
        """Take the rows that wait, as far as they have the same columns."""
        import pyarrow as pa

        schema = self._lots[0].rows.schema
        taken: list[_Lot] = []
        for lot in self._lots:
            if lot.rows.schema != schema:
                break
            taken.append(lot)
        self._batches += 1
        rows = pa.concat_tables([lot.rows for lot in taken])
        batch = _Batch(rows, taken[-1].end, f"{self._name}-{self._batches}")
        self._batch = batch
        for _ in taken:
            self._lots.popleft()
        return batch
