"""Random statements over the tables of a world, each with one right answer wherever the rows lie."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from random_conditions import Alias, Conditions, Draw
from random_expressions import Expressions
from random_sources import Source, Sources
from random_worlds import World

_STAR = re.compile(r"«(\w+)\|([^»]*)»")


@dataclass(frozen=True)
class Statement:
    """A statement to ask.

    Attributes:
        text: SQL in which stars are marked.
        params: Values by name.
        ordered: Whether the order of rows is part of the answer.
        features: Words for what is in it.
    """

    text: str
    params: dict[str, Any]
    ordered: bool
    features: frozenset[str]

    @property
    def sql(self) -> str:
        """The statement as a user would write it."""
        return _STAR.sub(lambda star: f"{star[1]}.*", self.text)

    @property
    def plain(self) -> str:
        """The statement for an engine to which hidden columns are columns like others."""
        return _STAR.sub(lambda star: f"{star[1]}.* EXCLUDE ({star[2]})", self.text)


def make_statement(world: World, number: int) -> Statement:
    """Return the statement of that number about a world."""
    draw = Draw(random.Random(f"statement {world.seed} {number}"), world)
    text, ordered = Shapes(draw).any()
    params = {name: value for name, value in draw.params.items() if re.search(rf"\${name}\b", text)}
    return Statement(text, params, ordered, frozenset(draw.features))


class Shapes:
    """Makes whole statements."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._conditions = Conditions(draw)
        self._sources = Sources(draw, self._conditions)
        self._expressions = Expressions(draw, self._conditions)

    def any(self) -> tuple[str, bool]:
        """Return a statement and whether it fixes the order of its rows."""
        makers: tuple[Callable[[], tuple[str, bool]], ...] = (
            self.select, self.select, self.ordered, self.ordered, self.grouped, self.grouped, self.grouped,
            self.windows, self.windows, self.qualified, self.union, self.chained, self.recursive, self.pivot,
            self.unpivot, self.lists, self.buckets, self.correlated, self.newest, self.whole, self.shadowed,
            self.unqualified,
        )  # fmt: skip
        maker = self._draw.rng.choice(makers)
        self._draw.features.add(maker.__name__)
        return maker()

    def _where(self, source: Source, share: float = 0.85) -> str:
        parts = [source.where] if source.where else []
        if self._draw.chance(share):
            parts.append(self._conditions.where(*source.rows))
        return f" WHERE {' AND '.join(parts)}" if parts else ""

    def _columns(self, source: Source, count: int) -> str:
        values = [self._expressions.value(self._draw.rng.choice(source.rows)) for _ in range(count)] + list(source.more)
        return ", ".join(f"{value} AS c{at}" for at, value in enumerate(values))

    def select(self) -> tuple[str, bool]:
        """Return rows in no order."""
        source, draw = self._sources.any(), self._draw
        distinct = draw.pick("", "", "DISTINCT ")
        return f"SELECT {distinct}{self._columns(source, 4)} FROM {source.text}{self._where(source)}", False

    def ordered(self) -> tuple[str, bool]:
        """Return the first rows of a total order."""
        source, draw = self._sources.any(), self._draw
        limit = f" LIMIT {draw.rng.randrange(1, 60)}" + draw.pick("", f" OFFSET {draw.rng.randrange(9)}")
        order = self._expressions.value(source.rows[0])
        seqs = ", ".join(f"{one.seq} AS s{at}" for at, one in enumerate(source.rows))
        seqs = "" if draw.world.has_digits else f", {seqs}"  # the one-segment twin numbers its rows anew
        return (
            f"SELECT {self._columns(source, 3)}{seqs} FROM {source.text}{self._where(source)} "
            f"ORDER BY {order} {draw.pick('ASC', 'DESC')} NULLS {draw.pick('FIRST', 'LAST')}, {source.order}{limit}"
        ), True

    def grouped(self) -> tuple[str, bool]:
        """Return sums and the like of groups."""
        source, draw = self._sources.any(), self._draw
        keys = [self._expressions.key(draw.rng.choice(source.rows)) for _ in range(draw.rng.randrange(3))]
        values = [self._expressions.aggregate(source) for _ in range(3)] + [f"max({one})" for one in source.more]
        columns = [f"{key} AS k{at}" for at, key in enumerate(keys)]
        columns += [f"{one} AS v{at}" for at, one in enumerate(values)]
        numbers = ", ".join(f"k{at}" for at in range(len(keys)))
        group = ""
        if keys:
            group = " GROUP BY " + draw.pick(numbers, "ALL", f"ROLLUP ({numbers})", f"CUBE ({numbers})")
            group += draw.pick("", "", " HAVING count(*) > 1")
        return f"SELECT {', '.join(columns)} FROM {source.text}{self._where(source)}{group}", False

    def windows(self) -> tuple[str, bool]:
        """Return values over windows."""
        source = self._sources.any()
        values = ", ".join(f"{self._expressions.window(source)} AS w{at}" for at in range(3))
        return f"SELECT {self._columns(source, 1)}, {values} FROM {source.text}{self._where(source)}", False

    def qualified(self) -> tuple[str, bool]:
        """Return some rows of each group."""
        source, draw = self._sources.any(), self._draw
        rank = f"row_number() OVER (PARTITION BY {self._expressions.key(source.rows[0])} ORDER BY {source.order})"
        return (
            f"SELECT {self._columns(source, 3)} FROM {source.text}{self._where(source)} "
            f"QUALIFY {rank} {draw.pick('<= 2', '= 1', '% 5 = 0')}"
        ), False

    def union(self) -> tuple[str, bool]:
        """Return two answers put together, one taken from the other, or what they share."""
        draw = self._draw
        parts = []
        families = [draw.pick("stamp", "text", "whole") for _ in range(2)]
        for _ in range(draw.rng.choice((2, 2, 3))):
            source = self._sources.any()
            columns = [self._expressions.of(family, draw.rng.choice(source.rows)) for family in families]
            names = ", ".join(f"{one} AS u{at}" for at, one in enumerate(columns))
            parts.append(f"SELECT {names} FROM {source.text}{self._where(source)}")
        words = ("UNION", "UNION ALL", "EXCEPT", "EXCEPT ALL", "INTERSECT", "INTERSECT ALL", "UNION ALL BY NAME")
        word = draw.pick(*words)
        return f" {word} ".join(f"({part})" for part in parts), False

    def chained(self) -> tuple[str, bool]:
        """Return an answer by way of common table expressions."""
        source, draw = self._sources.any(), self._draw
        keep = draw.pick("", "MATERIALIZED ", "NOT MATERIALIZED ")
        key, value = self._expressions.key(source.rows[0]), self._expressions.number(source.rows[-1])
        b = draw.alias()
        text = b("symbol") if b.table.symbol else b("venue")
        return (
            f"WITH a AS {keep}(SELECT {key} AS k, {value} AS v, {source.rows[0].time} AS t FROM {source.text}"
            f"{self._where(source)}), b AS (SELECT k, count(*) AS n, sum(v) AS s, max(t) AS m FROM a GROUP BY k) "
            f"SELECT a.k, a.v, b.n, b.s, b.m - a.t AS d, (SELECT count(*) FROM {b.table.name} {b.name} "
            f"WHERE {text} = a.k::VARCHAR AND {self._conditions.pruning(b)}) AS c "
            f"FROM a JOIN b ON a.k IS NOT DISTINCT FROM b.k"
        ), False

    def recursive(self) -> tuple[str, bool]:
        """Return a walk from stamp to stamp."""
        draw = self._draw
        a, b = draw.alias(), draw.alias()
        step = draw.rng.randrange(5, 200)
        draw.features.add("join")
        return (
            f"WITH RECURSIVE walk AS (SELECT 1 AS n, min({a.time}) AS t FROM {a.table.name} {a.name} WHERE "
            f"{self._conditions.pruning(a)} UNION ALL SELECT n + 1, (SELECT min({a.time}) FROM {a.table.name} {a.name} "
            f"WHERE {a.time} > walk.t + INTERVAL {step} MINUTE) FROM walk WHERE n < 7 AND t IS NOT NULL) "
            f"SELECT n, t, count({b.seq}) AS rows, min({b.time}) AS first FROM walk LEFT JOIN {b.table.name} {b.name} "
            f"ON {b.time} >= t GROUP BY n, t"
        ), False

    def pivot(self) -> tuple[str, bool]:
        """Return values as columns."""
        source, draw = self._sources.any(), self._draw
        a, b = source.rows[0], source.rows[-1]
        rows = (
            f"SELECT {self._expressions.key(a)} AS k, {self._expressions.number(b)} AS v, "
            f"coalesce(nullif({b('venue')}, ''), 'none') AS venue FROM {source.text}{self._where(source)}"
        )
        if draw.params or draw.chance(0.5):
            listed = "venue IN ('N' AS n, 'Q' AS q, 'none' AS z)"
            return f"SELECT * FROM ({rows}) PIVOT (sum(v) AS s, count(*) AS n FOR {listed} GROUP BY k)", False
        return f"PIVOT ({rows}) ON venue USING max(v) GROUP BY k", False

    def unpivot(self) -> tuple[str, bool]:
        """Return columns as rows."""
        source = self._sources.any()
        a, b = source.rows[0], source.rows[-1]
        columns = f"{self._expressions.number(a)}::DOUBLE AS x, {self._expressions.number(b)}::DOUBLE AS y"
        rows = f"SELECT {a.time} AS t, {columns} FROM {source.text}{self._where(source)}"
        nulls = self._draw.pick("", "INCLUDE NULLS ")
        return f"SELECT t, which, value FROM ({rows}) UNPIVOT {nulls}(value FOR which IN (x, y))", False

    def lists(self) -> tuple[str, bool]:
        """Return lists made of rows in their order, and what lambdas make of them."""
        source, draw = self._sources.any(), self._draw
        number, stamp = self._expressions.number(source.rows[0]), self._expressions.of("stamp", source.rows[-1])
        rows = (
            f"SELECT {self._expressions.key(source.rows[0])} AS k, list({number} ORDER BY {source.order}) AS l, "
            f"list({stamp} ORDER BY {source.order}) AS m FROM {source.text}{self._where(source)} GROUP BY k"
        )
        draw.features.add("lambda")
        return (
            f"SELECT k, list_transform(l, lambda e: e * 2 + 1) AS a, "
            f"list_filter(l, lambda e, i: e > 1 AND i % 2 = 0) AS b, list_sum(l) AS c, "
            f"len(list_filter(m, lambda e: e IS NOT NULL)) AS d, m[1] AS e, l[2:4] AS f, "
            f"list_reduce(list_filter(l, lambda e: e IS NOT NULL), lambda x, y: greatest(x, y), 0) AS g FROM ({rows})"
        ), False

    def buckets(self) -> tuple[str, bool]:
        """Return sums of spans of time, those without rows included."""
        source, draw = self._sources.any(), self._draw
        a = source.rows[0]
        first, width = draw.world.days[0], draw.pick("15 MINUTE", "1 HOUR", "6 HOUR", "1 DAY")
        zoned = "TIMESTAMPTZ" if a.is_zoned else "TIMESTAMP"
        rows = (
            f"SELECT time_bucket(INTERVAL {width}, {a.time}) AS t, count(*) AS n, "
            f"{self._expressions.aggregate(source)} AS v FROM {source.text}{self._where(source)} GROUP BY t"
        )
        if draw.chance(0.5):
            return rows, False
        draw.features |= {"join", "gaps"}
        return (
            f"SELECT g.t, r.n, r.v FROM generate_series({zoned} '{first}', {zoned} '{first}' + INTERVAL 3 DAY, "
            f"INTERVAL {width}) AS g(t) LEFT JOIN ({rows}) r ON r.t = g.t ORDER BY g.t"
        ), True

    def correlated(self) -> tuple[str, bool]:
        """Return rows beside answers to questions about each of them."""
        source, draw = self._sources.any(), self._draw
        a, b = draw.rng.choice(source.rows), draw.alias()
        draw.features |= {"join", "subquery"}
        inner = f"FROM {b.table.name} {b.name} WHERE {self._conditions.link(a, b)} AND {self._conditions.any(b, 1)}"
        return (
            f"SELECT {self._columns(source, 2)}, (SELECT count(*) {inner}) AS n, (SELECT max({b.time}) {inner}) AS m "
            f"FROM {source.text}{self._where(source)}"
        ), False

    def newest(self) -> tuple[str, bool]:
        """Return one row of each group."""
        source, draw = self._sources.any(), self._draw
        a = source.rows[0]
        key = a("symbol") if a.table.symbol else a("venue")
        parts = [part for one in source.rows for part in (one.time, one.seq)]
        rest = ", ".join(f"{part} {draw.pick('DESC', 'ASC')} NULLS LAST" for part in parts)
        return (
            f"SELECT DISTINCT ON ({key}) {key} AS k, {self._columns(source, 2)} "
            f"FROM {source.text}{self._where(source)} ORDER BY {key}, {rest}"
        ), False

    def whole(self) -> tuple[str, bool]:
        """Return all visible columns."""
        source, draw = self._sources.any(), self._draw
        stars = draw.rng.choice(source.rows).star  # of one table, so that names of result columns are clear
        draw.features.add("star")
        if draw.chance(0.3):
            return f"FROM {source.text} SELECT {stars}{self._where(source)}", False
        return f"SELECT {stars} FROM {source.text}{self._where(source)}", False

    def shadowed(self) -> tuple[str, bool]:
        """Return an answer from a common table expression that bears a stored table's name."""
        draw = self._draw
        a, b = draw.alias(), draw.alias()
        name = a.table.name
        inner = f"SELECT {a.everything} FROM {name} {a.name} WHERE {self._conditions.where(a)}"
        outer = Alias(draw.pick("x", name), a.table, is_derived=True)
        draw.features |= {"join", "shadow"}
        return (
            f"WITH {name} AS ({inner}) SELECT {outer.time} AS t, {self._expressions.number(outer)} AS v, "
            f"(SELECT count(*) FROM {b.table.name} {b.name} WHERE {self._conditions.link(outer, b)}) AS n "
            f"FROM {name}{' AS x' if outer.name == 'x' else ''} WHERE {self._conditions.pruning(outer)}"
        ), False

    def unqualified(self) -> tuple[str, bool]:
        """Return an answer about columns that say not whose they are; an alias may be a column's or a table's name."""
        draw = self._draw
        a = replace(draw.alias(), name="")
        b = replace(draw.alias(), name=draw.pick("quotes", "trades", "events"))
        where = self._conditions.where(a, depth=0)
        other = self._conditions.any(b, 1)
        draw.features |= {"join", "subquery"}
        shown = draw.pick("venue", "trade_date", "upper(venue)", "level" if a.table.name != "trades" else "size")
        text = (
            f"SELECT {a.time} AS t, {shown} AS venue, count(*) OVER (PARTITION BY {shown}) AS n FROM {a.table.name} "
            f"WHERE {where} AND EXISTS (SELECT 1 FROM {b.table.name} AS {b.name} WHERE {other})"
        )
        return text, False
