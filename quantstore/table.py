"""A table, looked at: schema, placement, history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quantstore.core.render import human_bytes, human_count
from quantstore.rows.form import known_form

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.records import TableRecord

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

    def __init__(self, catalog: Catalog, record: TableRecord) -> None:
        self._catalog = catalog
        self._record = record

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
                    stats.rows,
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

    def versions(self) -> pd.DataFrame:
        """Return what each version did to the table, newest first: who, when, which operation, rows, lineage."""
        import pandas as pd

        changes = self._catalog.changes(self._record.table_id)
        rows = [
            (
                change.version,
                pd.Timestamp(change.committed_ns, tz="UTC"),
                change.author,
                change.operation,
                change.tier,
                change.rows,
                change.deleted,
                change.segments,
                change.write_id,
                change.lineage,
            )
            for change in changes
        ]
        columns = [
            "version",
            "committed",
            "author",
            "operation",
            "tier",
            "rows",
            "deleted",
            "segments",
            "write_id",
            "lineage",
        ]
        return pd.DataFrame(rows, columns=columns)

    def summary(self) -> dict[str, Any]:
        """Return name, rows, bytes and segments in all and per tier, as plain values."""
        with self._catalog.view() as view:
            placed = view.segments(self._record.table_id)
        tiers: dict[str, dict[str, int]] = {}
        for one in placed:
            for copy in one.copies:
                tier = tiers.setdefault(copy.tier.value, {"segments": 0, "rows": 0, "bytes": 0})
                tier["segments"] += 1
                tier["rows"] += one.segment.stats.rows
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
