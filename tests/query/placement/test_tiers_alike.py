"""What one tier's way to the engine could answer otherwise than another's."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

TIERS = ("hot", "warm", "cold")
NEW_YORK = "America/New_York"


@pytest.fixture
def thrice(store):
    """The same rows in a table of each tier: floats of all kinds, stamps with nanoseconds, nulls."""
    stamps = pa.array([1_730_707_380_000_000_999 + at * 1001 for at in range(6)])
    rows = pa.table(
        {
            "ts": stamps.cast(pa.timestamp("ns", NEW_YORK)),
            "symbol": ["A", "B", None, "A", "B", "C"],
            "mark": [math.nan, -1.0, -0.0, -5.0, None, -2.0],
            "depth": [[1.0, math.nan], [2.0], [], None, [3.0], [4.0]],
            "size": [1, 2, 3, None, 5, 6],
        }
    )
    for tier in TIERS:
        store.write(rows, tier, tier)
    return store


def alike(store, select: str) -> list[object]:
    """Return the first column of an answer that is the same for every tier; `{}` stands for the table."""
    found = [sorted(store.read(select.format(tier), to="arrow").column(0).to_pylist(), key=repr) for tier in TIERS]
    assert repr(found[0]) == repr(found[1]) == repr(found[2]), select
    return found[0]


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("mark > 0", 1),
        ("mark >= 'inf'::DOUBLE", 1),
        ("mark = 'nan'::DOUBLE", 1),
        ("mark < 5", 4),
        ("mark <> -1", 4),
        ("mark BETWEEN -1 AND 'nan'::DOUBLE", 3),
        ("NOT (mark <= -1)", 2),
        ("mark IN (2, 'nan'::DOUBLE)", 1),
        ("mark > -1 OR symbol IS NULL", 2),
    ],
)
def test_nan_is_the_greatest_number_in_every_tier(thrice, condition, rows):
    """Bounds in files leave NaN out, so files must not be judged by them."""
    assert alike(thrice, f"SELECT count(*) FROM {{}} WHERE {condition}") == [rows]
    assert repr(alike(thrice, "SELECT max(mark) FROM {}")) == "[nan]"
    assert alike(thrice, "SELECT min(mark) FROM {}") == [-5.0]


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("ts IN ('2024-11-04 08:03:00.000000999Z', '2024-11-04 08:03:00.000002Z', '2024-11-04 08:03:00.000004Z')", 2),
        ("ts = '2024-11-04 08:03:00.000002Z'", 1),
        ("ts > '2024-11-04 08:03:00.000002Z' AND ts <= '2024-11-04 08:03:00.000004002Z'", 2),
        ("ts BETWEEN '2024-11-04 08:03:00.000000999Z' AND '2024-11-04 08:03:00.000002Z'", 2),
        ("symbol IS DISTINCT FROM 'A' OR symbol = 'B'", 4),
        ("NOT (symbol IS NOT DISTINCT FROM 'A') OR size IS NOT DISTINCT FROM NULL", 5),
        ("size IN (1, 2, NULL) OR symbol IS NULL", 3),
    ],
)
def test_conditions_mean_the_same_in_every_tier(thrice, condition, rows):
    """Down to the nanosecond, and whatever comparisons a scan can take over."""
    assert alike(thrice, f"SELECT count(*) FROM {{}} WHERE {condition}") == [rows]


def test_the_last_row_of_each_group_between_two_stamps(thrice):
    """Filters below a window for the first rows of each group."""
    between = (
        "ts BETWEEN '2024-11-04 08:03:00.000001Z' AND '2024-11-04 08:03:00.000004002Z' AND size + 1 BETWEEN 2 AND 9"
    )
    last = f"SELECT size FROM {{}} WHERE {between} QUALIFY row_number() OVER (PARTITION BY symbol ORDER BY ts DESC) = 1"
    assert alike(thrice, last) == [2, 3]


def test_pivots_whose_columns_are_found_in_the_data(thrice):
    for tier in TIERS:
        pivot = f"PIVOT (SELECT symbol, size, trade_date AS day FROM {tier}) ON symbol USING sum(size) GROUP BY day"
        assert thrice.read(pivot, to="arrow").drop_columns(["day"]).to_pylist() == [{"A": 1, "B": 7, "C": 6}]


@pytest.mark.parametrize(
    "expression", ["{'at': ts}", "[ts]", "[{'at': [ts], 'n': size}]", "list(ts) OVER ()", "max(ts) OVER ()"]
)
def test_instants_in_lists_and_structs_keep_their_zone(thrice, expression):
    for tier in TIERS:
        found = thrice.read(f"SELECT {expression} AS x FROM {tier}", to="arrow").schema.field("x").type
        assert f"timestamp[ns, tz={NEW_YORK}]" in str(found)
