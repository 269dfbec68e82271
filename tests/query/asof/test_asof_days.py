"""A day's trades and the quotes before them, which lie in other tiers, in other partitions, or nowhere."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest

KINDS = [("us", "UTC"), ("ns", "UTC"), ("ns", "America/New_York"), ("us", None), ("ns", None)]
DAYS = ("2024-03-08", "2024-03-11", "2024-03-12", "2024-03-13")
"""A Friday, and the days after the weekend on which clocks changed in New York."""


def stamps(texts, unit, zone):
    """Return instants, or wall-clock times, of texts in UTC."""
    parsed = pd.to_datetime(list(texts), format="ISO8601")
    return pa.array(parsed.tz_localize(zone and "UTC")).cast(pa.timestamp(unit, zone))


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]} {kind[1]}")
def market(request, store):
    """Quotes of the days before in cold and warm, trades of the last days in hot; C is not quoted before Tuesday."""
    unit, zone = request.param
    quotes = [
        ("2024-03-08 14:30", "A", 1.0), ("2024-03-08 20:59:59.999999", "A", 2.0), ("2024-03-08 15:00", "B", 10.0),
        ("2024-03-11 20:00", "B", 11.0), ("2024-03-12 13:31", "C", 20.0), ("2024-03-12 13:32", "A", 3.0),
        ("2024-03-13 14:00", "A", 4.0), ("2024-03-13 14:00", "B", 12.0),
    ]  # fmt: skip
    trades = [
        ("2024-03-12 13:30", "A", 100), ("2024-03-12 13:30", "B", 200), ("2024-03-12 13:30", "C", 300),
        ("2024-03-12 13:32", "A", 101), ("2024-03-12 20:00", "C", 301), ("2024-03-13 13:59", "B", 201),
    ]  # fmt: skip
    for name, rows, tiers, column in (
        ("quotes", quotes, ("cold", "warm", "hot", "hot"), "bid"),
        ("trades", trades, ("cold", "cold", "hot", "warm"), "size"),
    ):
        for day, tier in zip(DAYS, tiers, strict=True):
            picked = [row for row in rows if row[0].startswith(day)]
            if picked:
                texts, symbols, values = zip(*picked, strict=True)
                table = pa.table({"ts": stamps(texts, unit, zone), "symbol": symbols, column: values})
                store.write(table, name, tier)
    return store


def joined(store, condition="true", side="LEFT", tolerance=None):
    """Return size and bid of the trades that meet a condition."""
    bid = "q.bid" if tolerance is None else f"CASE WHEN t.ts - q.ts <= {tolerance} THEN q.bid END"
    found = store.read(
        f"SELECT t.size, {bid} AS bid FROM trades t ASOF {side} JOIN quotes q ON t.symbol = q.symbol AND t.ts >= q.ts "
        f"WHERE {condition} ORDER BY t.size",
        to="arrow",
    )
    return dict(zip(found.column("size").to_pylist(), found.column("bid").to_pylist(), strict=True))


FIRST = {100: 2.0, 101: 3.0, 200: 11.0, 201: 11.0, 300: None, 301: 20.0}


@pytest.mark.parametrize(
    ("condition", "sizes"),
    [
        ("true", FIRST),
        ("t.trade_date = '2024-03-12'", [100, 101, 200, 300, 301]),
        ("t.ts >= '2024-03-12' AND t.ts < '2024-03-13'", [100, 101, 200, 300, 301]),
        ("t.ts = '2024-03-12 13:30:00'", [100, 200, 300]),
        ("t.ts BETWEEN '2024-03-12 13:30:00' AND '2024-03-12 13:31:00' AND t.symbol IN ('A', 'C')", [100, 300]),
        ("t.symbol = 'B'", [200, 201]),
        ("t.trade_date > DATE '2024-03-12'", [201]),
        ("t.size = 100", [100]),
    ],
)
def test_the_first_trade_of_a_day_finds_the_quote_of_a_day_before(market, condition, sizes):
    """Conditions on trades keep no quotes of other days or tiers out."""
    wanted = {size: FIRST[size] for size in sizes}
    assert joined(market, condition) == wanted
    assert joined(market, condition, side="") == {size: bid for size, bid in wanted.items() if bid is not None}


def test_the_quote_comes_out_of_another_tier(market):
    assert joined(market, "t.trade_date = '2024-03-12' AND t.symbol = 'A'") == {100: 2.0, 101: 3.0}
    trades, quotes = market.last.plan.scans
    assert {choice.copy.tier.value for choice in trades.choices} == {"hot"}
    assert "cold" in {choice.copy.tier.value for choice in quotes.choices}


def test_conditions_on_quotes_say_which_can_be_found(market):
    """In a query of their own they are asked first, in WHERE afterwards."""
    first = "(SELECT * FROM quotes WHERE ts < '2024-03-11')"
    for source, condition, wanted in (
        (first, "true", {100: 2.0, 101: 2.0, 200: 10.0, 201: 10.0}),
        ("quotes", "q.ts < '2024-03-11'", {100: 2.0}),
        ("quotes", "q.trade_date >= '2024-03-11' AND q.trade_date <= '2024-03-11'", {200: 11.0, 201: 11.0}),
        ("quotes", "q.ts >= '2024-03-12'", {101: 3.0, 301: 20.0}),
    ):
        found = market.read(
            f"SELECT t.size, q.bid FROM trades t ASOF JOIN {source} q ON t.symbol = q.symbol AND t.ts >= q.ts "
            f"WHERE {condition}",
            to="arrow",
        )
        assert dict(zip(*(column.to_pylist() for column in found.columns), strict=True)) == wanted, condition


def test_tolerances_are_exact(market):
    """From the last quote of Friday to the first trade of Tuesday it is a little more than 88.5 hours."""
    for tolerance, bid in (("INTERVAL '88 hours 30 minutes'", None), ("INTERVAL '88 hours 30 minutes 1 second'", 2.0)):
        assert joined(market, "t.size = 100", tolerance=tolerance) == {100: bid}
        filtered = joined(market, f"t.size = 100 AND q.ts >= t.ts - {tolerance}", side="")
        assert filtered == ({} if bid is None else {100: bid})


def test_the_next_quote_may_be_days_ahead(market):
    found = market.read(
        "SELECT t.size, q.bid FROM trades t ASOF LEFT JOIN quotes q ON t.symbol = q.symbol AND t.ts < q.ts "
        "WHERE t.trade_date = '2024-03-12' ORDER BY 1",
        to="arrow",
    )
    assert found.column("bid").to_pylist() == [3.0, 4.0, 12.0, 20.0, None]


def test_moving_quotes_changes_nothing(market):
    before = joined(market)
    for source, target, where in (
        ("any", "warm", "symbol = 'A'"),
        ("any", "hot", "symbol = 'B'"),
        ("any", "cold", "true"),
    ):
        market.migrate("quotes", source, target, where=where)
        assert joined(market) == before == FIRST
