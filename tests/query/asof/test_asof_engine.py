"""The engine's published cases of as-of joins, stated anew, over rows scattered over segments and tiers."""

from __future__ import annotations

import math

import duckdb
import pyarrow as pa
import pytest
from scattered_tables import answer, in_order, scatter

import quantstore as qs
from quantstore.errors import InvalidInputError

N = None


def hours(*values: int | None) -> pa.Array:
    """Return hours of a day as naive stamps; the largest stamp there is where the hour is 99, the smallest at -99."""
    edges = {99: 9_223_372_036_854_775_807, -99: -9_223_372_036_854_775_807}
    numbers = [None if one is None else edges.get(one, one * 3_600_000_000) for one in values]
    return pa.array(numbers, pa.int64()).cast(pa.timestamp("us"))


TABLES = {
    "events": {"begin": pa.array([2.0, 5.0, 9.0, 12.0]), "value": pa.array([0, 1, 2, 3])},
    "probes": {"t": pa.array([float(number) for number in range(0, 14, 2)])},
    "whole": {"begin": pa.array([N, 1, 4, 7, 9, 999_999], pa.int32()), "value": pa.array([-1, 0, 1, 2, 3, 9])},
    "asked": {"begin": pa.array(range(10), pa.int32())},
    "words": {"begin": pa.array([N, "b", "d", "g", "zz"]), "value": pa.array([-1, 0, 1, 2, 9])},
    "letters": {"begin": pa.array(list("abcdefgh"))},
    "stamped": {"begin": hours(13, 14, 15, 16, N, 99, -99), "value": pa.array([0, 1, 2, 3, -10, 9, -1])},
    "clock": {"begin": hours(12, 13, 15, 17, N, 99)},
    "keyed": {
        "key": pa.array([1, 1, 1, 1, 2, 2, 2]),
        "begin": pa.array([1.0, 3.0, 6.0, 8.0, 0.0, 7.0, 11.0]),
        "value": pa.array([0, 1, 2, 3, 10, 20, 30]),
    },
    "asking": {"key": pa.array([1, 1, 2, 2, 3, N]), "t": pa.array([0.0, 7.0, 5.0, 9.0, 5.0, 5.0])},
    "nulls_left": {
        "id": pa.array([1, 2, 3, 4]),
        "name": pa.array([N, N, "A", "A"]),
        "venue": pa.array([1, 1, N, 1]),
        "t": pa.array([5, 1, 5, N]),
    },
    "nulls_right": {
        "id": pa.array([10, 20, 30]),
        "name": pa.array([N, "A", "A"]),
        "venue": pa.array([1, N, 1]),
        "t": pa.array([3, 3, 3]),
    },
    "gaps": {"no": pa.array(range(1, 9)), "amount": pa.array([1.0, N, N, 2.0, N, 3.0, N, 5.0])},
    "spans": {"low": pa.array([5, 10, 14, 21]), "high": pa.array([9, 13, 20, 23])},
    "orders": {
        "id": pa.array([1, 2, 3]), "t": hours(10, 12, 14), "name": pa.array(["A", "A", "B"]),
        "price": pa.array([150.0, 151.0, 380.0]),
    },
    "bids": {
        "id": pa.array([1, 2, 3]), "t": hours(9, 11, 13), "name": pa.array(["A", "A", "B"]),
        "bid": pa.array([149.5, 150.5, 379.0]), "active": pa.array([True, False, True]),
    },
    "nested": {
        "t": pa.array([1, 1, 1]), "pair": pa.array([{"s": "A", "x": 1}, {"s": "B", "x": 2}, {"s": "A", "x": 2}]),
        "list": pa.array([[1, 0], [2, 0], [1, 0]]), "value": pa.array([42, 55, 43]),
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=range(2))
def scattered(request, tmp_path_factory):
    """All tables, placed in two ways."""
    with qs.open(tmp_path_factory.mktemp("scattered") / "store") as store:
        for name, columns in TABLES.items():
            scatter(store, name, pa.table(columns), seed=request.param)
        scatter(store, "empty", pa.table({name: column.slice(0, 0) for name, column in TABLES["events"].items()}))
        yield store


@pytest.fixture(scope="module")
def plain():
    """The same tables in DuckDB as it comes."""
    with duckdb.connect() as engine:
        for name, columns in TABLES.items():
            engine.register(f"{name}_rows", pa.table(columns))
            engine.execute(f"CREATE TABLE {name} AS FROM {name}_rows")
        engine.execute("CREATE TABLE empty AS FROM events LIMIT 0")
        yield engine


E0, E1, E2, E3 = (2.0, 0), (4.0, 0), (6.0, 1), (8.0, 1)
INNER = [E0, E1, E2, E3, (10.0, 2), (12.0, 3)]
CASES = {
    "inner": ("SELECT t, value FROM probes ASOF JOIN events ON t >= begin", INNER),
    "using": (
        "SELECT begin, value FROM asked ASOF JOIN whole USING (begin)",
        [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 1), (7, 2), (8, 2), (9, 3)],
    ),
    "left": ("SELECT t, value FROM probes ASOF LEFT JOIN events ON t >= begin", [(0.0, N), *INNER]),
    "left using": (
        "SELECT begin, value FROM asked ASOF LEFT JOIN whole USING (begin) WHERE begin < 3",
        [(0, N), (1, 0), (2, 0)],
    ),
    "right": (
        "SELECT p.begin, e.value FROM (FROM asked WHERE begin < 5) p ASOF RIGHT JOIN whole e ON p.begin >= e.begin",
        [(1, 0), (2, 0), (3, 0), (4, 1), (N, -1), (N, 2), (N, 3), (N, 9)],
    ),
    "semi": ("SELECT t FROM probes ASOF SEMI JOIN events ON t >= begin", [(row[0],) for row in INNER]),
    "anti": ("SELECT t FROM probes ASOF ANTI JOIN events ON t >= begin", [(0.0,)]),
    "constant equality": ("SELECT t, value FROM probes ASOF JOIN events ON 1 = 1 AND t >= begin", INNER),
    "texts": (
        "SELECT l.begin, value FROM letters l ASOF LEFT JOIN words w ON l.begin >= w.begin",
        [("a", N), ("b", 0), ("c", 0), ("d", 1), ("e", 1), ("f", 1), ("g", 2), ("h", 2)],
    ),
    "keys": (
        "SELECT p.key, t, value FROM asking p ASOF JOIN keyed e ON p.key = e.key AND t >= begin",
        [(1, 7.0, 2), (2, 5.0, 10), (2, 9.0, 20)],
    ),
    "keys left": (
        "SELECT p.key, t, value FROM asking p ASOF LEFT JOIN keyed e ON p.key = e.key AND t >= begin",
        [(1, 0.0, N), (1, 7.0, 2), (2, 5.0, 10), (2, 9.0, 20), (3, 5.0, N), (N, 5.0, N)],
    ),
    "keys right": (
        "SELECT p.key, t, value FROM asking p ASOF RIGHT JOIN keyed e ON p.key = e.key AND t >= begin",
        [(1, 7.0, 2), (2, 5.0, 10), (2, 9.0, 20), (N, N, 0), (N, N, 1), (N, N, 3), (N, N, 30)],
    ),
    "null keys alike": (
        (
            "SELECT l.id, r.id AS found FROM nulls_left l ASOF LEFT JOIN nulls_right r "
            "ON l.name IS NOT DISTINCT FROM r.name AND l.venue = r.venue AND l.t >= r.t"
        ),
        [(1, 10), (2, N), (3, N), (4, N)],
    ),
    "null keys forward": (
        (
            "SELECT l.id, r.id AS found FROM nulls_left l ASOF JOIN nulls_right r "
            "ON l.name IS NOT DISTINCT FROM r.name AND l.venue = r.venue AND l.t <= r.t"
        ),
        [(2, 10)],
    ),
    "null value is a value": (
        "SELECT a.no, b.amount FROM gaps a ASOF JOIN gaps b ON a.no >= b.no AND a.no <> 99 WHERE a.no < 4",
        [(1, 1.0), (2, N), (3, N)],
    ),
    "nulls left out before": (
        "SELECT a.no, b.amount FROM gaps a ASOF JOIN (FROM gaps WHERE amount IS NOT NULL) b ON a.no >= b.no",
        [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0), (6, 3.0), (7, 3.0), (8, 5.0)],
    ),
    "offset and a filter after": (
        "SELECT a.low, b.low AS found FROM spans a ASOF JOIN spans b ON b.high >= (a.high - 5) WHERE a.low <> b.low",
        [(10, 5), (21, 14)],
    ),
    "forward over a filter": (
        "SELECT a.low, b.low AS next FROM spans a ASOF LEFT JOIN spans b ON a.low < b.low WHERE next BETWEEN 11 AND 20",
        [(10, 14)],
    ),
    "struct keys": (
        "SELECT l.pair.s, r.value FROM nested l ASOF JOIN nested r ON l.pair = r.pair AND l.t >= r.t",
        [("A", 42), ("A", 43), ("B", 55)],
    ),
    "list keys": (
        "SELECT DISTINCT l.list FROM nested l ASOF JOIN nested r ON l.list = r.list AND l.t >= r.t",
        [([1, 0],), ([2, 0],)],
    ),
    "in a condition": (
        "SELECT begin, value IN (SELECT e.value FROM events e ASOF JOIN probes p ON e.begin >= p.t) FROM events",
        [(2.0, True), (5.0, True), (9.0, True), (12.0, True)],
    ),
    "set operations": (
        (
            "SELECT * FROM (SELECT t FROM probes EXCEPT ALL SELECT begin FROM empty) p "
            "ASOF LEFT JOIN (SELECT begin FROM events INTERSECT ALL SELECT begin FROM events) e ON p.t >= e.begin "
            "WHERE t > 9"
        ),
        [(10.0, 9.0), (12.0, 12.0)],
    ),
    "no right rows": ("SELECT p.t, e.value FROM probes p ASOF JOIN empty e ON p.t >= e.begin", []),
    "no right rows, left": (
        "SELECT p.t, e.value FROM probes p ASOF LEFT JOIN empty e ON p.t >= e.begin WHERE p.t < 3",
        [(0.0, N), (2.0, N)],
    ),
    "no left rows": ("SELECT e.value FROM empty p ASOF LEFT JOIN events e ON p.begin >= e.begin", []),
    "no left rows, right": (
        "SELECT p.value, e.value AS found FROM empty p ASOF RIGHT JOIN events e ON p.begin >= e.begin",
        [(N, 0), (N, 1), (N, 2), (N, 3)],
    ),
    "pruned right rows": (
        (
            "SELECT p.t, e.value FROM probes p ASOF LEFT JOIN (FROM events WHERE trade_date > '2999-01-01') e "
            "ON p.t >= e.begin WHERE p.t < 3"
        ),
        [(0.0, N), (2.0, N)],
    ),
}


