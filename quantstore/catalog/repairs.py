"""The commit point of repairs: transactions that put right what the catalog says, and change no version's rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, select, update

from quantstore.catalog import schema
from quantstore.catalog.attempts import commit_attempt, require_open
from quantstore.catalog.database import Database
from quantstore.catalog.inserts import condemn, next_generation
from quantstore.catalog.records import Attempt
from quantstore.core.clock import Clock
from quantstore.core.failpoints import reach
from quantstore.core.segment import Copy, NewCopy
from quantstore.errors import ConflictError

Correction = tuple[str, str, int, str, Any]
"""Table, key column, key, column and the value that is right."""
_c, _s = schema.copies.c, schema.segments.c


class Repairs:
    """Commits repairs, each in one transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def correct(self, corrections: Sequence[Correction]) -> None:
        """Put values right."""
        with self._database.write() as connection:
            reach("repair.commit.begun")
            next_generation(connection)
            for table, key, number, column, value in corrections:
                columns = schema.metadata.tables[table].c
                connection.execute(update(columns[key].table).where(columns[key] == number).values({column: value}))
            reach("repair.commit.filled")
        reach("repair.committed")

    def relocate(self, copy: Copy, location: str) -> None:
        """Note where the bytes of a copy are; of every copy with the same bytes in the same place.

        Raises:
            ConflictError: The copy is no longer where it was.
        """
        with self._database.write() as connection:
            reach("repair.commit.begun")
            next_generation(connection)
            same = (_c.store == copy.store) & (_c.location == copy.location) & (_c.checksum == copy.checksum)
            if not connection.execute(update(schema.copies).where(same).values(location=location)).rowcount:
                raise _gone(copy)
            reach("repair.commit.filled")
        reach("repair.committed")

    def replace(self, attempt: Attempt, copy: Copy, new: NewCopy) -> None:
        """Let new bytes take the place of a copy's; also for segments that a restore made of the same rows.

        Raises:
            ConflictError: The attempt was ended by a sweep, or the copy is no longer where it was.
        """
        with self._database.write() as connection:
            reach("repair.commit.begun")
            require_open(connection, attempt)
            ids = _same_rows(connection, copy)
            next_generation(connection)
            connection.execute(
                update(schema.copies)
                .where(_c.copy_id.in_(ids))
                .values(
                    location=new.location,
                    codec=new.codec,
                    size_bytes=new.size_bytes,
                    checksum=new.checksum,
                    seq_base=new.seq_base,
                    sharers=1,
                    file_bytes=None,
                )
            )
            commit_attempt(connection, attempt, self._clock.now_ns())
            reach("repair.commit.filled")
        reach("repair.committed")

    def give_up(self, copy_id: int) -> None:
        """Give up a copy that its segment can do without.

        Raises:
            ConflictError: No other copy of the segment is primary.
        """
        with self._database.write() as connection:
            reach("repair.commit.begun")
            own = select(_c.segment_id).where(_c.copy_id == copy_id).scalar_subquery()
            others = select(_c.copy_id).where(_c.segment_id == own, _c.copy_id != copy_id, _c.role == "primary")
            if connection.execute(others.where(_c.condemned_generation.is_(None))).first() is None:
                raise ConflictError(
                    f"Copy {copy_id} is the last of its segment; it was not given up. Run fsck again.", copy_id=copy_id
                )
            condemn(connection, copy_id, next_generation(connection), self._clock.now_ns())
            reach("repair.commit.filled")
        reach("repair.committed")

    def forget_reads(self) -> int:
        """Drop what is known of reads of segments that are no more; return of how many."""
        a = schema.access.c
        known = select(_s.segment_id)
        with self._database.write() as connection:
            return int(connection.execute(delete(schema.access).where(a.segment_id.not_in(known))).rowcount)


def _same_rows(connection: Connection, copy: Copy) -> list[int]:
    """Return the live copies that are the same rows of the same file as one."""
    own = connection.execute(
        select(_s.table_id, _s.trade_date, _s.asset_class)
        .join(schema.copies, _c.segment_id == _s.segment_id)
        .where(_c.copy_id == copy.copy_id, _c.condemned_generation.is_(None))
        .where(_c.location == copy.location, _c.store == copy.store)
    ).one_or_none()
    if own is None:
        raise _gone(copy)
    query = (
        select(_c.copy_id)
        .join(schema.segments, _s.segment_id == _c.segment_id)
        .where(_c.store == copy.store, _c.location == copy.location, _c.condemned_generation.is_(None))
        .where(_s.table_id == own.table_id, _s.trade_date == own.trade_date)
        .where(_s.asset_class.is_not_distinct_from(own.asset_class))
    )
    return list(connection.execute(query).scalars())


def _gone(copy: Copy) -> ConflictError:
    return ConflictError(
        f"{copy.location} in store {copy.store!r} was moved or given up by another process meanwhile; nothing was "
        "changed. Run fsck again.",
        location=copy.location,
        store=copy.store,
    )
