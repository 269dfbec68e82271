"""Random values and conditions over the tables of a world."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
from random_worlds import NEW_YORK, SYMBOLS, VENUES, TableData, World, stamp_text

Maker = Callable[[], str]
COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")
UNITS = ("MINUTE", "HOUR", "DAY")
_FAR = ("'infinity'", "'-infinity'", "'9999-12-31'", "DATE '0001-01-01'")
_DOUBLES = ("'nan'::DOUBLE", "0")
_SHIFTS = (0, 0, 1, -1, 60 * 10**6, -90 * 60 * 10**6, 86_400 * 10**6)


@dataclass(frozen=True)
class Alias:
    """A table as a statement calls it.

    Attributes:
        name: What goes before its columns, if anything.
        is_derived: Whether it is a subquery that hands on all of a table's columns, hidden ones included.
    """

    name: str
    table: TableData
    is_derived: bool = False

    def __call__(self, column: str) -> str:
        """Return a column of it."""
        return f"{self.name}.{column}" if self.name else column

    @property
    def time(self) -> str:
        """Its time column."""
        return self(self.table.time.name)

    @property
    def seq(self) -> str:
        """Its hidden order."""
        return self("_seq")

    @property
    def star(self) -> str:
        """All visible columns, written so that an engine which hides nothing can be asked for the same."""
        if self.is_derived:
            return ", ".join(self(column.name) for column in self.table.columns)
        return f"«{self.name}|{', '.join(self.table.hidden)}»"

    @property
    def everything(self) -> str:
        """All columns, hidden ones included."""
        return ", ".join([self.star, *map(self, self.table.hidden)])

    @property
    def is_zoned(self) -> bool:
        """Whether its time column holds instants."""
        return self.table.time.type.tz is not None


@dataclass
class Draw:
    """What is drawn for one statement: chance, the world, values for parameters, and what the statement shows.

    Attributes:
        params: Values by name.
        features: Words for what the statement has in it.
    """

    rng: random.Random
    world: World
    params: dict[str, Any] = field(default_factory=dict)
    features: set[str] = field(default_factory=set)
    aliases: int = 0

    def one_of(self, *makers: Maker) -> str:
        """Return what one of the makers makes."""
        return self.rng.choice(makers)()

    def pick(self, *texts: str) -> str:
        """Return one of the texts."""
        return self.rng.choice(texts)

    def chance(self, share: float) -> bool:
        """Return whether something with that chance happens."""
        return self.rng.random() < share

    def alias(self, *names: str) -> Alias:
        """Return a new name for one of the tables."""
        self.aliases += 1
        name = self.rng.choice(names or tuple(self.world.tables))
        return Alias(f"t{self.aliases}", self.world.tables[name])

    def bind(self, value: Any) -> str:
        """Return a parameter that stands for a value."""
        self.features.add("parameter")
        name = f"p{len(self.params)}"
        self.params[name] = value
        return f"${name}"


class Conditions:
    """Makes conditions on rows of one table or more."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw

    def where(self, *aliases: Alias, depth: int = 2) -> str:
        """Return a condition; mostly conjuncts, so that much of it can prune."""
        draw = self._draw
        parts = [self.any(draw.rng.choice(aliases), depth) for _ in range(draw.rng.choice((1, 1, 2, 3)))]
        if draw.chance(0.5):
            parts.append(self.pruning(draw.rng.choice(aliases)))
        draw.rng.shuffle(parts)
        return " AND ".join(parts)

    def any(self, a: Alias, depth: int) -> str:
        """Return a condition on one table."""
        draw = self._draw
        if depth == 0:
            return self.pruning(a) if draw.chance(0.5) else self.plain(a)
        return draw.one_of(
            lambda: self.pruning(a),
            lambda: self.pruning(a),
            lambda: self.plain(a),
            lambda: f"({self.any(a, depth - 1)} OR {self.any(a, depth - 1)})",
            lambda: f"({self.any(a, depth - 1)} AND {self.any(a, depth - 1)})",
            lambda: f"NOT ({self.any(a, depth - 1)})",
            lambda: f"coalesce({self.any(a, depth - 1)}, false)",
            lambda: f"CASE WHEN {self.plain(a)} THEN {self.any(a, depth - 1)} ELSE {self.pruning(a)} END",
            lambda: self.subquery(a),
        )

    def pruning(self, a: Alias) -> str:
        """Return a condition of a kind that segments are skipped by."""
        makers = [lambda: self.time(a), lambda: self.time(a), lambda: self.day(a), lambda: self.asset_class(a)]
        if a.table.symbol:
            makers += [lambda: self.symbol(a), lambda: self.symbol(a)]
        return self._draw.one_of(*makers)

    # --- stamps ------------------------------------------------------------------------------------------------

    def stamp(self, *, zoned: bool) -> str:
        """Return an instant or a wall-clock time near the data, as text, literal, expression or parameter."""
        draw = self._draw
        nanoseconds = draw.rng.choice(draw.world.stamps)
        nanoseconds += draw.rng.choice(_SHIFTS) * (1 if draw.world.has_digits and draw.chance(0.3) else 1000)
        text = stamp_text(nanoseconds, digits=9 if draw.world.has_digits else 6)
        whole = stamp_text(nanoseconds // 10**9 * 10**9, digits=0)
        day = text[:10]
        makers = [
            lambda: f"'{text}'",
            lambda: f"'{day}'",
            lambda: f"DATE '{day}'",
            lambda: f"TIMESTAMP '{whole}'",
            lambda: f"TIMESTAMP '{whole}' - INTERVAL {draw.rng.randrange(1, 90)} {draw.pick(*UNITS)}",
            lambda: draw.bind(self._value(nanoseconds, zoned=False)),
            lambda: draw.bind(self._value(nanoseconds, zoned=False)),
        ]
        if zoned:
            makers += [
                lambda: f"'{text}+00'",
                lambda: f"'{whole} {NEW_YORK}'",
                lambda: f"TIMESTAMPTZ '{whole}-05:30'",
                lambda: f"CAST('{whole}' AS TIMESTAMPTZ) + INTERVAL '{draw.rng.randrange(9)} hours'",
                lambda: draw.bind(self._value(nanoseconds, zoned=True)),
            ]
        return draw.one_of(*makers)

    def _value(self, nanoseconds: int, *, zoned: bool) -> Any:
        """Return a stamp in Python, with all its nanoseconds only where tables have them too."""
        if self._draw.world.has_digits:
            exact = pd.Timestamp(nanoseconds)
            return exact.tz_localize("UTC").tz_convert(NEW_YORK) if zoned else exact
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)
        return moment if zoned else moment.replace(tzinfo=None)

    def time(self, a: Alias) -> str:
        """Return a condition on the time column."""
        draw = self._draw
        draw.features.add("time")
        if draw.chance(0.04):
            return f"{a.time} {draw.pick('<', '>')} {draw.pick(*_FAR)}"
        one = lambda: self.stamp(zoned=a.is_zoned)  # noqa: E731 - as short as its uses
        negated = draw.pick("", "", "NOT ")
        return draw.one_of(
            lambda: f"{a.time} {draw.pick(*COMPARISONS[2:])} {one()}",
            lambda: f"{one()} {draw.pick(*COMPARISONS)} {a.time}",
            lambda: f"{a.time} {negated}BETWEEN {one()} AND {one()}",
            lambda: f"({a.time} >= {one()} AND {a.time} < {one()})",
            lambda: f"{a.time} {negated}IN ({one()}, {one()}, {one()})",
            lambda: f"{a.time} = ANY({self._stamps(a)})",
        )

    def _stamps(self, a: Alias) -> str:
        """Return a parameter that is a list of stamps, some of which the data have."""
        draw = self._draw
        draw.features.add("list parameter")
        return draw.bind([self._value(draw.rng.choice(draw.world.stamps), zoned=a.is_zoned) for _ in range(4)])

    def day(self, a: Alias) -> str:
        """Return a condition on the trade date."""
        draw = self._draw
        draw.features.add("trade_date")
        day = lambda: draw.rng.choice(draw.world.days) + timedelta(days=draw.rng.choice((0, 0, 0, -1, 1)))  # noqa: E731
        column = a("trade_date")
        return draw.one_of(
            lambda: f"{column} = DATE '{day()}'",
            lambda: f"{column} {draw.pick(*COMPARISONS)} '{day()}'",
            lambda: f"{column} BETWEEN '{day()}' AND DATE '{day()}'",
            lambda: f"{column} {draw.pick('', 'NOT ')}IN ('{day()}', DATE '{day()}')",
            lambda: f"{column} IN {draw.bind([day(), day()])}",
            lambda: f"{column} >= {draw.bind(day())}",
            lambda: f"DATE '{day()}' + 1 > {column}",
        )

    def symbol(self, a: Alias) -> str:
        """Return a condition on the symbol."""
        draw = self._draw
        draw.features.add("symbol")
        return self._text(a("symbol"), (*SYMBOLS, "absent", "a"))

    def asset_class(self, a: Alias) -> str:
        """Return a condition on the asset class."""
        self._draw.features.add("asset_class")
        return self._text(a("asset_class"), ("EQ", "FX", "UNKNOWN", "eq"))

    def _text(self, column: str, values: tuple[str, ...]) -> str:
        draw = self._draw
        one = lambda: draw.pick(*values)  # noqa: E731 - as short as its uses
        return draw.one_of(
            lambda: f"{column} = '{one()}'",
            lambda: f"'{one()}' = {column}",
            lambda: f"{column} = {draw.bind(one())}",
            lambda: f"{column} IN ('{one()}', '{one()}')",
            lambda: f"{column} IN {self._list(one(), one())}",
            lambda: f"{column} = ANY({self._list(one(), one(), one())})",
            lambda: f"{column} {draw.pick('NOT IN', 'IN')} ('{one()}', '{one()}', NULL)",
            lambda: f"{column} {draw.pick('<>', '>', '<=')} '{one()}'",
            lambda: f"upper({column}) LIKE '{one()[:1].upper()}%'",
            lambda: f"{column} IS {draw.pick('', 'NOT ')}NULL",
            lambda: f"{column} IS {draw.pick('', 'NOT ')}DISTINCT FROM '{one()}'",
        )

    def _list(self, *values: Any) -> str:
        self._draw.features.add("list parameter")
        return self._draw.bind(list(values))

    # --- other columns -----------------------------------------------------------------------------------------

    def plain(self, a: Alias) -> str:
        """Return a condition on any column, or a function of the time."""
        draw = self._draw
        column = draw.rng.choice([one for one in a.table.columns if one.family not in {"time", "flag"}])
        if draw.chance(0.35):
            return self.clock(a)
        if draw.chance(0.15):
            return f"{a(column.name)} IS {draw.pick('', 'NOT ')}NULL"
        name = a(column.name)
        value = {
            "number": lambda: draw.one_of(
                lambda: f"{name} {draw.pick(*COMPARISONS)} {draw.rng.randrange(8)}",
                lambda: f"{name} BETWEEN 1 AND {draw.rng.randrange(9)}.5",
                lambda: f"{name} IN {draw.bind([0, 3, 7])}",
                lambda: f"abs({name}) % 3 = 1" if column.type != pa.uint64() else f"{name} > 7",
            ),
            "double": lambda: f"{name} {draw.pick(*COMPARISONS)} {draw.pick(*_DOUBLES)}",
            "decimal": lambda: f"{name} {draw.pick('<', '>=')} {draw.rng.randrange(-50, 50)}.25",
            "text": lambda: self._text(name, VENUES[:2]),
            "date": lambda: f"{name} >= DATE '2023-12-{draw.rng.randrange(10, 31)}'",
            "stamp": lambda: f"{name} > {self.stamp(zoned=column.type.tz is not None)}",
            "list": lambda: draw.one_of(
                lambda: f"list_contains({name}, {draw.rng.randrange(1, 4)})",
                lambda: f"len(list_filter({name}, lambda e: e > 1)) > 0",
            ),
        }
        return value[column.family]()

    def clock(self, a: Alias) -> str:
        """Return a condition on the clock or calendar of a stamp."""
        draw = self._draw
        draw.features.add("clock")
        local = f"({a.time} AT TIME ZONE '{draw.pick(NEW_YORK, 'UTC', 'Asia/Kolkata')}')" if a.is_zoned else a.time
        return draw.one_of(
            lambda: f"hour({local}) {draw.pick('<', '>=', '=')} {draw.rng.randrange(24)}",
            lambda: f"{local}::TIME BETWEEN '{draw.rng.randrange(9):02}:30' AND '16:00'",
            lambda: f"{local}::DATE = '{draw.rng.choice(draw.world.days)}'",
            lambda: f"date_trunc('day', {local}) >= '{draw.rng.choice(draw.world.days)}'",
            lambda: f"extract(minute FROM {local}) % 2 = 0",
            lambda: f"strftime({local}, '%H') < '{draw.rng.randrange(24):02}'",
        )

    def subquery(self, a: Alias) -> str:
        """Return a condition that asks another table."""
        draw = self._draw
        draw.features |= {"subquery", "join"}
        b = draw.alias(*("trades", "quotes") if a.table.symbol else ())
        inner = f"SELECT 1 FROM {b.table.name} {b.name} WHERE {self.link(a, b)} AND {self.any(b, 1)}"
        column = "symbol" if a.table.symbol and b.table.symbol else "venue"
        return draw.one_of(
            lambda: f"{draw.pick('', 'NOT ')}EXISTS ({inner})",
            lambda: (
                f"{a(column)} {draw.pick('', 'NOT ')}IN (SELECT {b(column)} FROM {b.table.name} {b.name} "
                f"WHERE {self.any(b, 1)})"
            ),
            lambda: (
                f"{a.time} {draw.pick('>=', '<')} (SELECT {draw.pick('min', 'max')}({b.time}) "
                f"FROM {b.table.name} {b.name} WHERE {self.any(b, 1)})"
            ),
            lambda: f"(SELECT count(*) FROM {b.table.name} {b.name} WHERE {self.link(a, b)}) > {draw.rng.randrange(9)}",
        )

    def link(self, a: Alias, b: Alias, *, narrow: bool = False) -> str:
        """Return how rows of two tables belong together; `narrow` keeps the number of pairs down."""
        draw = self._draw
        both = a.table.symbol is not None and b.table.symbol is not None
        keys = [f"{a('symbol')} = {b('symbol')}"] if both else [f"{a('venue')} = {b('venue')}"]
        if narrow or draw.chance(0.4):
            keys.append(
                draw.pick(
                    f"{a.time} = {b.time}",
                    f"{a.time} BETWEEN {b.time} AND {b.time} + INTERVAL 40 MINUTE",
                    f"{b.time} > {a.time} AND {b.time} - {a.time} < INTERVAL 1 HOUR",
                    f"date_trunc('hour', {a.time}) = date_trunc('hour', {b.time})",
                )
            )
        elif draw.chance(0.4):
            keys.append(f"{a('trade_date')} = {b('trade_date')}")
        return " AND ".join(keys)
