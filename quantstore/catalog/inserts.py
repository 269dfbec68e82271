"""Rows of the catalog that commits add, inside the transaction of the caller."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Insert, cast, func, insert, select, union_all, update

from quantstore.catalog import schema, snapshots
from quantstore.catalog.database import CHANGED, PROOF
from quantstore.catalog.records import Attempt
from quantstore.catalog.segments import span_class
from quantstore.core.clock import Clock
from quantstore.core.process import author, host_id, this_process
from quantstore.core.segment import NewCopy, NewSegment, seq_base
from quantstore.core.table import TableSchema, TableSpec
from quantstore.core.tier import Tier

_MOST_VALUES = 500
_NAMELESS = "\0"
"""Begins the key of a table without a name; no name may hold it."""


def _adding(key: Column[int]) -> Insert:
    """Return the statement that adds a row under a key that none ever had; SQLite gives keys of deleted rows again."""
    s, table = schema.settings.c, key.table
    recorded = select(cast(s.value, BigInteger).label("last")).where(s.name == last_key(key))
    last = union_all(select(func.max(key).label("last")), recorded).subquery()
    following = select(func.coalesce(func.max(last.c.last), 0) + 1).scalar_subquery()
    return insert(table).values({key: following})


def last_key(key: Column[int]) -> str:
    """Return the name under which the settings keep the highest key that was deleted."""
    return f"last_{key.name}"


ADD_SEGMENT, ADD_COPY = _adding(schema.segments.c.segment_id), _adding(schema.copies.c.copy_id)


def commit_time(connection: Connection, clock: Clock) -> int:
    """Return the time of a commit, read under the write lock and later than every commit before it.

    `as_of` an instant must give the same version whenever it is asked, whatever the clock does.
    """
    last = connection.execute(select(func.max(schema.versions.c.committed_ns))).scalar() or 0
    return max(clock.now_ns(), last + 1)


def new_version(connection: Connection, now: int) -> int:
    """Add a version and return its number."""
    connection.info[CHANGED] = True
    version = snapshots.current(connection).version + 1
    process = this_process()
    connection.execute(
        schema.versions.insert(),
        {"version": version, "committed_ns": now, "author": author(), "host": host_id(), "pid": process.pid},
    )
    v = schema.versions.c
    own = (v.version == version) & (v.committed_ns == now) & (v.host == host_id()) & (v.pid == process.pid)
    connection.info[PROOF] = select(v.version).where(own)
    return version


def next_generation(connection: Connection) -> int:
    """Count one more change of placement and return its number."""
    connection.info[CHANGED] = True
    step = snapshots.generation(connection) + 1
    wanted = schema.settings.c.name == "placement_generation"
    connection.execute(update(schema.settings).where(wanted).values(value=str(step)))
    return step


def insert_table(connection: Connection, spec: TableSpec, version: int) -> int:
    """Add a table under its name and return its id."""
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
    table_id = new_key(result)
    name_table(connection, table_id, spec.name, version)
    return table_id


def name_table(connection: Connection, table_id: int, name: str | None, version: int) -> None:
    """Give a table a name from `version` on; None takes its name away."""
    n, t = schema.table_names, schema.tables
    connection.execute(update(n).where(n.c.table_id == table_id, n.c.to_version.is_(None)).values(to_version=version))
    key = f"{_NAMELESS}{table_id}" if name is None else name.casefold()
    if name is not None:
        connection.execute(n.insert(), {"table_id": table_id, "name": name, "name_key": key, "from_version": version})
    changed = {"name_key": key} if name is None else {"name": name, "name_key": key}
    connection.execute(update(t).where(t.c.table_id == table_id).values(changed_version=version, **changed))


def insert_schema(connection: Connection, table_id: int, form: TableSchema, version: int) -> int:
    """Add the columns a table has from `version` on and return their id."""
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
    return new_key(result)


def insert_change(
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
    """Add what a version did to a table."""
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


def insert_segment(
    connection: Connection,
    table_id: int,
    schema_id: int,
    new: NewSegment,
    added_version: int,
    removed_version: int | None,
    attempt: Attempt | None,
) -> int:
    """Add a segment and return its id."""
    stats = new.stats
    result = connection.execute(
        ADD_SEGMENT,
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
    return new_key(result)


def insert_copy(connection: Connection, segment_id: int, copy: NewCopy, version: int, now: int) -> int:
    """Add a copy of a segment and return its id."""
    result = connection.execute(
        ADD_COPY,
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
            "pin_id": copy.pin_id,
            "subset": None if copy.subset is None else json.dumps(asdict(copy.subset)),
        },
    )
    return new_key(result)


def condemn(connection: Connection, copy_id: int, step: int, now: int) -> None:
    """Give a copy up: no new reader will reach it."""
    condemn_all(connection, [copy_id], step, now)


def condemn_all(connection: Connection, copy_ids: Sequence[int], step: int, now: int) -> None:
    """Give copies up."""
    c = schema.copies
    for start in range(0, len(copy_ids), _MOST_VALUES):
        some = c.c.copy_id.in_(copy_ids[start : start + _MOST_VALUES])
        connection.execute(update(c).where(some).values(condemned_generation=step, condemned_ns=now))


def new_key(result: Any) -> int:
    """Return the number that a new row was given."""
    return int(result.inserted_primary_key[0])
