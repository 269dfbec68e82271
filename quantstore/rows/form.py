"""The form of a table: which columns, of which types, and which of them is time, symbol and partition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from quantstore.core.names import check_name
from quantstore.core.segment import ASSET_CLASS, HIDDEN_COLUMNS, SEQ, TRADE_DATE
from quantstore.core.table import Grain, TableSchema, TableSpec
from quantstore.errors import IntegrityError, InvalidInputError, UnsupportedError
from quantstore.rows.calendars import calendar_name
from quantstore.rows.columns import check_columns, check_zone, find_key, find_symbol, find_time
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
    grain: Grain | None = None


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
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(stored.arrow))
        _check_agreement(record.spec, schema, stored)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise IntegrityError(
            f"The catalog is damaged: the columns of table {record.name!r} make no sense ({error}). fsck() tells more.",
            table=record.name,
        ) from error
    return TableForm(record.spec, schema, stored.hidden, stored.frame)


def _check_agreement(spec: TableSpec, schema: pa.Schema, stored: TableSchema) -> None:
    """Raise ValueError where what the catalog says of a table's columns contradicts itself."""
    names = schema.names
    if names != [*(name for name, _ in stored.columns), *stored.hidden]:
        raise ValueError("two lists of them differ")
    named = {spec.time, *spec.key} | ({spec.symbol} if spec.symbol else set())
    if strange := sorted(named.difference(names)):
        raise ValueError(f"there is no column {strange[0]!r}")


def new_form(name: str, schema: pa.Schema, wishes: Wishes, frame: dict[str, Any]) -> TableForm:
    """Return the form that a first write, or `create`, fixes.

    Raises:
        InvalidInputError: Names clash, the time or symbol column is missing, ambiguous or of a wrong type, or there is
            no such calendar.
        MissingDependencyError: The package that knows calendars is not installed.
        UnsupportedError: A column cannot be kept in every tier.
    """
    check_name(name)
    if not isinstance(schema, pa.Schema):
        raise InvalidInputError(f"schema= must be a pyarrow.Schema, not {type(schema).__name__}.", table=name)
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
        symbol=find_symbol(schema, wishes.symbol, name),
        key=find_key(schema, wishes.key, name),
        calendar=_known_calendar(schema, time, wishes.calendar, name),
        grain=wishes.grain or Grain.AUTO,
        asset_class=wishes.asset_class,
    )
    full = pa.schema([*schema, *(HIDDEN_FIELDS[column] for column in hidden)])
    return TableForm(spec, full, hidden, frame)


def _known_calendar(schema: pa.Schema, time: str, calendar: str | None, table: str) -> str | None:
    """Return the calendar's own name, having checked that it can place the stamps of the time column.

    Raises:
        InvalidInputError: There is no such calendar, or the stamps are of no zone.
    """
    if calendar is None:
        return None
    name = calendar_name(calendar)
    kind = schema.field(time).type
    if TRADE_DATE not in schema.names and pa.types.is_timestamp(kind) and kind.tz is None:
        raise InvalidInputError(
            f"Time column {time!r} of table {table!r} has no time zone, so calendar {name!r} cannot place its stamps; "
            "say which zone they are in with tz=, such as tz='America/New_York' (in a schema: pa.timestamp('ns', "
            "zone)).",
            table=table,
            column=time,
            calendar=name,
        )
    return name


def refuse_unordered(form: TableForm) -> None:
    """Refuse ordered categories of which only the type is known.

    Raises:
        UnsupportedError: Names the column.
    """
    for field in form.schema:
        if pa.types.is_dictionary(field.type) and field.type.ordered and form.categories(field.name) is None:
            raise UnsupportedError(
                f"Column {field.name!r} of table {form.spec.name!r} has ordered categories, and a schema does not say "
                "in which order; leave schema= out and let the first write fix the columns.",
                column=field.name,
            )


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


def _with_zone(schema: pa.Schema, time: str, zone: str) -> pa.Schema:
    kind = schema.field(time).type
    if not pa.types.is_timestamp(kind) or kind.tz is not None:
        raise InvalidInputError(f"tz= gives a zone to a naive time column, but {time!r} is {kind}; leave tz= out.")
    check_zone(zone)
    zoned = pa.field(time, pa.timestamp(kind.unit, zone))
    return pa.schema([zoned if field.name == time else field for field in schema])
