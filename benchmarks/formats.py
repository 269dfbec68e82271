"""Measure the choices behind the file formats of the three tiers; prints the tables of docs/design/0003.

python benchmarks/formats.py --rows 3000000 --directory /var/tmp
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import ipc

from quantstore.core.segment import ASSET_CLASS, SEQ, TRADE_DATE, Copy, Partition
from quantstore.core.tier import Tier
from quantstore.core.timerange import TimeRange
from quantstore.stores.arrow_ipc import ArrowStore
from quantstore.stores.base import Part, Selection, TableLayout, Written
from quantstore.stores.conversion import to_physical
from quantstore.stores.parquet import ParquetStore

FIRST_NS = 1_710_500_000_000_000_000
DAY_NS = int(6.5 * 3600e9)
PARTITION = Partition(date(2024, 3, 15), "EQUITY")
TEXT = ["symbol", "venue", TRADE_DATE, ASSET_CLASS]
FEW = [*TEXT, "size", "__ns_ts"]
INTEGERS = ["ts", "trade_id", SEQ]
FLOATS = ["price", "bid", "ask"]


def ticks(rows: int, symbols: int = 200) -> pa.Table:
    """Return a day of ticks in nanoseconds, sorted by time, prices in cents."""
    random = np.random.default_rng(7)
    number = random.integers(0, symbols, rows)
    walk = random.uniform(10, 500, symbols)[number] * (1 + np.cumsum(random.normal(0, 1e-6, rows)))
    price = np.round(walk, 2)
    names = pa.array([f"SYM{index:04d}" for index in range(symbols)])
    venues = pa.array(["XNAS", "XNYS", "ARCX", "BATS"])
    return pa.table(
        {
            "ts": pa.array(np.sort(random.integers(0, DAY_NS, rows)) + FIRST_NS).cast(pa.timestamp("ns", "UTC")),
            "symbol": names.take(pa.array(number)),
            "price": price,
            "size": random.integers(1, 50, rows) * 100,
            "bid": np.round(price - 0.01, 2),
            "ask": np.round(price + 0.01, 2),
            "venue": venues.take(pa.array(random.integers(0, 4, rows))),
            "trade_id": np.arange(rows) * 3 + 10**9,
        }
    )


def hidden_columns(table: pa.Table) -> pa.Table:
    """Append the hidden columns, `_seq` as the row number."""
    rows = table.num_rows
    return (
        table.append_column(TRADE_DATE, pa.repeat(pa.scalar(PARTITION.trade_date), rows))
        .append_column(ASSET_CLASS, pa.repeat(pa.scalar(PARTITION.asset_class), rows))
        .append_column(SEQ, pa.array(np.arange(rows)))
    )


def seconds(action: Callable[[], Any], repeats: int = 3, before: Callable[[], Any] = lambda: None) -> float:
    """Return the shortest of a few runs of `action`, each after an unmeasured `before`."""
    shortest = float("inf")
    for _ in range(repeats):
        before()
        begun = time.perf_counter()
        action()
        shortest = min(shortest, time.perf_counter() - begun)
    return shortest


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def row(*cells: Any) -> None:
    shown = [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells]
    print(f"| {' | '.join(shown)} |", flush=True)


def header(title: str, *cells: str) -> None:
    print(f"\n### {title}\n")
    row(*cells)
    row(*["---"] * len(cells))


def measure_arrow(table: pa.Table, layout: TableLayout, directory: Path) -> None:
    header("Hot: Arrow IPC", "operation", "ms")
    path, root = directory / "bare.arrow", directory / "hot"

    def bare() -> None:
        with pa.OSFile(str(path), "wb") as sink, ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=1 << 18)
        sync(path)

    def ours() -> Written:
        return ArrowStore(root).write(layout, [Part("0" * 32 + "-0", table, PARTITION)])[0]

    row("write: pyarrow, fsync", seconds(bare, 5, lambda: path.unlink(missing_ok=True)) * 1e3)
    row("write: ArrowStore", seconds(ours, 5, lambda: shutil.rmtree(root, ignore_errors=True)) * 1e3)
    shutil.rmtree(root)
    written = ours()
    copy = Copy(1, 1, Tier.HOT, "arrow", written.location, "ipc", written.size_bytes, written.checksum, 0)
    store = ArrowStore(root)
    row("read: first in a process (hashes the file)", seconds(lambda: store.read(layout, copy, PARTITION), 1) * 1e3)
    row("read: later", seconds(lambda: store.read(layout, copy, PARTITION), 20) * 1e3)
    minutes = Selection(time=TimeRange(FIRST_NS + DAY_NS // 2, FIRST_NS + DAY_NS // 2 + 300 * 10**9))
    row("read: later, five minutes", seconds(lambda: store.read(layout, copy, PARTITION, minutes), 20) * 1e3)
    header("Hot: rows per record batch", "rows", "batches", "open ms", "DuckDB group-by ms", "5-minute window ms")
    for exponent in (16, 18, 20, 22):
        with pa.OSFile(str(path), "wb") as sink, ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=1 << exponent)
        measure_map(path, 1 << exponent)


def measure_map(path: Path, rows: int) -> None:
    def opened() -> pa.Table:
        with pa.memory_map(str(path)) as source:
            return ipc.open_file(source).read_all()

    mapped = opened()
    naive = mapped.set_column(0, "ts", mapped["ts"].cast(pa.timestamp("ns")))
    connection = duckdb.connect()
    connection.register("mapped", naive)
    connection.register("sliced", naive.slice(mapped.num_rows // 2, mapped.num_rows // 78))
    sql = "SELECT symbol, avg(price), sum(size) FROM {} GROUP BY symbol"
    row(
        rows,
        mapped["ts"].num_chunks,
        seconds(opened) * 1e3,
        seconds(lambda: connection.execute(sql.format("mapped")).fetchall()) * 1e3,
        seconds(lambda: connection.execute(sql.format("sliced")).fetchall(), 10) * 1e3,
    )


def measure_parquet(
    name: str, path: Path, write: Callable[[], Any], repeats: int = 2, before: Callable[[], Any] = lambda: None
) -> None:
    taken = seconds(write, repeats, before)
    sql = f"SELECT symbol, avg(price), sum(size) FROM '{path}' GROUP BY symbol"
    one = f"SELECT avg(price), count(*) FROM '{path}' WHERE symbol = 'SYM0007'"
    row(
        name,
        taken,
        f"{path.stat().st_size / 1e6:.1f}",
        seconds(lambda: pq.read_table(path)),
        seconds(lambda: duckdb.sql(sql).fetchall()) * 1e3,
        seconds(lambda: duckdb.sql(one).fetchall()) * 1e3,
    )


COLUMNS = ("variant", "write s", "MB", "pyarrow read s", "DuckDB group-by ms", "DuckDB one symbol ms")


def measure_writers(table: pa.Table, physical: pa.Table, layout: TableLayout, directory: Path) -> None:
    header("Warm and cold: writers, logical rows to synced file", *COLUMNS)
    path = directory / "writer.parquet"
    for codec in ("lz4", "snappy", "zstd", "gzip"):
        root = directory / codec

        def ours(codec: Any = codec, root: Path = root) -> None:
            ParquetStore(root, codec, codec).write(layout, [Part("0" * 32 + "-0", table, PARTITION)])

        def clear(root: Path = root) -> None:
            shutil.rmtree(root, ignore_errors=True)

        measure_parquet(f"ParquetStore {codec}", root / ("0" * 32 + "-0.parquet"), ours, before=clear)

        def polars(codec: Any = codec) -> None:
            frame = pl.DataFrame(to_physical(table, layout.schema))
            frame.write_parquet(path, compression=codec, row_group_size=1 << 18)
            sync(path)

        measure_parquet(f"Polars {codec}", path, polars)
    half = table.num_rows // 2
    halves = [Part("0" * 32 + f"-{index}", table.slice(index * half, half), PARTITION) for index in range(2)]
    root = directory / "halves"
    taken = seconds(
        lambda: ParquetStore(root, "cold", "zstd").write(layout, halves),
        2,
        lambda: shutil.rmtree(root, ignore_errors=True),
    )
    row("ParquetStore zstd, as two files at a time", taken)
    connection = duckdb.connect()
    connection.register("physical", physical)
    copy = f"COPY physical TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 262144)"
    measure_parquet("DuckDB COPY zstd", path, lambda: (connection.execute(copy), sync(path)))


def measure_encodings(physical: pa.Table, directory: Path) -> None:
    header("Warm and cold: encodings and options (pyarrow, not synced)", *COLUMNS)
    path = directory / "encoding.parquet"
    packed = dict.fromkeys(INTEGERS, "DELTA_BINARY_PACKED")
    split = dict.fromkeys(FLOATS, "BYTE_STREAM_SPLIT")
    variants: dict[str, dict[str, Any]] = {
        "plain, dictionaries for text": {"use_dictionary": TEXT},
        "plain, dictionaries for few values": {"use_dictionary": FEW},
        "dictionaries for all": {"use_dictionary": True},
        "few values + DELTA_BINARY_PACKED": {"use_dictionary": FEW, "column_encoding": packed},
        "few values + delta + BYTE_STREAM_SPLIT": {"use_dictionary": FEW, "column_encoding": {**packed, **split}},
        "few values, page index and checksums": {
            "use_dictionary": FEW,
            "write_page_index": True,
            "write_page_checksum": True,
        },
    }
    variants |= {
        f"few values, {rows} rows a group": {"use_dictionary": FEW, "row_group_size": rows}
        for rows in (1 << 16, 1 << 17, 1 << 19, 1 << 20)
    }
    for codec, level in (("lz4", None), ("zstd", 3)):
        for name, options in variants.items():
            options = {"row_group_size": 1 << 18, **options}

            def write(codec: Any = codec, level: Any = level, options: Any = options) -> None:
                pq.write_table(
                    physical, path, compression=codec, compression_level=level, store_schema=False, **options
                )

            measure_parquet(f"{codec}: {name}", path, write)
    levels = [("zstd", level) for level in (1, 3, 6, 9)] + [("gzip", level) for level in (1, 4, 6)]
    for codec, level in levels:

        def write_level(codec: Any = codec, level: Any = level) -> None:
            options = {"use_dictionary": FEW, "row_group_size": 1 << 18, "store_schema": False}
            pq.write_table(physical, path, compression=codec, compression_level=level, **options)

        measure_parquet(f"{codec} level {level}", path, write_level, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    by_time = ticks(arguments.rows)
    whole = hidden_columns(by_time)
    layout = TableLayout(whole.schema, "ts", "symbol")
    by_symbol = whole.sort_by([("symbol", "ascending"), ("ts", "ascending")]).combine_chunks()
    physical = to_physical(by_symbol, layout.schema)
    print(f"{arguments.rows} ticks, {by_time.nbytes / 1e6:.0f} MB in Arrow, {physical.nbytes / 1e6:.0f} MB physical")
    print(f"pyarrow {pa.__version__}, polars {pl.__version__}, duckdb {duckdb.__version__}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        directory = Path(name)
        measure_arrow(by_time, layout, directory)
        measure_writers(by_symbol, physical, layout, directory)
        measure_encodings(physical, directory)


if __name__ == "__main__":
    main()
