"""What is read of one table narrows what is read of another, and never changes an answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import quantstore as qs
from quantstore.query import prepared

START = pd.Timestamp("2026-01-05", tz="UTC")
DAYS = 12
TIERS = ("hot", "warm", "cold")


def table(rows: int, seed: int, column: str) -> pa.Table:
    """Rows over twelve days with ties, three symbols and none, and exact values."""
    chance = np.random.default_rng(seed)
    stamps = np.sort(chance.integers(0, DAYS * 1440, rows)) * 60_000_000_000 + START.value
    symbols = chance.choice(["A", "B", "C", None], rows, p=[0.4, 0.3, 0.2, 0.1])
    return pa.table(
        {
            "ts": pa.array(stamps, pa.timestamp("ns", "UTC")),
            "symbol": pa.array(symbols, pa.string()),
            column: pa.array(np.arange(rows), pa.int64()),
        }
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[qs.HybridStorageManager]:
    """Trades and quotes, each day of each in one of three tiers."""
    with qs.open(tmp_path_factory.mktemp("links") / "store") as opened:
        for name, seed, column in (("trades", 1, "price"), ("quotes", 2, "bid")):
            rows = table(400, seed, column)
            days = (np.asarray(rows["ts"].cast(pa.int64())) - START.value) // (86_400 * 10**9)
            for day in range(DAYS):
                opened.write(rows.filter(pa.array(days == day)), name, TIERS[(day + seed) % 3])
        yield opened


DAY = "t.ts >= TIMESTAMPTZ '2026-01-09 00:00:00Z' AND t.ts < TIMESTAMPTZ '2026-01-10 00:00:00Z'"
ASOF = "FROM trades t ASOF {side} JOIN quotes q ON t.symbol = q.symbol AND t.ts {operator} q.ts WHERE {where}"
TOLERANCE = "q.ts >= t.ts - INTERVAL '90 minutes'"


def asof(where: str, side: str = "", operator: str = ">=") -> str:
    """Return an as-of query."""
    return ASOF.format(side=side, operator=operator, where=where)


CASES: dict[str, tuple[str, dict[str, Any], int]] = {
    # query after SELECT, parameters, segments of quotes at most
    "the quote before": (asof(DAY), {}, 5),
    "the quote before, within a tolerance": (asof(f"{DAY} AND {TOLERANCE}"), {}, 2),
    "left, within a tolerance": (asof(f"{DAY} AND {TOLERANCE}", "LEFT"), {}, 2),
    "left, of a symbol": (asof(f"{DAY} AND t.symbol = 'A'", "LEFT"), {}, 5),
    "strictly before": (asof(f"{DAY} AND {TOLERANCE}", operator=">"), {}, 2),
    "the quote after": (asof(DAY, operator="<="), {}, 8),
    "the quote after, within a tolerance": (
        asof(f"{DAY} AND q.ts <= t.ts + INTERVAL 1 HOUR", operator="<="),
        {},
        2,
    ),
    "tolerance as a difference": (asof(f"{DAY} AND t.ts - q.ts <= INTERVAL '90 minutes'"), {}, 2),
    "tolerance as a parameter": (asof(f"{DAY} AND q.ts >= t.ts - $most"), {"most": timedelta(minutes=90)}, 2),
    "an upper bound on quotes is no tolerance": (asof(f"{DAY} AND q.ts < TIMESTAMPTZ '2026-01-09 12:00:00Z'"), {}, 5),
    "a lower bound on quotes is": (asof(f"{DAY} AND q.ts >= TIMESTAMPTZ '2026-01-08 12:00:00Z'"), {}, 2),
    "using": (f"FROM trades t ASOF JOIN quotes q USING (symbol, ts) WHERE {DAY}", {}, 5),
    "months are not followed": (asof(f"{DAY} AND q.ts >= t.ts - INTERVAL 1 MONTH"), {}, 5),
    "window join": (
        (
            "FROM trades t JOIN quotes q ON q.symbol = t.symbol AND q.ts BETWEEN t.ts - INTERVAL 3 HOUR AND t.ts "
            f"WHERE {DAY}"
        ),
        {},
        2,
    ),
    "left window join": (
        (
            "FROM trades t LEFT JOIN quotes q ON q.symbol = t.symbol AND q.ts BETWEEN t.ts - INTERVAL 5 MINUTE "
            f"AND t.ts + INTERVAL 5 MINUTE WHERE {DAY}"
        ),
        {},
        3,
    ),
    "same instant": (f"FROM trades t JOIN quotes q ON q.ts = t.ts WHERE {DAY}", {}, 1),
    "same instant, using": (f"FROM trades t JOIN quotes q USING (ts) WHERE {DAY.replace('t.ts', 'ts')}", {}, 12),
    "comma": (f"FROM trades t, quotes q WHERE q.ts = t.ts AND {DAY}", {}, 1),
    "right join keeps its rows": (f"FROM trades t RIGHT JOIN quotes q ON q.ts = t.ts AND {DAY}", {}, 12),
    "full join keeps all rows": (f"FROM trades t FULL JOIN quotes q ON q.ts = t.ts AND {DAY}", {}, 12),
    "left join on keeps the left": ("FROM quotes q LEFT JOIN trades t ON q.ts = t.ts AND t.symbol = 'A'", {}, 12),
    "anti join": (f"FROM trades t ANTI JOIN quotes q ON q.ts = t.ts WHERE {DAY}", {}, 1),
    "semi join": (f"FROM trades t SEMI JOIN quotes q ON q.ts = t.ts WHERE {DAY}", {}, 1),
    "or is not followed": (f"FROM trades t JOIN quotes q ON q.ts = t.ts OR q.bid = t.price WHERE {DAY}", {}, 12),
    "chain": (
        (
            "FROM trades t JOIN trades u ON u.ts = t.ts JOIN quotes q ON q.ts BETWEEN u.ts - INTERVAL 2 HOUR AND u.ts "
            f"WHERE {DAY}"
        ),
        {},
        2,
    ),
    "from the other side": (
        "FROM trades t JOIN quotes q ON t.ts >= q.ts AND t.ts - q.ts < INTERVAL '2 hours' WHERE t.price < 30",
        {},
        12,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_fewer_segments_and_the_same_rows(
    store: qs.HybridStorageManager, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each query reads no more than it must and gives what it gives when nothing is followed."""
    tail, params, most = CASES[name]
    columns = "t.price" if "SEMI" in tail or "ANTI" in tail else "t.price, bid"
    query = f"SELECT {columns} {tail}"
    # Rows that tie in an as-of join may come in either order, so ties are counted and not named.
    compared = (
        f"SELECT count(*) AS n, sum(t.price) AS prices, {'count(bid)' if 'bid' in columns else '0'} AS bids {tail}"
    )
    plan = store.explain(query, params=params)
    read = max(len(scan.choices) for scan in plan.scans if scan.record.name == "quotes")
    found = store.read(compared, params=params, to="arrow").to_pylist()
    monkeypatch.setattr(prepared, "find_links", lambda _: iter(()))
    monkeypatch.setattr(prepared, "comparisons", lambda *_: iter(()))
    store._reader._preparer._entries.clear()
    assert found == store.read(compared, params=params, to="arrow").to_pylist()
    store._reader._preparer._entries.clear()
    assert found[0]["n"] > 0
    assert read <= most


