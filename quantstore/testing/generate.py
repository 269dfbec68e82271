"""Schemas, frames and conditions drawn at random: what tables of markets are made of, and what makes them break.

Everything takes a `random.Random`, so that a seed gives the same again; `quantstore.testing.strategies` lets Hypothesis
draw instead. Frames have few instants, symbols and keys, so that rows meet: ties, duplicates, late rows, corrections.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any

import pyarrow as pa
from pyarrow import types as kinds

from quantstore.core.segment import ASSET_CLASS, TRADE_DATE
from quantstore.testing.conditions import COMPARISONS, Both, Compare, Condition, Either, IsNull, Not
from quantstore.testing.modes import DAY_NS

FIRST_DAY_NS = 1_767_571_200_000_000_000
"""2026-01-05, a Monday."""
DAYS = (0, 0, 0, 0, 1, 1, 1, 27, -40)
"""Days of event times, counted from the first; two fall into other months."""
SYMBOLS = ("A", "B", "C", "Ä 'quoted'")
CLASSES = ("EQUITY", "FX")
LADDERS: dict[str, tuple[pa.DataType, ...]] = {
    "size": (pa.int16(), pa.int32(), pa.int64()),
    "price": (pa.float32(), pa.float64()),
    "amount": (pa.decimal128(9, 2), pa.decimal128(12, 4), pa.decimal128(18, 6)),
    "note": (pa.null(), pa.string(), pa.large_string()),
    "count": (pa.uint16(), pa.uint32(), pa.uint64()),
    "flag": (pa.bool_(),),
    "settles": (pa.date32(),),
    "blob": (pa.binary(),),
    "levels": (pa.list_(pa.int32()),),
    "detail": (pa.struct([("venue", pa.string()), ("rank", pa.int32())]),),
    "venue": (pa.dictionary(pa.int32(), pa.string()),),
    "sent": (pa.timestamp("us", "UTC"),),
}
"""Columns that tables may have besides time, symbol and id: the types they can take, each wider than the one before."""
TIMES = {None: ("ms", "us", "ns"), "UTC": ("ms", "us", "ns"), "America/New_York": ("us", "ns")}


def schema(chance: Random) -> pa.Schema:
    """Draw the columns of a new table: `ts`, `symbol`, `id`, sometimes an asset class, and some others."""
    zone = chance.choice(list(TIMES))
    fields = [("ts", pa.timestamp(chance.choice(TIMES[zone]), zone)), ("symbol", pa.string()), ("id", pa.int64())]
    if chance.random() < 0.3:
        fields.append((ASSET_CLASS, pa.string()))
    others = chance.sample(list(LADDERS), chance.randint(1, 3))
    return pa.schema([*fields, *((name, chance.choice(LADDERS[name])) for name in others)])


def grown(chance: Random, known: pa.Schema, most: int = 9) -> pa.Schema:
    """Draw columns that a table of some columns can follow: one more, or one of a wider or narrower type."""
    others = [name for name in LADDERS if name not in known.names]
    if others and len(known) < most and chance.random() < 0.5:
        name = chance.choice(others)
        return known.append(pa.field(name, chance.choice(LADDERS[name])))
    name = chance.choice(known.names)
    if name == "ts":
        zone = known.field("ts").type.tz
        return known.set(known.get_field_index("ts"), pa.field("ts", pa.timestamp(chance.choice(TIMES[zone]), zone)))
    if name in LADDERS:
        return known.set(known.get_field_index(name), pa.field(name, chance.choice(LADDERS[name])))
    return known


def misfit(chance: Random, known: pa.Schema) -> pa.Schema:
    """Draw columns that a table of some columns must refuse: one lacks, or text comes for numbers."""
    if len(known) > 3 and chance.random() < 0.5:
        name = chance.choice([one for one in known.names if one not in {"ts", "symbol", "id", ASSET_CLASS}])
        return known.remove(known.get_field_index(name))
    return known.set(known.get_field_index("id"), pa.field("id", pa.string()))


def frame(
    chance: Random, columns: pa.Schema, rows: int, *, key: Sequence[str] = (), classes: Sequence[str] = CLASSES
) -> pa.Table:
    """Draw rows.

    Args:
        chance: Draws.
        columns: Their columns.
        rows: How many; fewer where keys fall together.
        key: Columns whose values are to be different in each row and never null.
        classes: Asset classes, where there is a column for them.
    """
    makers = [_maker(field, key, classes) for field in columns]
    drawn = [tuple(maker(chance) for maker in makers) for _ in range(rows)]
    if key:
        places = [columns.get_field_index(name) for name in key]
        drawn = list({tuple(row[place] for place in places): row for row in drawn}.values())
    elif len(drawn) > 1 and chance.random() < 0.2:
        drawn.append(drawn[0])
    values = list(zip(*drawn, strict=True)) if drawn else [()] * len(columns)
    arrays = [_array(list(column), field.type) for column, field in zip(values, columns, strict=True)]
    return pa.table(arrays, schema=columns)


def condition(chance: Random, columns: pa.Schema, depth: int = 2) -> Condition:
    """Draw a condition on rows of a table."""
    form = chance.randrange(6) if depth else 0
    if form == 1:
        return Not(condition(chance, columns, depth - 1))
    if form in {2, 3}:
        join = Both if form == 2 else Either
        return join(condition(chance, columns, depth - 1), condition(chance, columns, depth - 1))
    if form == 4:
        return IsNull(chance.choice(columns.names))
    operator = chance.choice(list(COMPARISONS))
    subjects = [name for name in ("symbol", "id", "size", "ts", TRADE_DATE, ASSET_CLASS) if _is_asked(name, columns)]
    name = chance.choice(subjects)
    if name == "ts":
        stamp = FIRST_DAY_NS + chance.choice(DAYS) * DAY_NS + chance.randrange(4) * 10**6
        return Compare(name, operator, stamp, "instant", zoned=columns.field("ts").type.tz is not None)
    if name == TRADE_DATE:
        return Compare(name, operator, FIRST_DAY_NS // DAY_NS + chance.choice(DAYS), "date")
    texts = {"symbol": SYMBOLS, ASSET_CLASS: (*CLASSES, "UNKNOWN")}
    value: Any = chance.choice(texts[name]) if name in texts else chance.randrange(-1, 12)
    return Compare(name, operator, value)


def _is_asked(name: str, columns: pa.Schema) -> bool:
    return name in columns.names or name in {TRADE_DATE, ASSET_CLASS}


def _maker(field: pa.Field, key: Sequence[str], classes: Sequence[str]) -> Callable[[Random], Any]:
    """Return what draws the values of a column."""
    if field.name == "ts":
        return partial(_stamp, unit=field.type.unit)
    if field.name == ASSET_CLASS:
        return lambda chance: chance.choice(classes)
    value = _value(field)
    if field.name in key:
        return value
    return lambda chance: None if chance.random() < 0.15 else value(chance)


def _stamp(chance: Random, unit: str) -> int:
    """Draw an event time in units of its column; several rows share one."""
    finest = {"ms": 10**6, "us": 10**3, "ns": 1}[unit]
    fraction = chance.choice((0, 0, 1, 999)) * finest + chance.randrange(4) * 10**6
    return (FIRST_DAY_NS + chance.choice(DAYS) * DAY_NS + fraction) // finest


def _value(field: pa.Field) -> Callable[[Random], Any]:  # noqa: PLR0911 - a kind of values each
    kind = field.type
    if field.name == "symbol":
        return lambda chance: chance.choice(SYMBOLS)
    if kinds.is_null(kind):
        return lambda chance: None  # noqa: ARG005
    if kinds.is_integer(kind):
        most = 2**kind.bit_width - 1 if kinds.is_unsigned_integer(kind) else 2 ** (kind.bit_width - 1) - 1
        return lambda chance: most if field.name != "id" and chance.random() < 0.1 else chance.randrange(12)
    if kinds.is_floating(kind):
        return lambda chance: chance.choice((float("nan"), float("inf"), 0.5, 1.25, -3.0, 2.0**20))
    if kinds.is_decimal(kind):
        return lambda chance: Decimal(chance.randrange(-(10**6), 10**6)).scaleb(-kind.scale)
    if kinds.is_boolean(kind):
        return lambda chance: chance.random() < 0.5
    if kinds.is_date(kind) or kinds.is_timestamp(kind):
        return lambda chance: chance.randrange(20_000)
    if kinds.is_binary(kind):
        return lambda chance: chance.randbytes(chance.choice((0, 1, 40)))
    if kinds.is_list(kind):
        return lambda chance: [chance.choice((None, 1, 2)) for _ in range(chance.randrange(3))]
    if kinds.is_struct(kind):
        return lambda chance: {"venue": chance.choice((None, "XNAS")), "rank": chance.randrange(3)}
    return lambda chance: chance.choice(("", "late", "ü" * 40, "x" * 2_000))


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if kinds.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode().cast(kind)
    return pa.array(values, kind)
