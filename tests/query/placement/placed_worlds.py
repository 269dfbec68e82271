"""Bring a world into a store, spread over all tiers, and into plain DuckDB."""

from __future__ import annotations

import random
from collections import defaultdict

import duckdb
import pandas as pd
import pyarrow as pa
from random_worlds import TIERS, TableData, World, stamp_text

from quantstore.manager import HybridStorageManager

_TRIES = 12


def write_world(store: HybridStorageManager, world: World, rng: random.Random) -> None:
    """Write each batch to a tier of its own, batches of all tables in turn, and then move rows about."""
    for table in world.tables.values():
        store.create(
            table.name, time=table.time.name, symbol=table.symbol, grain=table.grain, asset_class=table.constant_class
        )
    waiting = [(table.name, batch) for table in world.tables.values() for batch in table.batches]
    order = sorted(range(len(waiting)), key=lambda at: (_turn(waiting, at), rng.random()))
    for at in order:
        name, batch = waiting[at]
        store.write(batch, name, rng.choice(TIERS), on_repeat="append")
    for table in world.tables.values():
        spread(store, table, world, rng)


def _turn(waiting: list[tuple[str, pa.Table]], at: int) -> int:
    """Return which batch of its table this is: a table's own batches keep their order."""
    return sum(name == waiting[at][0] for name, _ in waiting[:at])


def spread(store: HybridStorageManager, table: TableData, world: World, rng: random.Random) -> None:
    """Move random rows between tiers until every tier has some and one stamp has rows in two of them."""
    for tried in range(_TRIES):
        source, target = rng.choice((*TIERS, "any")), rng.choice(TIERS)
        if rng.random() < 0.3:
            store.migrate(table.name, source, target, before=pd.Timestamp(rng.choice(world.stamps)))
        else:
            store.migrate(table.name, source, target, where=_condition(table, world, rng))
        if is_spread(store, table):
            return
        missing = next((tier for tier, held in _held(store, table).items() if not held), rng.choice(TIERS))
        store.migrate(table.name, "any", missing, where=f'"_seq" % 3 = {tried % 3}')
        if is_spread(store, table):
            return
    raise AssertionError(f"table {table.name!r} of world {world.seed} could not be spread")


def _condition(table: TableData, world: World, rng: random.Random) -> str:
    time = table.time.name
    zone = "TIMESTAMPTZ" if table.time.type.tz else "TIMESTAMP"
    choices = [
        f"{time} >= {zone} '{stamp_text(rng.choice(world.stamps))}'",
        f"trade_date = DATE '{rng.choice(world.days)}'",
        f"level % 3 = {rng.randrange(3)}" if table.named("number")[0] == "level" else "venue IS NULL OR venue = 'N'",
        "_seq % 2 = 0",
    ]
    if table.symbol:
        choices += [f"symbol IN ('{rng.choice('ABb')}', 'É')", "symbol IS NULL"]
    return rng.choice(choices)


def is_spread(store: HybridStorageManager, table: TableData) -> bool:
    """Whether every tier has rows, one stamp has rows in two tiers, and segments of two tiers overlap."""
    held = list(_held(store, table).values())
    ties = held[0] & held[1] | held[0] & held[2] | held[1] & held[2]
    return all(held) and bool(ties) and _overlaps(store.table(table.name).placement())


def _held(store: HybridStorageManager, table: TableData) -> dict[str, set[int]]:
    """Return the stamps that each tier has rows of."""
    name = table.time.name
    held = {}
    for tier in TIERS:
        rows = store.read(table.name, tier, columns=[name], to="arrow", missing="ignore")
        held[tier] = set(rows.column(name).cast(pa.int64()).to_pylist())
    return held


def check_world(store: HybridStorageManager, world: World) -> None:
    """Assert what makes a case worth counting: three tiers, overlaps, ties over tiers, nulls and duplicates."""
    for table in world.tables.values():
        assert is_spread(store, table), f"{table.name} of world {world.seed} is not spread over three tiers"
        rows = table.rows()
        assert any(column.null_count for column in rows.columns)
        assert len(set(rows.column(0).cast(pa.int64()).to_pylist())) < rows.num_rows
        copies: defaultdict[str, int] = defaultdict(int)
        for row in rows.to_pylist():
            copies[repr(row)] += 1
        assert max(copies.values()) > 1, f"no row of {table.name} comes twice"


def _overlaps(placement: pd.DataFrame) -> bool:
    spans = sorted(zip(placement["min_ts"], placement["max_ts"], placement["tier"], strict=True))
    return any(
        later[0] < earlier[1] and later[2] != earlier[2]
        for at, earlier in enumerate(spans)
        for later in spans[at + 1 :]
    )


def plain_rows(store: HybridStorageManager, table: TableData) -> pa.Table:
    """Return all rows as one plain Arrow table, hidden columns last, as worked out from the batches.

    `_seq` alone is the store's, once it is known to follow the order of writing.
    """
    rows = table.rows()
    bare = store.read(table.name, columns=[*rows.column_names, "_seq"], to="arrow")
    stored = pa.table([column.cast(kind) for column, kind in zip(bare.columns, rows.schema.types, strict=False)],
                      names=rows.column_names)  # fmt: skip
    assert _same(stored, rows), f"the bare table {table.name} differs"
    seqs = bare.column("_seq").to_pylist()
    stamps = rows.column(0).cast(pa.int64()).to_pylist()
    assert sorted(zip(stamps, seqs, strict=True)) == list(zip(stamps, seqs, strict=True))
    assert len(set(seqs)) == len(seqs)
    dates = [pd.Timestamp(stamp, unit=table.time.type.unit).date() for stamp in stamps]
    rows = rows.append_column("trade_date", pa.array(dates, pa.date32()))
    if "asset_class" in table.hidden:
        rows = rows.append_column("asset_class", pa.array([table.constant_class] * rows.num_rows, pa.string()))
    return rows.append_column("_seq", pa.array(seqs, pa.int64()))


def _same(left: pa.Table, right: pa.Table) -> bool:
    """Whether two tables are alike, NaN being NaN."""
    return repr(left.to_pylist()) == repr(right.to_pylist())


def in_microseconds(rows: pa.Table) -> pa.Table:
    """Return rows with every stamp in microseconds, which none of them is finer than."""
    columns = [
        column.cast(pa.timestamp("us", column.type.tz)) if pa.types.is_timestamp(column.type) else column
        for column in rows.columns
    ]
    return pa.table(columns, names=rows.column_names)


def plain_engine(tables: dict[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    """Return DuckDB as it comes, with each table as one Arrow table."""
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'")
    engine.execute("SET threads = 1")
    if duckdb.__version__.startswith("1."):
        engine.execute("SET disabled_optimizers = 'top_n_window_elimination'")  # it fails where BETWEEN stands below it
    for name, rows in tables.items():
        engine.register(f"{name}_arrow", rows)
        # DuckDB 1.5 hands filters to the Arrow scan and then refuses some of them there; none passes a LIMIT.
        engine.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM {name}_arrow LIMIT {2**63 - 1}")
    return engine


def write_twin(store: HybridStorageManager, world: World) -> None:
    """Write each table as one segment in one tier, rows in the order in which the world's batches are written."""
    for table in world.tables.values():
        store.create(
            table.name, time=table.time.name, symbol=table.symbol, grain="year", asset_class=table.constant_class
        )
        store.write(pa.concat_tables(table.batches, promote_options="permissive"), table.name, on_repeat="append")