def test_the_first_trade_of_a_day_finds_the_quote_of_the_day_before(tmp_path: Any) -> None:
    """It lies in another tier; nothing older than the tolerance is opened."""
    with qs.open(tmp_path / "store") as store:
        quotes = pd.DataFrame(
            {"ts": pd.date_range("2026-01-05 20:59", periods=4, freq="D", tz="UTC"), "symbol": "A", "bid": [1, 2, 3, 4]}
        )
        for day, tier in enumerate(["cold", "cold", "cold", "hot"]):
            store.write(quotes.iloc[[day]], "quotes", tier)
        trade = pd.DataFrame({"ts": [pd.Timestamp("2026-01-08 14:30", tz="UTC")], "symbol": "A", "price": [10.0]})
        store.write(trade, "trades", "hot")
        query = (
            "SELECT price, bid FROM trades t ASOF JOIN quotes q ON t.symbol = q.symbol AND t.ts >= q.ts "
            "WHERE t.ts >= '2026-01-08' AND q.ts >= t.ts - INTERVAL 1 DAY"
        )
        plan = store.explain(query)
        assert [choice.copy.tier.value for choice in plan.scans[1].choices] == ["cold"]
        assert store.read(query).to_dict("records") == [{"price": 10.0, "bid": 3}]


def test_a_symbol_asked_of_one_table_is_asked_of_the_other(tmp_path: Any) -> None:
    """Segments without it are skipped on both sides of a join by symbol."""
    with qs.open(tmp_path / "store") as store:
        for symbol in "ABC":
            frame = pd.DataFrame({"ts": [START], "symbol": [symbol], "x": [1]})
            store.write(frame, "trades")
            store.write(frame, "quotes", "cold")
        query = "SELECT count(*) AS n FROM trades t ASOF LEFT JOIN quotes q USING (symbol, ts) WHERE t.symbol = $one"
        plan = store.explain(query, params={"one": "B"})
        assert [len(scan.choices) for scan in plan.scans] == [1, 1]
        assert store.read(query, params={"one": "B"})["n"].tolist() == [1]
