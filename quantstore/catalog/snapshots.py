"""Versions, tables and changes, as one consistent view of the catalog shows them."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

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


def table_names(connection: Connection, version: int, among: frozenset[int] | None = None) -> list[str]:
    """Return the names of all tables that existed at `version`, or of some of them, sorted."""
    n = schema.table_names.c
    rows = connection.execute(select(n.name, n.table_id).where(_is_named(version)).order_by(n.name_key))
    return [row.name for row in rows if among is None or row.table_id in among]


def find_table(connection: Connection, name: str, version: int | None = None) -> TableRecord | None:
    """Return the table called `name` in any case, with its schema at `version` (default: newest), or None."""
    n, t = schema.table_names.c, schema.tables
    named = n.to_version.is_(None) if version is None else _is_named(version)
    row = connection.execute(
        select(t, n.name.label("called"))
        .join(t, t.c.table_id == n.table_id)
        .where(n.name_key == name.casefold(), named)
    ).one_or_none()
    return None if row is None else _record(connection, row, version)


def table_of(connection: Connection, table_id: int) -> TableRecord:
    """Return a table by its number, under the name it has or last had."""
    t = schema.tables
    row = connection.execute(select(t, t.c.name.label("called")).where(t.c.table_id == table_id)).one()
    return _record(connection, row, None)


def table_at(connection: Connection, table_id: int, version: int) -> TableRecord | None:
    """Return a table by its number as it was at `version`; None where it was not made yet."""
    t = schema.tables
    query = select(t, t.c.name.label("called")).where(t.c.table_id == table_id, t.c.created_version <= version)
    row = connection.execute(query).one_or_none()
    return None if row is None else _record(connection, row, version)


def _record(connection: Connection, row: Any, version: int | None) -> TableRecord:
    found = newest_schema(connection, row.table_id, version)
    return TableRecord(
        table_id=row.table_id,
        spec=TableSpec(
            name=row.called,
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
        changed_version=_changed(connection, row, version),
        is_written=row.is_written,
    )


def _is_named(version: int) -> ColumnElement[bool]:
    n = schema.table_names.c
    return and_(n.from_version <= version, or_(n.to_version.is_(None), n.to_version > version))


def _changed(connection: Connection, row: Any, version: int | None) -> int:
    """Return the newest version, up to `version`, that changed a table."""
    if version is None or row.changed_version <= version:
        return int(row.changed_version)
    ch = schema.changes.c
    query = select(func.max(ch.version)).where(ch.table_id == row.table_id, ch.version <= version)
    return connection.execute(query).scalar() or int(row.created_version)


def newest_schema(connection: Connection, table_id: int, version: int | None) -> tuple[int, TableSchema] | None:
    """Return number and form of the columns that a table had at `version` (None: newest); None where it had none."""
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
