"""What a commit checks first: that the catalog still is what the commit was planned on."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from quantstore.catalog import schema
from quantstore.catalog.records import TableRecord, WriteCommit
from quantstore.catalog.segments import has_newcomers
from quantstore.core.segment import Partition, PlacedSegment
from quantstore.errors import ConflictError


class OutpacedError(ConflictError):
    """Another process changed segments that a write was about to change; planning it anew may succeed."""


def require_same_form(table: TableRecord, commit: WriteCommit) -> None:
    """Check that a table still has the columns a write was made for.

    Raises:
        ConflictError: It was made, or given other columns, by another writer.
    """
    if commit.must_create and table.is_written:
        raise ConflictError(f"Table {table.name!r} exists already; use mode='append' or 'overwrite'.", table=table.name)
    known_before = commit.table_id == table.table_id
    same_form = table.schema is None or table.schema.arrow == commit.schema.arrow
    if not same_form or (not known_before and table.spec != commit.spec):
        raise ConflictError(
            f"Table {table.name!r} was given another form by a writer at the same time; write again.",
            table=table.name,
        )


def require_version(table: TableRecord, expected: int | None) -> None:
    """Check that a table was last changed by the version the caller insists on.

    Raises:
        ConflictError: It was changed since.
    """
    if expected is not None and table.changed_version != expected:
        raise ConflictError(
            f"Table {table.name!r} is at version {table.changed_version}, not {expected} as expected; "
            "read it again and decide.",
            table=table.name,
            expected=expected,
            found=table.changed_version,
        )


def require_scope(connection: Connection, table: TableRecord, commit: WriteCommit) -> None:
    """Check that what a correction was planned on still stands.

    Raises:
        OutpacedError: A segment or its copies changed, or another one in scope has come.
    """
    for rewrite in commit.rewrites:
        removed_version = require_unmoved(connection, table, rewrite.source)
        if removed_version is not None:
            raise _outpaced(table)
    scope = commit.scope
    if scope is not None and has_newcomers(connection, table.table_id, commit.planned_version, scope):
        raise _outpaced(table)


def _outpaced(table: TableRecord) -> OutpacedError:
    return OutpacedError(
        f"Table {table.name!r} was changed by another process at the same time, in the rows to be corrected; nothing "
        "was changed. Try again.",
        table=table.name,
    )


def require_unmoved(connection: Connection, table: TableRecord, source: PlacedSegment) -> int | None:
    """Check that a segment and its copies still stand as they were read; return its `removed_version` now.

    Raises:
        OutpacedError: They do not.
    """
    s, c = schema.segments.c, schema.copies.c
    segment = connection.execute(
        select(s.removed_version).where(s.segment_id == source.segment.segment_id, s.retired_generation.is_(None))
    ).one_or_none()
    live = connection.execute(
        select(func.count())
        .select_from(schema.copies)
        .where(c.copy_id.in_([copy.copy_id for copy in source.copies]), c.condemned_generation.is_(None))
    ).scalar_one()
    if segment is None or live != len(source.copies):
        raise moved_away(table.name, source.segment.partition)
    removed: int | None = segment.removed_version
    return removed


def moved_away(table: str, partition: Partition) -> OutpacedError:
    """Return the error of a move whose source another move has taken."""
    return OutpacedError(
        f"Partition {partition} of table {table!r} was moved by another process at the same time; nothing was changed. "
        "Try again.",
        table=table,
        partition=str(partition),
    )
