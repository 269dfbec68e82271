"""Rebuild: make a lost or damaged catalog again, from its journal or from the files of rows alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantstore.catalog.failures import exists
from quantstore.catalog.file_systems import refuse_network
from quantstore.catalog.replay import is_sound, replay
from quantstore.core.failpoints import reach
from quantstore.core.folders import sync_folder
from quantstore.core.render import counted
from quantstore.core.segment import Copy, Role
from quantstore.core.tier import Tier
from quantstore.errors import IntegrityError, InvalidInputError, QuantStoreError

if TYPE_CHECKING:
    from quantstore.stores.base import SegmentStore

NEW = ".rebuilt"
_ASIDE = ".damaged-"
_COMPANIONS = ("", "-wal", "-shm")
_VERSION = "SELECT coalesce(max(version), 0) FROM versions"
_TABLES = """
    SELECT t.name, count(s.segment_id), coalesce(sum(s.rows), 0) FROM tables t LEFT JOIN segments s
    ON s.table_id = t.table_id AND s.removed_version IS NULL AND s.retired_generation IS NULL
    WHERE substr(t.name_key, 1, 1) <> char(0) GROUP BY t.table_id ORDER BY t.name
"""
_COPIES = """
    SELECT copy_id, segment_id, tier, store, location, codec, size_bytes, checksum, seq_base, sharers, file_bytes
    FROM copies WHERE condemned_ns IS NULL
