"""A table: schema, placement, history, and what changes it as a whole."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from quantstore.core.names import several
from quantstore.core.render import human_bytes, human_count
from quantstore.core.warn import warn_caller
from quantstore.errors import InvalidInputError, QuantStoreError, QuantStoreWarning
from quantstore.rows.form import known_form

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date

    import pandas as pd
    import pyarrow as pa

    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.marks import HoldRecord
    from quantstore.catalog.records import TableRecord
    from quantstore.core.tier import Tier
    from quantstore.query.reader import Reader
    from quantstore.stores.base import SegmentStore

_PLACEMENT_COLUMNS = (
    "segment_id",
    "tier",
    "role",
    "trade_date",
    "asset_class",
    "rows",
    "bytes",
    "min_ts",
    "max_ts",
    "location",
    "codec",
    "created",
    "last_read",
    "heat",
)


class Table:
    """A table of a store, as `store.table(name)` gives it."""

    def __init__(
        self, catalog: Catalog, record: TableRecord, stores: Mapping[Tier, SegmentStore], reader: Reader
    ) -> None:
        self._catalog = catalog
        self._record = record
        self._stores = stores
        self._reader = reader

    @property
    def name(self) -> str:
        """The table's name as first written."""
        return self._record.name

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the table's own columns, hidden ones left out."""
        return known_form(self._record).visible

    def placement(self) -> pd.DataFrame:
        """Return one row per copy: where it is, how large, what span it holds, how hot.

        `min_ts`, `max_ts`, `created` and `last_read` are timestamps (ns); event times are UTC or, for a naive time
        column, its own wall time; `heat` counts reads, each weighing half as much every seven days.
        """
        import pandas as pd

        heats = self._catalog.access.heats()
        with self._catalog.view() as view:
            placed = view.segments(self._record.table_id)
        rows = []
        for one in placed:
            segment, stats, heat = one.segment, one.segment.stats, heats.get(one.segment.segment_id)
            rows += [
                (
                    segment.segment_id,
                    copy.tier.value,
                    copy.role.value,
                    segment.partition.trade_date,
                    segment.partition.asset_class,
                    one.rows_of(copy),
                    copy.size_bytes,
                    pd.Timestamp(stats.min_ns),
                    pd.Timestamp(stats.max_ns),
                    copy.location,
                    copy.codec,
                    pd.Timestamp(copy.created_ns, tz="UTC"),
                    pd.Timestamp(heat.last_read_ns, tz="UTC") if heat else pd.NaT,
                    heat.heat if heat else 0.0,
                )
                for copy in one.copies
            ]
        return pd.DataFrame(rows, columns=list(_PLACEMENT_COLUMNS))

    def wide(
        self,
        column: str,
        *,
        start: Any = None,
        end: Any = None,
        dates: Any = None,
        symbols: str | Iterable[str] | None = None,
        as_of: Any = None,
        to: str = "pandas",
        dtype_backend: str | None = None,
        max_bytes: int | str | None = "auto",
    ) -> Any:
        """Return one column as a frame with a row for each time and a column for each symbol.

        A table that was written with `wide=` gives back the frame that was written: dtypes, order of columns, index and
        its name. Cells without a row are empty; whole numbers with empty cells are `Int64` in pandas, never float.

        Args:
            column: What the cells hold.
            start: First event time wanted.
            end: Event time to stop before.
            dates: Trade dates wanted, one or several.
            symbols: Symbols wanted, one or several.
            as_of: What the store knew then: a version, a tag, or an instant with a time of day.
            to: `pandas`, `polars` or `arrow`.
            dtype_backend: For pandas: None, `pyarrow` or `numpy_nullable`.
            max_bytes: Largest result: bytes, text such as `2GB`, `auto` (half of free memory) or None.

        Raises:
            NotFoundError: No such column or version.
            InvalidInputError: The table has no symbol column, or two rows share time and symbol.
            ResultTooLarge: The result exceeds `max_bytes`.
        """
        from quantstore.query.wide import read_wide

        options = {"start": start, "end": end, "dates": dates, "symbols": several(symbols), "as_of": as_of}
        return read_wide(
            self._reader, self._record, column, options, to=to, dtype_backend=dtype_backend, max_bytes=max_bytes
        )

    def days(
        self,
        start: Any = None,
        end: Any = None,
        *,
        symbols: str | Iterable[str] | None = None,
        columns: str | Iterable[str] | None = None,
        to: str = "pandas",
        dtype_backend: str | None = None,
    ) -> Iterator[tuple[date, Any]]:
        """Iterate over the trade dates that have rows, oldest first, each with its rows as `read` gives them.

        Only the segments of a day are opened for it, and about a day is held in memory; of a table with wider
        partitions up to a million rows at a time. All days are of one version, that of the first step.

        Args:
            start: First trade date.
            end: Trade date to stop before.
            symbols: Symbols wanted, one or several; days without them are left out.
            columns: Columns wanted; hidden ones (`trade_date`, `asset_class`, `_seq`) may be named.
            to: `pandas`, `polars` or `arrow`.
            dtype_backend: For pandas: None, `pyarrow` or `numpy_nullable`.

        Raises:
            InvalidInputError: `start` or `end` is no date, or an option makes no sense.
            NotFoundError: No such column.
            IntegrityError: A needed segment is damaged; table, partition and tier are named.
        """
        from quantstore.query.days import table_days

        options = {"symbols": several(symbols), "columns": several(columns), "to": to, "dtype_backend": dtype_backend}
        return table_days(self._catalog, self._reader, self._record, options, start, end)

    def versions(self) -> pd.DataFrame:
        """Return what each version did to the table, newest first: who, when, which operation, rows, lineage."""
        from quantstore.query.versions import versions_frame

        return versions_frame(self._catalog.change_columns(self._record.table_id))

    def lineage(self) -> pd.DataFrame:
        """Return where the rows of each version came from, newest first.

        `inputs` and `input_version` are the tables and the version read to make the rows, `query` is the name or SQL
        that read them, where the frame written still carried the note of its read. `file` and `line`, or `notebook`,
        say which code wrote, relative to its git repository if it is in one, and `commit` what was checked out there.
        """
        from quantstore.query.versions import lineage_frame

        return lineage_frame(self._catalog.change_columns(self._record.table_id))

    def changes(self, since: Any, until: Any = None, *, to: str = "pandas") -> Any:
        """Return the rows that came and went between two versions, each with `change`: `added` or `removed`.

        Exact, by what identifies a row for good: what was only moved, merged or brought back does not show; a row that
        was corrected shows twice. Rows come by time. Where the table has a column `change`, it is `_change`.

        Args:
            since: A version, a tag, or an instant.
            until: The same; default the newest version.
            to: `pandas`, `polars` or `arrow`.

        Raises:
            NotFoundError: One of the versions has expired.
        """
        from quantstore.query.convert import check_kind, convert
        from quantstore.query.differences import differences
        from quantstore.query.moment import version_of

        check_kind(to, None)
        if to not in {"pandas", "polars", "arrow"}:
            raise InvalidInputError(f"to={to!r} is not one of pandas, polars, arrow.")
        first = version_of(self._catalog, since, "since")
        last = self._catalog.snapshot().version if until is None else version_of(self._catalog, until, "until")
        rows = differences(self._catalog, self._stores, self._record.table_id, first, last)
        return convert(rows, to, None, None)

    def rename(self, new: str) -> Table:
        """Give the table another name; older versions keep the old one.

        Raises:
            InvalidInputError: The name is taken, looks like one that is, or will not do.
        """
        from quantstore.core.names import check_name
        from quantstore.write.lineage import code_lineage

        self._catalog.require_writable("rename")
        self._catalog.history.rename(self._record.table_id, check_name(new), code_lineage())
        self._record = replace(self._record, spec=replace(self._record.spec, name=new))
        return self._refreshed()

    def restore(self, version: Any) -> Table:
        """Make a new version whose rows and columns are those of an old one; no file is written or copied.

        Rows keep their place in `(time, _seq)` order. What came since stays in the versions that have it.

        Args:
            version: A version, a tag, or an instant.

        Raises:
            NotFoundError: The version has expired, or the table was not there then.
        """
        from quantstore.corrections.restore import restore
        from quantstore.query.moment import version_of
        from quantstore.write.lineage import code_lineage

        self._catalog.require_writable("restore")
        number = version_of(self._catalog, version, "version")
        restore(self._catalog, self._stores, self._record.table_id, number, code_lineage())
        return self._refreshed()

    def drop(self) -> int:
        """Take the table away and return the version that did; `store.undrop(name)` brings it back.

        Older versions keep it, and its rows stay as long as a version in which it has a name does.

        Raises:
            AccessDeniedError: A hold keeps it.
        """
        from quantstore.write.lineage import code_lineage

        self._catalog.require_writable("drop")
        return self._catalog.history.drop(self._record.table_id, code_lineage())

    def hold(self, reason: str, until: Any = None) -> Hold:
        """Keep every version of the table from expiring, and the table from being dropped.

        Args:
            reason: Why, for whoever comes across it.
            until: When the hold ends by itself: an instant, or a duration from now such as `30d`; None for never.

        Returns:
            The hold, to be released.
        """
        self._catalog.require_writable("hold a table")
        if not isinstance(reason, str) or not reason.strip():
            raise InvalidInputError("Say why the table is held: reason='audit of 2026'.")
        made = self._catalog.marks.hold(self._record.table_id, reason, _end_ns(self._catalog.clock.now_ns(), until))
        return Hold(self._catalog, made)

    def holds(self) -> list[Hold]:
        """Return the holds that keep the table now, oldest first."""
        return [Hold(self._catalog, one) for one in self._catalog.marks.holds(self._record.table_id)]

    def _refreshed(self) -> Table:
        try:
            with self._catalog.view() as view:
                record = view.table_by_id(self._record.table_id)
        except QuantStoreError as error:  # what was done stands, and must not seem to have failed
            warn_caller(
                f"Table {self.name!r} was changed, and could not be looked up again: {error}", QuantStoreWarning
            )
            return self
        assert record is not None  # noqa: S101 - a table that was is one for good
        self._record = record
        return self

    def summary(self) -> dict[str, Any]:
        """Return name, rows, bytes and segments in all and per tier, as plain values."""
        with self._catalog.view() as view:
            placed = view.segments(self._record.table_id)
        tiers: dict[str, dict[str, int]] = {}
        for one in placed:
            for copy in one.copies:
                tier = tiers.setdefault(copy.tier.value, {"segments": 0, "rows": 0, "bytes": 0})
                tier["segments"] += 1
                tier["rows"] += one.rows_of(copy)
                tier["bytes"] += copy.size_bytes
        return {
            "table": self.name,
            "rows": sum(one.segment.stats.rows for one in placed),
            "bytes": sum(tier["bytes"] for tier in tiers.values()),
            "segments": len(placed),
            "tiers": tiers,
        }

    def __repr__(self) -> str:
        """Return name, size per tier and columns."""
        facts = self.summary()
        lines = [f"table {self.name!r}: {human_count(facts['rows'])} rows"]
        for tier, use in facts["tiers"].items():
            size = human_bytes(use["bytes"])
            lines.append(f"  {tier}: {use['segments']} segments, {human_count(use['rows'])} rows, {size}")
        if self._record.schema is not None:
            lines += [f"  {name}: {kind}" for name, kind in self._record.schema.columns]
        return "\n".join(lines)


