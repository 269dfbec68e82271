"""The least that must be done: bare files, synced."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from data import Data, size_of, sync

if TYPE_CHECKING:
    import duckdb

GROUP_ROWS = 1 << 18


class Bare:
    """Arrow IPC, and Parquet by three writers."""

    def __init__(self, folder: Path, data: Data) -> None:
        self._data = data
        self.ipc, self.parquet = folder / "bare.arrow", folder / "bare.parquet"

    def write_ipc(self, frame: Any) -> Any:
        """Convert a frame to Arrow, write it as one uncompressed file and sync that."""
        table = as_arrow(frame)
        with pa.OSFile(str(self.ipc), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=1 << 20)
        sync(self.ipc)
        return frame

    def mapped(self) -> pa.Table:
        """Return the ticks, mapped."""
        return pa.ipc.open_file(pa.memory_map(str(self._data.path))).read_all()

    def write_polars(self, ordered: pl.DataFrame) -> Any:
        """Write zstd Parquet with Polars and sync it."""
        ordered.write_parquet(self.parquet, compression="zstd", row_group_size=GROUP_ROWS)
        sync(self.parquet)
        return self._data.arrow

    def write_pyarrow(self, ordered: pl.DataFrame) -> Any:
        """Write zstd Parquet with pyarrow and sync it."""
        pq.write_table(ordered.to_arrow(), self.parquet, compression="zstd", row_group_size=GROUP_ROWS)
        sync(self.parquet)
        return self._data.arrow

    def write_duckdb(self, ordered: pl.DataFrame) -> Any:
        """Write zstd Parquet with DuckDB and sync it."""
        cursor = self._duckdb.cursor()
        cursor.register("ordered", pa.table(ordered))
        target = str(self.parquet).replace("'", "''")
        cursor.execute(f"COPY ordered TO '{target}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP_ROWS})")
        cursor.close()
        sync(self.parquet)
        return self._data.arrow

    @cached_property
    def _duckdb(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        return duckdb.connect()

    def ordered(self) -> pl.DataFrame:
        """Return the ticks by symbol and time, by the fastest stable sort known: rows come in time order already."""
        frame = self._data.polars
        symbols = pl.Enum(frame["symbol"].unique().sort())
        codes = frame["symbol"].cast(symbols).to_physical().to_numpy().astype(np.uint16)
        return frame[np.argsort(codes, kind="stable")]

    def polars_ordered(self) -> pl.DataFrame:
        """Return the ticks by symbol and time, as Polars sorts them by both."""
        return self._data.polars.sort("symbol", "ts", maintain_order=True)

    def ipc_size(self) -> int:
        """Return the bytes of the Arrow file."""
        return size_of(self.ipc)

    def size(self) -> int:
        """Return the bytes of the Parquet file."""
        return size_of(self.parquet)

    def drop(self) -> None:
        """Delete what was written."""
        self.ipc.unlink(missing_ok=True)
        self.parquet.unlink(missing_ok=True)


def as_arrow(frame: Any) -> pa.Table:
    """Convert a frame by the fastest way there is."""
    if isinstance(frame, pa.Table):
        return frame
    return pa.table(frame) if isinstance(frame, pl.DataFrame) else pa.Table.from_pandas(frame)
