"""Every verb of a store, over a small store that has something for each to do."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

import quantstore as qs
from quantstore.catalog.catalog import Catalog
from quantstore.errors import QuantStoreWarning
from quantstore.manager import HybridStorageManager
from quantstore.stores.arrow_ipc import ArrowStore
from quantstore.stores.parquet import ParquetStore
from quantstore.testing.faults import FaultyCatalog, FaultyStore, Script

Verb = Callable[[HybridStorageManager], Any]
Rows = dict[str, list[tuple[Any, ...]]]
TIERS = ("hot", "warm", "cold")


def ticks(first: int, count: int, *, day: int = 5, price: float = 1.0) -> pd.DataFrame:
    stamps = pd.date_range(f"2026-01-{day:02d}T10:00Z", periods=count, freq="1h")
    numbers = range(first, first + count)
    return pd.DataFrame({"ts": stamps, "symbol": ["A", "B"] * (count // 2), "id": numbers, "price": price})


def build(root: Path) -> None:
    """Make a store with rows in every tier, small segments, an old version, a tag and superseded copies."""
    with qs.open(root) as store:
        for number, day in enumerate((5, 6, 7, 8)):
            store.write(ticks(10 * number, 4, day=day), "t", symbol="symbol", key=["ts", "symbol"], grain="day")
        store.migrate("t", "hot", "cold", before="2026-01-06")
        store.migrate("t", "hot", "warm", before="2026-01-07")
        store.write(ticks(100, 2, day=8).assign(price=9.0), "t", mode="upsert")
        store.write(ticks(200, 4), "u", symbol="symbol")
        store.tag("first", 1)


def open_faulty(root: Path, script: Script, **options: Any) -> HybridStorageManager:
    """Open a store whose parts all fail as a script says."""
    hot, warm, cold = (
        ArrowStore(root / "hot", "hot"),
        *(ParquetStore(root / name, name, codec) for name, codec in (("warm", "lz4"), ("cold", "zstd"))),
    )
    parts = [FaultyStore(one, script) for one in (hot, warm, cold)]
    return HybridStorageManager(*parts, FaultyCatalog(root / "catalog.sqlite", script), cache="off", **options)


def rows_of(store: HybridStorageManager, as_of: int | None = None) -> Rows:
    """Return the rows of every table, in order."""
    catalog = store.metadata_catalog
    with catalog.view(as_of) as view:
        names = view.table_names()
    return {
        name: [tuple(row.values()) for row in store.read(name, as_of=as_of, to="arrow").to_pylist()] for name in names
    }


def files_beyond_record(root: Path) -> list[str]:
    """Return files in the stores that the catalog does not name, and those it names that are not there."""
    catalog = Catalog(root / "catalog.sqlite")
    known = {f"{store}/{place}" for store, place in catalog.garbage.locations()}
    catalog.close()
    there = {path.relative_to(root).as_posix() for tier in TIERS for path in (root / tier).rglob("*") if path.is_file()}
    return sorted(there ^ known)


def _transaction(store: HybridStorageManager, **options: Any) -> None:
    with store.transaction(**options) as tx:
        tx.write(ticks(300, 2, day=9), "t")
        tx.write(ticks(310, 2, day=9), "u", "warm")


def _stream(store: HybridStorageManager) -> None:
    with store.stream("t", max_rows=1000, max_seconds=None) as stream:
        stream.append(ticks(300, 2, day=9))
        stream.append(ticks(302, 2, day=9).assign(ts=lambda frame: frame.ts + pd.Timedelta("30min")))
        stream.flush()


def _read(store: HybridStorageManager) -> Any:
    whole = store.read("t", to="arrow")
    total = store.read("SELECT count(*) AS n, sum(id) AS ids FROM t", to="arrow").to_pylist()
    return whole.num_rows, total


def _long_read(store: HybridStorageManager) -> Any:
    with store.at(2) as old:
        before = old.read("t", to="reader").read_all().num_rows
    return before, store.scan("t").collect().height


def _release(store: HybridStorageManager) -> None:
    for pin in store.pins():
        pin.release()


WRITES: dict[str, Verb] = {
    "append": lambda store: store.write(ticks(300, 4, day=9), "t"),
    "append to cold": lambda store: store.write(ticks(300, 4, day=5), "t", "cold"),
    "append with id": lambda store: store.write(ticks(300, 4, day=9), "t", on_repeat="append", write_id="w"),
    "first write": lambda store: store.write(ticks(300, 4), "new", mode="append"),
    "wider": lambda store: store.write(ticks(300, 2, day=9).assign(venue="X"), "t"),
    "replace": lambda store: store.write(ticks(300, 4, day=5), "t", mode="replace"),
    "upsert": lambda store: store.write(ticks(300, 4, day=6, price=5.0), "t", mode="upsert"),
    "delete": lambda store: store.delete("t", "id % 2 = 1"),
    "delete whole": lambda store: store.delete("t", "id < 10"),
    "overwrite": lambda store: store.write(ticks(300, 4, day=9), "t", mode="overwrite"),
    "transaction": _transaction,
    "transaction with id": lambda store: _transaction(store, write_id="w"),
    "stream": _stream,
    "rename": lambda store: store.table("u").rename("renamed") if "u" in store.tables() else None,
    "drop": lambda store: store.table("u").drop() if "u" in store.tables() else None,
    "restore": lambda store: store.table("t").restore(2),
}
UPKEEP: dict[str, Verb] = {
    "migrate": lambda store: store.migrate("t", "hot", "cold"),
    "migrate split": lambda store: store.migrate("t", "any", "warm", where="symbol = 'A'"),
    "promote": lambda store: store.migrate("t", "cold", "hot"),
    "compact": lambda store: store.compact("t"),
    "pin": lambda store: store.pin("t", "hot", symbols="A") if not store.pins() else store.refresh_pins(),
    "release": _release,
    "expire": lambda store: store.expire(before=3),
    "sweep": lambda store: store.sweep(grace=0),
    "maintain": lambda store: store.maintain(grace=0),
    "tag": lambda store: store.tag("second", 2),
    "read": _read,
    "long read": _long_read,
}
VERBS = WRITES | UPKEEP


class World:
    """A store in a known state, copied for each case.

    Args:
        folder: Where copies are made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        self._plain = folder / "plain"
        build(self._plain)
        with qs.open(self._plain) as store:
            self.before = rows_of(store)

    def copy(self) -> Path:
        """Return a fresh copy of the store."""
        self._made += 1
        root = self._folder / str(self._made)
        shutil.copytree(self._plain, root)
        return root

    def calls(self, verb: Verb, *, prepare: Verb | None = None) -> tuple[list[str], Rows, Any]:
        """Return the calls that a verb makes where nothing goes wrong, the rows after it, and what it returns."""
        root, script = self.copy(), Script()
        with open_faulty(root, script) as store, quiet():
            if prepare is not None:
                prepare(store)
            done = len(script.calls)
            result = verb(store)
            calls = script.calls[done:]
            after = rows_of(store)
        shutil.rmtree(root)
        return calls, after, result


class quiet(warnings.catch_warnings):  # noqa: N801 - used as a statement
    """Keep quiet about repeats, jobs of `maintain` that failed, and other copies that answered."""

    def __enter__(self) -> Any:
        found = super().__enter__()
        warnings.simplefilter("ignore", QuantStoreWarning)
        return found
