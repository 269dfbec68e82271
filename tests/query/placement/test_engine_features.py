"""What the engine has, over tables in three tiers: each statement gives what it gives over one plain table."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest
from placed_worlds import check_world, in_microseconds, plain_engine, write_world
from plain_answers import differs
from random_worlds import make_world

import quantstore as qs
from quantstore.errors import InvalidInputError

STATEMENTS = [
    line.removesuffix(";")
    for line in (Path(__file__).parent / "statements.sql").read_text().splitlines()
    if line and not line.startswith("--")
]


@pytest.fixture(scope="module", params=[1, 4], ids=["microseconds", "nanoseconds"])
def asked(request, tmp_path_factory):
    """A random world over three tiers, and its visible columns in plain DuckDB."""
    world = make_world(request.param)
    tables = {name: in_microseconds(table.rows()) for name, table in world.tables.items()}
    with qs.open(tmp_path_factory.mktemp("features") / "store") as store, plain_engine(tables) as engine:
        write_world(store, world, random.Random("features"))
        check_world(store, world)
        yield store, engine, world


@pytest.mark.parametrize("sql", STATEMENTS, ids=lambda sql: sql[:60])
def test_statements_give_what_they_give_over_one_table(asked, sql):
    store, engine, _ = asked
    wanted = engine.sql(sql).to_arrow_table()
    assert differs(store.read(sql, to="arrow"), wanted, ordered=False) is None


def test_described_and_summarised(asked):
    store, engine, _ = asked
    described = store.read("DESCRIBE SELECT symbol, size, price, tags FROM trades", to="arrow")
    assert (
        differs(
            described,
            engine.sql("DESCRIBE SELECT symbol, size, price, tags FROM trades").to_arrow_table(),
            ordered=True,
        )
        is None
    )
    counted = store.read(
        "SELECT column_name, count, min, max FROM (SUMMARIZE SELECT size, lots FROM trades)", to="arrow"
    )
    assert counted.column("column_name").to_pylist() == ["size", "lots"]


@pytest.mark.parametrize(
    ("condition", "params"),
    [
        ("symbol IN $wanted", ["A"]),
        ("symbol = ANY($wanted)", ["A"]),
        ("symbol IN $wanted AND true", ("A", "absent")),
    ],
)
def test_list_parameters_prune(store, condition, params):
    """Segments without any of the symbols asked for are left out."""
    for number, symbol in enumerate("ABCDEF"):
        stamps = pa.array([number, number + 1]).cast(pa.timestamp("us", "UTC"))
        store.write(pa.table({"ts": stamps, "symbol": [symbol] * 2}), "t", ("hot", "warm", "cold")[number % 3])
    found = store.read(f"SELECT count(*) AS n FROM t WHERE {condition}", params={"wanted": params}, to="arrow")
    assert found.column("n").to_pylist() == [2]
    assert len(store.last.plan.scans[0].choices) == 1


def test_lists_of_days_prune(asked):
    store, engine, world = asked
    days = [world.days[0], world.days[2]]
    for condition in ("trade_date IN $days", "trade_date = ANY($days) AND size > -1"):
        found = store.read(
            f"SELECT ts, symbol FROM quotes WHERE {condition}".replace("size", "1"), params={"days": days}, to="arrow"
        )
        wanted = engine.sql("SELECT ts, symbol FROM quotes WHERE ts::DATE = ANY($days)", params={"days": days})
        assert differs(found, wanted.to_arrow_table(), ordered=False) is None
        floors = {day.replace(month=1, day=1) if world.tables["quotes"].grain == "year" else day for day in days}
        choices = store.last.plan.scans[0].choices
        assert {choice.placed.segment.partition.trade_date for choice in choices} <= floors


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO trades SELECT * FROM trades",
        "UPDATE trades SET size = 0",
        "DELETE FROM trades",
        "CREATE TABLE other AS SELECT * FROM trades",
        "DROP TABLE trades",
        "COPY trades TO 'somewhere.parquet'",
        "ATTACH 'somewhere.db'",
        "SET threads = 1",
        "PRAGMA enable_progress_bar",
        "WITH gone AS (DELETE FROM trades RETURNING *) SELECT * FROM gone",
        "SELECT 1; DROP TABLE trades",
    ],
)
def test_only_statements_that_read_are_run(asked, sql):
    store, _, world = asked
    with pytest.raises(InvalidInputError):
        store.read(sql)
    assert store.read("SELECT count(*) AS n FROM trades")["n"].tolist() == [world.tables["trades"].rows().num_rows]
