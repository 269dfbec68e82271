"""A catalog put together from what files tell: every table as of one version, the newest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, create_engine, update

from quantstore.catalog import schema, upgrades
from quantstore.catalog.inserts import insert_change, insert_copy, insert_schema, insert_segment, insert_table
from quantstore.catalog.replay import sync_file
from quantstore.core.process import author, host_id, this_process
from quantstore.core.segment import SEQ_VERSION_SHIFT, NewCopy, NewSegment, Partition, SegmentStats, seq_base
from quantstore.core.table import TableSchema, TableSpec
from quantstore.core.tier import Tier

if TYPE_CHECKING:
    from pathlib import Path

    from numpy import dtype, int64, ndarray


@dataclass(slots=True)
class SalvagedShare:
    """The rows of one partition in a file.

    Attributes:
        partition: The partition.
        stats: What the catalog should know about the rows.
        seq: Their `_seq`, or, before the version of their commit is known, their ordinals in it.
        size_bytes: Their part of the file.
    """

    partition: Partition
    stats: SegmentStats
    seq: ndarray[tuple[int], dtype[int64]]
    size_bytes: int


@dataclass(slots=True)
class SalvagedFile:
    """A whole file, and what it says of itself; see `quantstore.write.origin` for what is not told here.

    Attributes:
        attempt: The attempt that wrote it.
        version: The version whose commit added the rows, where the file was written before it had a number.
        shares: The rows in it that still count.
    """

    tier: Tier
    store: str
    location: str
    codec: str
    size_bytes: int
    checksum: str
    attempt: str
    spec: TableSpec
    schema: bytes
    columns: tuple[tuple[str, str], ...]
    hidden: tuple[str, ...]
    frame: str
    kind: str
    role: str
    is_live: bool
    written_ns: int
    after_version: int
    first: int | None
    replaces: tuple[tuple[str, str, str | None], ...]
    overwrites: bool
    is_mixed: bool
    sharers: int
    shares: list[SalvagedShare] = field(default_factory=list)
    version: int | None = None

    @property
    def seq(self) -> Any:
        """The `_seq` of all rows."""
        import numpy as np

        return np.concatenate([share.seq for share in self.shares] or [np.zeros(0, np.int64)])

    @property
    def sources(self) -> set[tuple[str, str]]:
        """The files that the file's commit took something from."""
        return {(store, place) for store, place, _ in self.replaces}

    @property
    def order(self) -> tuple[int, int, str]:
        """Sorts files by when they were written."""
        return self.after_version, self.written_ns, self.location

    def become(self, version: int) -> None:
        """Take the version of the commit that added the rows."""
        self.version = version
        for share in self.shares:
            share.seq = share.seq + seq_base(version)


def write_catalog(target: Path, files: Sequence[SalvagedFile]) -> None:
    """Make a catalog of the rows in `files`, durably."""
    engine = create_engine(URL.create("sqlite", database=str(target)))
    newest = max(_added(share) for one in files for share in one.shares)
    newest = max(newest, *(one.after_version for one in files))
    try:
        with engine.begin() as connection:
            upgrades.apply_steps(connection, 0)
            _insert_versions(connection, files, newest)
            tables: dict[str, list[SalvagedFile]] = {}
            for one in sorted(files, key=lambda one: one.order):
                tables.setdefault(one.spec.name.casefold(), []).append(one)
            groups = sorted(tables.values(), key=_oldest)
            for number, group in enumerate(groups):
                _insert_table(connection, group, _oldest(group) if number else 1, newest)
            wanted = schema.settings.c.name == "oldest_version"
            connection.execute(update(schema.settings).where(wanted).values(value=str(newest)))
    finally:
        engine.dispose()
    sync_file(target)


def _insert_versions(connection: Connection, files: Sequence[SalvagedFile], newest: int) -> None:
    """Add every version up to the newest, each later than the one before it."""
    written = {one.version: one.written_ns for one in files if one.version is not None}
    values = {"author": author(), "host": host_id(), "pid": this_process().pid}
    last = min(one.written_ns for one in files) - newest
    rows = []
    for version in range(1, newest + 1):
        last = max(last + 1, written.get(version, 0))
        rows.append({"version": version, "committed_ns": last, **values})
    connection.execute(schema.versions.insert(), rows)


def _added(share: SalvagedShare) -> int:
    """Return the version that a segment is taken to be of: that of its newest row."""
    return int(share.seq.max()) >> SEQ_VERSION_SHIFT


def _oldest(files: Sequence[SalvagedFile]) -> int:
    """Return the version of the oldest row."""
    return min(int(share.seq.min()) >> SEQ_VERSION_SHIFT for one in files for share in one.shares)


def _insert_table(connection: Connection, files: Sequence[SalvagedFile], oldest: int, newest: int) -> None:
    """Add a table and its segments; every version from `oldest` on counts as having changed it."""
    table_id = insert_table(connection, files[-1].spec, oldest)
    forms = _insert_schemas(connection, table_id, files)
    rows = dict.fromkeys(range(oldest, newest + 1), 0)
    for one in files:
        for share in one.shares:
            added = _added(share)
            copy = NewCopy(
                one.tier,
                one.store,
                one.location,
                one.codec,
                share.size_bytes,
                one.checksum,
                0 if one.version is None else (one.first or 0) + seq_base(one.version),
                sharers=one.sharers,
                file_bytes=one.size_bytes if one.sharers > 1 else None,
            )
            new = NewSegment(share.partition, share.stats, copy)
            segment_id = insert_segment(connection, table_id, forms[one.schema, one.frame], new, added, None, None)
            insert_copy(connection, segment_id, copy, 0, one.written_ns)
            rows[added] += share.stats.rows
    for version, count in sorted(rows.items()):
        insert_change(connection, version, table_id, "rebuild", Tier.HOT, count, 0, 0, is_live=False)
    t = schema.tables
    connection.execute(update(t).where(t.c.table_id == table_id).values(is_written=True, changed_version=newest))


def _insert_schemas(
    connection: Connection, table_id: int, files: Sequence[SalvagedFile]
) -> dict[tuple[bytes, str], int]:
    """Add the columns that files have, the newest last, and return their numbers."""
    since: dict[tuple[bytes, str], int] = {}
    form: dict[tuple[bytes, str], SalvagedFile] = {}
    for one in files:
        key = (one.schema, one.frame)
        oldest = min(_added(share) for share in one.shares)
        since[key] = min(since.get(key, oldest), oldest)
        form[key] = one
    found = {}
    last = 0
    for key in sorted(since, key=lambda key: since[key]):
        one = form[key]
        last = max(last + 1, since[key])
        stored = TableSchema(one.schema, one.columns, one.hidden, json.loads(one.frame))
        found[key] = insert_schema(connection, table_id, stored, last)
    return found
