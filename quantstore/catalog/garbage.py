"""What may be deleted, and what long readers still hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from sqlalchemy import Column, Connection, delete, exists, func, insert, select, update

from quantstore.catalog import kept, schema, snapshots
from quantstore.catalog.database import Database
from quantstore.catalog.inserts import last_key
from quantstore.catalog.records import GarbageCopy, Snapshot
from quantstore.core.clock import Clock
from quantstore.core.process import ProcessId, is_dead, this_process
from quantstore.core.tier import Tier

READER_LEASE_SECONDS = 600
_NO_COPIES = 2**62
"""The generation of a reader that keeps its version and no copies: none is condemned after it."""
_MANY = 500
_c, _r = schema.copies.c, schema.readers.c
_PUBLISHED = exists().where(
    schema.segments.c.segment_id == _c.segment_id,
    schema.publications.c.table_id == schema.segments.c.table_id,
    schema.publications.c.generation < _c.condemned_generation,
    _c.tier == Tier.COLD.value,
)


class Garbage:
    """Names the bytes nothing reaches, and keeps the heartbeats of long readers."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def condemned(self, grace_ns: int) -> list[GarbageCopy]:
        """Return copies condemned at least `grace_ns` ago that no open reader can still be reading.

        Copies that share a file are returned once this is true of all of them. Those that were in cold when their table
        was last published are what other engines read, and stay.
        """
        limit = self._clock.now_ns() - grace_ns
        with self._database.read() as connection:
            oldest_reader = connection.execute(select(func.min(_r.generation))).scalar()
            rows = connection.execute(
                select(schema.copies).where(_c.condemned_ns.is_not(None), _c.condemned_ns <= limit, ~_PUBLISHED)
            ).all()
            free = [row for row in rows if oldest_reader is None or oldest_reader >= row.condemned_generation]
            held = _still_held(connection, free)
        return [
            GarbageCopy(
                row.copy_id, row.store, row.location, row.size_bytes, row.condemned_ns, row.file_bytes or row.size_bytes
            )
            for row in free
            if (row.store, row.location) not in held
        ]

    def forget(self, copies: Iterable[GarbageCopy]) -> None:
        """Drop the records of condemned copies whose bytes are gone, and of segments left without any copy."""
        ids = [copy.copy_id for copy in copies]
        with self._database.write() as connection:
            for key in (schema.copies.c.copy_id, schema.segments.c.segment_id):
                _keep_last(connection, key)
            for start in range(0, len(ids), 500):
                some = ids[start : start + 500]
                connection.execute(delete(schema.copies).where(_c.copy_id.in_(some), _c.condemned_ns.is_not(None)))
            bare = select(schema.copies.c.segment_id)
            connection.execute(
                delete(schema.segments).where(
                    schema.segments.c.retired_generation.is_not(None),
                    schema.segments.c.segment_id.not_in(bare),
                )
            )

    def locations(self) -> set[tuple[str, str]]:
        """Return store and location of every copy on record, condemned ones included."""
        with self._database.read() as connection:
            return {(row.store, row.location) for row in connection.execute(select(_c.store, _c.location))}

    def open_reader(self, snapshot: Snapshot, *, keeps_copies: bool = True) -> str:
        """Record that this process reads at `snapshot` for longer than a moment; return the reader's id.

        Its version does not expire meanwhile; with `keeps_copies` the copies that are live now stay too.
        """
        reader_id, process = uuid4().hex, this_process()
        with self._database.write() as connection:
            # Both are looked up under the lock: what is condemned from now on waits for this reader, and a version
            # that has expired is not kept by anyone who comes late.
            current = min(snapshot.generation, snapshots.generation(connection)) if keeps_copies else _NO_COPIES
            is_kept = kept.is_kept(connection, snapshot.version)
            version = snapshot.version if is_kept else snapshots.current(connection).version
            connection.execute(
                schema.readers.insert(),
                {
                    "reader_id": reader_id,
                    "generation": current,
                    "version": version,
                    "host": process.host,
                    "pid": process.pid,
                    "process_started": process.started,
                    "lease_until_ns": self._lease(),
                },
            )
        return reader_id

    def renew_reader(self, reader_id: str) -> None:
        """Extend a reader's lease (its heartbeat)."""
        with self._database.write() as connection:
            connection.execute(
                update(schema.readers).where(_r.reader_id == reader_id).values(lease_until_ns=self._lease())
            )

    def close_reader(self, reader_id: str) -> None:
        """Let go of what a reader held."""
        with self._database.write() as connection:
            connection.execute(delete(schema.readers).where(_r.reader_id == reader_id))

    def reap_readers(self) -> int:
        """Drop readers whose lease ran out or whose process is dead; return how many."""
        with self._database.write() as connection:
            return drop_dead_readers(connection, self._clock.now_ns())

    def _lease(self) -> int:
        return self._clock.now_ns() + READER_LEASE_SECONDS * 10**9


def drop_dead_readers(connection: Connection, now: int) -> int:
    """Drop readers whose lease ran out or whose process is dead; return how many."""
    gone = [
        row.reader_id
        for row in connection.execute(select(schema.readers)).all()
        if row.lease_until_ns < now or is_dead(ProcessId(row.host, row.pid, row.process_started))
    ]
    for start in range(0, len(gone), _MANY):
        connection.execute(delete(schema.readers).where(_r.reader_id.in_(gone[start : start + _MANY])))
    return len(gone)


def _still_held(connection: Connection, free: Iterable[Any]) -> set[tuple[str, str]]:
    """Return the files of which some copy is not free: one of another asset class, or one that a restore made."""
    places: dict[str, set[str]] = {}
    ids = set()
    for row in free:
        places.setdefault(row.store, set()).add(row.location)
        ids.add(row.copy_id)
    held = set()
    for store, found in places.items():
        locations = sorted(found)
        for start in range(0, len(locations), _MANY):
            some = locations[start : start + _MANY]
            query = select(_c.copy_id, _c.location).where(_c.store == store, _c.location.in_(some))
            held |= {(store, row.location) for row in connection.execute(query) if row.copy_id not in ids}
    return held


def _keep_last(connection: Connection, key: Column[int]) -> None:
    """Record the highest key that a row has, so that no later one is given it when this one is deleted."""
    name = last_key(key)
    kept = schema.settings.c.value
    before = connection.execute(select(kept).where(schema.settings.c.name == name)).scalar()
    last = connection.execute(select(func.max(key))).scalar() or 0
    if before is None and last:
        connection.execute(insert(schema.settings), {"name": name, "value": str(last)})
    elif last > int(before or 0):
        connection.execute(update(schema.settings).where(schema.settings.c.name == name).values(value=str(last)))
