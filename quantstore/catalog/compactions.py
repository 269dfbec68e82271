"""The commit point of compaction: transactions in which few segments take the place of many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, update

from quantstore.catalog import schema
from quantstore.catalog.attempts import commit_attempt, require_open
from quantstore.catalog.conflicts import require_all_live
from quantstore.catalog.database import Database
from quantstore.catalog.inserts import condemn_all, insert_copy, insert_segment, next_generation
from quantstore.catalog.pins import live_copies
from quantstore.catalog.receipts import insert_receipt
from quantstore.catalog.records import Attempt, ColumnProof, TableRecord
from quantstore.core.clock import Clock
from quantstore.core.failpoints import reach
from quantstore.core.segment import NewSegment, PlacedSegment

_MOST_VALUES = 500


@dataclass(frozen=True, slots=True)
class CompactedPiece:
    """A segment made of others, and the fingerprints of its columns, `_seq` included."""

    part: NewSegment
    columns: dict[str, ColumnProof]


@dataclass(frozen=True, slots=True)
class Compaction:
    """Segments of one partition and schema, and what takes their place.

    Attributes:
        sources: The segments as read; all live.
        pieces: Their rows, each once.
    """

    sources: tuple[PlacedSegment, ...]
    pieces: tuple[CompactedPiece, ...]

    @property
    def version(self) -> int:
        """The version of the newest source, from which on the pieces serve."""
        return max(one.segment.added_version for one in self.sources)


class Compactions:
    """Commits compactions."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def compact(self, attempt: Attempt, table: TableRecord, compactions: Sequence[Compaction]) -> None:
        """Let pieces take the place of their sources, in one transaction or not at all.

        No version's content changes: the pieces serve from the version of their newest source on, the older sources
        before it.

        Raises:
            OutpacedError: A source was moved, corrected or compacted by another process.
            ConflictError: The attempt was ended by a sweep.
        """
        with self._database.write() as connection:
            reach("compact.commit.begun")
            now = self._clock.now_ns()
            require_open(connection, attempt)
            require_all_live(connection, table, [one for made in compactions for one in made.sources])
            step = next_generation(connection)
            for made in compactions:
                _replace(connection, attempt, table, made, step, now)
            commit_attempt(connection, attempt, now)
            reach("compact.commit.filled")
        reach("compact.committed")


def _replace(
    connection: Connection, attempt: Attempt, table: TableRecord, made: Compaction, step: int, now: int
) -> None:
    version = made.version
    older = [one for one in made.sources if one.segment.added_version < version]
    newest = [one for one in made.sources if one.segment.added_version == version]
    _set(connection, older, removed_version=version)
    _set(connection, newest, retired_generation=step)
    over = [copy_id for one in newest for copy_id in live_copies(connection, one.segment.segment_id)]
    condemn_all(connection, over, step, now)
    schema_id = made.sources[0].segment.schema_id
    source_bytes = sum(one.primary.size_bytes for one in made.sources)
    rows = sum(one.segment.stats.rows for one in made.sources)
    for piece in made.pieces:
        part = piece.part
        segment_id = insert_segment(connection, table.table_id, schema_id, part, version, None, attempt)
        copy_id = insert_copy(connection, segment_id, part.copy, 0, now)
        insert_receipt(
            connection,
            attempt,
            table,
            part.copy,
            part.stats,
            piece.columns,
            segment_id=segment_id,
            copy_id=copy_id,
            source=part.copy.tier,
            source_bytes=source_bytes * part.stats.rows // rows,
            now=now,
        )


def _set(connection: Connection, placed: Sequence[PlacedSegment], **values: int) -> None:
    s = schema.segments
    ids = [one.segment.segment_id for one in placed]
    for start in range(0, len(ids), _MOST_VALUES):
        connection.execute(update(s).where(s.c.segment_id.in_(ids[start : start + _MOST_VALUES])).values(**values))
