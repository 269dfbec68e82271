"""First figures: the embedded store beside the raw engines, in one run, interleaved.

    python benchmarks/embedded.py [--rows 10000000] [--runs 5] [--json FILE]

Every line compares one job of the store with the least that raw engines must do for the same result; writes are
synced on both sides, reads have run once before. The ratio is the store's time over the raw time (medians): 1.0 is as
fast, below 1.0 faster.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

import quantstore as qs
from quantstore.testing.simulator import benchmark_ticks

Job = Callable[[], object]
WINDOW = "SELECT * FROM {} WHERE ts >= $low AND ts < $high AND symbol IN ($one, $two)"
GROUPS = "SELECT symbol, count(*) AS n, sum(size) AS size, avg(price) AS price FROM {} GROUP BY symbol"
BARS = (
    "SELECT {} AS minute, arg_min(price, _seq) AS open, max(price) AS high, min(price) AS low, "
    "arg_max(price, _seq) AS close, sum(size) AS volume "
    "FROM {} WHERE symbol = $one AND trade_date = $day GROUP BY 1 ORDER BY 1"
)


class Bench:
    """The data, a store, and the same data in raw form."""

    def __init__(self, rows: int, folder: Path) -> None:
        self.folder = folder
        self.table = benchmark_ticks(rows, days=10, symbols=500).read_all().combine_chunks()
        self.numbers = [field.name for field in self.table.schema if pa.types.is_floating(field.type)] + ["size"]
        self.turn = 0
        self.native = duckdb.connect()
        self.native.execute("SET TimeZone = 'UTC'")
        raw = self.table.set_column(0, "ts", self.table["ts"].cast(pa.timestamp("ns")))
        self.native.register("raw", raw.append_column("_seq", pa.array(range(rows), pa.int64())))
        self.native.execute("CREATE TABLE native AS SELECT * FROM raw")
        self.write_ipc()
        self.hot, self.cold = qs.open(folder / "hot-store"), qs.open(folder / "cold-store")
        self.hot.write(self.table, "t")
        self.cold.write(self.table, "t", "cold")
        middle = self.table["ts"][rows // 2].as_py()
        symbols = self._most_active()
        self.params = {"low": middle, "high": middle + timedelta(minutes=5)} | symbols
        self.day = {"one": symbols["one"], "day": middle.date()}
        self.raw_params = self.params | {name: self.params[name].replace(tzinfo=None) for name in ("low", "high")}
        placement = self.cold.table("t").placement()
        on_day = placement[placement["trade_date"] == middle.date()]
        self.files = [str(folder / "cold-store" / "cold" / place) for place in on_day["location"]]

    def _most_active(self) -> dict[str, str]:
        ranked = sorted(self.table["symbol"].value_counts().to_pylist(), key=lambda one: -one["counts"])
        return {"one": ranked[0]["values"], "two": ranked[1]["values"]}

    def write_ipc(self) -> None:
        """Write the table as one uncompressed Arrow file and sync it."""
        path = self.folder / "bare.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self.table.schema) as writer:
            writer.write_table(self.table, max_chunksize=1 << 20)
        sync(path)

    def write_hot(self) -> None:
        """Write the table into a new store's hot tier."""
        self.turn += 1
        with qs.open(self.folder / f"w{self.turn}") as store:
            store.write(self.table, "t")
        shutil.rmtree(self.folder / f"w{self.turn}")

    def write_parquet(self) -> None:
        """Sort by symbol and time, stably, and write zstd Parquet, synced."""
        path = self.folder / "bare.parquet"
        ordered = pl.DataFrame(self.table).sort(["symbol", "ts"], maintain_order=True)
        ordered.write_parquet(path, compression="zstd")
        sync(path)

    def write_cold(self) -> None:
        """Write the table into a new store's cold tier."""
        self.turn += 1
        with qs.open(self.folder / f"w{self.turn}") as store:
            store.write(self.table, "t", "cold")
        shutil.rmtree(self.folder / f"w{self.turn}")

    def migrate(self) -> float:
        """Move the table from hot to cold; return the seconds that the move alone took."""
        self.turn += 1
        with qs.open(self.folder / f"w{self.turn}") as store:
            store.write(self.table, "t")
            begun = time.perf_counter()
            store.migrate("t", "hot", "cold")
            took = time.perf_counter() - begun
        shutil.rmtree(self.folder / f"w{self.turn}")
        return took

    def sums_of(self, table: pa.Table) -> list[object]:
        """Touch every number, so that a mapped table is really read."""
        return [pc.sum(table[name]) for name in self.numbers]

    def jobs(self) -> dict[str, tuple[str, Job, Job]]:
        """Return what is compared, by name: what the raw side does, the store's job, the raw job."""
        mapped = str(self.folder / "bare.arrow")
        parquet = "read_parquet([" + ", ".join(f"'{file}'" for file in self.files) + "])"
        window = "make_timestamp_ns(epoch_us(ts) * 1000 + __ns_ts)"
        return {
            "write, hot": ("Arrow IPC + fsync", self.write_hot, self.write_ipc),
            "write, cold": ("Polars stable sort + zstd Parquet + fsync", self.write_cold, self.write_parquet),
            "migrate hot to cold, verified": (
                "Polars stable sort + zstd Parquet + fsync",
                self.migrate,
                self.write_parquet,
            ),
            "read all from hot to Arrow, sum numbers": (
                "mapped Arrow IPC",
                lambda: self.sums_of(self.hot.read("t", to="arrow")),
                lambda: self.sums_of(pa.ipc.open_file(pa.memory_map(mapped)).read_all()),
            ),
            "5 minutes of 2 symbols, hot": (
                "native DuckDB table",
                lambda: self.hot.read(WINDOW.format("t"), params=self.params, to="arrow"),
                lambda: self.native.sql(WINDOW.format("native"), params=self.raw_params).to_arrow_table(),
            ),
            "5 minutes of 2 symbols, cold": (
                "DuckDB given the day's files",
                lambda: self.cold.read(WINDOW.format("t"), params=self.params, to="arrow"),
                lambda: self.native.sql(
                    f"SELECT * REPLACE ({window} AS ts) FROM {parquet} WHERE ts >= $low AND ts < $high "
                    "AND symbol IN ($one, $two)",
                    params=self.params,
                ).to_arrow_table(),
            ),
            "group by symbol, hot": (
                "native DuckDB table",
                lambda: self.hot.read(GROUPS.format("t"), to="arrow"),
                lambda: self.native.sql(GROUPS.format("native")).to_arrow_table(),
            ),
            "minute bars of a day and symbol, hot": (
                "native DuckDB table",
                lambda: self.hot.read(BARS.format("date_trunc('minute', ts)", "t"), params=self.day, to="arrow"),
                lambda: self.native.sql(
                    BARS.format("date_trunc('minute', make_timestamp(epoch_ns(ts) // 1000))", "native"), params=self.day
                ).to_arrow_table(),
            ),
        }