IS_NEWER = not duckdb.__version__.startswith("1.")
NEWER = {"null keys alike", "null keys forward", "set operations"}
"""Cases that DuckDB 1.5 answers wrongly or not at all, over tables of its own as well."""


@pytest.mark.parametrize("case", [case for case in CASES if IS_NEWER or case not in NEWER])
def test_published_cases(scattered, plain, case):
    sql, wanted = CASES[case]
    assert answer(scattered, sql) == in_order(wanted)
    if "trade_date" not in sql:
        assert in_order(plain.execute(sql).fetchall()) == in_order(wanted)


LATE = "late"
BY_OPERATOR = {
    (">=", ""): [(12, -1), (13, 0), (15, 2), (17, 3), (LATE, 9)],
    (">", ""): [(12, -1), (13, -1), (15, 1), (17, 3), (LATE, 3)],
    ("<=", ""): [(12, 0), (13, 0), (15, 2), (17, 9), (LATE, 9)],
    ("<", ""): [(12, 0), (13, 1), (15, 3), (17, 9)],
    (">=", "LEFT"): [(12, -1), (13, 0), (15, 2), (17, 3), (LATE, 9), (N, N)],
    ("<", "LEFT"): [(12, 0), (13, 1), (15, 3), (17, 9), (LATE, N), (N, N)],
    (">=", "RIGHT"): [(12, -1), (13, 0), (15, 2), (17, 3), (LATE, 9), (N, -10), (N, 1)],
    (">", "RIGHT"): [(12, -1), (13, -1), (15, 1), (17, 3), (LATE, 3), (N, -10), (N, 0), (N, 2), (N, 9)],
    ("<=", "RIGHT"): [(12, 0), (13, 0), (15, 2), (17, 9), (LATE, 9), (N, -10), (N, -1), (N, 1), (N, 3)],
    ("<", "RIGHT"): [(12, 0), (13, 1), (15, 3), (17, 9), (N, -10), (N, -1), (N, 2)],
}


