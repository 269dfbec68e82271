"""The commit point of moves: transactions that give segments new copies."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, insert, update

from quantstore.catalog import schema
from quantstore.catalog.attempts import commit_attempt, require_open
from quantstore.catalog.conflicts import require_unmoved
from quantstore.catalog.database import Database
from quantstore.catalog.inserts import condemn, insert_copy, insert_segment, new_key, next_generation
from quantstore.catalog.records import Attempt, ColumnProof, MovedPiece, MovedSegment, Receipt, TableRecord
from quantstore.core.clock import Clock
from quantstore.core.failpoints import reach
from quantstore.core.process import author


class Moves:
    """Commits moves, each in one transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def move(self, attempt: Attempt, table: TableRecord, moved: list[MovedSegment]) -> list[Receipt]:
        """Make a move exist: the new copies become the truth and the old ones garbage, or nothing of it.

        Raises:
            ConflictError: The attempt was ended by a sweep, or a segment or its copy is no longer what was read.
        """
        with self._database.write() as connection:
            reach("move.commit.begun")
            now = self._clock.now_ns()
            require_open(connection, attempt)
            step = next_generation(connection)
            receipts: list[Receipt] = []
            for item in moved:
                receipts += self._insert_move(connection, attempt, table, item, step, now)
            commit_attempt(connection, attempt, now)
            reach("move.commit.filled")
        reach("move.committed")
        return receipts

    def _insert_move(
        self,
        connection: Connection,
        attempt: Attempt,
        table: TableRecord,
        item: MovedSegment,
        step: int,
        now: int,
    ) -> list[Receipt]:
        source = item.source
        removed_version = require_unmoved(connection, table, source)
        for copy in source.copies:
            condemn(connection, copy.copy_id, step, now)
        is_split = item.pieces[0].part is not None
        if is_split:
            connection.execute(
                update(schema.segments)
                .where(schema.segments.c.segment_id == source.segment.segment_id)
                .values(retired_generation=step)
            )
        receipts = []
        for piece in item.pieces:
            segment_id = source.segment.segment_id
            if piece.part is not None:
                segment_id = insert_segment(
                    connection,
                    table.table_id,
                    source.segment.schema_id,
                    piece.part,
                    source.segment.added_version,
                    removed_version,
                    attempt,
                )
            copy_id = insert_copy(connection, segment_id, piece.copy, 0, now)
            if piece.moved:
                receipts.append(_insert_receipt(connection, attempt, table, item, piece, segment_id, copy_id, now))
        return receipts


def _insert_receipt(
    connection: Connection,
    attempt: Attempt,
    table: TableRecord,
    item: MovedSegment,
    piece: MovedPiece,
    segment_id: int,
    copy_id: int,
    now: int,
) -> Receipt:
    source = item.source.primary
    stats = piece.part.stats if piece.part else item.source.segment.stats
    values: dict[str, Any] = {
        "segment_id": segment_id,
        "copy_id": copy_id,
        "rows": stats.rows,
        "source_bytes": source.size_bytes,
        "destination_bytes": piece.copy.size_bytes,
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
            "source": source.tier.value,
            "destination": piece.copy.tier.value,
            "columns": json.dumps({name: asdict(proof) for name, proof in piece.columns.items()}),
        },
    )
    return Receipt(
        receipt_id=new_key(result),
        table=table.name,
        source=source.tier,
        destination=piece.copy.tier,
        columns=dict(piece.columns),
        **values,
    )


def receipt_columns(text: str) -> dict[str, ColumnProof]:
    """Return the fingerprints kept in a receipt's `columns`."""
    return {name: ColumnProof(**proof) for name, proof in json.loads(text).items()}
