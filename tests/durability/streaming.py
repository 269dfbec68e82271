"""A process that streams rows, and says which of them it was told are durable, until it is killed."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from kernels import Number
from workload import DAY_NS, FIRST_DAY_NS, mixed, open_store


def numbered(first: int, count: int) -> pa.Table:
    """Return rows with ids from `first` on; all other columns follow from the id."""
    ids = np.arange(first, first + count, dtype=np.int64)
    check = mixed(ids)
    return pa.table(
        {
            "ts": pa.array(FIRST_DAY_NS + ids % 2 * DAY_NS + ids * 1_000, pa.timestamp("ns", "UTC")),
            "id": ids,
            "check": check,
            "asset_class": pa.array(np.array(["EQUITY", "FX"])[(check % np.uint64(2)).astype(np.int64)]),
        }
    )


def stream_on(root: str, mark: str, first: int, seed: int, appends: int | None = None) -> int:
    """Append rows from number `first` on, compacting now and then, and put the durable mark into a shared page.

    Returns:
        How many rows were appended, where it comes to an end.
    """
    warnings.simplefilter("error")
    chance, durable = random.Random(seed), Number(Path(mark))
    begun, number = first, 0
    with open_store(root) as store, store.stream("ticks", max_rows=30, max_seconds=0.01, max_pending=120) as stream:
        while appends is None or number < appends:
            count = chance.randint(1, 25)
            stream.append(numbered(first, count))
            first, number = first + count, number + 1
            if chance.random() < 0.1:
                stream.flush()
                assert stream.durable_rows == first - begun
            durable.put(begun + stream.durable_rows)
            if number % 25 == 0:
                store.compact("ticks")
    return first - begun


def check_stream(root: str, at_least: int) -> int:
    """Check that the rows are the first so many, each once and unharmed; return how many."""
    with open_store(root) as store:
        if "ticks" not in store.tables():
            assert at_least == 0
            return 0
        found = store.read("ticks", to="arrow", max_bytes=None)
        ids = np.sort(found["id"].to_numpy())
        assert np.array_equal(ids, np.arange(len(ids))), "rows are missing or there twice"
        assert len(ids) >= at_least, f"{at_least} rows were reported durable and {len(ids)} are there"
        by_id: Any = found.sort_by("id")
        assert by_id.equals(numbered(0, len(ids)).cast(by_id.schema)), "values differ from what was appended"
        assert store.audit()
        store.sweep(grace=0)
        assert store.audit().orphans == 0
    return len(ids)