def sync(path: Path) -> None:
    """Make a file durable."""
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.close(descriptor)


def timed(job: Job) -> float:
    """Return the seconds a job takes; a job that times itself returns them."""
    begun = time.perf_counter()
    result = job()
    return result if isinstance(result, float) else time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="where to work; default the temporary folder")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        bench = Bench(options.rows, folder)
        results = []
        for name, (beside, own, raw) in bench.jobs().items():
            times: dict[str, list[float]] = {"own": [], "raw": []}
            if not name.startswith(("write", "migrate")):
                own(), raw()
            for _ in range(options.runs):
                times["own"].append(timed(own))
                times["raw"].append(timed(raw))
            own_s, raw_s = (statistics.median(times[side]) for side in ("own", "raw"))
            results.append(
                {"job": name, "beside": beside, "store_s": own_s, "raw_s": raw_s, "ratio": own_s / raw_s} | times
            )
    finally:
        shutil.rmtree(folder)
    report(results, options)


def report(results: list[dict[str, object]], options: argparse.Namespace) -> None:
    """Print the table, and write it where asked."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    versions = f"DuckDB {duckdb.__version__}, Polars {pl.__version__}, pyarrow {pa.__version__}"
    print(f"{options.rows:,} ticks of 10 days, 500 symbols, 4 asset classes; median of {options.runs} runs")
    print(f"{machine}; {versions}\n")
    print("| job | store | raw | ratio | raw side |\n| --- | ---: | ---: | ---: | --- |")
    for one in results:
        print(
            f"| {one['job']} | {one['store_s']:.4f} s | {one['raw_s']:.4f} s | {one['ratio']:.2f} | {one['beside']} |"
        )
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "versions": versions, "results": results}, indent=1))


if __name__ == "__main__":
    main()
