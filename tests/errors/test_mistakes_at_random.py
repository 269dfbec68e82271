"""Queries broken at random: whatever is wrong with them is told, and never by anything else than our errors."""

from __future__ import annotations

import random

import pytest
from telling import INTERNALS, pictured, ticks

import quantstore as qs
from quantstore.errors import QuantStoreError
from quantstore.query.mistakes.places import words

SEEDS = 8
CHANGES = 60
QUERIES = """
SELECT t.ts, t.price - q.price AS d FROM trades t ASOF JOIN quotes q ON t.symbol = q.symbol AND t.ts >= q.ts
WHERE t.size > 1 ORDER BY 1 LIMIT 5;
WITH c AS (SELECT symbol, date_trunc('hour', ts) AS h, sum(price * size) / sum(size) AS vwap FROM trades GROUP BY ALL)
SELECT * FROM c WHERE vwap > 1;
SELECT symbol, avg(price) OVER (PARTITION BY symbol ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS m
FROM quotes QUALIFY row_number() OVER (ORDER BY ts) < 3;
SELECT time_bucket(INTERVAL '1 minute', ts) AS b, first(price ORDER BY ts), max(price) FROM trades
GROUP BY b HAVING max(price) > 0;
SELECT * EXCLUDE (size) REPLACE (price * 2 AS price) FROM naive
WHERE ts BETWEEN '2026-01-05' AND TIMESTAMP '2026-01-06';
SELECT strftime(ts AT TIME ZONE 'America/New_York', '%H:%M') AS t, CAST(price AS INTEGER) FROM trades
WHERE symbol IN ('AAPL', 'MSFT');
PIVOT quotes ON symbol IN ('AAPL', 'MSFT') USING sum(price) GROUP BY ts;
SELECT first( ORDER BY ts) FROM trades;
FROM trades SELECT symbol, count(*) FILTER (price > 1) AS n GROUP BY symbol UNION ALL SELECT symbol, size FROM quotes
""".strip().split(";\n")
SIGNS = [")", "(", ";", "'", '"', ",", "é", "--", "::", "\n\t"]
POOL = sorted({sql[one.start : one.end] for sql in QUERIES for one in words(sql)})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Tables in each tier and of each kind of time."""
    with qs.open(tmp_path_factory.mktemp("random") / "s") as opened:
        opened.write(ticks(unit="ns"), "trades")
        opened.write(ticks(), "quotes", "cold")
        opened.write(ticks(zone=None, unit="ns"), "naive", "warm")
        yield opened


def broken(rng):
    """A query with a word or two gone, misspelt, taken for another or followed by something."""
    sql = rng.choice(QUERIES)
    for _ in range(rng.choice([1, 1, 2])):
        found = words(sql)
        if not found:
            break
        one = rng.choice(found)
        text = sql[one.start : one.end]
        at = rng.randrange(len(text))
        changed = rng.choice(
            [
                "",
                rng.choice(POOL),
                text[:at] + text[at + 1 :],
                text[:at] + text[at : at + 2][::-1] + text[at + 2 :],
                text + rng.choice(SIGNS),
            ]
        )
        sql = sql[: one.start] + changed + sql[one.end :]
    return sql


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_is_wrong_is_told(store, seed):
    rng, told = random.Random(seed), []
    for _ in range(CHANGES):
        sql = broken(rng)
        try:
            store.read(sql, to="arrow")
        except QuantStoreError as error:
            told.append((sql, error))
    for sql, error in told:
        assert not INTERNALS.search(str(error)), sql
        assert str(store.metadata_catalog.path.parent) not in str(error), sql
    placed = [(sql, error) for sql, error in told if "line" in error.context]
    for sql, error in placed:
        pictured(error)
        assert error.context["line"] <= sql.count("\n") + 1
    assert len(told) > CHANGES / 2
    assert len(placed) > 0.8 * len(told)
