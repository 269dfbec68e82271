"""PIVOT over queries that say whose columns they mean."""

from __future__ import annotations

import pandas as pd
import pytest


@pytest.fixture
def paired(store):
    """Trades and quotes whose symbols are not the same ones."""
    stamps = pd.to_datetime(["2024-01-02 10:00", "2024-01-02 10:01", "2024-01-03 10:00"], utc=True)
    trades = pd.DataFrame({"ts": stamps, "symbol": ["A", "B", "A"], "venue": ["N", "Q", "N"], "price": [1.0, 2.0, 4.0]})
    quotes = pd.DataFrame({"ts": stamps[:2], "symbol": ["A", "C"], "venue": ["N", "N"], "price": [8.0, 16.0]})
    store.write(trades, "trades", "warm")
    store.write(quotes, "quotes", "cold")
    return store


def test_a_pivoted_query_keeps_to_the_tables_it_names(paired):
    """Without `q.` and `t.` the inner condition would compare a column with itself."""
    inner = "SELECT t.symbol, t.venue, (SELECT count(*) FROM quotes q WHERE q.symbol = t.symbol) AS n FROM trades t"
    for pivot in (f"PIVOT ({inner}) ON venue USING sum(n) GROUP BY symbol",
                  f"SELECT * FROM (PIVOT ({inner}) ON venue IN ('N', 'Q') USING sum(n) GROUP BY symbol)",
                  f"SELECT * FROM ({inner}) PIVOT (sum(n) FOR venue IN ('N', 'Q') GROUP BY symbol)"):  # fmt: skip
        found = paired.read(pivot, to="arrow").sort_by("symbol")
        assert found.to_pylist() == [{"symbol": "A", "N": 2, "Q": None}, {"symbol": "B", "N": None, "Q": 0}], pivot


def test_a_pivoted_join_may_have_columns_of_one_name(paired):
    inner = "SELECT t.symbol, q.venue, t.price AS v FROM trades t JOIN quotes q ON t.symbol = q.symbol"
    found = paired.read(f"PIVOT ({inner}) ON venue USING max(v) GROUP BY symbol", to="arrow")
    assert found.to_pylist() == [{"symbol": "A", "N": 4.0}]
    inner = "SELECT q.* FROM trades t JOIN quotes q USING (ts)"
    found = paired.read(f"PIVOT ({inner}) ON venue USING sum(price) GROUP BY symbol", to="arrow")
    assert sorted(found.column("N").to_pylist()) == [8.0, 16.0]
