"""Changes of what a name reads as that write no bytes: rename, drop, undrop, restore."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from quantstore.catalog import kept, schema, snapshots
from quantstore.catalog.database import Database
from quantstore.catalog.expiry import is_reachable
from quantstore.catalog.inserts import (
    ADD_COPY,
    ADD_SEGMENT,
    commit_time,
    insert_change,
    insert_schema,
    name_table,
    new_key,
    new_version,
)
from quantstore.catalog.marks import require_not_held
from quantstore.catalog.records import TableRecord
from quantstore.catalog.segments import find_segments
from quantstore.core.clock import Clock
from quantstore.core.failpoints import reach
from quantstore.core.names import nearest, refuse_lookalike
from quantstore.core.segment import PlacedSegment, Role
from quantstore.core.tier import Tier
from quantstore.errors import InvalidInputError, NotFoundError

_MANY = 500


@dataclass(frozen=True, slots=True)
class RestoreOutcome:
    """What a restore did.

    Attributes:
        version: The version whose rows are those of the one restored.
        rows: Rows that came back.
        deleted: Rows that went.
        segments: Segments that came back.
        changed: Whether anything had to be changed.
    """

    version: int
    rows: int
    deleted: int
    segments: int
    changed: bool


class History:
    """Commits what changes names and brings rows back, each in one transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def rename(self, table_id: int, new: str, lineage: dict[str, Any]) -> int:
        """Give a table another name from a new version on, and return that version.

        Raises:
            InvalidInputError: The name is taken, or looks like one that is.
            NotFoundError: The table has been dropped.
        """
        with self._changing() as (connection, now):
            record = _named(connection, table_id)
            if record.name == new:
                return record.changed_version
            current = snapshots.current(connection).version
            others = [one for one in snapshots.table_names(connection, current) if one != record.name]
            _refuse_taken(connection, new, table_id)
            refuse_lookalike(new, others)
            version = new_version(connection, now)
            name_table(connection, table_id, new, version)
            noted = {"from": record.name, "to": new, **lineage}
            insert_change(connection, version, table_id, "rename", Tier.HOT, 0, 0, 0, is_live=False, lineage=noted)
        return version

    def drop(self, table_id: int, lineage: dict[str, Any]) -> int:
        """Take a table's name away from a new version on, and return that version.

        Raises:
            AccessDeniedError: A hold keeps the table.
            NotFoundError: The table has been dropped.
        """
        with self._changing() as (connection, now):
            _named(connection, table_id)
            require_not_held(connection, table_id, self._clock.now_ns())
            version = new_version(connection, now)
            name_table(connection, table_id, None, version)
            insert_change(connection, version, table_id, "drop", Tier.HOT, 0, 0, 0, is_live=False, lineage=lineage)
        return version

    def undrop(self, name: str, lineage: dict[str, Any]) -> int:
        """Give the table dropped last under a name that name again, and return the version that did.

        Raises:
            NotFoundError: No such table was dropped, or its versions have expired.
            InvalidInputError: Another table has the name.
        """
        with self._changing() as (connection, now):
            table_id, called = _find_dropped(connection, name)
            _refuse_taken(connection, called, table_id)
            if not is_reachable(connection, table_id, kept.oldest_version(connection), self._clock.now_ns()):
                raise NotFoundError(f"Table {called!r} was dropped, and all its versions have expired.", table=called)
            version = new_version(connection, now)
            name_table(connection, table_id, called, version)
            insert_change(connection, version, table_id, "undrop", Tier.HOT, 0, 0, 0, is_live=False, lineage=lineage)
        return version

    def restore(self, table_id: int, version: int, whole: Collection[int], lineage: dict[str, Any]) -> RestoreOutcome:
        """Make a version of a table whose rows and columns are those of `version`, without writing a byte.

        Args:
            table_id: The table.
            version: What to go back to.
            whole: Versions of which every row that they added is in the table at `version`.
            lineage: What to note.

        Raises:
            NotFoundError: The version has expired, the table was not there then, or it has been dropped.
        """
        with self._changing() as (connection, now):
            record = _named(connection, table_id)
            readable = kept.readable_tables(connection, version, self._clock.now_ns())
            if readable is not None and table_id not in readable:
                raise kept.expired(connection, version)
            then = {one.segment.segment_id: one for one in find_segments(connection, table_id, version)}
            live = {one.segment.segment_id: one for one in find_segments(connection, table_id, _LAST)}
            back = [one for number, one in then.items() if number not in live]
            gone = [one for number, one in live.items() if number not in then]
            old = snapshots.newest_schema(connection, table_id, version)
            has_other_form = old is not None and old[0] != record.schema_id
            if not (back or gone or has_other_form):
                return RestoreOutcome(record.changed_version, 0, 0, 0, changed=False)
            made = new_version(connection, now)
            if old is not None and has_other_form:
                insert_schema(connection, table_id, old[1], made)
            _remove(connection, [one.segment.segment_id for one in gone], made)
            for one in back:
                _bring_back(connection, one, made, now)
            _note_whole(connection, table_id, whole)
            rows, deleted = _rows(back), _rows(gone)
            connection.execute(
                update(schema.tables).where(schema.tables.c.table_id == table_id).values(changed_version=made)
            )
            insert_change(
                connection,
                made,
                table_id,
                "restore",
                Tier.HOT,
                rows,
                deleted,
                len(back),
                is_live=False,
                lineage={"restored": version, **lineage},
            )
        return RestoreOutcome(made, rows, deleted, len(back), changed=True)

    @contextmanager
    def _changing(self) -> Iterator[tuple[Connection, int]]:
        with self._database.write() as connection:
            reach("history.begun")
            yield connection, commit_time(connection, self._clock)
            reach("history.filled")
        reach("history.committed")


