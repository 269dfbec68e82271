"""The one commit point: transactions that make writes and moves exist."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from quantstore.catalog import schema, snapshots
from quantstore.catalog.attempts import commit_attempt, require_open
from quantstore.catalog.database import Database
from quantstore.catalog.records import (
    Attempt,
    ColumnProof,
    MovedPiece,
    MovedSegment,
    Receipt,
    TableRecord,
    WriteCommit,
    WriteOutcome,
)
from quantstore.catalog.segments import span_class
from quantstore.core.clock import Clock
from quantstore.core.failpoints import reach
from quantstore.core.process import author, host_id, this_process
from quantstore.core.segment import NewCopy, NewSegment, Partition, seq_base
from quantstore.core.table import TableSchema, TableSpec
from quantstore.core.tier import Tier
from quantstore.errors import ConflictError, InvalidInputError

_MAX_ROWS_PER_COMMIT = 2**32


class Commits:
    """Commits writes and moves, each in one transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def create(self, spec: TableSpec, table_schema: TableSchema | None) -> int:
        """Make an empty table and return the version that did.

        Raises:
            InvalidInputError: The name is taken.
        """
        with self._database.write() as connection:
            now = _commit_time(connection, self._clock)
            if snapshots.find_table(connection, spec.name) is not None:
                raise InvalidInputError(
                    f"Table {spec.name!r} exists already; write to it, or choose another name.", table=spec.name
                )
            version = _new_version(connection, now)
            table_id = _insert_table(connection, spec, version)
            if table_schema is not None:
                _insert_schema(connection, table_id, table_schema, version)
            _insert_change(connection, version, table_id, "create", Tier.HOT, 0, 0, 0, is_live=False)
        return version

    def write(self, attempt: Attempt | None, commit: WriteCommit) -> WriteOutcome:
        """Make a write exist: table, schema, version, segments and copies, or nothing of it.

        Without an attempt there are no segments (an empty frame that makes its table, or empties one).

        Raises:
            ConflictError: The attempt was ended by a sweep, the table changed since `expected_version`, was created
                differently by another writer, or `write_id` was used with other content.
        """
        if commit.rows >= _MAX_ROWS_PER_COMMIT:
            raise InvalidInputError(f"One write holds at most {_MAX_ROWS_PER_COMMIT:,} rows; write in several.")
        with self._database.write() as connection:
            reach("write.commit.begun")
            now = _commit_time(connection, self._clock)
            if attempt is not None:
                require_open(connection, attempt)
            table = snapshots.find_table(connection, commit.spec.name)
            if table is not None:
                earlier = _find_replay(connection, table, commit) or _find_repeat(connection, table, commit)
                if earlier is not None:
                    return earlier
                _require_same_form(table, commit)
                _require_version(table, commit.expected_version)
                if table.schema is not None and not commit.rows and not commit.removes_all:
                    return WriteOutcome(table.changed_version, 0, 0, 0)
            outcome = self._insert_write(connection, attempt, commit, table, now)
            reach("write.commit.filled")
        reach("write.committed")
        return outcome

    def _insert_write(
        self,
        connection: Connection,
        attempt: Attempt | None,
        commit: WriteCommit,
        table: TableRecord | None,
        now: int,
    ) -> WriteOutcome:
        version = _new_version(connection, now)
        table_id = table.table_id if table else _insert_table(connection, commit.spec, version)
        schema_id = table.schema_id if table else None
        if schema_id is None:
            schema_id = _insert_schema(connection, table_id, commit.schema, version)
        deleted = _remove_all(connection, table_id, version) if commit.removes_all else 0
        for new in commit.segments:
            segment_id = _insert_segment(connection, table_id, schema_id, new, version, None, attempt)
            _insert_copy(connection, segment_id, new.copy, version, now)
        connection.execute(
            update(schema.tables)
            .where(schema.tables.c.table_id == table_id)
            .values(changed_version=version, is_written=True, time=commit.spec.time, symbol=commit.spec.symbol)
        )
        _insert_change(
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
            is_live=commit.rows > 0,
        )
        if attempt is not None:
            commit_attempt(connection, attempt, now)
        return WriteOutcome(version, commit.rows, deleted, len(commit.segments))

    def move(self, attempt: Attempt, table: TableRecord, moved: list[MovedSegment]) -> list[Receipt]:
        """Make a move exist: the new copies become the truth and the old ones garbage, or nothing of it.

        Raises:
            ConflictError: The attempt was ended by a sweep, or a segment or its copy is no longer what was read.
        """
        with self._database.write() as connection:
            reach("move.commit.begun")
            now = self._clock.now_ns()
            require_open(connection, attempt)
            step = _next_generation(connection)
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
        removed_version = _require_unmoved(connection, table, item)
        for copy in source.copies:
            _condemn(connection, copy.copy_id, step, now)
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
                segment_id = _insert_segment(
                    connection,
                    table.table_id,
                    source.segment.schema_id,
                    piece.part,
                    source.segment.added_version,
                    removed_version,
                    attempt,
                )
            copy_id = _insert_copy(connection, segment_id, piece.copy, 0, now)
            if piece.moved:
                receipts.append(_insert_receipt(connection, attempt, table, item, piece, segment_id, copy_id, now))
        return receipts


