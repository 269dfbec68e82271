"""Versions, tables and changes, as one consistent view of the catalog shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

from sqlalchemy import BigInteger, BindParameter, ColumnElement, Connection, and_, bindparam, func, or_, select

from quantstore.catalog import schema
from quantstore.catalog.records import Change, Snapshot, TableRecord
from quantstore.core.table import Grain, TableSchema, TableSpec
from quantstore.errors import IntegrityError

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


def committed_ns(connection: Connection, version: int) -> int:
    """Return when a version was committed, nanoseconds since the epoch; 0 for the one that no commit made."""
    v = schema.versions.c
    return connection.execute(select(v.committed_ns).where(v.version == version)).scalar() or 0


def table_names(connection: Connection, version: int, among: frozenset[int] | None = None) -> list[str]:
    """Return the names of all tables that existed at `version`, or of some of them, sorted."""
    n = schema.table_names.c
    rows = connection.execute(select(n.name, n.table_id).where(_is_named(version)).order_by(n.name_key))
    return [row.name for row in rows if among is None or row.table_id in among]


_NEWEST_SCHEMA = (
    select(schema.schemas)
    .where(schema.schemas.c.table_id == bindparam("table_id"))
    .order_by(schema.schemas.c.added_version.desc())
    .limit(1)
)
_SCHEMA_AT = _NEWEST_SCHEMA.where(schema.schemas.c.added_version <= bindparam("version"))
_NAMED = (
    select(schema.tables, schema.table_names.c.name.label("called"))
    .join(schema.tables, schema.tables.c.table_id == schema.table_names.c.table_id)
    .where(schema.table_names.c.name_key == bindparam("name_key"))
)
_NAMED_NOW = _NAMED.where(schema.table_names.c.to_version.is_(None))


def find_table(connection: Connection, name: str, version: int | None = None) -> TableRecord | None:
    """Return the table called `name` in any case, with its schema at `version` (default: newest), or None."""
    query = _NAMED_NOW if version is None else _NAMED_AT
    row = connection.execute(query, {"name_key": name.casefold(), "version": version}).one_or_none()
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
        spec=_spec(row),
        schema_id=found[0] if found else None,
        schema=found[1] if found else None,
        created_version=row.created_version,
        changed_version=_changed(connection, row, version),
        is_written=row.is_written,
    )


def _spec(row: Any) -> TableSpec:
    with _making_sense(row.called):
        return TableSpec(
            name=row.called,
            time=row.time,
            symbol=row.symbol,
            key=tuple(json.loads(row.key)),
            calendar=row.calendar,
            grain=Grain(row.grain),
            asset_class=row.asset_class,
        )


@contextmanager
def _making_sense(name: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError) as error:
        raise IntegrityError(
            f"The catalog is damaged: what it says of table {name!r} makes no sense ({error}). fsck() tells more, and "
            "rebuild() makes the catalog anew.",
            table=name,
        ) from error


def _is_named(version: int | BindParameter[int]) -> ColumnElement[bool]:
    n = schema.table_names.c
    return and_(n.from_version <= version, or_(n.to_version.is_(None), n.to_version > version))


_NAMED_AT = _NAMED.where(_is_named(bindparam("version", type_=BigInteger)))


def _changed(connection: Connection, row: Any, version: int | None) -> int:
    """Return the newest version, up to `version`, that changed a table."""
    if version is None or row.changed_version <= version:
        return int(row.changed_version)
    ch = schema.changes.c
    query = select(func.max(ch.version)).where(ch.table_id == row.table_id, ch.version <= version)
    return connection.execute(query).scalar() or int(row.created_version)


def newest_schema(connection: Connection, table_id: int, version: int | None) -> tuple[int, TableSchema] | None:
    """Return number and form of the columns that a table had at `version` (None: newest); None where it had none."""
    query = _NEWEST_SCHEMA if version is None else _SCHEMA_AT
    row = connection.execute(query, {"table_id": table_id, "version": version}).one_or_none()
    if row is None:
        return None
    with _making_sense(f"number {table_id}"):
        columns = tuple((name, kind) for name, kind in json.loads(row.columns))
        return row.schema_id, TableSchema(row.arrow, columns, tuple(json.loads(row.hidden)), json.loads(row.frame))


CHANGE_COLUMNS = (
    "version",
    "committed_ns",
    "author",
    "operation",
    "tier",
    "rows",
    "deleted",
    "segments",
    "write_id",
    "lineage",
)


def change_columns(connection: Connection, table_id: int, version: int) -> dict[str, list[Any]]:
    """Return `CHANGE_COLUMNS` of what each version up to `version` did to a table, newest first, column by column."""
    v, ch = schema.versions.c, schema.changes.c
    found = {name: v[name] if name in v and name != "version" else ch[name] for name in CHANGE_COLUMNS}
    query = (
        select(*found.values())
        .join(schema.versions, v.version == ch.version)
        .where(ch.table_id == table_id, ch.version <= version)
        .order_by(ch.version.desc())
    )
    rows = connection.execute(query).all()
    columns = dict(zip(CHANGE_COLUMNS, map(list, zip(*rows, strict=True)), strict=True)) if rows else {}
    columns = columns or {name: [] for name in CHANGE_COLUMNS}
    columns["lineage"] = json.loads(f"[{','.join(columns['lineage'])}]")  # all at once: a history may be long
    return columns


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