@pytest.mark.parametrize(("operator", "side"), BY_OPERATOR)
def test_every_inequality_with_nulls_and_infinite_stamps(scattered, operator, side):
    sql = (
        f"SELECT CASE WHEN isinf(p.begin) THEN 99 ELSE hour(p.begin) END AS h, e.value FROM clock p ASOF {side} JOIN "
        f"stamped e ON p.begin {operator} e.begin"
    )
    wanted = [(99 if hour is LATE else hour, value) for hour, value in BY_OPERATOR[operator, side]]
    assert answer(scattered, sql) == in_order(wanted)


@pytest.mark.skipif(not IS_NEWER, reason="DuckDB 1.5 looks at further conditions too late, or fails")
@pytest.mark.parametrize(
    ("condition", "inner", "left"),
    [
        ("b.active", [(1, 1), (2, 1), (3, 3)], []),
        ("o.price > 150", [(2, 2), (3, 3)], [(1, N)]),
        ("o.price > 150 AND b.active", [(2, 1), (3, 3)], [(1, N)]),
        ("true", [(1, 1), (2, 2), (3, 3)], []),
        ("false", [], [(1, N), (2, N), (3, N)]),
        ("o.price + b.bid > 300", [(2, 2), (3, 3)], [(1, N)]),
    ],
)
def test_further_conditions_in_on(scattered, plain, condition, inner, left):
    """They say which rows can be found at all."""
    for side, wanted in (("", inner), ("LEFT", [*left, *inner])):
        on = f"o.name = b.name AND o.t >= b.t AND {condition}"
        sql = f"SELECT o.id, b.id AS found FROM orders o ASOF {side} JOIN bids b ON {on}"
        assert answer(scattered, sql) == in_order(wanted)
        assert in_order(plain.execute(sql).fetchall()) == in_order(wanted)