def _require_same_form(table: TableRecord, commit: WriteCommit) -> None:
    if commit.must_create and table.is_written:
        raise ConflictError(f"Table {table.name!r} exists already; use mode='append' or 'overwrite'.", table=table.name)
    known_before = commit.table_id == table.table_id
    same_form = table.schema is None or table.schema.arrow == commit.schema.arrow
    if not same_form or (not known_before and table.spec != commit.spec):
        raise ConflictError(
            f"Table {table.name!r} was given another form by a writer at the same time; write again.",
            table=table.name,
        )


def _require_version(table: TableRecord, expected: int | None) -> None:
    if expected is not None and table.changed_version != expected:
        raise ConflictError(
            f"Table {table.name!r} is at version {table.changed_version}, not {expected} as expected; "
            "read it again and decide.",
            table=table.name,
            expected=expected,
            found=table.changed_version,
        )


def _find_replay(connection: Connection, table: TableRecord, commit: WriteCommit) -> WriteOutcome | None:
    """Return what the write with this write id did, or None where there was none."""
    if commit.write_id is None:
        return None
    ch = schema.changes.c
    row = connection.execute(
        select(schema.changes).where(ch.table_id == table.table_id, ch.write_id == commit.write_id)
    ).one_or_none()
    if row is None:
        return None
    if row.content != commit.content or row.operation != commit.operation:
        raise ConflictError(
            f"write_id {commit.write_id!r} was used for table {table.name!r} at version {row.version} with other "
            "content; give this write an id of its own.",
            table=table.name,
            write_id=commit.write_id,
        )
    return WriteOutcome(row.version, row.rows, row.deleted, row.segments, replay_of=row.version)


def _find_repeat(connection: Connection, table: TableRecord, commit: WriteCommit) -> WriteOutcome | None:
    """Return what a live append with the same content did, or None; `on_repeat` says whether it matters."""
    if commit.on_repeat == "append" or commit.operation != "append" or not commit.rows:
        return None
    ch = schema.changes.c
    row = connection.execute(
        select(schema.changes)
        .where(ch.table_id == table.table_id, ch.content == commit.content, ch.is_live)
        .order_by(ch.version.desc())
        .limit(1)
    ).one_or_none()
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


def _commit_time(connection: Connection, clock: Clock) -> int:
    """Return the time of a commit, read under the write lock and later than every commit before it.

    `as_of` an instant must give the same version whenever it is asked, whatever the clock does.
    """
    last = connection.execute(select(func.max(schema.versions.c.committed_ns))).scalar() or 0
    return max(clock.now_ns(), last + 1)


def _new_version(connection: Connection, now: int) -> int:
    version = snapshots.current(connection).version + 1
    process = this_process()
    connection.execute(
        schema.versions.insert(),
        {"version": version, "committed_ns": now, "author": author(), "host": host_id(), "pid": process.pid},
    )
    return version


def _next_generation(connection: Connection) -> int:
    step = snapshots.generation(connection) + 1
    wanted = schema.settings.c.name == "placement_generation"
    connection.execute(update(schema.settings).where(wanted).values(value=str(step)))
    return step


def _insert_table(connection: Connection, spec: TableSpec, version: int) -> int:
    result = connection.execute(
        insert(schema.tables),
        {
            "name": spec.name,
            "name_key": spec.name.casefold(),
            "time": spec.time,
            "symbol": spec.symbol,
            "key": json.dumps(spec.key),
            "calendar": spec.calendar,
            "grain": spec.grain.value,
            "asset_class": spec.asset_class,
            "created_version": version,
            "changed_version": version,
            "is_written": False,
        },
    )
    return _key(result)


