"""HybridStorageManager: the facade over catalog, stores, query, tiering and maintenance."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from quantstore.core.backend import StorageBackend
from quantstore.core.duration import parse_duration_ns
from quantstore.core.table import TableSpec, parse_grain
from quantstore.core.tier import ALL_TIERS, Tier, parse_tier, parse_tiers
from quantstore.errors import AccessDeniedError, InvalidInputError

if TYPE_CHECKING:
    import polars as pl

    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.records import Receipt, TableRecord
    from quantstore.maintenance.audit import AuditReport
    from quantstore.maintenance.sweep import SweepResult
    from quantstore.query.plan import Plan
    from quantstore.query.report import ReadReport
    from quantstore.query.request import ReadRequest
    from quantstore.stores.base import SegmentStore
    from quantstore.table import Table
    from quantstore.tiering.planner import ProposedMove
    from quantstore.write.result import WriteResult

ALL_TIER_NAMES = tuple(tier.value for tier in ALL_TIERS)


class HybridStorageManager(StorageBackend):
    """One table over three tiers: write, read and migrate without knowing where rows are.

    Args:
        hot_store: Directory, URL or store for the hot tier (mapped Arrow by default).
        warm_store: The same for the warm tier (LZ4 Parquet).
        cold_store: The same for the cold tier (zstd Parquet under `trade_date=/asset_class=`).
        metadata_catalog: File or directory of the catalog, or a `Catalog`.
        name: How the store is shown; defaults to the catalog's place.
        read_only: Whether to refuse every change.
        create: Whether to make what is missing.
        memory_limit: What the SQL engine may use, as DuckDB takes it (`"2GB"`); None for its default.
    """

    def __init__(
        self,
        hot_store: str | os.PathLike[str] | SegmentStore,
        warm_store: str | os.PathLike[str] | SegmentStore,
        cold_store: str | os.PathLike[str] | SegmentStore,
        metadata_catalog: str | os.PathLike[str] | Catalog,
        *,
        name: str | None = None,
        read_only: bool = False,
        create: bool = True,
        memory_limit: str | None = None,
    ) -> None:
        from quantstore.query.engine import Engine
        from quantstore.query.reader import Reader
        from quantstore.write.writer import Writer

        self._stores = _open_stores({Tier.HOT: hot_store, Tier.WARM: warm_store, Tier.COLD: cold_store})
        self.metadata_catalog = _open_catalog(metadata_catalog, self._stores, read_only=read_only, create=create)
        self.hot_store, self.warm_store, self.cold_store = (self._stores[tier] for tier in ALL_TIERS)
        self.name = name or str(self.metadata_catalog.path.parent)
        self.is_closed = False
        self._engine = Engine(memory_limit)
        self._reader = Reader(self.metadata_catalog, self._stores, self._engine)
        self._writer = Writer(self.metadata_catalog, self._stores, self.name)

    # --- the specified interface -------------------------------------------------------------------------------

    def write(
        self,
        df: Any,
        table: str,
        tier: str = "hot",
        *,
        mode: str = "append",
        time: str | None = None,
        symbol: str | None = None,
        key: str | Iterable[str] | None = None,
        asset_class: str | None = None,
        tz: str | None = None,
        write_id: str | None = None,
        on_repeat: str = "skip",
        expected_version: int | None = None,
    ) -> WriteResult:
        """Write rows into a tier; on return they are durable and visible.

        Args:
            df: pandas or Polars frame, Arrow table, reader, anything with `__arrow_c_stream__`, or an iterator of
                these, which may be larger than memory.
            table: The table; made by its first write.
            tier: `hot`, `warm` or `cold`.
            mode: `append`, `overwrite` (the whole table) or `error` (only if the table does not exist).
            time: Time column; default the table's, else `ts`, else the only datetime column or a DatetimeIndex.
            symbol: Symbol column; default the table's, else a text column called `symbol`.
            key: Columns that identify a row; fixed by the first write.
            asset_class: Asset class of rows that have no such column; default the table's, else `UNKNOWN`.
            tz: Zone of a naive time column, which makes it a zoned one.
            write_id: Name of this write; a write with a name seen before adds nothing.
            on_repeat: What to do with an append whose whole content is in the table already: `skip` (with a warning),
                `append` or `raise`.
            expected_version: Refuse unless the table was last changed by this version.

        Returns:
            Version, rows and segments; prints as one line.

        Raises:
            InvalidInputError: The data does not fit; nothing was changed.
            ConflictError: Another writer came first in a way that matters; nothing was changed.
        """
        from quantstore.rows.form import Wishes
        from quantstore.write.writer import WriteRequest

        keys = None if key is None else (key,) if isinstance(key, str) else tuple(key)
        wishes = Wishes(time=time, symbol=symbol, key=keys, asset_class=asset_class, tz=tz)
        request = WriteRequest(
            table=table,
            tier=parse_tier(tier),
            mode=mode,
            wishes=wishes,
            write_id=write_id,
            on_repeat=on_repeat,
            expected_version=expected_version,
        )
        return self._writer.write(df, request)

    def read(
        self,
        query: str,
        tiers: str | Iterable[str] = ALL_TIER_NAMES,
        *,
        start: Any = None,
        end: Any = None,
        dates: Any = None,
        symbols: str | Iterable[str] | None = None,
        columns: str | Iterable[str] | None = None,
        params: Mapping[str, Any] | None = None,
        frames: Mapping[str, Any] | None = None,
        as_of: Any = None,
        to: str = "pandas",
        dtype_backend: str | None = None,
        missing: str = "warn",
        max_bytes: int | str | None = "auto",
    ) -> Any:
        """Read a table, or the answer to a SQL query over tables, from whatever tiers hold the rows.

        Args:
            query: A table's name (rows in `(time, _seq)` order, columns, dtypes and index as written) or DuckDB's SQL.
            tiers: Tiers that may answer; see `missing`.
            start: First event time wanted; with a table's name only, as the next four. No zone means UTC.
            end: Event time to stop before.
            dates: Trade dates wanted, one or several.
            symbols: Symbols wanted, one or several.
            columns: Columns wanted; hidden ones (`trade_date`, `asset_class`, `_seq`) may be named.
            params: Values bound to `$name` in SQL.
            frames: Frames that SQL may name as tables: pandas, Polars, Arrow, by name.
            as_of: What the store knew then: a version, or an instant with a time of day.
            to: `pandas`, `polars`, `lazy` (of a table, read when it is collected, as by `scan`), `arrow`, `reader`
                (record batches, bounded memory) or `relation` (DuckDB's, in its types, not yet run).
            dtype_backend: For pandas: None, `pyarrow` or `numpy_nullable`.
            missing: Where `tiers` leaves segments out: `warn`, `raise` or `ignore`.
            max_bytes: Largest result: bytes, text such as `2GB`, `auto` (half of free memory) or None.

        Raises:
            NotFoundError: No such table or version.
            InvalidInputError: The query or an option makes no sense.
            IntegrityError: A needed segment is damaged; table, partition and tier are named.
            ResultTooLarge: The result exceeds `max_bytes`.
        """
        return self._reader.read(
            _request(
                query,
                tiers,
                start=start,
                end=end,
                dates=dates,
                symbols=_names(symbols),
                columns=_names(columns),
                params=params or {},
                frames=frames,
                as_of=as_of,
                to=to,
                dtype_backend=dtype_backend,
                missing=missing,
                max_bytes=max_bytes,
            )
        )

    def scan(
        self,
        table: str,
        *,
        tiers: str | Iterable[str] | None = None,
        as_of: Any = None,
        columns: str | Iterable[str] | None = None,
    ) -> pl.LazyFrame:
        """Return a table as a Polars LazyFrame whose projection, filters and limits reach the tiers.

        Nothing is read until it is collected; then only segments that may hold wanted rows are opened, and of them only
        the columns that are needed. The version is fixed here, so that collecting twice gives the same rows, in
        `(time, _seq)` order as `read` gives them. After a collect `last` shows what was touched; so does
        `LazyFrame.explain()`, from Polars 2.1 on.

        Args:
            table: The table's name.
            tiers: Tiers that may answer; default all. A hint that leaves segments out warns.
            as_of: What the store knew then: a version, or an instant with a time of day.
            columns: Columns of the frame; default the table's own. Hidden ones (`trade_date`, `asset_class`, `_seq`)
                are there only if they are named.

        Raises:
            NotFoundError: No such table, column or version; the nearest is named.
            InvalidInputError: SQL instead of a name.
            UnsupportedError: A column has ordered categories that were never fixed.
        """
        names = ALL_TIER_NAMES if tiers is None else tiers
        return self._reader.scan(_request(table, names, as_of=as_of, columns=_names(columns), to="lazy"))

    def migrate(
        self,
        table: str,
        src_tier: str,
        dst_tier: str,
        *,
        where: str | None = None,
        before: Any = None,
        dry_run: bool = False,
    ) -> list[Receipt] | list[ProposedMove]:
        """Move a table's rows from one tier to another: copy, read back, compare, commit.

        What was moved stays readable throughout; the old bytes go with a later `sweep`.

        Args:
            table: The table.
            src_tier: Tier to take from, or `any`.
            dst_tier: Tier to bring to.
            where: SQL condition on rows; a segment it cuts is split.
            before: Only rows with an event time before this.
            dry_run: Whether only to return what would move.

        Returns:
            A receipt per segment moved, or with `dry_run` a proposal per segment.

        Raises:
            NotFoundError: No such table.
            IntegrityError: A source is damaged, or a copy reads back differently; nothing of it was changed.
        """
        from quantstore.query.literals import time_range
        from quantstore.rows.form import known_form
        from quantstore.tiering.migrate import MigrateRequest, Migrator

        sources = ALL_TIERS if str(src_tier).lower() == "any" else (parse_tier(src_tier),)
        destination = parse_tier(dst_tier)
        record = self._record(table)
        form = known_form(record)
        span = time_range(None, before, form.spec.time, form.schema.field(form.spec.time).type, "before")
        migrator = Migrator(self.metadata_catalog, self._stores, self._engine, record)
        request = MigrateRequest(sources, destination, where, span)
        if dry_run:
            return migrator.propose(request)
        if self.metadata_catalog.read_only:
            raise AccessDeniedError("The store is open read-only; open it with read_only=False to migrate.")
        return migrator.run(request)

    # --- tables ------------------------------------------------------------------------------------------------

    def create(
        self,
        table: str,
        schema: Any = None,
        *,
        time: str = "ts",
        symbol: str | None = None,
        key: str | Iterable[str] | None = None,
        calendar: str | None = None,
        grain: str = "auto",
        asset_class: str | None = None,
    ) -> Table:
        """Make an empty table; without this the first write does.

        Args:
            table: Its name.
            schema: Arrow schema, or None to let the first write fix the columns.
            time: Time column.
            symbol: Symbol column, if any.
            key: Columns that identify a row, if any.
            calendar: Exchange calendar that derives `trade_date`; not supported yet.
            grain: Width of a partition: `auto` (day), `day`, `month` or `year`.
            asset_class: Asset class of rows that bring none.

        Raises:
            InvalidInputError: The name is taken or not usable, or the schema lacks a column named here.
        """
        from quantstore.core.names import check_name, refuse_lookalike
        from quantstore.rows.form import Wishes, new_form, refuse_calendar, refuse_unordered

        keys = () if key is None else (key,) if isinstance(key, str) else tuple(key)
        wishes = Wishes(time, symbol, keys or None, asset_class, None, calendar, parse_grain(grain))
        refuse_calendar(wishes)
        refuse_lookalike(check_name(table), self.tables())
        if schema is not None:
            form = new_form(table, schema, wishes, {})
            refuse_unordered(form)
            self.metadata_catalog.commits.create(form.spec, form.stored())
        else:
            spec = TableSpec(table, time, symbol, keys, calendar, wishes.grain, asset_class)
            self.metadata_catalog.commits.create(spec, None)
        return self.table(table)

    def tables(self) -> list[str]:
        """Return the names of all tables, sorted."""
        with self.metadata_catalog.view() as view:
            return view.table_names()

    def table(self, name: str) -> Table:
        """Return a table to look at: schema, placement, versions.

        Raises:
            NotFoundError: No such table; the nearest is named.
        """
        from quantstore.table import Table

        return Table(self.metadata_catalog, self._record(name))

    def explain(
        self,
        query: str,
        tiers: str | Iterable[str] = ALL_TIER_NAMES,
        *,
        start: Any = None,
        end: Any = None,
        dates: Any = None,
        symbols: str | Iterable[str] | None = None,
        params: Mapping[str, Any] | None = None,
        frames: Mapping[str, Any] | None = None,
        as_of: Any = None,
    ) -> Plan:
        """Return what `read` with the same arguments would touch and why, without opening a file."""
        return self._reader.explain(
            _request(
                query,
                tiers,
                start=start,
                end=end,
                dates=dates,
                symbols=_names(symbols),
                params=params or {},
                frames=frames,
                as_of=as_of,
            )
        )

    @property
    def last(self) -> ReadReport | None:
        """Plan, timings and what was left out of the last read of this store in this process."""
        return self._reader.last

    # --- upkeep ------------------------------------------------------------------------------------------------

    def audit(self) -> AuditReport:
        """Read every copy from first to last byte, prove every move again, and report what is wrong."""
        from quantstore.maintenance.audit import Auditor

        return Auditor(self.metadata_catalog, self._stores, self._form).run()

    def sweep(self, grace: str | float | timedelta = "1h") -> SweepResult:
        """Delete bytes nothing reaches: copies superseded for longer than `grace`, leftovers of dead processes."""
        from quantstore.maintenance.sweep import sweep

        if self.metadata_catalog.read_only:
            raise AccessDeniedError("The store is open read-only; open it with read_only=False to sweep.")
        return sweep(self.metadata_catalog, self._stores, parse_duration_ns(grace, "grace"))

    def close(self) -> None:
        """Write down access counts and release files; results handed out stay valid."""
        self.is_closed = True
        self._reader.close()
        self._engine.close()
        for store in self._stores.values():
            store.close()
        self.metadata_catalog.close()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store."""
        self.close()

    def __repr__(self) -> str:
        """Name the store."""
        mode = ", read_only=True" if self.metadata_catalog.read_only else ""
        return f"HybridStorageManager({self.name!r}{mode})"

    # --- inner -------------------------------------------------------------------------------------------------

    def _record(self, name: str) -> TableRecord:
        from quantstore.query.resolve import unknown_table

        with self.metadata_catalog.view() as view:
            record = view.table(str(name))
            if record is None:
                raise unknown_table(view, str(name))
            return record

    def _form(self, schema_id: int) -> Any:
        from quantstore.rows.form import known_form

        record, schema = self.metadata_catalog.schema_owner(schema_id)
        return known_form(record, schema)


def _request(
    query: str, tiers: str | Iterable[str], frames: Mapping[str, Any] | None = None, **options: Any
) -> ReadRequest:
    from quantstore.query.frames import open_frames
    from quantstore.query.request import ReadRequest

    return ReadRequest(query, parse_tiers(tiers), frames=open_frames(frames), **options)


def _names(value: str | Iterable[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    return (value,) if isinstance(value, str) else tuple(str(one) for one in value)


def _open_catalog(target: Any, stores: Mapping[Tier, SegmentStore], *, read_only: bool, create: bool) -> Catalog:
    from quantstore.catalog.opening import open_catalog

    def find_rows() -> str | None:
        found = (f"{stored.location} in store {store.name!r}" for store in stores.values() for stored in store.list())
        return next(found, None)

    return open_catalog(target, read_only=read_only, create=create, find_rows=find_rows)


def _open_stores(targets: Mapping[Tier, Any]) -> dict[Tier, SegmentStore]:
    from quantstore.stores.registry import open_store

    stores = {tier: open_store(target, tier) for tier, target in targets.items()}
    roots = {tier: Path(root).resolve() for tier, store in stores.items() if (root := getattr(store, "root", None))}
    for tier, root in roots.items():
        for other, other_root in roots.items():
            if tier is not other and (root == other_root or root in other_root.parents):
                raise InvalidInputError(
                    f"The {tier.value} store {root} and the {other.value} store {other_root} overlap; give each tier a "
                    "directory of its own."
                )
    return stores
