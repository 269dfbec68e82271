"""Rows that prove themselves, and writes reported in a journal.

Row ids name the write they belong to, and every other column is a function of the id, so that whoever reads rows can
tell which writes are there, whether they are whole, and whether a single value is wrong.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from quantstore.manager import HybridStorageManager

TABLES = ("trades", "marks")
"""One kept by the day, made by its first write, and one kept by the month, made beforehand."""
TIERS = ("hot", "warm", "cold")
IDS_PER_WRITE = 100_000
DAYS = 2
FIRST_DAY_NS = 1_772_236_800_000_000_000  # 2026-02-28, so that two days are two months
DAY_NS = 86_400 * 10**9
_SYMBOLS = np.array(["AAPL", "BTC-USD", "ES", "EURUSD", None], object)
_CLASSES = np.array(["EQUITY", "FX"], object)


def mixed(ids: np.ndarray) -> np.ndarray:
    """Return a well-mixed 64-bit number per id (SplitMix64)."""
    value = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def rows_of(ids: np.ndarray) -> pa.Table:
    """Return the rows that have these ids."""
    check = mixed(ids)
    days = (check % np.uint64(DAYS)).astype(np.int64)
    within = ((check >> np.uint64(8)) % np.uint64(DAY_NS)).astype(np.int64)
    size = (check >> np.uint64(16)).astype(np.int64) & 0xFFFF
    return pa.table(
        {
            "ts": pa.array(FIRST_DAY_NS + days * DAY_NS + within, pa.timestamp("ns", "UTC")),
            "symbol": pa.array(_SYMBOLS[(check >> np.uint64(24)) % np.uint64(5)], pa.string()),
            "id": pa.array(ids, pa.int64()),
            "price": pa.array((check >> np.uint64(20)).astype(np.float64) / 1024.0),
            "size": pa.array(size, pa.int64(), mask=size % 7 == 0),
            "check": pa.array(check, pa.uint64()),
            "asset_class": pa.array(_CLASSES[(check >> np.uint64(32)) % np.uint64(2)], pa.string()),
        }
    )


def ids_of(write: int, rows: int) -> np.ndarray:
    """Return the ids of a write."""
    return np.arange(write * IDS_PER_WRITE, write * IDS_PER_WRITE + rows, dtype=np.int64)


def open_store(root: str | Path, **options: Any) -> HybridStorageManager:
    """Open the store below `root`, in the folders that the checks look into by themselves."""
    root = Path(root)
    return HybridStorageManager(root / "hot", root / "warm", root / "cold", root / "catalog.sqlite", **options)


@dataclass(frozen=True, slots=True)
class Write:
    """A write: its number, where to, how many rows, in how many batches (0: as a frame, not as a stream).

    A `replace` takes all writes from number `first` on away, a `delete` just that one.
    """

    write: int
    table: str
    tier: str
    rows: int
    mode: str = "append"
    batches: int = 0
    first: int = 0

    @property
    def where(self) -> str | None:
        """The condition on what is taken away."""
        low, high = self.first * IDS_PER_WRITE, (self.first + 1) * IDS_PER_WRITE
        return {"replace": f"id >= {low}", "delete": f"id >= {low} AND id < {high}"}.get(self.mode)

    def data(self) -> Any:
        """Return the rows as the store shall get them."""
        table = rows_of(ids_of(self.write, self.rows))
        if not self.batches:
            return table
        step = -(-self.rows // self.batches)
        return iter([table.slice(start, step) for start in range(0, self.rows, step)])


class Journal:
    """Lines that say what was begun and what was acknowledged; a line once written outlives its writer."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, **event: Any) -> None:
        """Add one line."""
        os.write(self._descriptor, json.dumps(event).encode() + b"\n")


def perform(store: HybridStorageManager, write: Write, journal: Journal) -> None:
    """Make a write and report it before and after."""
    journal.note(begin=asdict(write))
    name, where = f"write-{write.write}", write.where
    if write.mode == "delete":
        result = store.delete(write.table, where, write_id=name)
    else:
        result = store.write(write.data(), write.table, write.tier, mode=write.mode, where=where, write_id=name)
    assert result.rows == write.rows
    is_change = bool(result.rows or result.deleted)
    journal.note(done=write.write, version=result.version, replayed=result.replayed, is_change=is_change)


def alter(store: HybridStorageManager, outcome: dict[str, Any], change: Callable[[], Any], journal: Journal) -> None:
    """Make a change that is no write, which leads to the state `outcome`, and report it before and after."""
    journal.note(begin={"write": -1, "outcome": outcome})
    change()
    version = store.metadata_catalog.snapshot().version
    journal.note(done=-1, version=version, replayed=False, is_change=True)


def expire(store: HybridStorageManager, journal: Journal) -> None:
    """Give up all versions but the last two, having said so."""
    before = max(0, store.metadata_catalog.snapshot().version - 1)
    journal.note(expire=before)
    store.expire(before=before)


def shrink(buffer: int) -> None:
    """Cut streams and batches of moves at `buffer` bytes, so that small tables take the paths of large ones."""
    from quantstore.tiering import mover
    from quantstore.write import arrivals

    arrivals.STREAM_BUFFER_BYTES = buffer
    mover.BATCH_BYTES = 4 * buffer


def lifecycle(store: HybridStorageManager, table: str) -> list[Any]:
    """Move the older half of a table down, some symbols to the bottom, compact and sweep; return what was done."""
    import pandas as pd

    half = pd.Timestamp(FIRST_DAY_NS + DAY_NS // 2, tz="UTC")
    done: list[Any] = []
    done += store.migrate(table, "hot", "warm", before=half)
    done += store.migrate(table, "any", "cold", where="symbol = 'AAPL'")
    done += store.compact(table).groups
    swept = store.sweep(grace=0)
    return done + [swept] * (swept.copies + swept.orphans + swept.attempts)
