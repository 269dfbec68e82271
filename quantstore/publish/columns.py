"""Which columns a published table has, so that every file in cold can be read with them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from quantstore.core.segment import SEQ
from quantstore.errors import UnsupportedError
from quantstore.stores.physical import is_promotable, physical_schema

FIELD_ID = b"PARQUET:field_id"


@dataclass(frozen=True, slots=True)
class PublishedColumns:
    """The columns of a published table.

    Attributes:
        schema: Parquet schema with field ids, under the names that readers see.
        stored: Name that files call a column by, by field id.
        split: Columns that readers see as several, with the names of these: files hold them in types that Iceberg
            cannot read as one.
    """

    schema: pa.Schema
    stored: Mapping[int, str]
    split: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(slots=True)
class _Variant:
    """One field id of a column: its widest type, and whether files hold any value under it."""

    field: pa.Field
    is_empty: bool


def published_columns(newest: pa.Schema, stored: Sequence[pa.Schema]) -> PublishedColumns:
    """Return the columns to publish.

    `_seq` is not among them: files that were written before their version was known count it from zero.

    Args:
        newest: The table's logical schema.
        stored: Logical schemas that files were written with, newest first.

    Raises:
        UnsupportedError: Files hold a column in several types under one field id.
    """
    columns: dict[str, dict[int, _Variant]] = {name: {} for name in physical_schema(newest).names if name != SEQ}
    for schema in stored:
        for field in physical_schema(schema):
            if field.name != SEQ:
                _add(columns.setdefault(field.name, {}), field, is_empty=_is_empty(schema, field.name))
    for field in physical_schema(newest):
        if field.name != SEQ and not columns[field.name]:  # no file has it yet
            _add(columns[field.name], field, is_empty=True)
    taken = set(columns)
    fields: list[pa.Field] = []
    split = []
    for name, variants in columns.items():
        names = _names(name, list(variants.values()), taken)
        fields += [one.field.with_name(shown) for one, shown in zip(variants.values(), names, strict=True)]
        if name not in names:
            split.append((name, tuple(names)))
    known = {number: name for name, variants in columns.items() for number in variants}
    return PublishedColumns(pa.schema(fields), known, tuple(split))


def field_id(field: pa.Field) -> int:
    """Return the id that a file knows a column by; 0 where it has none."""
    return int((field.metadata or {}).get(FIELD_ID, 0))


def _is_empty(schema: pa.Schema, name: str) -> bool:
    at = schema.get_field_index(name)
    return bool(at >= 0 and pa.types.is_null(schema.field(at).type))


def _add(variants: dict[int, _Variant], field: pa.Field, *, is_empty: bool) -> None:
    known = variants.get(field_id(field))
    if known is None:
        variants[field_id(field)] = _Variant(field, is_empty)
    elif is_promotable(field.type, known.field.type):
        known.is_empty = known.is_empty and is_empty
    else:
        raise UnsupportedError(
            f"Column {field.name!r} cannot be published: some files hold {field.type}, which Iceberg cannot read as "
            f"{known.field.type}.",
            column=field.name,
        )


def _names(name: str, variants: list[_Variant], taken: set[str]) -> list[str]:
    """Return the names of a column's variants: its own where only one of them holds values."""
    filled = [one for one in variants if not one.is_empty] or variants[:1]
    own = filled[0] if len(filled) == 1 else None
    names = []
    for one in variants:
        kind = re.sub(r"\W+", "_", str(one.field.type)).strip("_")
        shown = name if one is own else f"{name}__{kind}"
        while one is not own and shown in taken:
            shown += "_"
        taken.add(shown)
        names.append(shown)
    return names
