"""Random tables and where their rows lie: batches that come late and overlap, rows moved and segments cut.

A world is drawn from its seed alone, so that both engines and every machine see the same rows and the same questions.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

NEW_YORK = "America/New_York"
TIERS = ("hot", "warm", "cold")
SYMBOLS = ("A", "AB", "B", "É", "b")
VENUES = ("N", "Q", "q'x", "")
HIDDEN = ("trade_date", "asset_class", "_seq")
STARTS = ("2024-03-09", "2024-11-02", "2023-12-30", "2024-02-28", "1969-12-31", "2026-01-30")
KINDS = (("us", None), ("us", "UTC"), ("us", NEW_YORK), ("ns", None), ("ns", "UTC"), ("ns", NEW_YORK))
_MINUTE, _DAY = 60_000_000, 86_400_000_000
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Column:
    """A column of a random table.

    Attributes:
        family: What expressions may do with it: number, decimal, text, flag, date, stamp or list.
        type: Its Arrow type.
        draw: Makes a value.
        nulls: Share of empty values.
    """

    name: str
    family: str
    type: pa.DataType
    draw: Callable[[random.Random], Any]
    nulls: float = 0.15


@dataclass
class TableData:
    """A random table: its form and the batches it is written in.

    Attributes:
        symbol: Name of the symbol column, or None.
        constant_class: Asset class of all rows where no column holds it, or None.
    """

    name: str
    columns: tuple[Column, ...]
    symbol: str | None
    grain: str
    constant_class: str | None
    batches: list[pa.Table] = field(default_factory=list)

    @property
    def time(self) -> Column:
        """The time column."""
        return self.columns[0]

    @property
    def hidden(self) -> tuple[str, ...]:
        """Columns that the store adds."""
        return HIDDEN if self.constant_class else ("trade_date", "_seq")

    def named(self, *families: str) -> list[str]:
        """Return the names of the columns of some families."""
        return [column.name for column in self.columns if column.family in families]

    def rows(self) -> pa.Table:
        """Return all rows in `(time, _seq)` order, plain types, without the hidden columns."""
        whole = pa.concat_tables([_decoded(batch) for batch in self.batches])
        stamps = whole.column(0).cast(pa.int64()).to_pylist()
        return whole.take(pa.array(sorted(range(len(stamps)), key=stamps.__getitem__)))


@dataclass(frozen=True)
class World:
    """Three tables, `trades`, `quotes` and `events` (which has no symbols), and the stamps that questions ask about.

    Attributes:
        has_digits: Whether stamps of nanosecond columns have digits below a microsecond.
        stamps: Event times of all tables in nanoseconds, distinct and sorted.
    """

    seed: int
    has_digits: bool
    tables: dict[str, TableData]
    stamps: tuple[int, ...]
    days: tuple[date, ...]


def make_world(seed: int) -> World:
    """Return the world of a seed; every eighth and ninth of ten have nanoseconds that microseconds cannot hold."""
    rng = random.Random(f"world {seed}")
    has_digits = seed % 10 in {8, 9}
    starts = STARTS[:2] if has_digits else STARTS  # the one-segment twin has partitions of a year
    first = date.fromisoformat(starts[seed % len(starts)])
    kinds = _kinds(rng, seed, has_digits)
    tables = {
        "trades": _trades(rng, *kinds[0], has_class=not has_digits and seed % 2 == 0),
        "quotes": _quotes(rng, *kinds[1]),
        "events": _events(rng, *kinds[2]),
    }
    grid = sorted({rng.randrange(3 * 24 * 60) for _ in range(90)})
    for table, (count, size) in zip(tables.values(), ((5, 40), (5, 36), (3, 20)), strict=True):
        _fill(rng, table, first, grid, count, size, has_digits=has_digits)
    stamps = sorted({stamp for table in tables.values() for stamp in _stamps_ns(table)})
    days = tuple(first + timedelta(days=at) for at in range(3))
    return World(seed, has_digits, tables, tuple(stamps), days)


def _kinds(rng: random.Random, seed: int, has_digits: bool) -> list[tuple[str, str | None]]:
    """Return unit and zone of each table's time column: mostly all zoned or all naive."""
    fine = [kind for kind in KINDS if kind[0] == "ns" or not has_digits]
    first = fine[seed % len(fine)]
    alike = [kind for kind in KINDS if (kind[1] is None) == (first[1] is None)]
    return [first, *(rng.choice(alike if rng.random() < 0.75 else KINDS) for _ in range(2))]


