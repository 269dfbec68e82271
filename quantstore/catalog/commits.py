"""The commit point of writes: transactions that make rows exist."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, bindparam, func, insert, select, update

from quantstore.catalog import schema, snapshots
from quantstore.catalog.attempts import commit_attempt, require_open
from quantstore.catalog.conflicts import require_same_form, require_same_table, require_scope, require_version
from quantstore.catalog.database import Database
from quantstore.catalog.inserts import (
    commit_time,
    insert_change,
    insert_copy,
    insert_schema,
    insert_segment,
    insert_table,
    new_version,
)
from quantstore.catalog.records import UNCHANGED, Attempt, TableRecord, WriteCommit, WriteOutcome
from quantstore.core.clock import Clock
from quantstore.core.failpoints import reach
from quantstore.core.table import Grain, TableSchema, TableSpec
from quantstore.core.tier import Tier
from quantstore.errors import ConflictError, InvalidInputError

_MAX_ROWS_PER_COMMIT = 2**32
_LIVE = (
    select(schema.changes)
    .where(schema.changes.c.table_id == bindparam("table"), schema.changes.c.is_live)
    .order_by(schema.changes.c.version.desc())
    .limit(1)
)
_REPEAT = _LIVE.where(schema.changes.c.content == bindparam("wanted"))
_REPEATS = _LIVE.where(schema.changes.c.content.in_(bindparam("wanted", expanding=True)))
_NAMED = {
    among.name: select(among).where(among.c.table_id == bindparam("table"), among.c.write_id == bindparam("wanted"))
    for among in (schema.changes, schema.idle_writes)
}
_CHANGED = update(schema.tables).where(schema.tables.c.table_id == bindparam("table"))


class Commits:
    """Commits writes, each in one transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def create(self, spec: TableSpec, table_schema: TableSchema | None) -> int:
        """Make an empty table and return the version that did.

        Raises:
            InvalidInputError: The name is taken.
        """
        with self._database.write() as connection:
            now = commit_time(connection, self._clock)
            if snapshots.find_table(connection, spec.name) is not None:
                raise InvalidInputError(
                    f"Table {spec.name!r} exists already; write to it, or choose another name.", table=spec.name
                )
            version = new_version(connection, now)
            table_id = insert_table(connection, spec, version)
            if table_schema is not None:
                insert_schema(connection, table_id, table_schema, version)
            insert_change(connection, version, table_id, "create", Tier.HOT, 0, 0, 0, is_live=False)
        return version

    def write(self, attempt: Attempt | None, commits: Sequence[WriteCommit]) -> list[WriteOutcome]:
        """Make writes exist, one per table: tables, schemas, one version, segments and copies, or nothing of it.

        Without an attempt there are no segments (an empty frame that makes its table, or empties one).

        Raises:
            OutpacedError: A segment to be rewritten is not what it was, or another one has come that should be.
            ConflictError: The attempt was ended by a sweep, a table changed since `expected_version`, was created
                differently by another writer, or a `write_id` was used with other content.
        """
        for commit in commits:
            if commit.rows >= _MAX_ROWS_PER_COMMIT:
                raise InvalidInputError(f"One write holds at most {_MAX_ROWS_PER_COMMIT:,} rows; write in several.")
        with self._database.write() as connection:
            reach("write.commit.begun")
            now = commit_time(connection, self._clock)
            if attempt is not None:
                require_open(connection, attempt)
            tables = [snapshots.find_table(connection, commit.spec.name) for commit in commits]
            outcomes = [_unchanged(connection, *pair) for pair in zip(tables, commits, strict=True)]
            if all(outcome is not None for outcome in outcomes):
                return [outcome for outcome in outcomes if outcome is not None]
            version = new_version(connection, now)
            made = [
                _insert_write(connection, attempt, commit, table, version, now) if outcome is None else outcome
                for table, commit, outcome in zip(tables, commits, outcomes, strict=True)
            ]
            if attempt is not None:
                commit_attempt(connection, attempt, now)
            reach("write.commit.filled")
        reach("write.committed")
        return made


def _unchanged(connection: Connection, table: TableRecord | None, commit: WriteCommit) -> WriteOutcome | None:
    """Return the outcome of a write that changes nothing; None where it does.

    Raises:
        ConflictError: It cannot be made as things stand.
    """
    require_same_table(table, commit)
    if table is None:
        return None
    replay = _find_replay(connection, table, commit)
    if replay is not None:
        return replay
    outcome = _find_repeat(connection, table, commit)
    if outcome is None:
        require_same_form(table, commit)
        require_version(table, commit.expected_version)
        require_scope(connection, table, commit)
        if commit.changes_nothing:
            outcome = WriteOutcome(table.changed_version, 0, 0, 0, replay_of=table.changed_version, is_repeat=True)
        elif table.schema is not None and not (commit.rows or commit.removes_all or commit.rewrites):
            outcome = WriteOutcome(table.changed_version, 0, 0, 0)
    if outcome is not None and commit.write_id is not None:
        _note_idle(connection, table, commit)
    return outcome


def _note_idle(connection: Connection, table: TableRecord, commit: WriteCommit) -> None:
    """Remember a named write that changes nothing, so that it changes nothing when it is sent again."""
    connection.execute(
        insert(schema.idle_writes),
        {
            "table_id": table.table_id,
            "write_id": commit.write_id,
            "operation": commit.operation,
            "content": commit.content,
            "version": table.changed_version,
        },
    )


