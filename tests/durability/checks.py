"""What must hold of a store, looked at afresh: through the store, and past it through SQLite and the directories."""

from __future__ import annotations

import os
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from workload import DAY_NS, FIRST_DAY_NS, IDS_PER_WRITE, TABLES, TIERS, ids_of, lifecycle, open_store, rows_of

import quantstore
from quantstore.errors import NotFoundError
from quantstore.manager import HybridStorageManager

State = dict[str, list[list[int]]]
"""Per table, the writes whose rows it holds: `[number, rows]` each."""


def check_store(
    root: str, acceptable: list[State], versions: list[tuple[int, State]] | None = None, *, thorough: bool = True
) -> dict[str, Any]:
    """Check everything: rows, catalog, audit, and after a sweep rows, old versions and files.

    Args:
        root: The store.
        acceptable: States one of which the store must be in exactly; several where a write's fate is unknown.
        versions: Old versions and the states they must show.
        thorough: Whether to audit and to ask in SQL once more after the sweep.

    Returns:
        `state`, the number of the acceptable state found, and `version`, the newest.
    """
    warnings.simplefilter("error")
    pa.set_cpu_count(1)  # the files are tiny: handing them to threads costs more than reading them
    rebuild_lost(root)
    repair_harmed(root)
    check_catalog(root)
    with open_store(root) as store:
        state = check_rows(store, acceptable)
        report = store.audit()
        assert report.ok, report
        store.sweep(grace=0)
        check_files(root)
        check_published(store)
        assert check_rows(store, acceptable[state : state + 1]) == 0
        check_versions(store, versions or [])
        if thorough:
            report = store.audit()
            assert report.ok, report
            assert report.orphans == 0, report
            check_sql(store, acceptable[state])
        version = store.metadata_catalog.snapshot().version
    assert open_attempts(root) == 0
    return {"state": state, "version": version}


def repair_harmed(root: str) -> None:
    """Mend what was damaged on purpose by a process that was killed before it had mended it itself."""
    harmed = Path(root) / "harmed"
    if harmed.exists():
        with open_store(root) as store:
            report = store.fsck(repair=True)
            assert report.ok, report
        harmed.unlink()


def rebuild_lost(root: str) -> None:
    """Make the catalog again where a rebuild was stopped before it did, or where it was damaged on purpose."""
    catalog = Path(root) / "catalog.sqlite"
    if not catalog.exists() or catalog.stat().st_size < 4096:
        assert quantstore.rebuild(root)


def check_published(store: HybridStorageManager) -> None:
    """Check that other engines see the ids that are in cold, and nothing else, once a sweep has caught up."""
    for publication in store.publications():
        assert publication.lag == 0, publication
        from pyiceberg.table import StaticTable

        found = StaticTable.from_metadata(publication.metadata).scan(selected_fields=("id",)).to_arrow()
        expected = store.read(publication.table, tiers="cold", columns="id", to="arrow", missing="ignore")
        assert sorted(found["id"].to_pylist()) == sorted(expected["id"].to_pylist())


def check_rows(store: HybridStorageManager, acceptable: list[State], **options: Any) -> int:
    """Check that the store holds exactly the rows of one of the states; return which."""
    found = {table: found_writes(store, table, **options) for table in TABLES}
    for number, state in enumerate(acceptable):
        if found == {table: dict(state.get(table, [])) for table in TABLES}:
            return number
    raise AssertionError(f"found {found}, acceptable were {acceptable}")


def check_versions(store: HybridStorageManager, versions: list[tuple[int, State]]) -> None:
    """Check that old versions show what they showed when they were new."""
    for version, state in versions:
        check_rows(store, [state], as_of=version)


def digest_of(table: pa.Table, column: str) -> str:
    """Return a digest of rows that follow from one column, their order and their `_seq`."""
    return xxhash.xxh3_128_hexdigest(b"".join(table[name].to_numpy().tobytes() for name in (column, "_seq")))


