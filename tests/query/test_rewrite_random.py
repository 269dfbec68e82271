"""Random statements: nanoseconds counted as nanoseconds give what the engine gives when it counts them as microseconds.

The engine is exact in microseconds. A copy of the tables whose counts of nanoseconds are read as microseconds, asked
with intervals a thousand times as long, is an oracle for everything that compares, moves, chooses and orders stamps.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import duckdb
import pyarrow as pa
import pytest
from test_rewrite_engine import _connect, _rewritten, _table

Sql = tuple[str, str]
"""A piece of SQL for the tables and the same for the oracle."""

ZONED, NAIVE = ("x.ts", "x.b", "x.us"), ("x.nn", "x.un")
OPERATORS = ("=", "<>", "<", "<=", ">", ">=")


class Grammar:
    """Makes random SQL over tables x and y."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def statement(self) -> Sql:
        """Return a query."""
        return self._one_of(
            lambda: _join("SELECT {} AS a, {} AS b FROM x", self.stamp(3), self.condition(3)),
            lambda: _join("SELECT i FROM x WHERE {}", self.condition(3)),
            lambda: _join(
                "SELECT s, min({}) AS a, arg_max(i, {}) AS b, count(DISTINCT {}) AS c, quantile_disc({}, 0.5) AS d "
                "FROM x GROUP BY s",
                *(self.stamp(2) for _ in range(4)),
            ),
            lambda: _join(
                "SELECT i, lag({}) OVER (PARTITION BY s ORDER BY i) AS a, lead({}, 1, {}) OVER (ORDER BY i) AS b, "
                "rank() OVER (ORDER BY {}) AS c FROM x",
                self.stamp(2), self.zoned(1), self.zoned(1), self.stamp(2),
            ),
            lambda: _join(
                f"SELECT x.i, q.i AS j FROM x JOIN (SELECT i, s, {{}} AS q FROM x) AS q ON x.s = q.s AND "
                f"{self._pick(ZONED + NAIVE)} {self._pick(OPERATORS)} q.q",
                self.stamp(2),
            ),
            lambda: _join("SELECT {} AS a FROM x UNION SELECT {} FROM x", self.stamp(2), self.stamp(2)),
            lambda: _join(
                "WITH q AS (SELECT i, {} AS a, {} AS b FROM x) "
                "SELECT x.i, greatest(a, b) AS c, a < b AS d, a + {} AS e FROM q AS x",
                self.stamp(2), self.stamp(2), self.interval(),
            ),
        )  # fmt: skip

    def stamp(self, depth: int) -> Sql:
        """Return an instant or a wall-clock time."""
        return self._one_of(lambda: self.zoned(depth), lambda: self.zoned(depth), lambda: self.naive(depth))

    def zoned(self, depth: int) -> Sql:
        """Return an instant."""
        if depth == 0:
            return self._plain(ZONED)
        zoned, stamp = (lambda: self.zoned(depth - 1)), (lambda: self.stamp(depth - 1))
        return self._one_of(
            lambda: _join("({} + {})", zoned(), self.interval()),
            lambda: _join("({} - {})", zoned(), self.interval()),
            lambda: _join("({} AT TIME ZONE 'UTC')", self.naive(depth - 1)),
            lambda: _join("coalesce({}, {})", zoned(), stamp()),
            lambda: _join("CASE WHEN {} THEN {} ELSE {} END", self.condition(depth - 1), zoned(), stamp()),
            lambda: _join("greatest({}, {})", zoned(), stamp()),
            lambda: _join("least({}, {})", stamp(), zoned()),
            lambda: _join("nullif({}, {})", zoned(), stamp()),
            lambda: _join("[{}, {}][1]", zoned(), stamp()),
            lambda: _join("({{'q': {}}}).q", zoned()),
            lambda: _join(f"(SELECT max(y.{self._pick(('ts', 'b', 'us'))}) FROM y WHERE y.s = x.s)"),
            lambda: self._plain(ZONED),
        )

    def naive(self, depth: int) -> Sql:
        """Return a wall-clock time."""
        if depth == 0:
            return self._plain(NAIVE)
        naive = lambda: self.naive(depth - 1)  # noqa: E731 - as short as its uses
        return self._one_of(
            lambda: _join("({} + {})", naive(), self.interval()),
            lambda: _join("({} AT TIME ZONE 'UTC')", self.zoned(depth - 1)),
            lambda: _join("if({}, {}, {})", self.condition(depth - 1), naive(), naive()),
            lambda: _join("nullif({}, {})", naive(), self.stamp(depth - 1)),
            lambda: self._plain(NAIVE),
        )

    def condition(self, depth: int) -> Sql:
        """Return a condition."""
        if depth == 0:
            return self._plain(("x.i > 20", "x.s = 'S1'", "x.ts IS NULL"))
        stamp = lambda: self.stamp(depth - 1)  # noqa: E731 - as short as its uses
        operator, member = self._pick(OPERATORS), self._pick(("IN", "NOT IN"))
        return self._one_of(
            lambda: _join(f"({{}} {operator} {{}})", stamp(), stamp()),
            lambda: _join("({} BETWEEN {} AND {})", stamp(), stamp(), stamp()),
            lambda: _join(f"({{}} {member} ({{}}, {{}}))", stamp(), stamp(), stamp()),
            lambda: _join(f"({{}} {member} (SELECT y.{self._pick(('ts', 'us', 'nn'))} FROM y))", stamp()),
            lambda: _join("({} IS DISTINCT FROM {})", stamp(), stamp()),
            lambda: _join("(CASE {} WHEN {} THEN 1 ELSE 0 END = 1)", stamp(), stamp()),
            lambda: _join("(NOT {})", self.condition(depth - 1)),
        )

    def interval(self) -> Sql:
        """Return an interval, fixed or of a length from the data."""
        count, unit = self._random.randrange(1, 90), self._pick(("SECOND", "MINUTE", "HOUR", "DAY"))
        if self._random.random() < 0.5:
            return f"INTERVAL {count} {unit}", f"INTERVAL {count * 1000} {unit}"
        return f"INTERVAL (x.i + {count}) {unit}", f"INTERVAL ((x.i + {count}) * 1000) {unit}"

    def _plain(self, texts: tuple[str, ...]) -> Sql:
        return _join(self._pick(texts))

    def _pick(self, texts: tuple[str, ...]) -> str:
        return self._random.choice(texts)

    def _one_of(self, *makers: Callable[[], Sql]) -> Sql:
        return self._random.choice(makers)()


