"""Bring incoming rows into a table's form without changing a value, or refuse."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from quantstore.core.segment import ASSET_CLASS, SEQ, TRADE_DATE
from quantstore.errors import InvalidInputError
from quantstore.rows.columns import check_distinct, check_zone
from quantstore.rows.evolution import is_ordered, is_wider, widened
from quantstore.rows.form import TableForm
from quantstore.rows.source import categories_of
from quantstore.write.misfits import wrong_columns, wrong_types

_INTEGERS = (pa.types.is_signed_integer, pa.types.is_unsigned_integer)


def conform(table: pa.Table, form: TableForm, *, tz: str | None = None) -> pa.Table:
    """Return the rows of `table` as the form's visible columns, then any hidden partition columns it brings.

    Raises:
        InvalidInputError: Columns are missing, unknown, or of a type that could lose something; all are named.
    """
    by_fold = {name.casefold(): position for position, name in enumerate(table.column_names)}
    _check_same_columns(by_fold, table, form)
    names, arrays = [], []
    misfits: dict[str, tuple[pa.DataType, str]] = {}
    for field in form.schema:
        position = by_fold.get(field.name.casefold())
        if position is None or field.name == SEQ:
            continue
        column = table.column(position)
        if field.name == form.spec.time and tz is not None:
            column = _localise(column, field, tz)
        try:
            column = _in_order(column, field, form)
            arrays.append(_cast(column, field.type))
            names.append(field.name)
        except (pa.ArrowException, ValueError) as error:
            misfits[field.name] = (column.type, _first_line(error))
    if misfits:
        raise wrong_types(form, misfits)
    return pa.Table.from_arrays(arrays, names=names)


def _check_same_columns(by_fold: dict[str, int], table: pa.Table, form: TableForm) -> None:
    if len(by_fold) != table.num_columns:
        check_distinct(table.column_names)
    wanted = {name.casefold() for name in form.visible.names}
    optional = {TRADE_DATE, ASSET_CLASS}
    missing = [name for name in form.visible.names if name.casefold() not in by_fold and name != ASSET_CLASS]
    extra = [table.column_names[at] for name, at in by_fold.items() if name not in wanted | optional]
    if missing or extra:
        raise wrong_columns(form, missing, extra)


def _localise(column: pa.ChunkedArray, field: pa.Field, zone: str) -> pa.ChunkedArray:
    kind = column.type
    if not pa.types.is_timestamp(kind) or kind.tz is not None:
        raise InvalidInputError(
            f"tz= gives a zone to a naive time column, but {field.name!r} is {kind}; leave tz= out."
        )
    check_zone(zone)
    try:
        return pc.assume_timezone(column, zone)
    except pa.ArrowInvalid as error:
        raise InvalidInputError(
            f"Time column {field.name!r} has stamps that do not exist or exist twice in {zone}: {_first_line(error)}. "
            "Localise it yourself: df[col].dt.tz_localize(zone, ambiguous=...)."
        ) from error


def _in_order(column: pa.ChunkedArray, field: pa.Field, form: TableForm) -> pa.ChunkedArray:
    """Return ordered categories with all that the table has, and others as they are.

    Raises:
        ValueError: They are not the table's, or the first of them.
    """
    kind = field.type
    if not (is_ordered(kind) and pa.types.is_dictionary(column.type)):
        return column
    recorded = form.frame.get("categories", {}).get(field.name)
    found = categories_of(column)
    if recorded is None or found is None:
        return column
    if found != recorded[: len(found)]:
        raise ValueError(f"the ordered categories are {recorded}, and new ones can only come after them")
    if not column.type.ordered or (column.type == kind and found == recorded):
        return column
    return widened(column.unify_dictionaries(), kind, form.categories(field.name))


def _cast(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """Cast where no value can change; raise ValueError where one could."""
    kind = column.type
    if kind == wanted:
        return column
    if not _is_lossless(kind, wanted):
        raise ValueError  # the types say what is wrong
    if pa.types.is_dictionary(kind) and is_ordered(wanted):
        raise ValueError("ordered categories must have the table's type")
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_dictionary(wanted):
        return _encode(column.cast(wanted.value_type), wanted)
    return column.cast(wanted)


def _encode(column: pa.ChunkedArray, wanted: pa.DictionaryType) -> pa.ChunkedArray:
    encoded = column.dictionary_encode().unify_dictionaries()
    return encoded.cast(pa.dictionary(wanted.index_type, wanted.value_type, wanted.ordered))


def _is_lossless(kind: pa.DataType, wanted: pa.DataType) -> bool:
    t = pa.types
    kind = kind.value_type if t.is_dictionary(kind) else kind
    wanted = wanted.value_type if t.is_dictionary(wanted) else wanted
    if kind == wanted or t.is_null(kind):
        return True
    if t.is_timestamp(kind) and t.is_timestamp(wanted):
        return (kind.tz is None) == (wanted.tz is None)  # a finer unit is checked by Arrow's safe cast
    if t.is_integer(kind) and t.is_integer(wanted):
        return True  # safe casts refuse values that do not fit
    if is_wider(wanted, kind):
        return True
    if t.is_decimal(kind) and t.is_decimal(wanted):
        return bool(kind.scale <= wanted.scale)
    return _family(kind) is not None and _family(kind) == _family(wanted)


def _family(kind: pa.DataType) -> str | None:
    t = pa.types
    if t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind):
        return "text"
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_binary_view(kind):
        return "binary"
    if t.is_list(kind) or t.is_large_list(kind):
        return f"list of {_plain_item(kind.value_type)}"
    if t.is_date(kind):
        return "date"
    return None


def _plain_item(kind: pa.DataType) -> Any:
    return _family(kind) or str(kind)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")
