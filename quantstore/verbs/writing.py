"""Writing: rows that are added, replaced, updated, deleted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from quantstore.verbs.base import Verbs

if TYPE_CHECKING:
    import pyarrow as pa

    from quantstore.corrections.correction import Parts
    from quantstore.transaction import Transaction
    from quantstore.write.committer import Operation
    from quantstore.write.request import WriteRequest
    from quantstore.write.result import WriteResult
    from quantstore.write.stream import Stream


class WritingVerbs(Verbs):
    """write, delete, transaction, stream."""

    def write(
        self,
        df: Any,
        table: str,
        tier: str = "hot",
        *,
        mode: str = "append",
        where: str | None = None,
        time: str | None = None,
        symbol: str | None = None,
        key: str | Iterable[str] | None = None,
        asset_class: str | None = None,
        tz: str | None = None,
        calendar: str | None = None,
        grain: str | None = None,
        wide: str | None = None,
        write_id: str | None = None,
        on_repeat: str = "skip",
        expected_version: int | None = None,
        dry_run: bool = False,
    ) -> WriteResult:
        """Write rows into a tier; on return they are durable and visible.

        A table follows its frames: columns it has not are added (null in rows written before), types that hold every
        value it has are widened; a frame that lacks a column, or could lose something, is refused.

        Args:
            df: pandas or Polars frame, Arrow table, reader, anything with `__arrow_c_stream__`, or an iterator of
                these, which may be larger than memory.
            table: The table; made by its first write.
            tier: `hot`, `warm` or `cold`.
            mode: `append`; `replace` (rows that meet `where` go, the frame's come; without `where` the rows of every
                trade date, asset class and symbol that the frame has); `upsert` (rows with the frame's keys go);
                `overwrite` (the whole table goes); `error` (only if the table does not exist). Rows of a replace or an
                upsert are held in memory; rows that would come back as they are stay untouched.
            where: SQL condition on the rows that `replace` takes away; a row of the frame outside it is refused.
            time: Time column; default the table's, else `ts`, else the only datetime column or a DatetimeIndex.
            symbol: Symbol column; default the table's, else a text column called `symbol`.
            key: Columns that identify a row; fixed by the first write, or the first upsert.
            asset_class: Asset class of rows that have no such column; default the table's, else `UNKNOWN`.
            tz: Zone of a naive time column, which makes it a zoned one.
            calendar: Exchange calendar whose sessions are the trade dates of rows that bring none, such as `XNYS` or
                `CMES`; fixed by the first write. Default the UTC date of the time column.
            grain: Width of a partition: `day`, `month`, `year`, or `auto`: by the days and rows of the first write,
                which fixes it.
            wide: Of a frame with a column for each symbol, what its cells are, such as `close`; it is stored as rows
                (time, symbol, close). Empty cells are no rows.
            write_id: Name of this write; a write with a name seen before adds nothing.
            on_repeat: What to do with an append whose whole content is in the table already: `skip` (with a warning),
                `append` or `raise`.
            expected_version: Refuse unless the table was last changed by this version.
            dry_run: Whether only to count what would be added and removed.

        Returns:
            Version, rows added and removed, segments, columns added and widened; prints as one line.

        Raises:
            InvalidInputError: The data does not fit; nothing was changed.
            ConflictError: Another writer came first in a way that matters; nothing was changed.
        """
        from quantstore.write.request import write_request

        request = write_request(
            table,
            tier,
            mode=mode,
            where=where,
            time=time,
            symbol=symbol,
            key=key,
            asset_class=asset_class,
            tz=tz,
            calendar=calendar,
            grain=grain,
            wide=wide,
            write_id=write_id,
            on_repeat=on_repeat,
            expected_version=expected_version,
            dry_run=dry_run,
        )
        self._committer.require_writable()
        return self._committer.run(self._operation(df, request))

    def delete(
        self,
        table: str,
        where: str,
        *,
        write_id: str | None = None,
        expected_version: int | None = None,
        dry_run: bool = False,
    ) -> WriteResult:
        """Delete the rows that meet a condition, in every tier; older versions keep them.

        Args:
            table: The table.
            where: SQL condition on its rows, such as `symbol = 'X' AND ts < '2026-01-05T14:30Z'`.
            write_id: Name of this delete; one with a name seen before does nothing.
            expected_version: Refuse unless the table was last changed by this version.
            dry_run: Whether only to count what would be removed.

        Returns:
            Version and rows removed; prints as one line.

        Raises:
            NotFoundError: No such table or column; the nearest is named.
            InvalidInputError: `where` is no condition on the table's rows.
            ConflictError: Other writers kept changing the same rows; nothing was changed.
        """
        from quantstore.write.request import write_request

        request = write_request(
            table,
            "hot",
            mode="delete",
            where=where,
            write_id=write_id,
            expected_version=expected_version,
            dry_run=dry_run,
        )
        self._committer.require_writable()
        return self._committer.run(self._operation(None, request))

    def transaction(self, *, write_id: str | None = None) -> Transaction:
        """Begin a transaction, to be used in a `with` block: several writes and deletes, one commit.

        Args:
            write_id: Name of the whole transaction; one with a name seen before changes nothing.
        """
        from quantstore.transaction import Transaction

        return Transaction(self._operation, self._committer, write_id)

    def stream(
        self,
        table: str,
        tier: str = "hot",
        *,
        max_rows: int = 50_000,
        max_seconds: float | None = 1.0,
        max_pending: int | None = None,
        time: str | None = None,
        symbol: str | None = None,
        key: str | Iterable[str] | None = None,
        asset_class: str | None = None,
        tz: str | None = None,
        calendar: str | None = None,
        grain: str | None = None,
    ) -> Stream:
        """Begin a stream of appends, to be used in a `with` block: each returns at once and is durable soon.

        One thread writes what has gathered as one commit. A process that is killed loses only rows not yet durable,
        and none is ever there twice. `compact` keeps the many small segments few.

        Args:
            table: The table; made by its first rows.
            tier: `hot`, `warm` or `cold`.
            max_rows: Rows after which a batch is written.
            max_seconds: Age of the oldest row not yet durable after which one is; None for no limit.
            max_pending: Rows not yet durable beyond which `append` waits; default ten times `max_rows`.
            time: Time column, as for `write`; likewise what follows.
            symbol: Symbol column.
            key: Columns that identify a row.
            asset_class: Asset class of rows that have no such column.
            tz: Zone of a naive time column.
            calendar: Exchange calendar whose sessions are the trade dates of rows that bring none.
            grain: Width of a partition of a table that the first rows make.

        Raises:
            InvalidInputError: A limit or an option makes no sense.
            AccessDeniedError: The store is open read-only.
        """
        from quantstore.write.fitting import Fitting
        from quantstore.write.request import write_request
        from quantstore.write.stream import Limits, Stream

        request = write_request(
            table,
            tier,
            time=time,
            symbol=symbol,
            key=key,
            asset_class=asset_class,
            tz=tz,
            calendar=calendar,
            grain=grain,
            on_repeat="append",
        )
        self._committer.require_writable()
        limits = Limits(max_rows, max_seconds, 10 * max_rows if max_pending is None else max_pending)
        fitting = Fitting(self.metadata_catalog, request)
        later = fitting.batch_request

        def write(rows: pa.Table, write_id: str) -> WriteResult:
            return self._committer.run(self._operation(rows, replace(later, write_id=write_id)))

        stream = Stream(request.table, fitting.fit, write, limits)
        self.__dict__.setdefault("_streams", WeakSet()).add(stream)
        return stream

    def _close_streams(self) -> None:
        """Make durable what streams of this store still hold."""
        for stream in list(self.__dict__.get("_streams", ())):
            stream.close()

    def _operation(
        self, data: Any, request: WriteRequest, beside: Operation | None = None, first_ordinal: int = 0
    ) -> Operation:
        """Return what a write or delete does, checked as far as that can be done without changing anything."""
        from quantstore.write.append import Append, receive

        if request.mode == "delete":
            from quantstore.corrections.correction import Delete

            record = self._record(request.table)
            return Delete(self._parts(), record, request)
        incoming = receive(self.metadata_catalog, data, request, getattr(beside, "incoming", None))
        if request.mode in {"replace", "upsert"}:
            from quantstore.corrections.correction import Correction

            return Correction(self._parts(), incoming, request, first_ordinal)
        return Append(self.metadata_catalog, self._stores, incoming, request, first_ordinal)

    def _parts(self) -> Parts:
        from quantstore.corrections.correction import Parts

        return Parts(self.metadata_catalog, self._stores, self._engine)
