"""The form of a table: which columns, of which types, and which of them is time, symbol and partition."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from quantstore.core.segment import ASSET_CLASS, HIDDEN_COLUMNS, SEQ, TRADE_DATE
from quantstore.core.table import Grain, TableSchema, TableSpec, check_name
from quantstore.errors import InvalidInputError, UnsupportedError
from quantstore.stores.base import TableLayout
from quantstore.stores.physical import check_schema

if TYPE_CHECKING:
    from quantstore.catalog.records import TableRecord

HIDDEN_FIELDS = {
    TRADE_DATE: pa.field(TRADE_DATE, pa.date32()),
    ASSET_CLASS: pa.field(ASSET_CLASS, pa.string()),
    SEQ: pa.field(SEQ, pa.int64()),
}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller said about the form; None leaves it to the table or to the data."""

    time: str | None = None
    symbol: str | None = None
    key: tuple[str, ...] | None = None
    asset_class: str | None = None
    tz: str | None = None
    calendar: str | None = None
    grain: Grain = Grain.DAY


@dataclass(frozen=True, slots=True)
class TableForm:
    """A table's definition together with the Arrow schema of the columns it keeps.

    Attributes:
        spec: Name, time column and the like.
        schema: The user's columns followed by the hidden ones that are not theirs.
        hidden: Names of the hidden ones.
        frame: How to restore what was written: `categories`, and for a pandas frame index and dtypes.
    """

    spec: TableSpec
    schema: pa.Schema
    hidden: tuple[str, ...]
    frame: dict[str, Any]

    @property
    def visible(self) -> pa.Schema:
        """The user's columns."""
        return pa.schema([field for field in self.schema if field.name not in self.hidden])

    def categories(self, column: str) -> pa.Array | None:
        """Return the categories recorded for a column, in order, or None."""
        listed = self.frame.get("categories", {}).get(column)
        return None if listed is None else pa.array(listed, self.schema.field(column).type.value_type)

    def empty_table(self, columns: tuple[str, ...]) -> pa.Table:
        """Return a table of no rows with the columns' types and recorded categories."""
        arrays = []
        for field in (self.schema.field(name) for name in columns):
            categories = self.categories(field.name) if pa.types.is_dictionary(field.type) else None
            if categories is None:
                arrays.append(pa.chunked_array([], field.type))
            else:
                codes = pa.array([], field.type.index_type)
                arrays.append(pa.DictionaryArray.from_arrays(codes, categories, ordered=field.type.ordered))
        return pa.table(arrays, names=list(columns))

    @property
    def layout(self) -> TableLayout:
        """What stores need to know."""
        return TableLayout(self.schema, self.spec.time, self.spec.symbol)

    def stored(self) -> TableSchema:
        """Return the form in which the catalog keeps the schema."""
        return TableSchema(
            arrow=self.schema.serialize().to_pybytes(),
            columns=tuple((field.name, str(field.type)) for field in self.visible),
            hidden=self.hidden,
            frame=self.frame,
        )


def known_form(record: TableRecord, schema: TableSchema | None = None) -> TableForm:
    """Return the form of a table that has a schema (`schema`: an older one)."""
    stored = schema or record.schema
    if stored is None:
        raise InvalidInputError(f"Table {record.name!r} has no columns yet; write to it first.", table=record.name)
    return TableForm(record.spec, pa.ipc.read_schema(pa.py_buffer(stored.arrow)), stored.hidden, stored.frame)


def new_form(name: str, schema: pa.Schema, wishes: Wishes, frame: dict[str, Any]) -> TableForm:
    """Return the form that a first write, or `create`, fixes.

    Raises:
        InvalidInputError: Names clash, or the time or symbol column is missing, ambiguous or of a wrong type.
        UnsupportedError: A column cannot be kept in every tier.
    """
    check_name(name)
    if wishes.calendar is not None:
        raise UnsupportedError("calendar= is not supported yet; trade_date is the UTC date of the time column.")
    schema = plain_types(schema)
    check_columns(schema)
    time = find_time(schema, wishes.time, name)
    if wishes.tz is not None:
        schema = _with_zone(schema, time, wishes.tz)
    check_schema(schema)
    hidden = tuple(column for column in HIDDEN_COLUMNS if column not in schema.names)
    spec = TableSpec(
        name=name,
        time=time,
        symbol=_find_symbol(schema, wishes.symbol, name),
        key=_find_key(schema, wishes.key, name),
        calendar=wishes.calendar,
        grain=wishes.grain,
        asset_class=wishes.asset_class,
    )
    full = pa.schema([*schema, *(HIDDEN_FIELDS[column] for column in hidden)])
    return TableForm(spec, full, hidden, frame)


