"""What may be deleted, and what long readers still hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, delete, func, select, update

from quantstore.catalog import schema, snapshots
from quantstore.catalog.database import Database
from quantstore.catalog.records import GarbageCopy, Snapshot
from quantstore.core.clock import Clock
from quantstore.core.process import ProcessId, is_dead, this_process

READER_LEASE_SECONDS = 600
_c, _r = schema.copies.c, schema.readers.c


class Garbage:
    """Names the bytes nothing reaches, and keeps the heartbeats of long readers."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def condemned(self, grace_ns: int) -> list[GarbageCopy]:
        """Return copies condemned at least `grace_ns` ago that no open reader can still be reading.

        Copies that share a file are returned once this is true of all of them.
        """
        limit = self._clock.now_ns() - grace_ns
        with self._database.read() as connection:
            oldest_reader = connection.execute(select(func.min(_r.generation))).scalar()
            rows = connection.execute(
                select(schema.copies).where(_c.condemned_ns.is_not(None), _c.condemned_ns <= limit)
            ).all()
            free = [row for row in rows if oldest_reader is None or oldest_reader >= row.condemned_generation]
            held = _still_held(connection, free)
        return [
            GarbageCopy(row.copy_id, row.store, row.location, row.size_bytes, row.condemned_ns)
            for row in free
            if (row.store, row.location) not in held
        ]

    def forget(self, copies: Iterable[GarbageCopy]) -> None:
        """Drop the records of condemned copies whose bytes are gone, and of segments left without any copy."""
        ids = [copy.copy_id for copy in copies]
        with self._database.write() as connection:
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

    def open_reader(self, snapshot: Snapshot) -> str:
        """Record that this process reads at `snapshot` for longer than a moment; return the reader's id."""
        reader_id, process = uuid4().hex, this_process()
        with self._database.write() as connection:
            # The generation is read again under the lock: what is condemned from now on waits for this reader.
            current = min(snapshot.generation, snapshots.generation(connection))
            connection.execute(
                schema.readers.insert(),
                {
                    "reader_id": reader_id,
                    "generation": current,
                    "version": snapshot.version,
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
        now = self._clock.now_ns()
        with self._database.write() as connection:
            gone = [
                row.reader_id
                for row in connection.execute(select(schema.readers)).all()
                if row.lease_until_ns < now or is_dead(ProcessId(row.host, row.pid, row.process_started))
            ]
            connection.execute(delete(schema.readers).where(_r.reader_id.in_(gone)))
        return len(gone)

    def _lease(self) -> int:
        return self._clock.now_ns() + READER_LEASE_SECONDS * 10**9


def _still_held(connection: Connection, free: Iterable[Any]) -> set[tuple[str, str]]:
    """Return the shared files of which some copy is not free."""
    shared: dict[tuple[str, str], set[int]] = {}
    for row in free:
        if row.sharers > 1:
            shared.setdefault((row.store, row.location), set()).add(row.copy_id)
    held = set()
    for (store, location), ids in shared.items():
        query = select(_c.copy_id).where(_c.store == store, _c.location == location)
        if not {row.copy_id for row in connection.execute(query)} <= ids:
            held.add((store, location))
    return held
