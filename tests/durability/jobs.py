"""What the children do: jobs that write, move and sweep, on and on or step by step."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from workload import (
    DAY_NS,
    FIRST_DAY_NS,
    IDS_PER_WRITE,
    Journal,
    Write,
    alter,
    expire,
    ids_of,
    lifecycle,
    open_store,
    perform,
    rows_of,
    shrink,
)

import quantstore
from quantstore.core import failpoints
from quantstore.manager import HybridStorageManager

HARMED = "harmed"
"""A file of this name in the store's folder says that a file was damaged on purpose and is not mended yet."""
CALL = "/a place that does not exist/"
"""Opening a file below it tells whoever traces the system calls which operation comes next."""


def make_store(root: str) -> None:
    """Make a store whose second table exists and is empty."""
    with open_store(root) as store:
        store.create("marks", rows_of(ids_of(0, 0)).schema, symbol="symbol", grain="month")


def scenario(root: str, journal: str, counts: str | None = None) -> None:
    """Write, split, move, compact, pin, overwrite, rename, restore, drop, expire and sweep: every step several times.

    Args:
        root: An empty folder for the store.
        journal: File for the journal.
        counts: File for how often each step was passed, or None.
    """
    passed: Counter[str] = Counter()
    if counts is not None:
        failpoints.set_hook(lambda step: passed.update([step]))
    shrink(5_000)
    lines = Journal(journal)
    with open_store(root) as store:
        perform(store, Write(0, "trades", "hot", 90), lines)
        lifecycle(store, "trades")
        store.publish("trades")
        perform(store, Write(1, "trades", "hot", 150, batches=3), lines)
        store.compact("trades")
        perform(store, Write(2, "trades", "hot", 60), lines)
        store.compact("trades", tier="hot")
        perform(store, Write(3, "marks", "warm", 20), lines)
        store.migrate("marks", "warm", "cold")
        store.sweep(grace=0)
        with store.pin("marks", "warm"), store.pin("trades", "warm", symbols="AAPL") as pin:
            store.migrate("marks", "cold", "warm")
            store.migrate("marks", "warm", "cold")
            pin.refresh()
        perform(store, Write(4, "trades", "warm", 40, mode="replace", first=1), lines)
        version = store.metadata_catalog.snapshot().version
        perform(store, Write(5, "trades", "hot", 0, mode="delete", first=0), lines)
        perform(store, Write(6, "trades", "cold", 30, mode="overwrite"), lines)
        store.migrate("trades", "cold", "hot")
        store.sweep(grace=0)
        _change_tables(store, version, lines)
        for _ in range(2):
            harm_and_repair(store, Path(root))
        for _ in range(2):
            store.metadata_catalog.renew_journal(always=True)
    for _ in range(2):
        rebuild(root)
    if counts is not None:
        Path(counts).write_text(json.dumps(passed))


def rebuild(root: str) -> None:
    """Lose the catalog where it is there, and make it again; what the stores hold then is as before."""
    for name in ("catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"):
        damaged = Path(root) / name
        if damaged.exists():
            damaged.write_bytes(b"no database")
    quantstore.rebuild(root)


def harm_and_repair(store: HybridStorageManager, root: Path) -> None:
    """Damage a file whose rows have an extra copy, move another one elsewhere, and let both be mended."""
    with store.pin("trades", "hot"):
        (root / HARMED).touch()
        placed = store.table("trades").placement()
        warm = placed[(placed["tier"] == "warm") & (placed["role"] == "primary")]["location"].iloc[0]
        cold = placed[(placed["tier"] == "cold") & (placed["role"] == "primary")]["location"].iloc[0]
        damaged = root / "warm" / warm
        content = bytearray(damaged.read_bytes())
        content[len(content) // 2] ^= 1
        damaged.chmod(0o644)
        damaged.write_bytes(content)
        (root / "cold" / cold).rename(root / "cold" / "elsewhere.parquet")
        assert store.fsck(repair=True)
        (root / HARMED).unlink()


def _change_tables(store: HybridStorageManager, version: int, lines: Journal) -> None:
    """Rename, restore, drop and bring back tables, and expire what is old.

    Args:
        store: The store after writes 0 to 6.
        version: That of write 4.
        lines: The journal.
    """
    trades, marks = store.table("trades"), store.table("marks")
    last, first, others = [[6, 30]], [[0, 90], [4, 40]], [[3, 20]]
    alter(store, {"trades": [], "marks": others}, lambda: trades.rename("deals"), lines)
    alter(store, {"trades": last, "marks": others}, lambda: trades.rename("trades"), lines)
    alter(store, {"trades": first, "marks": others}, lambda: trades.restore(version), lines)
    expire(store, lines)
    lifecycle(store, "trades")
    alter(store, {"trades": first, "marks": []}, marks.drop, lines)
    alter(store, {"trades": first, "marks": others}, lambda: store.undrop("marks"), lines)
    expire(store, lines)
    store.sweep(grace=0)


def write_again(root: str, write: dict[str, Any]) -> bool:
    """Make a write under the id it had before; return whether it was recognised and nothing was added."""
    warnings.simplefilter("error")
    again = Write(**write)
    with open_store(root) as store:
        options = {"mode": again.mode, "write_id": f"write-{again.write}"}
        return store.write(again.data(), again.table, again.tier, **options).replayed


def traced(root: str) -> None:
    """Pass through each kind of operation once, calling out in between for whoever traces the system calls."""
    with open_store(root) as store:
        _call_out("sweep after a crash")
        store.sweep(grace=0)
        _call_out("first write")
        store.write(one_partition(0), "trades")
        _call_out("second write")
        store.write(one_partition(1), "trades")
        _call_out("cold write")
        store.write(one_partition(2), "trades", "cold")
        _call_out("migrate")
        store.migrate("trades", "cold", "warm")
        _call_out("sweep")
        store.sweep(grace=0)
        _call_out("close")
    _call_out("new store")
    inner = open_store(Path(root) / "inner")
    _call_out("end")
    inner.close()


def one_write(root: str) -> None:
    """Make one small write."""
    with open_store(root) as store:
        store.write(one_partition(3), "marks")


def one_partition(write: int) -> pa.Table:
    """Return five rows of one partition."""
    table = rows_of(np.arange(write * IDS_PER_WRITE, write * IDS_PER_WRITE + 500))
    day = table.filter(pc.less(table["ts"], pa.scalar(FIRST_DAY_NS + DAY_NS, table.schema.field("ts").type)))
    return day.filter(pc.equal(day["asset_class"], "FX")).slice(0, 5)


def _call_out(what: str) -> None:
    with contextlib.suppress(FileNotFoundError), Path(CALL + what).open():
        pass