"""
_LOCATIONS = "SELECT store, location FROM copies"


@dataclass(frozen=True, slots=True)
class RebuiltTable:
    """A table of a catalog that was made again, as of its newest version.

    Attributes:
        name: Its name; for one made from files alone the last name that a file tells.
        segments: Live segments.
        rows: Their rows.
    """

    name: str
    segments: int
    rows: int


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did, or would do; true in a condition where nothing is known to be lost.

    Attributes:
        catalog: The place of the catalog.
        source: `journal` or `files`.
        version: The newest version.
        tables: What it holds.
        transactions: Transactions carried out again, after the base; 0 from files.
        lost: Lines of the journal that could not be carried out.
        missing: Files that the catalog names and that are not there, or damaged.
        unclaimed: Files that are there and that the catalog does not name.
        doubts: What cannot be known, or could not be used, and why.
        moved_aside: Where the old catalog is now; None where there was none.
        dry_run: Whether nothing was put in place.
    """

    catalog: str
    source: str
    version: int
    tables: tuple[RebuiltTable, ...]
    transactions: int = 0
    lost: int = 0
    missing: tuple[str, ...] = ()
    unclaimed: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    moved_aside: str | None = None
    dry_run: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing is known to be lost."""
        return not self.lost and not self.missing

    def __bool__(self) -> bool:
        """Whether nothing is known to be lost."""
        return self.ok

    def __repr__(self) -> str:
        """Return a summary, then what is to be known."""
        verb = "would rebuild" if self.dry_run else "rebuilt"
        how = f"its journal ({counted(self.transactions, 'transaction')} after the base)"
        lines = [
            f"{verb} {self.catalog} from {how if self.source == 'journal' else 'files alone'}: version {self.version}"
        ]
        lines += [
            f"  {one.name}: {counted(one.rows, 'row')} in {counted(one.segments, 'segment')}" for one in self.tables
        ]
        lines += [f"  lost: {self.lost} transactions of the journal"] if self.lost else []
        lines += [f"  missing: {one}" for one in self.missing]
        lines += [f"  not on record: {one}" for one in self.unclaimed]
        lines += [f"  note: {one}" for one in self.doubts]
        lines += [f"  the old catalog is at {self.moved_aside}"] if self.moved_aside else []
        return "\n".join(lines)


@dataclass(slots=True)
class Made:
    """A new catalog, not in place yet.

    Attributes:
        source: Where it is from.
        transactions: Carried out again.
        lost: Lines that could not be carried out.
        doubts: What cannot be known, or could not be used.
    """

    source: str
    transactions: int = 0
    lost: int = 0
    doubts: list[str] = field(default_factory=list)


class Rebuilder:
    """Makes the catalog of a store again; every process that has the store open is to be ended before.

    Args:
        catalog: The place of the catalog.
        stores: By tier.
        deep: Whether files of rows are read from first to last byte, and not only measured.
    """

    def __init__(self, catalog: Path, stores: Mapping[Tier, SegmentStore], *, deep: bool = False) -> None:
        self._catalog = catalog.absolute()
        self._stores = {store.name: store for store in stores.values()}
        self._by_tier = stores
        self._deep = deep
        self._new = self._catalog.with_name(self._catalog.name + NEW)

    def run(self, *, dry_run: bool = False, from_files: bool = False) -> Rebuilt:
        """Make the catalog again beside its place, and put it there; the old one is moved aside, never deleted.

        Raises:
            InvalidInputError: The catalog is whole.
            IntegrityError: The journal has no whole base, or no file of rows can be understood.
            CapacityError: The disk is full.
        """
        refuse_network(self._catalog.parent)
        if not dry_run and exists(self._catalog) and is_sound(self._catalog):
            raise InvalidInputError(
                f"The catalog {self._catalog} is whole and goes as far as its journal; nothing was changed. To make it "
                "again all the same, close every process that uses the store and move the file away first.",
                path=str(self._catalog),
            )
        self._delete(self._new)
        try:
            made = self._from_files() if from_files else self._from_journal()
            reach("rebuild.replayed")
            found = self._report(made, dry_run=dry_run)
            if dry_run:
                return found
            return self._place(found)
        finally:
            self._delete(self._new)

    def _from_journal(self) -> Made:
        there = self._files()

        def missing(connection: sqlite3.Connection) -> frozenset[str]:
            return frozenset(self._missing(connection, there, deep=False))

        done = replay(self._catalog, self._new, missing)
        if done is None:
            raise IntegrityError(
                f"The catalog {self._catalog} has no journal with a whole base, from which it could be made again "
                "exactly. What the files of rows tell can be had by: quantstore rebuild --from-files",
                path=str(self._catalog),
            )
        return Made("journal", done.transactions, done.lost, done.notes)

    def _from_files(self) -> Made:
        from quantstore.maintenance.salvage import Salvage

        return Made("files", doubts=Salvage(self._by_tier).run(self._new))

    def _report(self, made: Made, *, dry_run: bool) -> Rebuilt:
        there = self._files()
        with closing(sqlite3.connect(self._new)) as connection:
            (version,) = connection.execute(_VERSION).fetchone()
            tables = tuple(RebuiltTable(*row) for row in connection.execute(_TABLES))
            missing = self._missing(connection, there, deep=self._deep)
            named = set(connection.execute(_LOCATIONS))
            connection.execute("PRAGMA journal_mode = DELETE")
        unclaimed = sorted(f"{place} in store {store!r}" for store, place in there if (store, place) not in named)
        return Rebuilt(
            str(self._catalog),
            made.source,
            version,
            tables,
            made.transactions,
            made.lost,
            tuple(sorted(missing)),
            tuple(unclaimed),
            tuple(made.doubts),
            dry_run=dry_run,
        )

    def _files(self) -> dict[tuple[str, str], int]:
        """Return the size of every file in the stores, by store and location."""
        return {(name, one.location): one.size_bytes for name, store in self._stores.items() for one in store.list()}

    def _missing(self, connection: sqlite3.Connection, there: Mapping[tuple[str, str], int], *, deep: bool) -> set[str]:
        """Return what is wrong with copies on record, by their files."""
        connection.row_factory = sqlite3.Row
        try:
            rows = connection.execute(_COPIES).fetchall()
        finally:
            connection.row_factory = None
        found = set()
        for row in rows:
            place = f"{row['location']} in store {row['store']!r}"
            size = there.get((row["store"], row["location"]))
            if size is None:
                found.add(place)
            elif size != (row["file_bytes"] or row["size_bytes"]):
                found.add(f"{place} (it has {size} bytes)")
            elif deep and (problem := self._damage(row)):
                found.add(f"{place} ({problem})")
        return found

    def _damage(self, row: Any) -> str | None:
        copy = Copy(
            row["copy_id"],
            row["segment_id"],
            Tier(row["tier"]),
            row["store"],
            row["location"],
            row["codec"],
            row["size_bytes"],
            row["checksum"],
            row["seq_base"],
            Role.PRIMARY,
            sharers=row["sharers"],
            file_bytes=row["file_bytes"],
        )
        try:
            self._stores[copy.store].verify(copy)
        except QuantStoreError as error:
            return str(error)
        return None

    def _place(self, found: Rebuilt) -> Rebuilt:
        """Move the old catalog aside and the new one in its place.

        The database goes before its log: without the log it would pass for an older state; the log alone is nothing.
        """
        aside = self._aside()
        moved = False
        for companion in _COMPANIONS:
            old = self._catalog.with_name(self._catalog.name + companion)
            if old.exists():
                old.rename(aside.with_name(aside.name + companion))
                moved = True
                reach("rebuild.moved_aside")
        sync_folder(self._catalog.parent)
        self._new.rename(self._catalog)
        sync_folder(self._catalog.parent)
        reach("rebuild.placed")
        return Rebuilt(**{**_fields(found), "moved_aside": str(aside) if moved else None})

    def _aside(self) -> Path:
        number = 1
        while any(self._catalog.parent.glob(f"{self._catalog.name}{_ASIDE}{number}*")):
            number += 1
        return self._catalog.with_name(f"{self._catalog.name}{_ASIDE}{number}")

    def _delete(self, path: Path) -> None:
        for companion in ("", "-wal", "-shm", "-journal"):
            path.with_name(path.name + companion).unlink(missing_ok=True)


def _fields(found: Rebuilt) -> dict[str, Any]:
    return {name: getattr(found, name) for name in Rebuilt.__slots__}
