"""Columns by name: which names will do, and which column is the time, the symbol, or the one asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from quantstore.core.names import check_name, different_letters, drawn, listed, nearest
from quantstore.core.segment import ASSET_CLASS, SEQ, TRADE_DATE
from quantstore.errors import InvalidInputError, NotFoundError

VALID_FROM = "valid_from"
"""Time column of reference data: the row holds from then on."""
_OFFSET = re.compile(r"[+-]\d{2}:\d{2}")


def check_columns(schema: pa.Schema) -> None:
    """Refuse names that cannot be told apart in any case, and the reserved one.

    Raises:
        InvalidInputError: Names the column.
    """
    for name in schema.names:
        check_name(name, "column")
    check_distinct(schema.names)
    seen = {name.casefold(): name for name in schema.names}
    if SEQ in seen:
        raise InvalidInputError(f"Column name {seen[SEQ]!r} is reserved for the order of rows; rename the column.")
    for reserved in (TRADE_DATE, ASSET_CLASS):
        if seen.get(reserved, reserved) != reserved:
            raise InvalidInputError(f"Column {seen[reserved]!r} must be spelt {reserved!r}; rename it.")


def check_distinct(names: Sequence[str]) -> None:
    """Refuse names of columns of which two cannot be told apart.

    Raises:
        InvalidInputError: Names both.
    """
    seen: dict[str, str] = {}
    looks: dict[str, str] = {}
    for name in names:
        folded = name.casefold()
        if folded in seen:
            raise InvalidInputError(_same(seen[folded], name), column=name)
        other = looks.get(drawn(name))
        if other is not None:
            raise InvalidInputError(
                f"Columns {other!r} and {name!r} look alike and differ in {different_letters(name, other)}; rename "
                "one.",
                column=name,
            )
        seen[folded] = looks[drawn(name)] = name


def _same(first: str, second: str) -> str:
    if first == second:
        return f"Column {first!r} appears more than once; rename one of them."
    return f"Columns {first!r} and {second!r} differ only in case; names are case-insensitive, so rename one."


def check_zone(zone: str) -> None:
    """Refuse a time zone that does not exist.

    Raises:
        InvalidInputError: Names the nearest.
    """
    from zoneinfo import available_timezones

    zones = available_timezones()
    if zone in zones or _OFFSET.fullmatch(str(zone)):
        return
    near = nearest(str(zone), sorted(zones))
    hint = f"Did you mean {near!r}?" if near else "Write one like 'America/New_York' or 'UTC'."
    raise InvalidInputError(f"There is no time zone {zone!r}. {hint}", zone=str(zone))


def find_time(schema: pa.Schema, wanted: str | None, table: str) -> str:
    """Return the time column: the one asked for, `ts`, `valid_from`, or the only datetime column.

    Raises:
        InvalidInputError: There is none, there are several, or the one asked for is not a datetime.
    """
    if wanted is not None:
        name = _asked(schema, wanted, table, "time")
        kind = schema.field(name).type
        if not is_time(kind):
            raise InvalidInputError(
                f"Time column {name!r} of table {table!r} is {kind}, not a timestamp or date; convert it: "
                f"df[{name!r}] = pd.to_datetime(df[{name!r}]).",
                table=table,
                column=name,
            )
        return name
    if "ts" not in schema.names:
        holds_from = next((field for field in schema if field.name.casefold() == VALID_FROM), None)
        if holds_from is not None and is_time(holds_from.type):
            return str(holds_from.name)
    stamps = [field.name for field in schema if pa.types.is_timestamp(field.type)]
    stamps = stamps or [field.name for field in schema if pa.types.is_date(field.type)]
    if len(stamps) == 1:
        return str(stamps[0])
    if "ts" in stamps:
        return "ts"
    if stamps:
        raise InvalidInputError(
            f"Table {table!r} has several datetime columns ({', '.join(stamps)}); choose one with time=.", table=table
        )
    raise InvalidInputError(
        f"Table {table!r} needs a time column and none of {listed(schema.names)} is a datetime; convert one: "
        "df['ts'] = pd.to_datetime(df['ts']). Reference data without one says from when on its rows hold: "
        "df.assign(valid_from=pd.Timestamp('2000-01-01')).",
        table=table,
    )


def is_time(kind: pa.DataType) -> bool:
    """Whether a column of this type can be a table's event time."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def match_column(schema: pa.Schema, wanted: str, table: str) -> str:
    """Return the column of a table called `wanted` in any case.

    Raises:
        NotFoundError: There is none; the message names the nearest.
    """
    found = _matched(schema, wanted)
    if found is not None:
        return found
    near = nearest(str(wanted), schema.names, 0.5)
    hint = f"Did you mean {near!r}?" if near else f"It has {listed(schema.names)}."
    context = {"table": table, "column": str(wanted)} | ({"suggestion": near} if near else {})
    raise NotFoundError(f"Table {table!r} has no column {wanted!r}. {hint}", **context)


def _matched(schema: pa.Schema, wanted: str) -> str | None:
    return next((str(name) for name in schema.names if name.casefold() == str(wanted).casefold()), None)


def _asked(schema: pa.Schema, wanted: str, table: str, option: str) -> str:
    """Return the column that an option of a write names."""
    found = _matched(schema, wanted)
    if found is not None:
        return found
    near = nearest(str(wanted), schema.names, 0.5)
    hint = f"Did you mean {near!r}?" if near else f"There are {listed(schema.names)}."
    raise InvalidInputError(
        f"{option}={wanted!r} names no column of what is given for table {table!r}. {hint}",
        table=table,
        column=str(wanted),
    )


def find_symbol(schema: pa.Schema, wanted: str | None, table: str) -> str | None:
    """Return the symbol column: the one asked for, or a text column called `symbol`; None where there is none.

    Raises:
        InvalidInputError: The one asked for does not exist or is no text.
    """
    if wanted is not None:
        name = _asked(schema, wanted, table, "symbol")
        if not _is_text(schema.field(name).type):
            raise InvalidInputError(
                f"Symbol column {name!r} of table {table!r} is {schema.field(name).type}, not text; name a text "
                f"column, or convert it: df[{name!r}].astype('str').",
                table=table,
                column=name,
            )
        return name
    return "symbol" if "symbol" in schema.names and _is_text(schema.field("symbol").type) else None


def find_key(schema: pa.Schema, wanted: tuple[str, ...] | None, table: str) -> tuple[str, ...]:
    """Return the columns that identify a row.

    Raises:
        InvalidInputError: One of those asked for does not exist.
    """
    return tuple(_asked(schema, name, table, "key") for name in wanted or ())


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
