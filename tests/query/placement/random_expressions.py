"""Random values, aggregates and windows with one outcome each, whatever the order in which rows come."""

from __future__ import annotations

from random_conditions import Alias, Conditions, Draw
from random_sources import Source
from random_worlds import NEW_YORK


class Expressions:
    """Makes expressions over the tables of a FROM clause."""

    def __init__(self, draw: Draw, conditions: Conditions) -> None:
        self._draw = draw
        self._conditions = conditions

    def of(self, family: str, a: Alias) -> str:
        """Return a stamp, a text or a whole number."""
        makers = {"stamp": self.stamp, "text": self.text, "whole": self.whole}
        return makers[family](a)

    def value(self, a: Alias) -> str:
        """Return a value of any type."""
        draw = self._draw
        return draw.one_of(
            lambda: a.time,
            lambda: a(draw.rng.choice(a.table.columns).name),
            lambda: self.stamp(a),
            lambda: self.text(a),
            lambda: self.number(a),
            lambda: a("trade_date"),
            lambda: a("asset_class"),
            lambda: f"({self._conditions.any(a, 1)})",
            lambda: f"{{'t': {a.time}, 'n': {self.number(a)}}}",
            lambda: f"[{self.text(a)}, {a('venue')}]",
        )

    def stamp(self, a: Alias) -> str:
        """Return something made of the time column, a stamp like it."""
        draw = self._draw
        count = draw.rng.randrange(1, 90)
        return draw.one_of(
            lambda: a.time,
            lambda: f"date_trunc('{draw.pick('minute', 'hour', 'day', 'week', 'month')}', {a.time})",
            lambda: f"time_bucket(INTERVAL {count} MINUTE, {a.time})",
            lambda: f"{a.time} {draw.pick('+', '-')} INTERVAL {count} {draw.pick('SECOND', 'MINUTE', 'DAY', 'MONTH')}",
            lambda: f"greatest({a.time}, {self._conditions.stamp(zoned=a.is_zoned)})",
            lambda: f"CASE WHEN {self._conditions.plain(a)} THEN {a.time} END",
        )

    def text(self, a: Alias) -> str:
        """Return a text."""
        draw = self._draw
        column = a(draw.rng.choice(a.table.named("text")))
        local = f"({a.time} AT TIME ZONE '{NEW_YORK}')" if a.is_zoned else a.time
        return draw.one_of(
            lambda: column,
            lambda: f"upper({column})",
            lambda: f"coalesce({column}, 'none')",
            lambda: f"{column} || '-' || coalesce({a('venue')}, '')",
            lambda: f"strftime({local}, '%Y-%m-%d %H')",
            lambda: f"dayname({local})",
            lambda: f"{local}::DATE::VARCHAR",
        )

    def whole(self, a: Alias) -> str:
        """Return a whole number."""
        draw = self._draw
        local = f"({a.time} AT TIME ZONE '{NEW_YORK}')" if a.is_zoned else a.time
        return draw.one_of(
            lambda: f"hour({local})",
            lambda: f"dayofyear({local})",
            lambda: f"epoch_ms({a.time})",
            lambda: f"extract(isodow FROM {local})",
            lambda: f"length({a('venue')})",
            lambda: f"date_diff('hour', ({self._conditions.stamp(zoned=a.is_zoned)})::TIMESTAMP, {a.time}::TIMESTAMP)",
        )

    def number(self, a: Alias) -> str:
        """Return a number: a whole one, a decimal or a double whose sums are exact."""
        draw = self._draw
        column = draw.rng.choice([one for one in a.table.columns if one.family in {"number", "decimal"}])
        name = a(column.name)
        if str(column.type) == "uint64":
            return f"{name} // 3"
        return draw.one_of(
            lambda: name,
            lambda: name,
            lambda: f"{name} * 2 - 1",
            lambda: f"coalesce({name}, 0)",
            lambda: f"abs({name})",
            lambda: f"CASE WHEN {self._conditions.any(a, 0)} THEN {name} ELSE 0 END",
        )

    def key(self, a: Alias) -> str:
        """Return something to group by."""
        draw = self._draw
        return draw.one_of(
            lambda: a("symbol") if a.table.symbol else a("venue"),
            lambda: self.text(a),
            lambda: a("trade_date"),
            lambda: self.whole(a),
            lambda: f"date_trunc('day', {a.time})",
            lambda: f"({self._conditions.plain(a)})",
        )

    def aggregate(self, source: Source) -> str:
        """Return an aggregate over the rows of a FROM clause."""
        draw = self._draw
        a = draw.rng.choice(source.rows)
        number, stamp = self.number(a), self.stamp(a)
        plain = draw.one_of(
            lambda: "count(*)",
            lambda: f"sum({number})",
            lambda: f"avg({number})",
            lambda: f"{draw.pick('min', 'max')}({draw.rng.choice((number, stamp, self.text(a)))})",
            lambda: f"count(DISTINCT {draw.rng.choice((number, stamp, self.text(a)))})",
            lambda: f"{draw.pick('arg_max', 'arg_min')}({number}, {a.seq})",
            lambda: f"bool_{draw.pick('and', 'or')}({self._conditions.plain(a)})",
            lambda: f"quantile_disc({number}, 0.{draw.rng.randrange(1, 10)})",
            lambda: f"median({number}::DOUBLE)",
        )
        if draw.chance(0.25):
            return f"{plain} FILTER (WHERE {self._conditions.any(a, 1)})"
        return draw.one_of(
            lambda: plain,
            lambda: plain,
            lambda: f"string_agg({self.text(a)}, '|' ORDER BY {source.order})",
            lambda: f"{draw.pick('first', 'last')}({draw.rng.choice((number, stamp))} ORDER BY {source.order})",
            lambda: f"list({number} ORDER BY {source.order})[:3]",
            lambda: f"max({stamp}) - min({a.time})",
        )

    def window(self, source: Source) -> str:
        """Return a window function with a total order, or one that treats equals alike."""
        draw = self._draw
        a = draw.rng.choice(source.rows)
        part = draw.pick("", f"PARTITION BY {self.key(a)} ")
        total = f"{part}ORDER BY {source.order}"
        number = self.number(a)
        count = draw.rng.randrange(1, 4)
        frame = f"ROWS BETWEEN {count} PRECEDING AND {draw.pick('CURRENT ROW', '1 FOLLOWING')}"
        span = f"RANGE BETWEEN INTERVAL {count} HOUR PRECEDING AND CURRENT ROW"
        return draw.one_of(
            lambda: f"{draw.pick('row_number()', 'ntile(3)', 'cume_dist()')} OVER ({total})",
            lambda: f"{draw.pick('lag', 'lead')}({draw.rng.choice((number, a.time))}, {count}) OVER ({total})",
            lambda: f"{draw.pick('sum', 'avg', 'max')}({number}) OVER ({total} {frame})",
            lambda: f"{draw.pick('first', 'last')}_value({draw.rng.choice((number, a.time))}) OVER ({total} {frame})",
            lambda: f"{draw.pick('rank', 'dense_rank', 'percent_rank')}() OVER ({part}ORDER BY {a.time})",
            lambda: f"sum({number}) OVER ({part}ORDER BY {a.time})",
            lambda: f"count(*) OVER ({part}ORDER BY {a.time} {span})",
            lambda: f"{a.time} - lag({a.time}) OVER ({total})",
        )
