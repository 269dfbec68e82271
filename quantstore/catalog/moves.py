"""The commit point of moves: transactions that give segments new copies."""

from __future__ import annotations

from sqlalchemy import Connection, update

from quantstore.catalog import schema
from quantstore.catalog.attempts import commit_attempt, require_open
from quantstore.catalog.conflicts import require_unmoved
from quantstore.catalog.database import Database
from quantstore.catalog.inserts import condemn_all, insert_copy, insert_segment, next_generation
from quantstore.catalog.pins import keep_as_shadow, live_copies, pins_for
from quantstore.catalog.receipts import insert_receipt
from quantstore.catalog.records import Attempt, MovedPiece, MovedSegment, Receipt, TableRecord
from quantstore.core.clock import Clock
from quantstore.core.failpoints import reach
from quantstore.core.segment import Role


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
        is_split = item.pieces[0].part is not None
        condemn_all(connection, _superseded(connection, table, item, removed_version, now), step, now)
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


def _superseded(
    connection: Connection, table: TableRecord, item: MovedSegment, removed_version: int | None, now: int
) -> list[int]:
    """Return the copies that a move puts an end to; what a pin wants where it was stays there as a shadow.

    A split leaves none of the segment's copies; a move leaves shadows, but for those of all rows in its destination.
    """
    source = item.source
    segment_id = source.segment.segment_id
    if item.pieces[0].part is not None:
        return live_copies(connection, segment_id)
    destination = item.pieces[0].copy.tier
    over = [
        copy.copy_id
        for copy in source.copies
        if copy.role is Role.SHADOW and copy.tier is destination and copy.subset is None
    ]
    primary = source.primary
    if removed_version is None and all(copy.tier is not primary.tier or copy is primary for copy in source.copies):
        for pin_id, wanted in pins_for(connection, table.table_id, primary.tier, now):
            if segment_id in wanted:
                keep_as_shadow(connection, primary.copy_id, pin_id)
                return over
    return [*over, primary.copy_id]


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
    return insert_receipt(
        connection,
        attempt,
        table,
        piece.copy,
        piece.part.stats if piece.part else item.source.segment.stats,
        piece.columns,
        segment_id=segment_id,
        copy_id=copy_id,
        source=source.tier,
        source_bytes=source.size_bytes,
        now=now,
    )
