"""Random FROM clauses: a table, or tables joined in every way that gives the same pairs whatever the order of rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from random_conditions import Alias, Conditions, Draw

PLAIN_JOINS = ("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")


@dataclass(frozen=True)
class Source:
    """A FROM clause.

    Attributes:
        text: What stands after FROM.
        rows: Tables whose columns can be named, each row of theirs at most once for each row of the others.
        where: A condition that belongs to it, or nothing.
        more: Further values, which follow from the rows of these tables.
    """

    text: str
    rows: tuple[Alias, ...]
    where: str = ""
    more: tuple[str, ...] = ()

    @property
    def order(self) -> str:
        """Columns that put the rows in one order only."""
        return ", ".join(f"{part} NULLS LAST" for one in self.rows for part in (one.time, one.seq))


class Sources:
    """Makes FROM clauses."""

    def __init__(self, draw: Draw, conditions: Conditions) -> None:
        self._draw = draw
        self._conditions = conditions

    def any(self) -> Source:
        """Return a FROM clause, mostly with a join."""
        if self._draw.chance(0.12):
            text, a = self._table()
            return Source(text, (a,))
        return self.joined()

    def joined(self) -> Source:
        """Return a FROM clause with a join."""
        draw = self._draw
        draw.features.add("join")
        makers = (
            self.plain, self.plain, self.plain, self.using, self.half, self.comma, self.lateral, self.asof,
            self.bare_asof, self.bare_asof, self.three,
        )  # fmt: skip
        return draw.rng.choice(makers)()

    def plain(self) -> Source:
        """Return an inner or outer join ON a condition, perhaps of a table with itself."""
        draw = self._draw
        (left, a), (right, b) = self._table(), self._table()
        kind = draw.pick(*PLAIN_JOINS)
        draw.features |= {kind.lower(), *(["self join"] if a.table is b.table else [])}
        condition = self._conditions.link(a, b, narrow=True)
        if draw.chance(0.6):
            condition += f" AND {self._simple(draw.rng.choice((a, b)))}"
        return Source(f"{left} {kind} {right} ON {condition}", (a, b))

    def using(self) -> Source:
        """Return a join USING the columns that both tables have."""
        draw = self._draw
        (left, a), (right, b) = self._table("trades", "quotes"), self._table("trades", "quotes")
        draw.features.add("using")
        kinds = PLAIN_JOINS if a.table.time.type == b.table.time.type else PLAIN_JOINS[:2]  # others need one type
        return Source(f"{left} {draw.pick(*kinds)} {right} USING (symbol, ts)", (a, b))

    def half(self) -> Source:
        """Return a semi or an anti join."""
        draw = self._draw
        (left, a), (right, b) = self._table(), self._table()
        kind = draw.pick("SEMI", "ANTI")
        draw.features.add(f"{kind.lower()} join")
        condition = self._conditions.link(a, b)
        if draw.chance(0.5):
            condition += f" AND {self._simple(b)}"
        return Source(f"{left} {kind} JOIN {right} ON {condition}", (a,))

    def comma(self) -> Source:
        """Return tables side by side, joined by WHERE."""
        draw = self._draw
        (left, a), (right, b) = self._table(), self._table()
        draw.features.add("comma join")
        return Source(f"{left}, {right}", (a, b), self._conditions.link(a, b, narrow=True))

    def lateral(self) -> Source:
        """Return a table beside a summary of what another has up to each of its rows."""
        draw = self._draw
        left, a = self._table()
        b = draw.alias()
        draw.features.add("lateral")
        number = b(b.table.named("number")[0])
        inner = (
            f"SELECT max({b.time}) AS upto, count(*) AS n, max_by({number}, {b.seq}) AS newest "
            f"FROM {b.table.name} {b.name} WHERE {self._conditions.link(a, b)} AND {b.time} <= {a.time}"
        )
        return Source(f"{left}, LATERAL ({inner}) l", (a,), "(l.n > 0 OR l.upto IS NULL)")

    def asof(self) -> Source:
        """Return an as-of join whose right side has one row for each key and stamp: the one written last."""
        draw = self._draw
        left, a = self._table("trades", "quotes")
        b = draw.alias("trades", "quotes")
        kind = draw.pick("ASOF JOIN", "ASOF LEFT JOIN")
        draw.features.add(kind.lower())
        where = f"WHERE {self._conditions.pruning(b)} " if draw.chance(0.5) else ""
        last = (
            f"(SELECT {b.everything} FROM {b.table.name} {b.name} {where}QUALIFY row_number() OVER "
            f"(PARTITION BY {b('symbol')}, {b.time} ORDER BY {b.seq} DESC) = 1)"
        )
        condition = f"{a('symbol')} = {b('symbol')} AND {a.time} {draw.pick('>=', '>', '<=', '<')} {b.time}"
        return Source(f"{left} {kind} {last} {b.name} ON {condition}", (a, replace(b, is_derived=True)))

    def bare_asof(self) -> Source:
        """Return an as-of join with a whole table, of whose rows with the same stamp any may be taken."""
        draw = self._draw
        left, a = self._table("trades", "quotes")
        b = draw.alias("trades", "quotes")
        kind = draw.pick("ASOF JOIN", "ASOF JOIN", "ASOF LEFT JOIN", "ASOF SEMI JOIN", "ASOF ANTI JOIN")
        draw.features |= {kind.lower(), "bare as-of"}
        order = f"{a.time} {draw.pick('>=', '>=', '>', '<=', '<')} {b.time}"
        condition = draw.pick(
            order, f"{a('symbol')} = {b('symbol')} AND {order}", f"{order} AND {b('symbol')} = {a('symbol')}"
        )
        if kind in {"ASOF SEMI JOIN", "ASOF ANTI JOIN"}:
            return Source(f"{left} {kind} {b.table.name} {b.name} ON {condition}", (a,))
        on = "USING (symbol, ts)" if draw.chance(0.2) else f"ON {condition}"
        more = (b.time, b("symbol")) if "symbol" in on else (b.time, b("trade_date"))
        return Source(f"{left} {kind} {b.table.name} {b.name} {on}", (a,), self._searched(a, b, on), more)

    def _searched(self, a: Alias, b: Alias, on: str) -> str:
        """Return a condition on the row that an as-of join found, of a kind that all rows of one stamp meet or none."""
        draw = self._draw
        count = f"INTERVAL {draw.rng.randrange(1, 90)} {draw.pick('SECOND', 'MINUTE', 'MINUTE', 'HOUR', 'MONTH')}"
        tolerances = (
            f"{a.time} - {b.time} <= {count.replace('MONTH', 'DAY')}",
            f"{b.time} >= {a.time} - {count}",
            f"{a.time} < {b.time} + {count}",
            f"{b.time} BETWEEN {a.time} - {count} AND {a.time} + {count}",
        )
        choices = ["", self._conditions.time(b), self._conditions.day(b), *tolerances]
        if "symbol" in on:
            choices.append(self._conditions.symbol(b))
        chosen = draw.pick(*choices)
        if chosen in tolerances:
            draw.features.add("tolerance")
        return chosen

    def three(self) -> Source:
        """Return three tables joined."""
        draw = self._draw
        (first, a), (second, b) = self._table("trades"), self._table("quotes")
        third, c = self._table("events", "quotes")
        draw.features.add("three tables")
        kinds = draw.pick("JOIN", "LEFT JOIN"), draw.pick("JOIN", "LEFT JOIN")
        conditions = self._conditions.link(a, b, narrow=True), self._conditions.link(a, c, narrow=True)
        text = f"{first} {kinds[0]} {second} ON {conditions[0]} {kinds[1]} {third} ON {conditions[1]}"
        return Source(text, (a, b, c))

    def _simple(self, a: Alias) -> str:
        """Return a condition for ON: older engines take no `= ANY(...)` there."""
        while "ANY(" in (condition := self._conditions.pruning(a)):
            pass
        return condition

    def _table(self, *names: str) -> tuple[str, Alias]:
        """Return a table, or a subquery over it that hands everything on, and what to call it."""
        draw = self._draw
        a = draw.alias(*names)
        if draw.chance(0.8):
            return f"{a.table.name} {draw.pick('', 'AS ')}{a.name}", a
        inner = draw.alias(a.table.name)
        where = f" WHERE {self._conditions.any(inner, 1)}" if draw.chance(0.6) else ""
        text = f"(SELECT {inner.everything} FROM {a.table.name} {inner.name}{where}) {a.name}"
        return text, replace(a, is_derived=True)
