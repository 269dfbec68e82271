"""What a transaction does to the catalog, overheard statement by statement."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, event

from quantstore.catalog import schema

STATEMENTS = "quantstore_statements"
"""Under this name a connection keeps what its transaction did."""
_UNRECORDED = {schema.attempts, schema.readers, schema.access}
"""Attempts and readers end with their processes; access counts only guide."""


def listen(engine: Engine) -> None:
    """Overhear every statement of an engine that changes something worth keeping."""
    event.listen(engine, "after_cursor_execute", _overhear)


def _overhear(
    connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
) -> None:
    if not (context.isinsert or context.isupdate or context.isdelete):
        return
    if cursor.rowcount == 0 and not context.isinsert:
        return  # nothing was there to be changed
    if context.compiled is not None and context.compiled.statement.table in _UNRECORDED:
        return
    connection.info.setdefault(STATEMENTS, []).append((statement, parameters, executemany))
