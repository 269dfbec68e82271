"""pyiceberg: an append to a new table, in microseconds, as it cannot write nanoseconds."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from data import Data, size_of, sync
from pyiceberg.catalog.sql import SqlCatalog


class Iceberg:
    """A table with a SQLite catalog and local files."""

    def __init__(self, folder: Path, data: Data) -> None:
        self._folder, self._data = folder / "iceberg", data
        self._catalog: Any = None
        self._table: Any = None

    def open_fresh(self) -> None:
        """Make a catalog and an empty table."""
        self.drop()
        self._folder.mkdir(parents=True)
        self._catalog = SqlCatalog(
            "bench", uri=f"sqlite:///{self._folder}/catalog.db", warehouse=f"file://{self._folder}/warehouse"
        )
        self._catalog.create_namespace("bench")
        schema = in_microseconds(self._data.arrow.slice(0, 1)).schema
        self._table = self._catalog.create_table("bench.ticks", schema=schema)

    def append(self, ordered: pl.DataFrame) -> Any:
        """Append the rows, in microseconds, and sync every file."""
        return self._append(in_microseconds(ordered.to_arrow()))

    def _append(self, rows: pa.Table) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._table.append(rows)
        for file in self._folder.rglob("*"):
            if file.is_file():
                sync(file)
        return rows

    def append_arrow(self, rows: pa.Table) -> Any:
        """Append Arrow rows as they come; see `append`."""
        return self._append(in_microseconds(rows))

    def size(self) -> int:
        """Return the bytes of the table's data and metadata."""
        return size_of(self._folder / "warehouse")

    def drop(self) -> None:
        """Delete the table."""
        if self._catalog is not None:
            self._catalog.engine.dispose()
            self._catalog = self._table = None
        shutil.rmtree(self._folder, ignore_errors=True)


def in_microseconds(table: pa.Table) -> pa.Table:
    """Return the ticks with stamps cut to microseconds."""
    return table.set_column(0, "ts", table["ts"].cast(pa.timestamp("us", "UTC"), safe=False))