def plain_types(schema: pa.Schema) -> pa.Schema:
    """Return `schema` without metadata and with view types as large ones (nothing but layout differs)."""
    return pa.schema([pa.field(field.name, _plain(field.type), field.nullable) for field in schema])


def _plain(kind: pa.DataType) -> pa.DataType:
    t = pa.types
    plain = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}.get(kind, kind)
    if t.is_dictionary(kind):
        plain = pa.dictionary(kind.index_type, _plain(kind.value_type), kind.ordered)
    elif t.is_list(kind):
        plain = pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    elif t.is_large_list(kind):
        plain = pa.large_list(kind.value_field.with_type(_plain(kind.value_type)))
    elif t.is_struct(kind):
        plain = pa.struct([field.with_type(_plain(field.type)) for field in kind])
    return plain


def check_columns(schema: pa.Schema) -> None:
    """Refuse names that cannot be told apart in any case, and the reserved one.

    Raises:
        InvalidInputError: Names the column.
    """
    seen: dict[str, str] = {}
    for name in schema.names:
        check_name(name, "column")
        folded = name.casefold()
        if folded in seen:
            raise InvalidInputError(
                f"Columns {seen[folded]!r} and {name!r} differ only in case; names are case-insensitive, so rename one."
            )
        seen[folded] = name
    if SEQ in seen:
        raise InvalidInputError(f"Column name {seen[SEQ]!r} is reserved for the order of rows; rename the column.")
    for reserved in (TRADE_DATE, ASSET_CLASS):
        if seen.get(reserved, reserved) != reserved:
            raise InvalidInputError(f"Column {seen[reserved]!r} must be spelt {reserved!r}; rename it.")


def find_time(schema: pa.Schema, wanted: str | None, table: str) -> str:
    """Return the time column: the one asked for, `ts`, or the only datetime column.

    Raises:
        InvalidInputError: There is none, there are several, or the one asked for is not a datetime.
    """
    if wanted is not None:
        name = match_column(schema, wanted, table, "time")
        if not is_time(schema.field(name).type):
            raise InvalidInputError(
                f"Time column {name!r} of table {table!r} is {schema.field(name).type}, not a timestamp or date."
            )
        return name
    stamps = [field.name for field in schema if pa.types.is_timestamp(field.type)]
    stamps = stamps or [field.name for field in schema if pa.types.is_date(field.type)]
    if len(stamps) == 1:
        return str(stamps[0])
    if "ts" in stamps:
        return "ts"
    if stamps:
        raise InvalidInputError(
            f"Table {table!r} has several datetime columns ({', '.join(stamps)}); choose with time=."
        )
    raise InvalidInputError(
        f"Table {table!r} needs a time column and none of {', '.join(map(repr, schema.names))} is a datetime; convert "
        "one (pd.to_datetime) or name it with time=."
    )


def is_time(kind: pa.DataType) -> bool:
    """Whether a column of this type can be a table's event time."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def match_column(schema: pa.Schema, wanted: str, table: str, what: str = "column") -> str:
    """Return the column called `wanted` in any case.

    Raises:
        InvalidInputError: There is none; the message names the nearest.
    """
    by_fold = {name.casefold(): name for name in schema.names}
    found = by_fold.get(str(wanted).casefold())
    if found is not None:
        return str(found)
    near = get_close_matches(str(wanted).casefold(), list(by_fold), n=1, cutoff=0.5)
    hint = f" Did you mean {by_fold[near[0]]!r}?" if near else f" It has {', '.join(map(repr, schema.names))}."
    raise InvalidInputError(f"Table {table!r} has no {what} column {wanted!r}.{hint}", table=table, column=str(wanted))


def _find_symbol(schema: pa.Schema, wanted: str | None, table: str) -> str | None:
    if wanted is not None:
        name = match_column(schema, wanted, table, "symbol")
        if not _is_text(schema.field(name).type):
            raise InvalidInputError(
                f"Symbol column {name!r} of table {table!r} is {schema.field(name).type}, not text."
            )
        return name
    return "symbol" if "symbol" in schema.names and _is_text(schema.field("symbol").type) else None


def _find_key(schema: pa.Schema, wanted: tuple[str, ...] | None, table: str) -> tuple[str, ...]:
    return tuple(match_column(schema, name, table, "key") for name in wanted or ())


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _with_zone(schema: pa.Schema, time: str, zone: str) -> pa.Schema:
    kind = schema.field(time).type
    if not pa.types.is_timestamp(kind) or kind.tz is not None:
        raise InvalidInputError(f"tz= gives a zone to a naive time column, but {time!r} is {kind}; leave tz= out.")
    zoned = pa.field(time, pa.timestamp(kind.unit, zone))
    return pa.schema([zoned if field.name == time else field for field in schema])
