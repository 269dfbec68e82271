"""What a commit checks first: that the catalog still is what the commit was planned on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, func, select

from quantstore.catalog import schema
from quantstore.catalog.records import TableRecord, WriteCommit
from quantstore.catalog.segments import has_newcomers
from quantstore.core.segment import Partition, PlacedSegment
from quantstore.core.table import Grain, TableSpec
from quantstore.errors import ConflictError

_MOST_VALUES = 500


class OutpacedError(ConflictError):
    """Another process changed segments that a write was about to change; planning it anew may succeed."""


def require_same_form(table: TableRecord, commit: WriteCommit) -> None:
    """Check that a table still has the columns a write was made for.

    Raises:
        ConflictError: It was made, or given other columns, by another writer.
        OutpacedError: It was given other columns or a grain, which the write may follow once it is planned anew.
    """
    if commit.must_create and table.is_written:
        raise ConflictError(f"Table {table.name!r} exists already; use mode='append' or 'overwrite'.", table=table.name)
    known_before = commit.table_id == table.table_id
    _require_newest_form(table, commit)
    same_spec = replace(table.spec, grain=commit.spec.grain) == commit.spec
    if not (_same_columns(table, commit) if known_before else same_spec):
        raise ConflictError(
            f"Table {table.name!r} was given another form by a writer at the same time; write again.",
            table=table.name,
        )
    if not same_grain(table.spec, commit.spec):
        raise OutpacedError(
            f"Table {table.name!r} was given grain {table.spec.grain.value!r} by the first rows of another process at "
            "the same time; nothing was changed. Write again.",
            table=table.name,
        )


def _require_newest_form(table: TableRecord, commit: WriteCommit) -> None:
    """Check that a table has no other columns than those a write was planned on.

    A write that adds no rows needs none, and one that makes the very change another has made needs not make it.

    Raises:
        OutpacedError: It has.
    """
    known, planned = table.schema, commit.schema
    if known is None or commit.schema_id == table.schema_id or not (commit.rows or commit.evolves):
        return
    same = known.arrow == planned.arrow
    if commit.schema_id is not None:
        same = same and known.frame.get("categories") == planned.frame.get("categories")
    if not same:
        raise OutpacedError(
            f"Table {table.name!r} was given other columns by another process at the same time; nothing was changed. "
            "Write again.",
            table=table.name,
        )


def _same_columns(table: TableRecord, commit: WriteCommit) -> bool:
    """Whether a write goes by the columns its table goes by; another may have chosen them since it was planned."""
    if table.schema is None or not (commit.rows or commit.removes_all):
        return True
    known, used = table.spec, commit.spec
    same_key = known.key == used.key or not (known.key and used.key)
    return (known.time, known.symbol) == (used.time, used.symbol) and same_key


def same_grain(known: TableSpec, used: TableSpec) -> bool:
    """Whether rows cut by the grain of one definition fit a table of another; one that is not decided fits any."""
    return known.grain is used.grain or Grain.AUTO in {known.grain, used.grain}


def require_same_table(table: TableRecord | None, commit: WriteCommit) -> None:
    """Check that a name still is that of the table a write was made for.

    Raises:
        ConflictError: The table was dropped or renamed, and another may have its name.
    """
    if commit.table_id is not None and (table is None or table.table_id != commit.table_id):
        raise renamed_away(commit.spec.name)


def renamed_away(table: str) -> ConflictError:
    """Return the error of a write whose table is not called so any more."""
    return ConflictError(
        f"Table {table!r} was dropped or renamed by another process at the same time; nothing was changed. Look at "
        "store.tables() and decide.",
        table=table,
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
    require_all_live(connection, table, commit.found)
    for rewrite in commit.rewrites:
        removed_version = require_unmoved(connection, table, rewrite.source)
        if removed_version is not None:
            raise outpaced(table.name)
    scope = commit.scope
    if scope is not None and has_newcomers(connection, table.table_id, commit.planned_version, scope):
        raise outpaced(table.name)


def outpaced(table: str) -> OutpacedError:
    """Return the error of a correction whose rows another process has changed."""
    return OutpacedError(
        f"Table {table!r} was changed by another process at the same time, in the rows to be corrected; nothing was "
        "changed. Try again.",
        table=table,
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


def require_all_live(connection: Connection, table: TableRecord, sources: Sequence[PlacedSegment]) -> None:
    """Check that segments and their copies still stand as they were read, and that no version has removed them.

    Raises:
        OutpacedError: One does not.
    """
    s, c = schema.segments.c, schema.copies.c
    for start in range(0, len(sources), _MOST_VALUES):
        some = sources[start : start + _MOST_VALUES]
        ids = [one.segment.segment_id for one in some]
        live = set(
            connection.execute(
                select(s.segment_id).where(
                    s.segment_id.in_(ids), s.retired_generation.is_(None), s.removed_version.is_(None)
                )
            ).scalars()
        )
        standing = set(
            connection.execute(
                select(c.copy_id).where(c.segment_id.in_(ids), c.condemned_generation.is_(None))
            ).scalars()
        )
        for one in some:
            if one.segment.segment_id not in live or not standing.issuperset(copy.copy_id for copy in one.copies):
                raise moved_away(table.name, one.segment.partition)


def moved_away(table: str, partition: Partition) -> OutpacedError:
    """Return the error of a move whose source another move has taken."""
    return OutpacedError(
        f"Partition {partition} of table {table!r} was moved by another process at the same time; nothing was changed. "
        "Try again.",
        table=table,
        partition=str(partition),
    )
