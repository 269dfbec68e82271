"""Frames that do not fit a table: what differs, column by column, and how to mend it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from quantstore.core.names import different_letters, listed, lookalike, nearest
from quantstore.errors import InvalidInputError
from quantstore.rows.form import TableForm

_GIVE_ZONE = "give it its zone: {}.dt.tz_localize('UTC'), or tz='UTC' for the time column"
_DROP_ZONE = "drop its zone: {}.dt.tz_convert('UTC').dt.tz_localize(None)"
_ANOTHER = "or write to another table, or drop this one first. Nothing was changed."


def wrong_columns(form: TableForm, missing: Sequence[str], extra: Sequence[str]) -> InvalidInputError:
    """Return the error for a frame that lacks columns of the table, or has others."""
    name = form.spec.name
    parts = [f"lacks {listed(missing)}"] if missing else []
    parts += [f"has {', '.join(_meant(one, missing, form) for one in extra)}, which the table has not"] if extra else []
    way = "Rename or drop columns" if extra else "Add columns, with nulls where there is nothing to say"
    if missing and extra:
        way = "Rename columns, and add those that are missing, with nulls where there is nothing to say"
    return InvalidInputError(
        f"The frame does not fit table {name!r}: it {' and '.join(parts)}. The table has "
        f"{listed(form.visible.names)}. {way}, {_ANOTHER}",
        table=name,
        missing=list(missing),
        extra=list(extra),
    )


def _meant(name: str, missing: Sequence[str], form: TableForm) -> str:
    twin = lookalike(name, form.visible.names)
    if twin is not None:
        return f"{name!r} (it looks like {twin!r} and differs in {different_letters(name, twin)})"
    near = nearest(name, missing)
    return f"{name!r} (instead of {near!r}?)" if near else repr(name)


def wrong_types(form: TableForm, misfits: Mapping[str, tuple[pa.DataType, str]]) -> InvalidInputError:
    """Return the error for a frame with columns of types that could lose something.

    Args:
        form: The table's form.
        misfits: Per column of the table the type given, and what is wrong with it where that is not plain to see.
    """
    name = form.spec.name
    told, types = [], {}
    for column, (given, reason) in misfits.items():
        stored = form.schema.field(column).type
        types[column] = {"given": str(given), "stored": str(stored)}
        if reason and _is_too_fine(given, stored):
            reason += f"; round: df[{column!r}].dt.floor({stored.unit!r})"
        told.append(f"{column!r} is {given} where the table has {stored} ({reason or _way_out(column, given, stored)})")
    return InvalidInputError(
        f"The frame does not fit table {name!r}: {'; '.join(told)}. Convert the columns, {_ANOTHER}",
        table=name,
        columns=types,
    )


def _way_out(column: str, given: pa.DataType, stored: pa.DataType) -> str:
    """Return how to bring a column of a frame to the type of the table."""
    t = pa.types
    ways = (
        (t.is_null(stored), "the table was made while this column held nothing, and can hold nothing else"),
        (t.is_timestamp(stored) and t.is_timestamp(given) and given.tz is None, _GIVE_ZONE),
        (t.is_timestamp(stored) and t.is_timestamp(given), _DROP_ZONE),
        (t.is_timestamp(stored) or t.is_date(stored), "convert it: pd.to_datetime({})"),
        (t.is_integer(stored) and t.is_floating(given), "make it whole: {}.astype('Int64')"),
        ((t.is_integer(stored) or t.is_floating(stored)) and _is_text(given), "convert it: pd.to_numeric({})"),
        (_is_text(stored), "make it text: {}.astype('str')"),
    )
    way = next((way for is_it, way in ways if is_it), None)
    return f"cast it to {stored} first" if way is None else way.format(f"df[{column!r}]")


def _is_too_fine(given: pa.DataType, stored: pa.DataType) -> bool:
    """Whether stamps come in nanoseconds for a column of coarser ones, whose range nanoseconds may not reach."""
    t = pa.types
    return bool(t.is_timestamp(stored) and t.is_timestamp(given) and given.unit == "ns" and stored.unit != "ns")


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
