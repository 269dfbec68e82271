"""Tables whose rows each lie in a segment of their own, in tiers by turns and written in no order."""

from __future__ import annotations

import random

import pyarrow as pa

from quantstore.manager import HybridStorageManager

TIERS = ("hot", "warm", "cold")


def scatter(store: HybridStorageManager, name: str, rows: pa.Table, *, time: str = "ts", seed: int = 0) -> None:
    """Write rows one by one; where they have no time column called `time`, they are given one that means nothing.

    The order of writing is that of the rows, so `_seq` follows it; tiers are drawn anew for each seed. A row in three
    shares its segment with the one before.
    """
    if time not in rows.column_names:
        stamps = pa.array([at * 86_400_000_000 for at in range(rows.num_rows)]).cast(pa.timestamp("us", "UTC"))
        rows = rows.append_column(time, stamps)
    store.create(name, rows.schema, time=time)
    rng = random.Random(f"{name} {seed}")
    tiers = rng.sample(TIERS, 3)
    at = number = 0
    while at < rows.num_rows:
        length = rng.choice((1, 1, 2))
        store.write(rows.slice(at, length), name, tiers[number % 3], on_repeat="append")
        at, number = at + length, number + 1
    assert number < 3 or set(store.table(name).placement()["tier"]) == set(TIERS)


def answer(store: HybridStorageManager, sql: str) -> list[tuple[object, ...]]:
    """Return the rows of an answer in an order of no meaning, always the same."""
    columns = [column.to_pylist() for column in store.read(sql, to="arrow").columns]
    return in_order(list(zip(*columns, strict=True)))


def in_order(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Return rows in an order of no meaning, always the same."""
    return sorted(rows, key=repr)