@pytest.mark.parametrize(
    "condition", ["p.t <> e.begin", "p.t = e.begin", "p.t >= e.begin AND p.t >= e.value", "e.value = 1"]
)
def test_as_of_needs_one_inequality(scattered, condition):
    with pytest.raises(InvalidInputError, match="ASOF JOIN"):
        scattered.read(f"SELECT p.t, e.value FROM probes p ASOF JOIN events e ON {condition}")


@pytest.mark.parametrize("rows", [3, 63, 64, 65, 400])
def test_few_rows_and_many_are_joined_alike(store, rows):
    """The engine takes other ways for few rows on the left."""
    build = {
        "k": pa.array([at % 5 for at in range(600)]),
        "t": pa.array(range(600)),
        "v": pa.array([at % 37 for at in range(600)]),
    }
    probe = {"k": pa.array([at % 7 for at in range(rows)]), "t": pa.array([(at * 29) % 650 for at in range(rows)])}
    for name, columns in (("build", build), ("probe", probe)):
        table = pa.table(
            {"ts": pa.array([at * 1_000 for at in range(len(columns["t"]))]).cast(pa.timestamp("ms")), **columns}
        )
        for part in range(3):
            store.write(table.take(pa.array(range(part, table.num_rows, 3))), name, ("hot", "warm", "cold")[part])
    wanted = 0
    for key, at in zip(probe["k"].to_pylist(), probe["t"].to_pylist(), strict=True):
        found = [row for row in range(min(at, 599) + 1) if row % 5 == key]
        wanted += found[-1] % 37 if found else 0
    joined = store.read("SELECT sum(v) AS s FROM probe ASOF JOIN build USING (k, t)", to="arrow")
    assert joined.column("s").to_pylist() == [wanted]
    assert not math.isnan(wanted)
