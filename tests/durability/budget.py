"""A table much larger than memory may be: written from a stream, moved down the tiers, read bit by bit."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from harness import import_everything
from kernels import Number
from workload import open_store

BATCH_ROWS = 65_536
DAYS = 10
FIRST_NS = 1_772_409_600_000_000_000
DAY_NS = 86_400 * 10**9
ROW_BYTES = 124
SIDES = {"bid": -0.01, "ask": 0.01}
PHASES = (
    "start",
    "write",
    "read hot",
    "fsck hot",
    "hot to warm",
    "warm to cold",
    "read cold",
    "SQL",
    "fsck cold",
    "sweep",
)
_SYMBOLS = np.array([f"SYM{number:04}" for number in range(200)])


def batches(rows: int) -> Iterator[pa.RecordBatch]:
    """Yield quotes in time order, many to a second, so that segments meet within one; cheap to make and to check."""
    per_day = rows // DAYS
    for start in range(0, rows, BATCH_ROWS):
        ids = np.arange(start, min(start + BATCH_ROWS, rows))
        within = ids % per_day * 86_400 // (per_day + 1) * 10**9
        scrambled = ids * 2_654_435_761 % 1_000_003
        price = scrambled * 0.01
        depth = {f"{side}_{level}": price + level * step for level in range(5) for side, step in SIDES.items()}
        yield pa.record_batch(
            {
                "ts": pa.array(FIRST_NS + ids // per_day * DAY_NS + within, pa.timestamp("ns", "UTC")),
                "symbol": pa.array(_SYMBOLS[scrambled % 200]),
                "id": ids,
                "size": scrambled % 1_000,
                "price": price,
                **depth,
            }
        )


def run(root: str, rows: int, page: str, limit: str) -> None:
    """Pass through all phases, announcing each in a shared page, and check what is read."""
    phase, started = Number(Path(page)), time.perf_counter()
    import_everything()
    with open_store(root, memory_limit=limit) as store:
        for number, name in enumerate(PHASES):
            phase.put(number)
            if name == "write":
                assert store.write(batches(rows), "ticks", symbol="symbol", asset_class="EQUITY").rows == rows
            elif name.startswith("fsck"):
                assert store.fsck()
            elif name.startswith("read"):
                check(store.read("ticks", to="reader", max_bytes=None), rows)
            elif " to " in name:
                assert sum(one.rows for one in store.migrate("ticks", *name.split(" to "))) == rows
            elif name == "SQL":
                sql = "SELECT symbol, count(*) AS n, sum(size) AS sizes FROM ticks GROUP BY symbol"
                assert sum(store.read(sql, to="arrow").column("n").to_pylist()) == rows
            elif name == "sweep":
                assert store.sweep(grace=0).copies > 0
            print(f"{name}: {time.perf_counter() - started:.1f}", file=sys.stderr)
            started = time.perf_counter()
        phase.put(len(PHASES))


def check(reader: pa.RecordBatchReader, rows: int) -> None:
    """Check that a reader gives every row in the order written."""
    seen = 0
    for batch in reader:
        ids = batch.column("id").to_numpy()
        assert np.array_equal(ids, np.arange(seen, seen + len(ids)))
        assert np.array_equal(batch.column("size").to_numpy(), ids * 2_654_435_761 % 1_000_003 % 1_000)
        seen += len(ids)
    assert seen == rows


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
