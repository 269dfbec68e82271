"""The operations that are run side by side, each real and plain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plain
from plain import Change, to_table

from quantstore.core.clock import ManualClock
from quantstore.manager import HybridStorageManager
from quantstore.testing.interleavings import Pause, Step

Real = Callable[["Handle"], Any]
LOOK = frozenset({"content"})


@dataclass(frozen=True, slots=True)
class Handle:
    """What a task works with: a store of its own, the number of its slot, the clock of all."""

    store: HybridStorageManager
    slot: int
    clock: ManualClock
    pause: Pause
    table: Any

    def wait(self, name: str) -> None:
        """Stop in the middle of an operation that looks only."""
        self.pause(Step(name, LOOK, frozenset()))


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation.

    Attributes:
        run: Does it.
        plain: Does it to the plain model.
        is_read: Whether it only looks, and returns rows.
        may_conflict: Whether a ConflictError of it, or of what runs beside it, is within its contract.
    """

    run: Real
    plain: Change
    is_read: bool = False
    may_conflict: bool = False


def frame(*ids: int, day: int, price: float = 1.0, **columns: Any) -> pd.DataFrame:
    """Return rows whose time and symbol follow from their id."""
    stamps = [pd.Timestamp(f"2026-01-{day:02d}T10:00Z") + pd.Timedelta(minutes=one) for one in ids]
    return pd.DataFrame({"ts": stamps, "symbol": ["AB"[one % 2] for one in ids], "id": ids, "price": price, **columns})


def fill(store: HybridStorageManager) -> None:
    """Make the table that operations work on: rows in every tier, small segments, superseded copies, four versions."""
    options = {"symbol": "symbol", "key": ["ts", "symbol"], "grain": "day", "asset_class": "X"}
    store.write(frame(0, 1, day=5), "t", **options)
    store.write(frame(2, 3, day=5), "t")
    store.write(frame(10, 11, day=6), "t", "warm")
    store.write(frame(20, 21, day=7), "t")
    store.migrate("t", "hot", "cold", where="id >= 20")


def rows_of(table: Any) -> plain.Rows:
    """Return rows as the plain model has them; twice the same id is an error."""
    ids, prices = table.column("id").to_pylist(), table.column("price").to_pylist()
    assert len(ids) == len(set(ids)), f"doubled: {ids}"
    return dict(zip(ids, prices, strict=True))


def _slot(handle: Handle, *ids: int) -> tuple[int, ...]:
    return tuple(one + 1000 * handle.slot for one in ids)


def _new(handle: Handle, *ids: int, day: int, tier: str = "hot", **options: Any) -> None:
    made = {"symbol": "symbol", "key": ["ts", "symbol"], "grain": "day"}
    columns = options.pop("columns", {})
    handle.store.write(frame(*_slot(handle, *ids), day=day, **columns), "t", tier, **made, **options)


def _upsert(handle: Handle) -> None:
    price = 9.0 + handle.slot
    rows = pd.concat([frame(1, day=5, price=price), frame(10, day=6, price=price)])
    handle.store.write(rows, "t", mode="upsert", symbol="symbol", key=["ts", "symbol"], grain="day")


def _named(handle: Handle) -> None:
    options = {"symbol": "symbol", "key": ["ts", "symbol"], "grain": "day"}
    handle.store.write(frame(140, 141, day=9), "t", write_id="w", on_repeat="append", **options)


def _replace(handle: Handle) -> None:
    options = {"symbol": "symbol", "key": ["ts", "symbol"], "grain": "day"}
    rows = frame(0, day=5, price=7.0 + handle.slot)
    handle.store.write(rows, "t", mode="replace", where="id < 2", **options)


def _late_sweep(handle: Handle) -> None:
    handle.clock.advance(3600)
    handle.store.sweep(grace=0)


def _reader(handle: Handle) -> Any:
    import pyarrow as pa

    with handle.store.read("t", to="reader") as reader:
        batches = []
        for batch in reader:
            batches.append(batch)
            handle.wait("between batches")
    return rows_of(pa.Table.from_batches(batches))


def _scan(handle: Handle) -> Any:
    lazy = handle.store.scan("t")
    handle.wait("before collecting")
    return rows_of(lazy.collect().to_arrow())


def _at(handle: Handle) -> Any:
    with handle.store.at(4) as old:
        first = rows_of(old.read("t", to="arrow"))
        handle.wait("between reads")
        total = old.read("SELECT id, price FROM t", to="arrow")
        assert rows_of(total) == first, "two reads of one version differ"
    return first


WRITES = {
    "append": Operation(lambda h: _new(h, 100, 101, day=8), to_table(plain.add(100, 101), makes=True)),
    "append cold": Operation(
        lambda h: _new(h, 110, 111, day=5, tier="cold"), to_table(plain.add(110, 111), makes=True)
    ),
    "named append": Operation(_named, plain.named),
    "replace": Operation(_replace, to_table(plain.replace, makes=True)),
    "upsert": Operation(_upsert, to_table(plain.upsert, makes=True)),
    "delete": Operation(lambda h: h.store.delete("t", "id IN (1, 10, 20)"), to_table(plain.delete)),
    "overwrite": Operation(lambda h: _new(h, 200, day=5, mode="overwrite"), to_table(plain.overwrite, makes=True)),
    "evolve": Operation(
        lambda h: _new(h, 120, day=8, columns={f"venue{h.slot}": "V"}),
        to_table(plain.add(120), makes=True, brings=True),
        may_conflict=True,
    ),
    "restore": Operation(lambda h: h.table.restore(2), plain.restore, may_conflict=True),
    "rename": Operation(lambda h: h.table.rename(f"renamed{h.slot}"), plain.rename, may_conflict=True),
    "drop": Operation(lambda h: h.table.drop(), plain.drop, may_conflict=True),
}
PLACING = {
    "hot to warm": Operation(lambda h: h.store.migrate("t", "hot", "warm"), to_table(plain.nothing)),
    "warm to cold": Operation(lambda h: h.store.migrate("t", "warm", "cold"), to_table(plain.nothing)),
    "split to cold": Operation(
        lambda h: h.store.migrate("t", "hot", "cold", where="id % 2 = 0"), to_table(plain.nothing)
    ),
    "compact": Operation(lambda h: h.store.compact("t"), to_table(plain.nothing)),
    "pin": Operation(lambda h: h.store.pin("t", "hot"), to_table(plain.nothing)),
    "publish": Operation(lambda h: h.store.publish("t"), to_table(plain.nothing)),
    "sweep": Operation(lambda h: h.store.sweep(grace=0), plain.anything),
    "late sweep": Operation(_late_sweep, plain.anything, may_conflict=True),
    "expire": Operation(lambda h: h.store.expire(before=4), plain.expire),
}
READS = {
    "reader": Operation(_reader, to_table(plain.look), is_read=True),
    "scan": Operation(_scan, to_table(plain.look), is_read=True),
    "at": Operation(_at, plain.look_back, is_read=True),
    "sql": Operation(
        lambda h: rows_of(h.store.read("SELECT id, price FROM t", to="arrow")), to_table(plain.look), is_read=True
    ),
}
OPERATIONS = WRITES | PLACING | READS
IDEMPOTENT = [name for name in PLACING if name not in {"pin", "late sweep"}]
