"""How a table's form follows the frames that come: columns are added, types widened; old rows read in a newer form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import types as kinds

from quantstore.core.segment import ASSET_CLASS, TRADE_DATE
from quantstore.rows.columns import check_columns
from quantstore.rows.form import TableForm, plain_types
from quantstore.stores.conversion import with_values
from quantstore.stores.physical import check_schema, keep_field_ids

if TYPE_CHECKING:
    from quantstore.rows.source import Source

_UNITS = ("s", "ms", "us", "ns")
_LARGE = ((kinds.is_string, kinds.is_large_string), (kinds.is_binary, kinds.is_large_binary))
_EXACT_BITS = {32: 16, 64: 32}
"""Widest integers of which a float of so many bits holds every value."""


@dataclass(frozen=True, slots=True)
class Evolution:
    """The form a table takes for a frame.

    Attributes:
        form: The form.
        added: Columns it gains.
        widened: Columns that take a wider type, with the type before and after.
    """

    form: TableForm
    added: tuple[str, ...] = ()
    widened: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def is_change(self) -> bool:
        """Whether the table would look otherwise than before."""
        return bool(self.added or self.widened)

    def after(self, earlier: Evolution) -> Evolution:
        """Return this change and an earlier one as one."""
        widened = dict(earlier.widened)
        for name, (before, after) in self.widened.items():
            widened[name] = (widened[name][0] if name in widened else before, after)
        added = (*earlier.added, *self.added)
        return Evolution(self.form, added, {name: one for name, one in widened.items() if name not in added})


@dataclass(frozen=True, slots=True)
class _Offer:
    """A column of a table and the column of a frame that comes for it."""

    kept: pa.Field
    kind: pa.DataType
    name: str


def evolved(form: TableForm, source: Source, *, tz: str | None = None) -> Evolution:
    """Return the form a table takes so that a frame fits: with its new columns, and types that hold its values too.

    What a table cannot follow (missing columns, types that are not wider) is left as it is, to be refused when the rows
    are brought into the form.

    Args:
        form: The table's form.
        source: The frame.
        tz: Zone that a naive time column is given.

    Raises:
        InvalidInputError: A new column cannot be called so.
        UnsupportedError: A new column, or a wider type, cannot be kept in every tier.
    """
    schema = plain_types(source.schema)
    visible = form.visible
    if schema.names == visible.names and schema.types == visible.types and not any(map(is_ordered, schema.types)):
        return Evolution(form)
    given = {one.name.casefold(): one for one in schema}
    optional = {TRADE_DATE, ASSET_CLASS}
    missing = [name for name in visible.names if name.casefold() not in given and name != ASSET_CLASS]
    if missing or len(given) < len(schema.names):
        return Evolution(form)
    offers = [
        _Offer(one, _with_zone(one, given[one.name.casefold()].type, form, tz), given[one.name.casefold()].name)
        for one in visible
        if one.name.casefold() in given
    ]
    known = {one.casefold() for one in visible.names} | optional
    added = [one.with_nullable(True) for fold, one in given.items() if fold not in known]
    changed = {
        one.kept.name: one.kept.with_type(kind)
        for one in offers
        if (kind := widened_type(one.kept.type, one.kind, is_time=one.kept.name == form.spec.time)) != one.kept.type
    }
    categories = _more_categories(form, source, offers)
    if not (added or changed or categories):
        return Evolution(form)
    if added:
        check_columns(pa.schema([*visible, *added]))
    check_schema(pa.schema([*changed.values(), *added]))
    hidden = [one for one in form.schema if one.name in form.hidden]
    fields = [*(changed.get(one.name, one) for one in visible), *added, *hidden]
    names = tuple(one.name for one in added)
    frame = _frame(form, source.frame, offers, {*changed}, names, categories)
    widened = {name: (str(form.schema.field(name).type), str(one.type)) for name, one in changed.items()}
    for name, listed in categories.items():
        before = len(form.frame["categories"][name])
        widened.setdefault(name, (f"{before} categories", f"{len(listed)} categories"))
    schema = keep_field_ids(pa.schema(fields), form.schema)
    return Evolution(replace(form, schema=schema, frame=frame), names, widened)


def _with_zone(kept: pa.Field, kind: pa.DataType, form: TableForm, tz: str | None) -> pa.DataType:
    """Return the type that a column of a frame has once `tz` is applied to the time column."""
    if tz is None or kept.name != form.spec.time or not kinds.is_timestamp(kind) or kind.tz is not None:
        return kind
    return pa.timestamp(kind.unit, tz)


def widened_type(kind: pa.DataType, given: pa.DataType, *, is_time: bool = False) -> pa.DataType:
    """Return the type a column takes when values of another type come: a wider one, or its own.

    Args:
        kind: The column's type.
        given: The type that comes.
        is_time: Whether it is the time column, whose stamps are known to lie where nanoseconds reach.
    """
    if kind == given:
        return kind
    if kinds.is_null(kind):
        return given
    if kinds.is_dictionary(kind):
        if not kinds.is_dictionary(given) or kind.ordered != given.ordered:
            return kind
        codes = widened_type(kind.index_type, given.index_type)
        return pa.dictionary(codes, widened_type(kind.value_type, given.value_type), kind.ordered)
    if kinds.is_timestamp(kind) and kinds.is_timestamp(given):
        is_safe = is_time or given.unit != "ns"
        return pa.timestamp(given.unit, kind.tz) if is_safe and is_wider(given, kind) else kind
    return given if is_wider(given, kind) else kind


def is_wider(wide: pa.DataType, narrow: pa.DataType) -> bool:
    """Whether a type holds every value of another exactly; of stamps, every one in its range."""
    if kinds.is_integer(narrow):
        return _holds_integers(wide, narrow)
    if kinds.is_floating(narrow):
        return bool(kinds.is_floating(wide) and wide.bit_width > narrow.bit_width)
    if kinds.is_decimal(narrow) and kinds.is_decimal(wide):
        whole = wide.precision - wide.scale >= narrow.precision - narrow.scale
        return bool(wide != narrow and whole and wide.scale >= narrow.scale and wide.bit_width >= narrow.bit_width)
    if kinds.is_timestamp(narrow) and kinds.is_timestamp(wide):
        is_finer = _UNITS.index(wide.unit) > _UNITS.index(narrow.unit)
        return is_finer and (wide.tz is None) == (narrow.tz is None)
    if kinds.is_list(narrow) and kinds.is_large_list(wide):
        return bool(narrow.value_type == wide.value_type)
    return any(small(narrow) and large(wide) for small, large in _LARGE)


def _holds_integers(wide: pa.DataType, narrow: pa.DataType) -> bool:
    if kinds.is_floating(wide):
        return bool(narrow.bit_width <= _EXACT_BITS.get(wide.bit_width, 0))
    if not kinds.is_integer(wide) or wide.bit_width <= narrow.bit_width:
        return False
    return bool(kinds.is_signed_integer(wide) or kinds.is_unsigned_integer(narrow))


def _more_categories(form: TableForm, source: Source, offers: Sequence[_Offer]) -> dict[str, list[Any]]:
    """Return the categories of ordered columns that the frame adds some to, all of them at the end."""
    found = {}
    for one in offers:
        recorded = form.frame.get("categories", {}).get(one.kept.name)
        brought = source.frame.get("categories", {}).get(one.name)
        if recorded is None or brought is None or not (is_ordered(one.kept.type) and is_ordered(one.kind)):
            continue
        if len(brought) > len(recorded) and brought[: len(recorded)] == recorded:
            found[one.kept.name] = brought
    return found


def is_ordered(kind: pa.DataType) -> bool:
    """Whether values are categories that have an order."""
    return bool(kinds.is_dictionary(kind) and kind.ordered)


def _frame(
    form: TableForm,
    brought: Mapping[str, Any],
    offers: Sequence[_Offer],
    changed: set[str],
    added: Sequence[str],
    categories: Mapping[str, list[Any]],
) -> dict[str, Any]:
    """Return how to restore a frame: as before, new columns as they came, widened ones never narrower than they are."""
    frame = dict(form.frame)
    told = brought.get("dtypes", {})
    dtypes = dict(frame.get("dtypes", {}))
    for one in offers:
        name = one.kept.name
        if name not in changed or str(dtypes.get(name, "")).endswith("[pyarrow]"):
            continue
        dtypes.pop(name, None)
        if one.name in told and not kinds.is_timestamp(one.kind):
            dtypes[name] = told[one.name]
    dtypes |= {name: told[name] for name in added if name in told}
    listed = brought.get("categories", {})
    known = frame.get("categories", {}) | categories | {name: listed[name] for name in added if name in listed}
    if dtypes or "dtypes" in frame:
        frame["dtypes"] = dtypes
    if known:
        frame["categories"] = known
    return frame


def reads_as(own: TableForm, form: TableForm) -> bool:
    """Whether rows kept in one form can be read in another: it has all their columns, in types that hold them."""
    for kept in own.schema:
        position = form.schema.get_field_index(kept.name)
        if position < 0:
            return False
        kind = form.schema.field(position).type
        if widened_type(kept.type, kind, is_time=kept.name == form.spec.time) != kind:
            return False
        before = own.frame.get("categories", {}).get(kept.name)
        if is_ordered(kind) and before is not None:
            listed = form.frame.get("categories", {}).get(kept.name)
            if listed is None or listed[: len(before)] != before:
                return False
    return True


def own_columns(own: TableForm, columns: Sequence[str]) -> list[str]:
    """Return those of `columns` that rows in an older form have; the time column where there is none, to be counted."""
    return [name for name in columns if own.schema.get_field_index(name) >= 0] or [own.spec.time]


def adapted(table: pa.Table, form: TableForm, columns: Sequence[str]) -> pa.Table:
    """Return rows that were kept in an older form of a table as they read in a newer one.

    Args:
        table: The rows; columns that are missing were added later and read as null.
        form: The newer form.
        columns: Names of the columns wanted.
    """
    arrays = []
    for name in columns:
        kind = form.schema.field(name).type
        categories = form.categories(name) if is_ordered(kind) else None
        if table.schema.get_field_index(name) < 0:
            arrays.append(_nothing(kind, table.num_rows, categories))
        else:
            arrays.append(widened(table.column(name), kind, categories))
    return pa.Table.from_arrays(arrays, names=list(columns))


def widened(column: pa.ChunkedArray, kind: pa.DataType, categories: pa.Array | None = None) -> pa.ChunkedArray:
    """Return a column in a type that holds all its values, unchanged; `categories` begin with those it has."""
    if kinds.is_null(column.type):
        return column if kinds.is_null(kind) else _nothing(kind, len(column), categories)
    if not kinds.is_dictionary(kind):
        return column if column.type == kind else column.cast(kind)
    if categories is None:
        if column.type == kind:
            return column
        column = with_values(column, kind.value_type)
    chunks = [
        pa.DictionaryArray.from_arrays(
            chunk.indices.cast(kind.index_type),
            chunk.dictionary if categories is None else categories,
            ordered=kind.ordered,
        )
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, kind)


def _nothing(kind: pa.DataType, rows: int, categories: pa.Array | None) -> pa.ChunkedArray:
    """Return a column of nulls."""
    if categories is None:
        return pa.chunked_array([pa.nulls(rows, kind)], kind)
    codes = pa.nulls(rows, kind.index_type)
    return pa.chunked_array([pa.DictionaryArray.from_arrays(codes, categories, ordered=kind.ordered)], kind)