def _insert_write(
    connection: Connection,
    attempt: Attempt | None,
    commit: WriteCommit,
    table: TableRecord | None,
    version: int,
    now: int,
) -> WriteOutcome:
    table_id = table.table_id if table else insert_table(connection, commit.spec, version)
    schema_id = table.schema_id if table else None
    evolves = commit.evolves and commit.schema_id == schema_id
    if schema_id is None or evolves:
        schema_id = insert_schema(connection, table_id, commit.schema, version)
    deleted = _remove_all(connection, table_id, version) if commit.removes_all else 0
    added = [(new, schema_id) for new in commit.segments]
    for rewrite in commit.rewrites:
        segment = rewrite.source.segment
        _remove(connection, segment.segment_id, version)
        deleted += rewrite.removed
        added += [(new, segment.schema_id) for new in rewrite.rest]
    for new, form in added:
        segment_id = insert_segment(connection, table_id, form, new, version, None, attempt)
        insert_copy(connection, segment_id, new.copy, version, now)
    _end_repeats(connection, table_id, {one for rewrite in commit.rewrites for one in rewrite.versions})
    changed = {"changed_version": version, "is_written": True, "time": commit.spec.time, "symbol": commit.spec.symbol}
    if commit.spec.key:  # a write planned before another gave the table its key knows of none
        changed["key"] = json.dumps(commit.spec.key)
    if commit.spec.grain is not Grain.AUTO:
        changed["grain"] = commit.spec.grain.value
    connection.execute(_CHANGED, {"table": table_id, **changed})
    insert_change(
        connection,
        version,
        table_id,
        commit.operation,
        commit.tier,
        commit.rows,
        deleted,
        len(commit.segments),
        write_id=commit.write_id,
        content=commit.content,
        lineage=commit.lineage,
        is_live=commit.rows > 0 and UNCHANGED not in commit.lineage,
    )
    return WriteOutcome(version, commit.rows, deleted, len(added), evolved=evolves)


def _find_replay(connection: Connection, table: TableRecord, commit: WriteCommit) -> WriteOutcome | None:
    """Return what the write with this write id did, or None where there was none."""
    if commit.write_id is None:
        return None
    row = _named(connection, schema.changes, table, commit.write_id)
    idle = row is None
    if row is None:
        row = _named(connection, schema.idle_writes, table, commit.write_id)
    if row is None:
        return None
    if row.content != commit.content or row.operation != commit.operation:
        raise ConflictError(
            f"write_id {commit.write_id!r} was used for table {table.name!r} at version {row.version} with other "
            "content; give this write an id of its own.",
            table=table.name,
            write_id=commit.write_id,
        )
    if idle:
        return WriteOutcome(row.version, 0, 0, 0, replay_of=row.version)
    return WriteOutcome(row.version, row.rows, row.deleted, row.segments, replay_of=row.version)


def _named(connection: Connection, among: Table, table: TableRecord, write_id: str) -> Row[Any] | None:
    """Return the write of a table that has a name."""
    return connection.execute(_NAMED[among.name], {"table": table.table_id, "wanted": write_id}).one_or_none()


def _find_repeat(connection: Connection, table: TableRecord, commit: WriteCommit) -> WriteOutcome | None:
    """Return what a live append with the same content did, or None; `on_repeat` says whether it matters."""
    if commit.on_repeat == "append" or commit.operation != "append" or not commit.rows:
        return None
    query = _REPEATS if commit.contents_before else _REPEAT
    content: Any = [commit.content, *commit.contents_before] if commit.contents_before else commit.content
    row = connection.execute(query, {"table": table.table_id, "wanted": content}).one_or_none()
    if row is None:
        return None
    if commit.on_repeat == "raise":
        raise ConflictError(
            f"These rows are in table {table.name!r} already, since version {row.version}; "
            "pass on_repeat='append' to add them again.",
            table=table.name,
            version=row.version,
        )
    return WriteOutcome(row.version, row.rows, row.deleted, row.segments, replay_of=row.version, is_repeat=True)


def _remove_all(connection: Connection, table_id: int, version: int) -> int:
    s = schema.segments.c
    live = (s.table_id == table_id) & s.removed_version.is_(None) & s.retired_generation.is_(None)
    deleted = connection.execute(select(func.coalesce(func.sum(s.rows), 0)).where(live)).scalar_one()
    connection.execute(update(schema.segments).where(live).values(removed_version=version))
    connection.execute(update(schema.changes).where(schema.changes.c.table_id == table_id).values(is_live=False))
    return int(deleted)


def _remove(connection: Connection, segment_id: int, version: int) -> None:
    wanted = schema.segments.c.segment_id == segment_id
    connection.execute(update(schema.segments).where(wanted).values(removed_version=version))


def _end_repeats(connection: Connection, table_id: int, versions: set[int]) -> None:
    """Note that rows of these versions are gone, so that writing them again is no repeat."""
    ch = schema.changes.c
    listed = sorted(versions)
    for start in range(0, len(listed), 500):
        some = listed[start : start + 500]
        wanted = (ch.table_id == table_id) & ch.version.in_(some)
        connection.execute(update(schema.changes).where(wanted).values(is_live=False))