def _trades(rng: random.Random, unit: str, zone: str | None, *, has_class: bool) -> TableData:
    symbol = rng.choice((pa.string(), pa.dictionary(pa.int32(), pa.string()), pa.large_string()))
    other = rng.choice(KINDS)
    columns = [
        Column("ts", "time", pa.timestamp(unit, zone), _nothing),
        Column("symbol", "text", symbol, lambda r: r.choice(SYMBOLS)),
        Column("price", "number", pa.float64(), lambda r: r.randrange(-64, 640) / 64),
        Column("size", "number", pa.int32(), lambda r: r.randrange(0, 12)),
        Column("cost", "decimal", pa.decimal128(12, 4), lambda r: Decimal(r.randrange(-(10**6), 10**6)).scaleb(-4)),
        Column("lots", "number", pa.int16(), lambda r: r.randrange(-3, 4)),
        Column("big", "number", pa.uint64(), lambda r: r.choice((0, 7, 2**63 + 5, 2**64 - 1))),
        Column("mark", "double", pa.float64(), lambda r: r.choice((float("nan"), float("inf"), -0.0, 0.0, 1.5, -2.0))),
        Column("flag", "flag", pa.bool_(), lambda r: r.random() < 0.5),
        Column("venue", "text", pa.dictionary(pa.int8(), pa.string()), lambda r: r.choice(VENUES)),
        Column("seen", "stamp", pa.timestamp(*other), _nothing),
        Column("tags", "list", pa.list_(pa.int32()), _tags),
    ]
    if has_class:
        columns.append(Column("asset_class", "text", pa.string(), lambda r: r.choice(("EQ", "FX")), nulls=0))
    grain = rng.choice(("day", "day", "month"))
    return TableData("trades", tuple(columns), "symbol", grain, None if has_class else "EQ")


def _quotes(rng: random.Random, unit: str, zone: str | None) -> TableData:
    symbol = rng.choice((pa.string(), pa.dictionary(pa.int16(), pa.string())))
    columns = (
        Column("ts", "time", pa.timestamp(unit, zone), _nothing),
        Column("symbol", "text", symbol, lambda r: r.choice(SYMBOLS)),
        Column("bid", "number", pa.float64(), lambda r: r.randrange(0, 640) / 64),
        Column("level", "number", pa.int64(), lambda r: r.randrange(0, 9)),
        Column("venue", "text", pa.string(), lambda r: r.choice(VENUES)),
        Column("day", "date", pa.date32(), lambda r: _EPOCH + timedelta(days=19_700 + r.randrange(5))),
        Column("quick", "number", pa.float32(), lambda r: r.randrange(0, 64) / 8),
    )
    return TableData("quotes", columns, "symbol", rng.choice(("day", "year")), rng.choice(("EQ", "UNKNOWN")))


def _events(rng: random.Random, unit: str, zone: str | None) -> TableData:
    columns = (
        Column("moment", "time", pa.timestamp(unit, zone), _nothing),
        Column("venue", "text", rng.choice((pa.string(), pa.large_string())), lambda r: r.choice(VENUES)),
        Column("level", "number", pa.int64(), lambda r: r.randrange(0, 9)),
        Column("note", "text", pa.string(), lambda r: r.choice(("", "naïve", "x" * 40, "a,b"))),
    )
    return TableData("events", columns, None, "day", rng.choice(("EQ", "UNKNOWN")))


def _nothing(_rng: random.Random) -> None:
    """Stand for a value that is made from the stamp."""


def _tags(rng: random.Random) -> list[int | None]:
    return [rng.choice((None, 1, 2, 3)) for _ in range(rng.randrange(4))]


def _fill(
    rng: random.Random, table: TableData, first: date, grid: list[int], count: int, size: int, *, has_digits: bool
) -> None:
    """Give a table batches in no order; some rows come again in the same batch or in a later one."""
    base = (first - _EPOCH).days * _DAY
    seen: list[dict[str, Any]] = []
    for number in range(count):
        low = 0 if number % 2 else rng.randrange(2 * 24 * 60)  # every other one comes late, for all days
        minutes = [minute for minute in grid if minute >= low]
        rows = [_row(rng, table, base + rng.choice(minutes) * _MINUTE, has_digits=has_digits) for _ in range(size)]
        rows += rng.sample(rows, 2) + (rng.sample(seen, 3) if seen else [])
        rng.shuffle(rows)
        seen += rows
        table.batches.append(pa.table({one.name: _array(one, rows) for one in table.columns}))


def _row(rng: random.Random, table: TableData, micros: int, *, has_digits: bool) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for column in table.columns:
        if column.family in {"time", "stamp"}:
            stamp = micros if column.family == "time" else micros + rng.randrange(-90, 90) * 1_000_000 + 250_000
            fine = column.type.unit == "ns"
            digits = rng.choice((0, 1, 999)) if fine and has_digits else 0
            value: Any = stamp * 1000 + digits if fine else stamp
        else:
            value = column.draw(rng)
        row[column.name] = None if column.family != "time" and rng.random() < column.nulls else value
    return row


def _array(column: Column, rows: list[dict[str, Any]]) -> pa.Array:
    values = [row[column.name] for row in rows]
    if pa.types.is_timestamp(column.type):
        return pa.array(values, pa.int64()).cast(column.type)
    if pa.types.is_dictionary(column.type):
        return pa.array(values, pa.string()).dictionary_encode().cast(column.type)
    return pa.array(values, column.type)


def _decoded(table: pa.Table) -> pa.Table:
    columns = [
        column.cast(pa.string())
        if pa.types.is_dictionary(column.type) or pa.types.is_large_string(column.type)
        else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)


def _stamps_ns(table: TableData) -> Iterator[int]:
    factor = 1 if table.time.type.unit == "ns" else 1000
    for batch in table.batches:
        yield from (stamp * factor for stamp in batch.column(0).cast(pa.int64()).to_pylist())


def stamp_text(nanoseconds: int, *, digits: int = 6) -> str:
    """Return an instant or wall-clock time as text, with that many digits below the second."""
    seconds, below = divmod(nanoseconds, 10**9)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%d %H:%M:%S}" + (f".{below:09d}"[: digits + 1] if digits else "")
