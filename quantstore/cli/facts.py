"""What a store holds, as plain values for text and JSON alike; reads the catalog only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantstore.cli.output import stamp

if TYPE_CHECKING:
    from quantstore.catalog.records import TableRecord
    from quantstore.core.segment import PlacedSegment
    from quantstore.manager import HybridStorageManager
    from quantstore.query.plan import Plan

Facts = dict[str, Any]


def tables_facts(store: HybridStorageManager) -> list[Facts]:
    """Return rows, bytes and time span of every table, in all and per tier."""
    with store.metadata_catalog.view() as view:
        records = [view.table(name) for name in view.table_names()]
        return [_sums(record, view.segments(record.table_id)) for record in records if record]


def table_facts(store: HybridStorageManager, name: str) -> Facts:
    """Return what `tables_facts` says of one table, and its columns, partitions and versions.

    Raises:
        NotFoundError: No such table.
    """
    table = store.table(name)
    with store.metadata_catalog.view() as view:
        record = view.table(table.name)
        assert record is not None  # noqa: S101 - tables are never deleted
        segments = view.segments(record.table_id)
    spec = record.spec
    changes = store.metadata_catalog.changes(record.table_id)
    return {
        **_sums(record, segments),
        "time": spec.time,
        "symbol": spec.symbol,
        "key": list(spec.key),
        "grain": spec.grain.value,
        "columns": [{"name": one, "type": kind} for one, kind in (record.schema.columns if record.schema else ())],
        "partitions": _partitions(segments),
        "versions": [
            {
                "version": change.version,
                "committed": stamp(change.committed_ns) + "Z",
                "operation": change.operation,
                "tier": change.tier,
                "rows": change.rows,
                "deleted": change.deleted,
                "write_id": change.write_id,
            }
            for change in changes
        ],
    }


def store_facts(store: HybridStorageManager) -> Facts:
    """Return where a store is, how far it has come and what it holds."""
    catalog = store.metadata_catalog
    snapshot = catalog.snapshot()
    stores = zip(("hot", "warm", "cold"), (store.hot_store, store.warm_store, store.cold_store), strict=True)
    return {
        "store": store.name,
        "catalog": str(Path(catalog.path).absolute()),
        "version": snapshot.version,
        "placement_generation": snapshot.generation,
        "moves": len(catalog.receipts()),
        "stores": {tier: str(getattr(one, "root", one)) for tier, one in stores},
        "tables": tables_facts(store),
    }


def plan_facts(plan: Plan) -> Facts:
    """Return what a read would touch."""
    return {
        "query": plan.query,
        "version": plan.version,
        "placement_generation": plan.generation,
        "scans": [
            {
                "table": scan.record.name,
                "alias": scan.alias,
                "tiers": [asdict(use) for use in scan.uses()],
                "pruned": [asdict(pruned) for pruned in scan.pruned],
                "left_out_segments": len(scan.left_out),
            }
            for scan in plan.scans
        ],
        "notes": list(plan.notes),
    }


def _sums(record: TableRecord, segments: Iterable[PlacedSegment]) -> Facts:
    placed = list(segments)
    tiers: dict[str, Counter[str]] = {}
    for one in placed:
        for copy in one.copies:
            sums = tiers.setdefault(copy.tier.value, Counter())
            sums.update(segments=1, rows=one.rows_of(copy), bytes=copy.size_bytes)
    stats = [one.segment.stats for one in placed]
    return {
        "table": record.name,
        "rows": sum(one.rows for one in stats),
        "bytes": sum(sums["bytes"] for sums in tiers.values()),
        "segments": len(placed),
        "first": stamp(min(one.min_ns for one in stats)) if stats else None,
        "last": stamp(max(one.max_ns for one in stats)) if stats else None,
        "tiers": {tier: dict(tiers[tier]) for tier in ("hot", "warm", "cold") if tier in tiers},
    }


def _partitions(segments: Iterable[PlacedSegment]) -> list[Facts]:
    sums: dict[tuple[str, str, str], Counter[str]] = {}
    for one in segments:
        partition = one.segment.partition
        for copy in one.copies:
            place = (partition.trade_date.isoformat(), str(partition.asset_class), copy.tier.value)
            counted = sums.setdefault(place, Counter())
            counted.update(segments=1, rows=one.rows_of(copy), bytes=copy.size_bytes)
    return [
        {"trade_date": day, "asset_class": asset_class, "tier": tier, **counted}
        for (day, asset_class, tier), counted in sorted(sums.items())
    ]