def found_writes(
    store: HybridStorageManager, table: str, seen: dict[str, str] | None = None, **options: Any
) -> dict[int, int]:
    """Return number and rows of every write found in a table, each checked to be whole, once and unharmed.

    Args:
        store: The store.
        table: The table.
        seen: Takes a digest of rows and order, by table.
        options: How to read.
    """
    names = rows_of(ids_of(0, 0)).column_names
    try:
        got = store.read(table, columns=[*names, "_seq"], to="arrow", max_bytes=None, **options)
    except NotFoundError:
        return {}
    ids = got.column("id").to_numpy()
    assert len(np.unique(ids)) == len(ids), f"{table}: rows are there more than once"
    expected = rows_of(ids).cast(got.drop_columns(["_seq"]).schema)
    assert got.drop_columns(["_seq"]).equals(expected), f"{table}: values differ from what was written"
    check_order(got)
    if seen is not None:
        seen[table] = digest_of(got, "id")
    writes, counts = np.unique(ids // IDS_PER_WRITE, return_counts=True)
    found = dict(zip(writes.tolist(), counts.tolist(), strict=True))
    ordinals = ids % IDS_PER_WRITE
    for write, rows in found.items():
        assert ordinals[ids // IDS_PER_WRITE == write].max() == rows - 1, f"{table}: write {write} has a gap"
    return found


def check_order(table: pa.Table) -> None:
    """Check that rows come in `(ts, _seq)` order, every `_seq` once."""
    ts = table.column("ts").cast(pa.int64()).to_numpy()
    seq = table.column("_seq").to_numpy()
    assert len(np.unique(seq)) == len(seq), "rows share a _seq"
    step = np.diff(ts)
    assert ((step > 0) | ((step == 0) & (np.diff(seq) > 0))).all(), "rows are out of order"


def check_sql(store: HybridStorageManager, state: State) -> None:
    """Check count and sums of every table through SQL, whatever tiers its rows are in."""
    for table in set(TABLES) & set(store.tables()):
        expected = rows_of(np.concatenate([ids_of(write, rows) for write, rows in state[table]] or [ids_of(0, 0)]))
        got = store.read(f"SELECT count(*) AS n, sum(id) AS ids, sum(size) AS sizes FROM {table}", to="arrow")
        wanted = [expected.num_rows, pc.sum(expected["id"]).as_py(), pc.sum(expected["size"]).as_py()]
        assert [int(got[name][0].as_py() or 0) for name in got.column_names] == [value or 0 for value in wanted]


def check_catalog(root: str) -> None:
    """Check the catalog's database with SQLite's own means, and its foreign keys."""
    with closing(sqlite3.connect(Path(root) / "catalog.sqlite")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def check_files(root: str) -> None:
    """Check that the files on disk are exactly the live copies on record, each of the recorded size."""
    assert files_on_disk(root) == live_copies(root)


def files_on_disk(root: str) -> dict[str, int]:
    """Return the size of every file below the stores' directories, by tier and relative path."""
    sizes = {}
    for tier in TIERS:
        for folder, _, names in os.walk(Path(root) / tier):
            for name in names:
                path = Path(folder) / name
                sizes[path.relative_to(root).as_posix()] = path.stat().st_size
    return sizes


def live_copies(root: str) -> dict[str, int]:
    """Return the recorded size of every file with a live copy in it, by tier and relative path.

    The copies that share a file are all on record until the last of them may go, and their sizes add up to its own;
    what a restore brought back has the file of what was removed, and counts once.
    """
    with closing(sqlite3.connect(Path(root) / "catalog.sqlite")) as connection:
        rows = connection.execute(
            "SELECT place, sum(size), min(file), max(file), count(*), min(sharers), max(sharers) FROM ("
            "SELECT c.tier || '/' || c.location AS place, c.size_bytes AS size, c.sharers AS sharers, "
            "coalesce(c.file_bytes, c.size_bytes) AS file, "
            "max(c.condemned_ns IS NULL AND s.retired_generation IS NULL) AS is_live "
            "FROM copies c JOIN segments s USING (segment_id) GROUP BY 1, s.trade_date, s.asset_class, 2, 3, 4"
            ") GROUP BY place HAVING max(is_live)"
        ).fetchall()
    for location, total, least, most, copies, fewest, sharers in rows:
        assert total == least == most, f"the copies in {location} do not add up to it"
        assert copies == fewest == sharers, f"copies in {location} are missing"
    return {location: total for location, total, *_ in rows}


def open_attempts(root: str) -> int:
    """Return how many attempts the catalog holds to be under way."""
    with closing(sqlite3.connect(Path(root) / "catalog.sqlite")) as connection:
        return connection.execute("SELECT count(*) FROM attempts WHERE state = 'open'").fetchone()[0]


def placement(root: str) -> list[tuple[Any, ...]]:
    """Return what is where: table, tier, partition, rows, span, versions and file of every live copy."""
    with closing(sqlite3.connect(Path(root) / "catalog.sqlite")) as connection:
        return connection.execute(
            "SELECT t.name, c.tier, s.trade_date, s.asset_class, s.rows, s.min_ns, s.max_ns, s.added_version, "
            "s.removed_version, c.location FROM copies c JOIN segments s USING (segment_id) "
            "JOIN tables t USING (table_id) WHERE c.condemned_ns IS NULL AND s.retired_generation IS NULL ORDER BY "
            "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
        ).fetchall()


def check_repeatable(root: str, state: State) -> None:
    """Check that the lifecycle finishes what a crash left, and that doing it twice and three times changes nothing."""
    with open_store(root) as store:
        if "trades" not in store.tables():
            return
        for pin in store.pins():
            pin.release()
        lifecycle(store, "trades")
        check_rows(store, [state])
        half = FIRST_DAY_NS + DAY_NS // 2
        late = [row for row in placement(root) if row[0] == "trades" and row[1] == "hot" and row[5] < half]
        assert not late, "rows before the limit were left where they were"
        before = placement(root), files_on_disk(root)
        for _ in range(2):
            assert lifecycle(store, "trades") == []
            assert (placement(root), files_on_disk(root)) == before
        check_rows(store, [state])
    check_files(root)
