"""The first rows of outer joins, nulls first: the engine's shortcut to them goes wrong over several files."""

from __future__ import annotations

import pyarrow as pa
import pytest

DAYS = 6
JOINS = ("FULL JOIN", "LEFT JOIN", "RIGHT JOIN")


@pytest.fixture
def numbered(store):
    """Two tables of the same rows, in one file for each day and tiers by turns."""
    for table in ("a", "b"):
        for day in range(DAYS):
            stamps = pa.array([day * 86_400_000_000 + at for at in range(60)]).cast(pa.timestamp("us", "UTC"))
            rows = pa.table({"ts": stamps, "v": [day * 10] * 60, "k": list(range(day * 60, day * 60 + 60))})
            store.write(rows, table, ("warm", "cold", "warm", "hot")[day % 4], on_repeat="append")
    return store


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("column", ["a.v", "b.v"])
def test_rows_without_partner_are_not_invented(numbered, join, column):
    for direction in ("", "DESC "):
        ordered = (
            f"SELECT a.k, b.k AS l FROM a {join} b ON a.k = b.k ORDER BY {column} {direction}NULLS FIRST, "
            "a.k NULLS LAST, b.k NULLS LAST"
        )
        whole = numbered.read(ordered, to="arrow")
        assert None not in whole.column("k").to_pylist() + whole.column("l").to_pylist()
        for limit, first in (
            ("LIMIT 9", 0),
            ("LIMIT $n OFFSET 4", 4),
            ("FETCH FIRST 9 ROWS ONLY", 0),
            ("LIMIT 4 + 5", 0),
        ):
            params = {"n": 9} if "$n" in limit else None
            for _ in range(3):
                found = numbered.read(f"{ordered} {limit}", params=params, to="arrow")
                assert found == whole.slice(first, 9), (ordered, limit)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM (SELECT b.k, a.v AS m FROM b LEFT JOIN a ON a.k = b.k) ORDER BY m NULLS FIRST, k",
        "SELECT k, m FROM a LEFT JOIN LATERAL (SELECT v AS m FROM b WHERE k = a.k) ON true ORDER BY 2 NULLS FIRST, 1",
        "WITH q AS (SELECT b.k, a.v AS m FROM a RIGHT JOIN b USING (k)) SELECT k, m FROM q ORDER BY m NULLS FIRST, k",
        "SELECT b.k, a.v AS m FROM b LEFT JOIN a USING (k) UNION ALL SELECT -1, 99 ORDER BY m DESC NULLS FIRST, k",
        "WITH q AS (FROM a) SELECT b.k, q.v FROM b LEFT JOIN q USING (k) UNION SELECT 0, 0 ORDER BY 2 NULLS FIRST, 1",
    ],
)
def test_the_join_may_stand_deeper(numbered, sql):
    whole = numbered.read(sql, to="arrow")
    for _ in range(5):
        assert numbered.read(f"{sql} LIMIT 7", to="arrow") == whole.slice(0, 7)