def _insert_schema(connection: Connection, table_id: int, form: TableSchema, version: int) -> int:
    result = connection.execute(
        insert(schema.schemas),
        {
            "table_id": table_id,
            "added_version": version,
            "arrow": form.arrow,
            "columns": json.dumps(form.columns),
            "hidden": json.dumps(form.hidden),
            "frame": json.dumps(form.frame),
        },
    )
    return _key(result)


def _insert_change(
    connection: Connection,
    version: int,
    table_id: int,
    operation: str,
    tier: Tier,
    rows: int,
    deleted: int,
    segments: int,
    *,
    is_live: bool,
    write_id: str | None = None,
    content: str | None = None,
    lineage: dict[str, Any] | None = None,
) -> None:
    connection.execute(
        schema.changes.insert(),
        {
            "version": version,
            "table_id": table_id,
            "operation": operation,
            "tier": tier.value,
            "write_id": write_id,
            "content": content,
            "rows": rows,
            "deleted": deleted,
            "segments": segments,
            "lineage": json.dumps(lineage or {}),
            "is_live": is_live,
        },
    )


def _insert_segment(
    connection: Connection,
    table_id: int,
    schema_id: int,
    new: NewSegment,
    added_version: int,
    removed_version: int | None,
    attempt: Attempt | None,
) -> int:
    stats = new.stats
    result = connection.execute(
        insert(schema.segments),
        {
            "table_id": table_id,
            "schema_id": schema_id,
            "trade_date": snapshots.to_days(new.partition.trade_date),
            "asset_class": new.partition.asset_class,
            "rows": stats.rows,
            "min_ns": stats.min_ns,
            "max_ns": stats.max_ns,
            "symbols": None if stats.symbols is None else json.dumps(stats.symbols),
            "min_symbol": stats.min_symbol,
            "max_symbol": stats.max_symbol,
            "has_null_symbol": stats.has_null_symbol,
            "added_version": added_version,
            "removed_version": removed_version,
            "attempt_id": attempt.attempt_id if attempt else "",
            "span_class": span_class(stats.min_ns, stats.max_ns),
        },
    )
    return _key(result)


def _insert_copy(connection: Connection, segment_id: int, copy: NewCopy, version: int, now: int) -> int:
    result = connection.execute(
        insert(schema.copies),
        {
            "segment_id": segment_id,
            "tier": copy.tier.value,
            "store": copy.store,
            "location": copy.location,
            "codec": copy.codec,
            "size_bytes": copy.size_bytes,
            "checksum": copy.checksum,
            "seq_base": copy.seq_base + (seq_base(version) if copy.is_relative else 0),
            "role": copy.role.value,
            "created_ns": now,
            "sharers": copy.sharers,
            "file_bytes": copy.file_bytes,
        },
    )
    return _key(result)


def _remove_all(connection: Connection, table_id: int, version: int) -> int:
    s = schema.segments.c
    live = (s.table_id == table_id) & s.removed_version.is_(None) & s.retired_generation.is_(None)
    deleted = connection.execute(select(func.coalesce(func.sum(s.rows), 0)).where(live)).scalar_one()
    connection.execute(update(schema.segments).where(live).values(removed_version=version))
    connection.execute(update(schema.changes).where(schema.changes.c.table_id == table_id).values(is_live=False))
    return int(deleted)


def _require_unmoved(connection: Connection, table: TableRecord, item: MovedSegment) -> int | None:
    """Check that the segment and the copies read still stand; return the segment's removed_version now."""
    source = item.source
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


def moved_away(table: str, partition: Partition) -> ConflictError:
    """Return the error of a move whose source another move has taken."""
    return ConflictError(
        f"Partition {partition} of table {table!r} was moved by another process at the same time; nothing was changed. "
        "Try again.",
        table=table,
        partition=str(partition),
    )


def _condemn(connection: Connection, copy_id: int, step: int, now: int) -> None:
    connection.execute(
        update(schema.copies)
        .where(schema.copies.c.copy_id == copy_id)
        .values(condemned_generation=step, condemned_ns=now)
    )


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
        receipt_id=_key(result),
        table=table.name,
        source=source.tier,
        destination=piece.copy.tier,
        columns=dict(piece.columns),
        **values,
    )


def receipt_columns(text: str) -> dict[str, ColumnProof]:
    """Return the fingerprints kept in a receipt's `columns`."""
    return {name: ColumnProof(**proof) for name, proof in json.loads(text).items()}


def _key(result: Any) -> int:
    return int(result.inserted_primary_key[0])