def _join(template: str, *parts: Sql) -> Sql:
    return template.format(*(one for one, _ in parts)), template.format(*(other for _, other in parts))


def _counted_as_microseconds(table: pa.Table) -> pa.Table:
    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_timestamp(field.type):
            fine = column.cast(pa.timestamp("ns", field.type.tz)).cast(pa.int64())
            column = fine.cast(pa.timestamp("us", "UTC" if field.type.tz else None))
        columns.append(column)
    return pa.table(columns, names=table.schema.names)


def _counts(table: pa.Table, unit: str) -> list[str]:
    columns = [
        (column if unit == "us" else column.cast(pa.timestamp("ns", field.type.tz))).cast(pa.int64()).to_pylist()
        if pa.types.is_timestamp(field.type)
        else column.to_pylist()
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    return sorted(repr(row) for row in zip(*columns, strict=True))


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[duckdb.DuckDBPyConnection, duckdb.DuckDBPyConnection]]:
    """The fine tables, and the oracle's."""
    fine = _table(nanoseconds=True, digits=True)
    oracle = _counted_as_microseconds(fine)
    with _connect(x=fine, y=fine) as tables, _connect(x=oracle, y=oracle) as counted:
        yield tables, counted


@pytest.mark.parametrize("seed", range(120))
def test_random_statements_agree_with_the_oracle(
    seed: int, engines: tuple[duckdb.DuckDBPyConnection, duckdb.DuckDBPyConnection]
) -> None:
    fine = _table(nanoseconds=True, digits=True)
    given, asked = Grammar(seed).statement()
    sql = _rewritten(given, x=fine, y=fine).tree.sql("duckdb")
    assert _counts(engines[0].sql(sql).to_arrow_table(), "ns") == _counts(
        engines[1].sql(asked).to_arrow_table(), "us"
    ), given
