"""The columns a table had: by number, before its newest, and when a write was made."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, select, union_all

from quantstore.catalog import schema
from quantstore.core.table import TableSchema


def schemas_by_id(connection: Connection, schema_ids: Iterable[int]) -> dict[int, TableSchema]:
    """Return schemas by number."""
    s = schema.schemas
    rows = connection.execute(select(s).where(s.c.schema_id.in_(list(schema_ids))))
    return {row.schema_id: _schema(row) for row in rows}


def schemas_before(connection: Connection, table_id: int, schema_id: int) -> tuple[TableSchema, ...]:
    """Return the schemas a table had before one of its schemas, newest first."""
    s = schema.schemas
    query = select(s).where(s.c.table_id == table_id, s.c.schema_id < schema_id).order_by(s.c.schema_id.desc())
    return tuple(_schema(row) for row in connection.execute(query))


def schema_of_write(connection: Connection, table_id: int, write_id: str) -> TableSchema | None:
    """Return the schema a table had once the write called `write_id` was made; None where there was none."""
    s = schema.schemas
    made = union_all(
        *(
            select(among.c.version).where(among.c.table_id == table_id, among.c.write_id == write_id)
            for among in (schema.changes, schema.idle_writes)
        )
    )
    query = select(s).where(s.c.table_id == table_id, s.c.added_version <= made.scalar_subquery())
    row = connection.execute(query.order_by(s.c.added_version.desc()).limit(1)).one_or_none()
    return None if row is None else _schema(row)


def _schema(row: Any) -> TableSchema:
    columns = tuple((name, kind) for name, kind in json.loads(row.columns))
    return TableSchema(row.arrow, columns, tuple(json.loads(row.hidden)), json.loads(row.frame))
