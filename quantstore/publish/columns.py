"""Which columns a published table has: those of the newest schema that every file can be read with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import types as kinds

from quantstore.core.segment import SEQ
from quantstore.stores.physical import physical_schema


@dataclass(frozen=True, slots=True)
class PublishedColumns:
    """The columns of a published table.

    Attributes:
        schema: Parquet schema with field ids.
        left_out: Columns that some files hold in a way no reader can bring to the newest type, with the reason.
    """

    schema: pa.Schema
    left_out: tuple[tuple[str, str], ...]


def published_columns(newest: pa.Schema, others: Iterable[pa.Schema]) -> PublishedColumns:
    """Return the columns to publish.

    `_seq` is left out: files that were written before their version was known count it from zero.

    Args:
        newest: The table's logical schema.
        others: Logical schemas that files were written with.
    """
    fields = [field for field in physical_schema(newest) if field.name != SEQ]
    reasons: dict[str, str] = {}
    for other in others:
        older = physical_schema(other)
        for field in fields:
            at = older.get_field_index(field.name)
            reason = _misfit(older.field(at), field) if at >= 0 else None
            if reason is not None:
                reasons.setdefault(field.name, reason)
    return PublishedColumns(pa.schema([one for one in fields if one.name not in reasons]), tuple(reasons.items()))


def _misfit(older: pa.Field, newer: pa.Field) -> str | None:
    """Return why a column as an older file holds it cannot be read as a newer one, or None."""
    if not is_promotable(older.type, newer.type):
        return f"some files hold {older.type}, which Iceberg cannot read as {newer.type}"
    if older.metadata != newer.metadata:
        return "some files know it by another field id"
    return None


def is_promotable(older: pa.DataType, newer: pa.DataType) -> bool:
    """Whether Iceberg reads a stored type as another: int as long, float as double, a decimal with more digits."""
    if older == newer:
        return True
    if kinds.is_decimal(older) and kinds.is_decimal(newer):
        return bool(older.scale == newer.scale and older.precision <= newer.precision)
    return (older, newer) in {(pa.int32(), pa.int64()), (pa.float32(), pa.float64())}
