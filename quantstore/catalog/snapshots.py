"""Versions, tables and changes, as one consistent view of the catalog shows them."""

from __future__ import annotations

import json
from datetime import date, timedelta

from sqlalchemy import Connection, func, select

from quantstore.catalog import schema
from quantstore.catalog.records import Change, Snapshot, TableRecord
from quantstore.core.table import Grain, TableSchema, TableSpec

EPOCH = date(1970, 1, 1)


def to_days(day: date) -> int:
    """Return days since 1970-01-01."""
    return (day - EPOCH).days


def from_days(days: int) -> date:
    """Return the date that many days after 1970-01-01."""
    return EPOCH + timedelta(days=days)


_CURRENT = select(
    select(func.max(schema.versions.c.version)).scalar_subquery().label("version"),
    select(schema.settings.c.value)
    .where(schema.settings.c.name == "placement_generation")
    .scalar_subquery()
    .label("generation"),
)


def current(connection: Connection) -> Snapshot:
    """Return the newest version and placement generation."""
    row = connection.execute(_CURRENT).one()
    return Snapshot(row.version or 0, int(row.generation))


def generation(connection: Connection) -> int:
    """Return the placement generation."""
    wanted = schema.settings.c.name == "placement_generation"
    return int(connection.execute(select(schema.settings.c.value).where(wanted)).scalar_one())


def version_at(connection: Connection, instant_ns: int) -> int:
    """Return the newest version committed at or before `instant_ns`; 0 where there is none."""
    v = schema.versions.c
    return connection.execute(select(func.max(v.version)).where(v.committed_ns <= instant_ns)).scalar() or 0


def table_names(connection: Connection, version: int) -> list[str]:
    """Return the names of all tables that existed at `version`, sorted."""
    t = schema.tables.c
    rows = connection.execute(select(t.name).where(t.created_version <= version).order_by(t.name_key))
    return [row.name for row in rows]


def find_table(connection: Connection, name: str, version: int | None = None) -> TableRecord | None:
    """Return the table called `name` in any case, with its schema at `version` (default: newest), or None."""
    t = schema.tables.c
    row = connection.execute(select(schema.tables).where(t.name_key == name.casefold())).one_or_none()
    if row is None or (version is not None and row.created_version > version):
        return None
    found = _newest_schema(connection, row.table_id, version)
    return TableRecord(
        table_id=row.table_id,
        spec=TableSpec(
            name=row.name,
            time=row.time,
            symbol=row.symbol,
            key=tuple(json.loads(row.key)),
            calendar=row.calendar,
            grain=Grain(row.grain),
            asset_class=row.asset_class,
        ),
        schema_id=found[0] if found else None,
        schema=found[1] if found else None,
        created_version=row.created_version,
        changed_version=row.changed_version,
        is_written=row.is_written,
    )


def _newest_schema(connection: Connection, table_id: int, version: int | None) -> tuple[int, TableSchema] | None:
    s = schema.schemas.c
    query = select(schema.schemas).where(s.table_id == table_id).order_by(s.added_version.desc()).limit(1)
    if version is not None:
        query = query.where(s.added_version <= version)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    columns = tuple((name, kind) for name, kind in json.loads(row.columns))
    return row.schema_id, TableSchema(row.arrow, columns, tuple(json.loads(row.hidden)), json.loads(row.frame))


def table_changes(connection: Connection, table_id: int | None = None) -> list[Change]:
    """Return what each version did, newest first, for one table or all."""
    v, ch, t = schema.versions.c, schema.changes, schema.tables.c
    query = (
        select(ch, v.committed_ns, v.author, t.name)
        .join(schema.versions, v.version == ch.c.version)
        .join(schema.tables, t.table_id == ch.c.table_id)
        .order_by(v.version.desc())
    )
    if table_id is not None:
        query = query.where(ch.c.table_id == table_id)
    return [
        Change(
            version=row.version,
            table=row.name,
            operation=row.operation,
            tier=row.tier,
            committed_ns=row.committed_ns,
            author=row.author,
            rows=row.rows,
            deleted=row.deleted,
            segments=row.segments,
            write_id=row.write_id,
            content=row.content,
            lineage=json.loads(row.lineage),
        )
        for row in connection.execute(query)
    ]
