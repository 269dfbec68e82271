"""The catalog: the only authority on which segments and copies exist."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, select

from quantstore.catalog import forms, kept, schema, snapshots
from quantstore.catalog.access import Access
from quantstore.catalog.attempts import Attempts
from quantstore.catalog.commits import Commits
from quantstore.catalog.compactions import Compactions
from quantstore.catalog.database import Database
from quantstore.catalog.expiry import Expiry
from quantstore.catalog.garbage import Garbage
from quantstore.catalog.history import History
from quantstore.catalog.inspection import Inspection, State
from quantstore.catalog.marks import Marks
from quantstore.catalog.moves import Moves
from quantstore.catalog.pins import Pins
from quantstore.catalog.publications import Publications
from quantstore.catalog.receipts import receipt_of
from quantstore.catalog.records import Change, Receipt, Snapshot, TableRecord
from quantstore.catalog.repairs import Repairs
from quantstore.catalog.segments import EVERYTHING, SegmentFilter, count_segments, every_segment, find_segments
from quantstore.core.clock import Clock, SystemClock
from quantstore.core.segment import PlacedSegment
from quantstore.core.table import TableSchema
from quantstore.core.tier import Tier
from quantstore.errors import AccessDeniedError, IntegrityError

_REMEMBERED = 256
_Found = TypeVar("_Found")


class View:
    """One consistent view of the catalog, valid inside `Catalog.view()`."""

    def __init__(
        self,
        connection: Connection,
        snapshot: Snapshot,
        newest: int,
        known: _Known,
        readable: frozenset[int] | None = None,
    ) -> None:
        self._connection = connection
        self._newest = newest
        self._known = known
        self._readable = readable
        self.snapshot = snapshot

    def table(self, name: str) -> TableRecord | None:
        """Return the table called `name`, or None.

        Raises:
            NotFoundError: The version has expired, and no hold keeps it of this table.
        """
        version = self.snapshot.version
        return self._checked(
            self._known.get(
                ("table", name.casefold(), version, self._newest),
                lambda: snapshots.find_table(self._connection, name, version),
            )
        )

    def table_by_id(self, table_id: int) -> TableRecord | None:
        """Return a table as it was at this version, whatever its name was; None where it was not made yet.

        Raises:
            NotFoundError: The version has expired, and no hold keeps it of this table.
        """
        return self._checked(snapshots.table_at(self._connection, table_id, self.snapshot.version))

    def _checked(self, record: TableRecord | None) -> TableRecord | None:
        if record is not None and self._readable is not None and record.table_id not in self._readable:
            raise kept.expired(self._connection, self.snapshot.version)
        return record

    @property
    def unreadable(self) -> frozenset[int]:
        """Copies that this process could not read, for which others serve."""
        return self._known.unreadable

    @property
    def is_newest(self) -> bool:
        """Whether the view is of the newest version."""
        return self.snapshot.version == self._newest

    def is_made_later(self, name: str) -> bool:
        """Whether a table exists now that did not at this version."""
        return self.table(name) is None and snapshots.find_table(self._connection, name, self._newest) is not None

    def table_names(self) -> list[str]:
        """Return the names of all tables, sorted; of a version that has expired, those that holds keep."""
        return snapshots.table_names(self._connection, self.snapshot.version, self._readable)

    def committed_ns(self, version: int) -> int:
        """Return when a version was committed, nanoseconds since the epoch; 0 for the one that no commit made."""
        return self._known.get(("committed", version), lambda: snapshots.committed_ns(self._connection, version))

    def schemas(self, schema_ids: frozenset[int]) -> dict[int, TableSchema]:
        """Return schemas by number."""
        return self._known.get(("schemas", schema_ids), lambda: forms.schemas_by_id(self._connection, schema_ids))

    def schemas_before(self, record: TableRecord) -> tuple[TableSchema, ...]:
        """Return the schemas a table had before the one it has, newest first."""
        schema_id = record.schema_id
        if schema_id is None:
            return ()
        return self._known.get(
            ("schemas before", record.table_id, schema_id),
            lambda: forms.schemas_before(self._connection, record.table_id, schema_id),
        )

    def schema_of_write(self, table_id: int, write_id: str) -> TableSchema | None:
        """Return the schema a table had once the write called `write_id` was made; None where there was none."""
        return forms.schema_of_write(self._connection, table_id, write_id)

    def segments(self, table_id: int, wanted: SegmentFilter = EVERYTHING) -> list[PlacedSegment]:
        """Return the segments of a table that pass `wanted`, oldest first."""
        return find_segments(self._connection, table_id, self.snapshot.version, wanted)

    def count(self, table_id: int, wanted: SegmentFilter = EVERYTHING) -> int:
        """Return how many segments of a table pass `wanted`."""
        version = None if self.snapshot.version == self._newest else self.snapshot.version
        return self._known.get(
            ("count", table_id, self.snapshot, self._newest, wanted),
            lambda: count_segments(self._connection, table_id, version, wanted),
        )


class _Known:
    """Answers found lately, by all that they depend on."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[object, ...], Any] = OrderedDict()
        self._lock = threading.Lock()
        self.unreadable: frozenset[int] = frozenset()

    def get(self, key: tuple[object, ...], find: Callable[[], _Found]) -> _Found:
        """Return what is known under `key`, or what `find` finds."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                known: _Found = self._found[key]
                return known
        found = find()
        with self._lock:
            self._found[key] = found
            while len(self._found) > _REMEMBERED:
                self._found.popitem(last=False)
        return found


class Catalog:
    """Tables, schemas, segments, copies, versions, attempts and receipts, kept in one SQLite file.

    Args:
        path: The database file.
        create: Whether to make it where it is missing.
        read_only: Whether to refuse every change.
        clock: Where the time of day comes from.
        before_making: Raises an IntegrityError where no new catalog may be made.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        create: bool = True,
        read_only: bool = False,
        clock: Clock | None = None,
        before_making: Callable[[], None] | None = None,
    ) -> None:
        self.path = Path(path)
        self.clock = clock or SystemClock()
        self._known = _Known()
        self._database = Database(self.path, create=create, read_only=read_only, before_making=before_making)
        self._open_parts(self._database)

    def _open_parts(self, database: Database) -> None:
        self.attempts = Attempts(database, self.clock)
        self.commits = Commits(database, self.clock)
        self.moves = Moves(database, self.clock)
        self.compactions = Compactions(database, self.clock)
        self.garbage = Garbage(database, self.clock)
        self.access = Access(database, self.clock)
        self.marks = Marks(database, self.clock)
        self.history = History(database, self.clock)
        self.expiry = Expiry(database, self.clock)
        self.pins = Pins(database, self.clock)
        self.publications = Publications(database, self.clock)
        self.repairs = Repairs(database, self.clock)

    @property
    def read_only(self) -> bool:
        """Whether every change is refused."""
        return self._database.read_only

    def on_change(self, listener: Callable[[], None], *, listens: bool = True) -> None:
        """Call `listener` after each commit of this process that changes what the store holds, or where it is.

        Args:
            listener: Called in the thread that committed; what it raises the writer gets.
            listens: False ends that.
        """
        listeners = self._database.listeners
        if listens:
            listeners.append(listener)
        elif listener in listeners:
            listeners.remove(listener)

    def renew_journal(self, *, always: bool = False) -> bool:
        """Make the journal durable, and begin a new one where it has become long; return whether that was done.

        Args:
            always: Whether to begin a new one in any case.
        """
        return self._database.renew_journal(always=always)

    def require_writable(self, verb: str) -> None:
        """Refuse what changes the store, where it may not be changed.

        Raises:
            AccessDeniedError: It is open read-only.
        """
        if self.read_only:
            raise AccessDeniedError(f"The store is open read-only; open it with read_only=False to {verb}.")

    @contextmanager
    def view(self, version: int | None = None) -> Iterator[View]:
        """Open a consistent view of `version` (default: the newest).

        Raises:
            NotFoundError: The version has expired.
        """
        with self._database.read() as connection:
            now = snapshots.current(connection)
            if version is None:
                yield View(connection, now, now.version, self._known)
            else:
                readable = kept.readable_tables(connection, version, self.clock.now_ns())
                yield View(connection, Snapshot(version, now.generation), now.version, self._known, readable)

    def snapshot(self) -> Snapshot:
        """Return the newest version and placement generation."""
        with self._database.read() as connection:
            return snapshots.current(connection)

    @property
    def store_id(self) -> str:
        """The store's own name, given when it was made."""
        return self._known.get(("store_id",), self._store_id)

    def _store_id(self) -> str:
        with self._database.read() as connection:
            wanted = schema.settings.c.name == "store_id"
            return str(connection.execute(select(schema.settings.c.value).where(wanted)).scalar_one())

    def version_at(self, instant_ns: int) -> int:
        """Return the newest version committed at or before an instant; 0 where there is none."""
        with self._database.read() as connection:
            return snapshots.version_at(connection, instant_ns)

    def every_segment(self, table_id: int | None = None) -> list[PlacedSegment]:
        """Return every segment that any version of a table, or of all tables, reaches."""
        with self._database.read() as connection:
            return every_segment(connection, table_id)

    def table_of(self, table_id: int) -> TableRecord:
        """Return a table by its number, under the name it has or last had."""
        with self._database.read() as connection:
            return snapshots.table_of(connection, table_id)

    def is_live_copy(self, copy_id: int) -> bool:
        """Whether a copy is on record and not condemned."""
        c = schema.copies.c
        query = select(c.copy_id).where(c.copy_id == copy_id, c.condemned_generation.is_(None))
        with self._database.read() as connection:
            return connection.execute(query).one_or_none() is not None

    def do_without(self, copy_id: int) -> bool:
        """Let other copies serve from now on in this process for one that cannot be read; False where none can."""
        c = schema.copies.c
        own = select(c.segment_id).where(c.copy_id == copy_id).scalar_subquery()
        query = select(c.copy_id).where(c.segment_id == own, c.condemned_generation.is_(None), c.subset.is_(None))
        with self._database.read() as connection:
            others = set(connection.execute(query).scalars()) - {copy_id}
        if copy_id in self._known.unreadable or not others - self._known.unreadable:
            return False
        self._known.unreadable |= {copy_id}
        return True

    def changes(self, table_id: int | None = None) -> list[Change]:
        """Return what each version did, newest first."""
        with self._database.read() as connection:
            return snapshots.table_changes(connection, table_id)

    def change_columns(self, table_id: int) -> dict[str, list[Any]]:
        """Return what each version did to a table, newest first, as columns; see `snapshots.CHANGE_COLUMNS`."""
        with self._database.read() as connection:
            return snapshots.change_columns(connection, table_id, self.snapshot().version)

    def schemas(self, schema_ids: Sequence[int]) -> dict[int, TableSchema]:
        """Return schemas by id."""
        s = schema.schemas
        with self._database.read() as connection:
            rows = connection.execute(select(s).where(s.c.schema_id.in_(list(schema_ids)))).all()
        return {
            row.schema_id: TableSchema(
                row.arrow,
                tuple((name, kind) for name, kind in json.loads(row.columns)),
                tuple(json.loads(row.hidden)),
                json.loads(row.frame),
            )
            for row in rows
        }

    def schema_owner(self, schema_id: int) -> tuple[TableRecord, TableSchema]:
        """Return the table a schema belongs to, and the schema."""
        s = schema.schemas.c
        query = select(s.table_id).where(s.schema_id == schema_id)
        with self._database.read() as connection:
            record = snapshots.table_of(connection, connection.execute(query).scalar_one())
        return record, self.schemas([schema_id])[schema_id]

    def receipts(self, table_id: int | None = None) -> list[Receipt]:
        """Return the receipts of all moves, newest first."""
        r, t = schema.receipts, schema.tables.c
        query = select(r, t.name.label("table_name")).join(schema.tables, t.table_id == r.c.table_id)
        if table_id is not None:
            query = query.where(r.c.table_id == table_id)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(r.c.receipt_id.desc())).all()
        try:
            return [receipt_of(row, row.table_name) for row in rows]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise IntegrityError(
                f"The catalog is damaged: a receipt makes no sense ({error}). fsck() tells which."
            ) from error

    def inspect(self, store_names: dict[Tier, str]) -> State:
        """Return everything the catalog says, row by row, and where it contradicts itself.

        Args:
            store_names: Names of the stores by tier.
        """
        return Inspection(self._database).run(store_names)

    def close(self) -> None:
        """Write down what is still in memory and close the database."""
        self.access.flush()
        self._database.close()

    def __repr__(self) -> str:
        """Name the file."""
        return f"Catalog({str(self.path)!r})"