class Hold:
    """What keeps every version of a table; released by `release()` or at the end of a `with` block.

    Attributes:
        hold_id: Its number.
        table: The table's name.
        reason: Why it is there.
    """

    def __init__(self, catalog: Catalog, record: HoldRecord) -> None:
        self._catalog = catalog
        self._until_ns = record.until_ns
        self.hold_id = record.hold_id
        self.table = record.table
        self.reason = record.reason

    def release(self) -> None:
        """Let go; again does nothing."""
        self._catalog.marks.release(self.hold_id)

    def __enter__(self) -> Self:
        """Return the hold itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go."""
        self.release()

    def __repr__(self) -> str:
        """Return table, reason and end in one line."""
        import pandas as pd

        until = "released" if self._until_ns is None else pd.Timestamp(self._until_ns, tz="UTC").isoformat()
        return f"<hold on {self.table!r} until {until}: {self.reason}>"


def _end_ns(now: int, until: Any) -> int | None:
    """Return when something ends that was told by an instant or a duration."""
    from datetime import timedelta

    from quantstore.core.duration import parse_duration_ns
    from quantstore.query.literals import instant_ns

    if until is None:
        return None
    if isinstance(until, timedelta | int | float):
        return now + parse_duration_ns(until, "until")
    try:
        return now + parse_duration_ns(until, "until")
    except InvalidInputError:
        return instant_ns(until, "until")
