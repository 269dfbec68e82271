"""Numbered steps that bring a catalog to the form this release reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import uuid4

from sqlalchemy import Connection, func, inspect, select, text

from quantstore.catalog import schema
from quantstore.core.release import release
from quantstore.errors import UnsupportedError


def _first_form(connection: Connection) -> None:
    schema.metadata.create_all(connection)
    connection.execute(
        schema.settings.insert(),
        [{"name": "store_id", "value": uuid4().hex}, {"name": "placement_generation", "value": "0"}],
    )


def _find_by_span(connection: Connection) -> None:
    """Class segments by the length of their span, and index what queries prune by."""
    columns = {column["name"] for column in inspect(connection).get_columns(schema.segments.name)}
    if "span_class" not in columns:
        largest = schema.SPAN_CLASSES - 1
        connection.execute(text(f"ALTER TABLE segments ADD COLUMN span_class INTEGER NOT NULL DEFAULT {largest}"))
        whens = " ".join(f"WHEN max_ns - min_ns < {16**number} THEN {number}" for number in range(largest))
        connection.execute(text(f"UPDATE segments SET span_class = CASE {whens} ELSE {largest} END"))
        connection.execute(text("DROP INDEX IF EXISTS segments_by_time"))
    for index in schema.segments.indexes:
        index.create(connection, checkfirst=True)


def _share_files(connection: Connection) -> None:
    """Let several segments have copies in one file."""
    table = schema.copies
    old = [column["name"] for column in inspect(connection).get_columns(table.name)]
    if "sharers" in old:
        return
    for index in table.indexes:
        index.drop(connection, checkfirst=True)
    connection.execute(text("ALTER TABLE copies RENAME TO copies_before"))
    table.create(connection)
    names = ", ".join(old)
    connection.execute(text(f"INSERT INTO copies ({names}) SELECT {names} FROM copies_before"))
    connection.execute(text("DROP TABLE copies_before"))


def _keep_history(connection: Connection) -> None:
    """Remember names by version, tags, holds, pins and publications, and which version is the oldest kept."""
    if connection.execute(select(schema.settings.c.name).where(schema.settings.c.name == "oldest_version")).first():
        return
    columns = {column["name"] for column in inspect(connection).get_columns(schema.copies.name)}
    if "pin_id" not in columns:
        connection.execute(text("ALTER TABLE copies ADD COLUMN pin_id BIGINT"))
        connection.execute(text("ALTER TABLE copies ADD COLUMN subset TEXT"))
    added = (schema.table_names, schema.idle_writes, schema.tags, schema.holds, schema.pins, schema.publications)
    for table in added:
        table.create(connection, checkfirst=True)
    for index in (*schema.copies.indexes, *schema.changes.indexes, *schema.segments.indexes):
        index.create(connection, checkfirst=True)
    t, n = schema.tables.c, schema.table_names
    named = select(t.table_id, t.name, t.name_key, t.created_version)
    connection.execute(n.insert().from_select(["table_id", "name", "name_key", "from_version"], named))
    connection.execute(schema.settings.insert(), {"name": "oldest_version", "value": "0"})


STEPS: tuple[tuple[str, Callable[[Connection], None]], ...] = (
    ("first form", _first_form),
    ("find segments by span", _find_by_span),
    ("share files", _share_files),
    ("keep history", _keep_history),
)
"""Name and function of each step; the n-th makes form n. Only ever appended to."""


def current_form(connection: Connection) -> int:
    """Return the number of the last step applied; 0 for an empty database."""
    if not inspect(connection).has_table(schema.upgrades.name):
        return 0
    return connection.execute(select(func.max(schema.upgrades.c.number))).scalar() or 0


def is_empty(connection: Connection) -> bool:
    """Whether a database holds no table at all."""
    return not inspect(connection).get_table_names()


def check_form(form: int, where: str) -> None:
    """Refuse a catalog made by a newer release.

    Raises:
        UnsupportedError: `form` is newer than this release knows.
    """
    if form > len(STEPS):
        raise UnsupportedError(
            f"The catalog {where} has form {form}, which a newer release of quantstore made; this is quantstore "
            f"{release()}, which reads up to form {len(STEPS)}. Nothing was changed. Upgrade quantstore: pip install "
            "-U quantstore.",
            form=form,
            known_form=len(STEPS),
            release=release(),
        )


def too_old(form: int, where: str) -> UnsupportedError:
    """Return the error for a catalog that would have to be brought up to date and may only be read."""
    return UnsupportedError(
        f"The catalog {where} has form {form}, which an older release of quantstore made; this is quantstore "
        f"{release()}, which reads form {len(STEPS)}. Open the store once with read_only=False, which upgrades it.",
        form=form,
        known_form=len(STEPS),
        release=release(),
    )


def apply_steps(connection: Connection, form: int) -> None:
    """Apply every step after `form` in the caller's transaction."""
    for number, (name, step) in enumerate(STEPS, start=1):
        if number > form:
            step(connection)
            connection.execute(schema.upgrades.insert(), {"number": number, "name": name, "applied_ns": time.time_ns()})
