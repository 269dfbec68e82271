"""Which tables are published in other formats, and how far: what a publisher did, and what it has to catch up with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from quantstore.catalog import schema, snapshots
from quantstore.catalog.database import Database
from quantstore.catalog.records import ColdState, PublishedTable, Snapshot, TableRecord
from quantstore.catalog.segments import find_segments
from quantstore.core.clock import Clock
from quantstore.core.segment import Role
from quantstore.core.tier import Tier

_p, _s, _c = schema.publications.c, schema.segments.c, schema.copies.c
_ALL = select(schema.publications).order_by(_p.table_id)


class Publications:
    """Remembers what was published, and finds what changed since."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def listed(self, root: str, table_id: int | None = None) -> list[PublishedTable]:
        """Return every publication, by table id, with how far it lags; or those of one table.

        Args:
            root: Where cold copies are; what is published names files in full.
            table_id: The table, or None.
        """
        query = _ALL if table_id is None else _ALL.where(_p.table_id == table_id)
        with self._database.read() as connection:
            return [_published(connection, row, root) for row in connection.execute(query).all()]

    def state(self, table_id: int, root: str) -> ColdState:
        """Return what is to be published of a table, in one consistent view."""
        with self._database.read() as connection:
            table, is_dropped = _named(connection, table_id)
            snapshot = snapshots.current(connection)
            found = [] if is_dropped else find_segments(connection, table_id, snapshot.version)
            cold = [one for one in found if one.primary.tier is Tier.COLD]
            content = "" if is_dropped else content_of(root, table, [one.primary.location for one in cold])
            return ColdState(table, is_dropped, snapshot, tuple(cold), content)

    def begin(self, table_id: int, form: str, name: str, location: str) -> None:
        """Note that a table is going to be published: from now on a sweep spares the files it may be made of."""
        with self._database.write() as connection:
            known = connection.execute(select(_p.table_id).where(_p.table_id == table_id, _p.format == form)).first()
            if known is None:
                row = {"table_id": table_id, "format": form, "name": name, "location": location, "version": 0}
                row |= {"generation": 0, "snapshot_id": "", "content": "", "published_ns": self._clock.now_ns()}
                connection.execute(insert(schema.publications), row)

    def record(
        self, table_id: int, form: str, name: str, location: str, snapshot: Snapshot, snapshot_id: str, content: str
    ) -> None:
        """Note what was published; what another process published of a newer state stays."""
        with self._database.write() as connection:
            connection.execute(
                update(schema.publications)
                .where(_p.table_id == table_id, _p.format == form, _p.generation <= snapshot.generation)
                .where(_p.version <= snapshot.version)
                .values(
                    name=name,
                    location=location,
                    version=snapshot.version,
                    generation=snapshot.generation,
                    snapshot_id=snapshot_id,
                    content=content,
                    published_ns=self._clock.now_ns(),
                )
            )

    def confirm(self, root: str) -> None:
        """Note of every publication that does not lag that it holds for the store as it is now."""
        with self._database.write() as connection:
            now = snapshots.current(connection)
            for row in connection.execute(select(schema.publications)).all():
                if _published(connection, row, root).lag == 0:
                    wanted = (_p.table_id == row.table_id) & (_p.format == row.format)
                    values = {"version": now.version, "generation": now.generation}
                    connection.execute(update(schema.publications).where(wanted).values(**values))

    def forget(self, table_id: int, form: str) -> None:
        """Drop the record of a publication."""
        with self._database.write() as connection:
            connection.execute(delete(schema.publications).where(_p.table_id == table_id, _p.format == form))


def content_of(root: str, table: TableRecord, locations: Iterable[str]) -> str:
    """Return a digest of what a publication of a table shows: its name, columns and files."""
    text = "\n".join([root, table.name, str(table.schema_id), *sorted(set(locations))])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _named(connection: Connection, table_id: int) -> tuple[TableRecord, bool]:
    """Return a table, and whether it has no name any more."""
    table = snapshots.table_of(connection, table_id)
    found = snapshots.find_table(connection, table.name)
    return table, found is None or found.table_id != table_id


def _published(connection: Connection, row: Any, root: str) -> PublishedTable:
    table, is_dropped = _named(connection, row.table_id)
    wanted = "" if is_dropped else content_of(root, table, _cold_locations(connection, row.table_id))
    ch = schema.changes.c
    since = select(func.count()).where(ch.table_id == row.table_id, ch.version > row.version)
    behind = 0 if row.content == wanted else max(1, connection.execute(since).scalar_one())
    return PublishedTable(
        table=table,
        is_dropped=is_dropped,
        format=row.format,
        name=row.name,
        location=row.location,
        version=row.version,
        generation=row.generation,
        snapshot_id=row.snapshot_id,
        published_ns=row.published_ns,
        lag=behind,
    )


def _cold_locations(connection: Connection, table_id: int) -> list[str]:
    """Return where the primary copies are that the newest version of a table has in cold."""
    query = (
        select(_c.location)
        .join(schema.segments, _s.segment_id == _c.segment_id)
        .where(_s.table_id == table_id, _s.removed_version.is_(None), _s.retired_generation.is_(None))
        .where(_c.tier == Tier.COLD.value, _c.role == Role.PRIMARY.value, _c.condemned_generation.is_(None))
    )
    return [row.location for row in connection.execute(query)]
