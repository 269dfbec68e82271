"""Receipts: proofs that rows arrived where they were brought."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert

from quantstore.catalog import schema
from quantstore.catalog.inserts import new_key
from quantstore.catalog.records import Attempt, ColumnProof, Receipt, TableRecord
from quantstore.core.process import author
from quantstore.core.tier import Tier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quantstore.core.segment import NewCopy, SegmentStats


def insert_receipt(
    connection: Connection,
    attempt: Attempt,
    table: TableRecord,
    copy: NewCopy,
    stats: SegmentStats,
    columns: Mapping[str, ColumnProof],
    *,
    segment_id: int,
    copy_id: int,
    source: Tier,
    source_bytes: int,
    now: int,
) -> Receipt:
    """Add, in the caller's transaction, the receipt of a copy that took the place of others, and return it."""
    values: dict[str, Any] = {
        "segment_id": segment_id,
        "copy_id": copy_id,
        "rows": stats.rows,
        "source_bytes": source_bytes,
        "destination_bytes": copy.size_bytes,
        "min_ns": stats.min_ns,
        "max_ns": stats.max_ns,
        "moved_ns": now,
        "author": author(),
    }
    result = connection.execute(
        insert(schema.receipts),
        values
        | {
            "attempt_id": attempt.attempt_id,
            "table_id": table.table_id,
            "source": source.value,
            "destination": copy.tier.value,
            "columns": json.dumps({name: asdict(proof) for name, proof in columns.items()}),
        },
    )
    return Receipt(
        receipt_id=new_key(result),
        table=table.name,
        source=source,
        destination=copy.tier,
        columns=dict(columns),
        **values,
    )


def receipt_of(row: Any, table: str) -> Receipt:
    """Return the receipt in a row of the catalog.

    Raises:
        ValueError: It makes no sense; TypeError, KeyError or AttributeError where its columns do not.
    """
    return Receipt(
        receipt_id=row.receipt_id,
        table=table,
        segment_id=row.segment_id,
        copy_id=row.copy_id,
        source=Tier(row.source),
        destination=Tier(row.destination),
        rows=row.rows,
        source_bytes=row.source_bytes,
        destination_bytes=row.destination_bytes,
        min_ns=row.min_ns,
        max_ns=row.max_ns,
        columns={name: ColumnProof(**proof) for name, proof in json.loads(row.columns).items()},
        moved_ns=row.moved_ns,
        author=row.author,
    )
