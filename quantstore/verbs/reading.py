"""Reading: tables and SQL, whole, lazy, explained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from quantstore.core.tier import ALL_TIERS, parse_tiers
from quantstore.verbs.base import Verbs, names

if TYPE_CHECKING:
    import polars as pl

    from quantstore.cache.results import ResultCache
    from quantstore.query.plan import Plan
    from quantstore.query.report import ReadReport
    from quantstore.query.request import ReadRequest

ALL_TIER_NAMES = tuple(tier.value for tier in ALL_TIERS)


class ReadingVerbs(Verbs):
    """read, scan, explain, cache, last."""

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
        cache: bool = True,
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
            as_of: What the store knew then: a version, a tag, or an instant with a time of day.
            to: `pandas`, `polars`, `lazy` (of a table, read when it is collected, as by `scan`), `arrow`, `reader`
                (record batches, bounded memory) or `relation` (DuckDB's, in its types, not yet run).
            dtype_backend: For pandas: None, `pyarrow` or `numpy_nullable`.
            cache: Whether an answer kept from before may be given where nothing it depends on has changed, and this one
                be kept; see `cache`.
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
                symbols=names(symbols),
                columns=names(columns),
                params=params or {},
                frames=frames,
                as_of=as_of,
                to=to,
                dtype_backend=dtype_backend,
                cache=cache,
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
            as_of: What the store knew then: a version, a tag, or an instant with a time of day.
            columns: Columns of the frame; default the table's own. Hidden ones (`trade_date`, `asset_class`, `_seq`)
                are there only if they are named.

        Raises:
            NotFoundError: No such table, column or version; the nearest is named.
            InvalidInputError: SQL instead of a name.
            UnsupportedError: A column has ordered categories that were never fixed.
        """
        allowed = ALL_TIER_NAMES if tiers is None else tiers
        return self._reader.scan(_request(table, allowed, as_of=as_of, columns=names(columns), to="lazy"))

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
                symbols=names(symbols),
                params=params or {},
                frames=frames,
                as_of=as_of,
            )
        )

    @property
    def cache(self) -> ResultCache:
        """Answers kept for repeats: `cache.stats()` says of what use they were, `cache.clear()` lets go of them all."""
        return self._cache

    @property
    def last(self) -> ReadReport | None:
        """Plan, timings and what was left out of the last read of this store in this process."""
        return self._reader.last


def _request(
    query: str, tiers: str | Iterable[str], frames: Mapping[str, Any] | None = None, **options: Any
) -> ReadRequest:
    from quantstore.query.frames import open_frames
    from quantstore.query.request import ReadRequest

    return ReadRequest(query, parse_tiers(tiers), frames=open_frames(frames), **options)
