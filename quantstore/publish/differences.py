"""Where a published table does not show what the cold tier holds, found without changing it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantstore.errors import IntegrityError, QuantStoreError
from quantstore.publish.iceberg import DAMAGE, HINT, TABLE_ID, Lakehouse
from quantstore.publish.snapshot import listed_files

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from quantstore.catalog.records import PublishedTable
    from quantstore.publish.projection import Projection

DATABASE = "catalog.sqlite"
_FACTS = (
    "file_path",
    "file_format",
    "partition",
    "record_count",
    "file_size_in_bytes",
    "column_sizes",
    "value_counts",
    "null_value_counts",
    "nan_value_counts",
    "lower_bounds",
    "upper_bounds",
)


def database_problem(folder: Path) -> str | None:
    """Return what is wrong with the Iceberg catalog's database, or None; never makes one."""
    path = folder / DATABASE
    if not path.is_file():
        return "the Iceberg catalog is gone"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60)) as connection:
            lines = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
            connection.execute("SELECT count(*) FROM iceberg_tables").fetchone()
    except sqlite3.Error as error:
        return f"the Iceberg catalog is damaged ({error})"
    wrong = [line for line in lines if line != "ok"]
    return f"the Iceberg catalog is damaged ({wrong[0]})" if wrong else None


def difference(lake: Lakehouse, projection: Projection, known: PublishedTable, *, deep: bool) -> str | None:
    """Return what another engine would see that is not so, or None.

    Args:
        lake: The Iceberg catalog.
        projection: Knows what should be there.
        known: What the store's catalog says of the publication.
        deep: Whether to compare what is said of each file with the file.
    """
    if known.is_dropped:
        return None
    if known.lag:
        return f"it lags {known.lag} versions behind"
    try:
        table = lake.peek(known.name)
        if table is None:
            return "it is gone, or its metadata cannot be read"
        return _of_table(table, projection, known, deep=deep)
    except (QuantStoreError, *DAMAGE) as error:
        return f"its metadata cannot be read ({type(error).__name__}: {error})"


def _of_table(table: Table, projection: Projection, known: PublishedTable, *, deep: bool) -> str | None:
    if table.properties.get(TABLE_ID) != str(known.table.table_id):
        return "it is that of another table"
    wanted = projection.wanted(known.table.table_id)
    if table.schema() != wanted.schema or table.spec().fields != wanted.partitions.spec(wanted.schema).fields:
        return "its columns or partitions are others"
    entries = [entry.data_file for _, found in listed_files(table) for entry in found]
    listed = {one.file_path for one in entries}
    if listed != wanted.files.keys() or len(entries) != len(listed):
        absent, strange = len(wanted.files.keys() - listed), len(listed - wanted.files.keys())
        return f"of its files {absent} are missing and {strange} are none of the cold tier's"
    hint = Path(table.metadata_location).with_name(HINT)
    wanted_hint = Path(table.metadata_location).name.removesuffix(".metadata.json")
    if hint.read_bytes() != wanted_hint.encode():
        return "the hint for readers of its folder points elsewhere"
    return _of_files(entries, projection, known.table.table_id) if deep else None


def _of_files(entries: Sequence[Any], projection: Projection, table_id: int) -> str | None:
    """Return what is said of a file and is not so, or None."""
    wanted = projection.wanted(table_id)
    try:
        right = {one.file_path: one for one in projection.records(list(wanted.files.values()), wanted)}
    except (IntegrityError, FileNotFoundError):
        return None  # what is wrong is the file, which other checks tell
    for entry in entries:
        for fact in _differing(entry, right[entry.file_path]):
            return f"it says of {Path(entry.file_path).name} another {fact} than it has"
    return None


def _differing(first: Any, second: Any) -> Iterator[str]:
    for fact in _FACTS:
        if _plain(getattr(first, fact, None)) != _plain(getattr(second, fact, None)):
            yield fact


def _plain(value: Any) -> Any:
    return value or None if isinstance(value, dict) else value