_LAST = 2**62
"""A version after all others."""


def _named(connection: Connection, table_id: int) -> TableRecord:
    """Return a table under the lock.

    Raises:
        NotFoundError: It has been dropped.
    """
    n, record = schema.table_names.c, snapshots.table_of(connection, table_id)
    query = select(n.name_id).where(n.table_id == table_id, n.to_version.is_(None))
    if connection.execute(query).first() is None:
        raise NotFoundError(
            f"Table {record.name!r} was dropped; bring it back with store.undrop({record.name!r}).", table=record.name
        )
    return record


def _refuse_taken(connection: Connection, name: str, table_id: int) -> None:
    taken = snapshots.find_table(connection, name)
    if taken is not None and taken.table_id != table_id:
        raise InvalidInputError(
            f"There is a table {taken.name!r}; rename it first, or choose another name.", table=taken.name
        )


def _find_dropped(connection: Connection, name: str) -> tuple[int, str]:
    """Return number and name of the table dropped last under a name.

    Raises:
        NotFoundError: There is none; the nearest is named.
    """
    n, t = schema.table_names.c, schema.tables.c
    still_named = select(n.table_id).where(n.to_version.is_(None))
    query = select(t.table_id, t.name).where(t.table_id.not_in(still_named)).order_by(t.changed_version.desc())
    dropped = [(row.table_id, row.name) for row in connection.execute(query)]
    for table_id, called in dropped:
        if called.casefold() == name.casefold():
            return table_id, called
    if snapshots.find_table(connection, name) is not None:
        raise NotFoundError(f"Table {name!r} was not dropped.", table=name)
    near = nearest(name, [called for _, called in dropped], 0.5)
    hint = f" Did you mean {near!r}?" if near else ""
    raise NotFoundError(f"No table {name!r} was dropped.{hint}", table=name)


def _rows(placed: Collection[PlacedSegment]) -> int:
    return sum(one.segment.stats.rows for one in placed)


def _remove(connection: Connection, segment_ids: list[int], version: int) -> None:
    s = schema.segments
    for start in range(0, len(segment_ids), _MANY):
        wanted = s.c.segment_id.in_(segment_ids[start : start + _MANY])
        connection.execute(update(s).where(wanted).values(removed_version=version))


def _bring_back(connection: Connection, placed: PlacedSegment, version: int, now: int) -> None:
    """Add a segment with the rows of one that was removed, in the same file."""
    s, c = schema.segments, schema.copies
    old = connection.execute(select(s).where(s.c.segment_id == placed.segment.segment_id)).one()._mapping  # noqa: SLF001
    values = {name: value for name, value in old.items() if name != "segment_id"}
    values |= {"added_version": version, "removed_version": None}
    segment_id = new_key(connection.execute(ADD_SEGMENT, values))
    copies = connection.execute(
        select(c).where(
            c.c.segment_id == placed.segment.segment_id,
            c.c.condemned_generation.is_(None),
            c.c.role == Role.PRIMARY.value,
        )
    ).all()
    for copy in copies:
        values = {name: value for name, value in copy._mapping.items() if name != "copy_id"}  # noqa: SLF001
        connection.execute(ADD_COPY, values | {"segment_id": segment_id, "created_ns": now})


def _note_whole(connection: Connection, table_id: int, versions: Collection[int]) -> None:
    """Note of which versions all rows are in the table, so that writing those again is a repeat."""
    ch = schema.changes
    connection.execute(update(ch).where(ch.c.table_id == table_id).values(is_live=False))
    listed = sorted(versions)
    for start in range(0, len(listed), _MANY):
        wanted = (ch.c.table_id == table_id) & ch.c.version.in_(listed[start : start + _MANY])
        connection.execute(update(ch).where(wanted).values(is_live=True))
