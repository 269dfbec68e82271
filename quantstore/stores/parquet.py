"""The warm and the cold tier: local Parquet files that other engines can read as they are."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types as kinds

from quantstore.core.segment import SEQ, Copy, Partition
from quantstore.core.timerange import TimeRange
from quantstore.errors import IntegrityError, InvalidInputError
from quantstore.stores.base import Capabilities, Part, Selection, TableLayout, Written
from quantstore.stores.column_types import physical_type
from quantstore.stores.conversion import file_categories, from_physical, physical_columns, to_physical
from quantstore.stores.facts import FileFacts, decode_facts
from quantstore.stores.files import HashingFile
from quantstore.stores.local import (
    EVERYTHING,
    LocalStore,
    fill_hidden,
    shift_seq,
    stored_table,
    unify_dictionaries,
    wanted_columns,
)

SUFFIX = ".parquet"

CodecName = Literal["lz4", "snappy", "zstd", "gzip"]

_ROW_GROUP_ROWS = 1 << 18
_ROW_GROUP_BYTES = 256 << 20
_SAMPLE_ROWS = 1 << 13
_FEW_VALUES = 1 << 10
_DAY_NS = 86_400_000_000_000


@dataclass(frozen=True, slots=True)
class _Codec:
    """How a codec is used.

    Attributes:
        level: Default level of compression.
        packs_integers: Whether integers are stored as packed differences: smaller and faster under a weak codec, but
            some readers of published tables only know plain and dictionary pages.
    """

    level: int | None
    packs_integers: bool


_CODECS: Mapping[str, _Codec] = {
    "lz4": _Codec(None, packs_integers=True),
    "snappy": _Codec(None, packs_integers=True),
    "zstd": _Codec(3, packs_integers=False),
    "gzip": _Codec(4, packs_integers=False),
}


class ParquetStore(LocalStore):
    """Keeps copies as Parquet files in (symbol, time, _seq) order.

    Files hold the physical schema (see `quantstore.stores.physical`), all hidden columns included.

    Args:
        root: Directory of the files; the first write makes it.
        name: Name of the store, recorded with its copies.
        codec: Compression: `lz4` or `snappy` for speed, `zstd` or `gzip` for size.
        level: Level of compression, where the codec has levels.
    """

    def __init__(
        self, root: str | os.PathLike[str], name: str, codec: CodecName = "zstd", level: int | None = None
    ) -> None:
        if codec not in _CODECS:
            raise InvalidInputError(f"{codec!r} is not a codec; choose one of {', '.join(_CODECS)}.", codec=codec)
        super().__init__(root, name, Capabilities(form="parquet", order="symbol", codec=codec))
        self._codec = codec
        self._level = _CODECS[codec].level if level is None else level

    def write(self, layout: TableLayout, parts: Sequence[Part]) -> list[Written]:
        """Write each part as one file; all are durable on return.

        Raises:
            CapacityError: The device is full; none of the parts is kept.
            InvalidInputError: A part does not have the layout's columns, or holds values that cannot be kept.
        """
        files = [(part.location + SUFFIX, partial(self._encode, layout, part)) for part in parts]
        return self._files.write(files, workers=min(4, os.cpu_count() or 1))

    def _encode(self, layout: TableLayout, part: Part, file: HashingFile) -> None:
        table = unify_dictionaries(_with_hidden(layout, part))
        facts = FileFacts.of(layout, part.partition, file_categories(table), origin=part.origin)
        physical = to_physical(table, layout.schema)
        dictionaries, packed = _encodings(physical, packs_integers=_CODECS[self._codec].packs_integers)
        with pq.ParquetWriter(
            pa.PythonFile(file, "w"),
            physical.schema,
            version="2.6",
            compression=self._codec,
            compression_level=self._level,
            use_dictionary=dictionaries,
            column_encoding=dict.fromkeys(packed, "DELTA_BINARY_PACKED"),
            store_schema=False,
            store_decimal_as_integer=True,
            write_page_index=True,
            write_statistics=_bounded(physical),
            write_page_checksum=True,
        ) as writer:
            writer.add_key_value_metadata(facts.encode())
            writer.write_table(physical, row_group_size=_group_rows(physical))

    def read(
        self,
        layout: TableLayout,
        copy: Copy,
        partition: Partition,  # noqa: ARG002 - files hold their constants
        selection: Selection = EVERYTHING,
    ) -> pa.Table:
        """Return the rows of a copy in stored order, in logical types.

        Row groups that hold no row in the time range or none of the symbols are skipped; the others come whole.

        Raises:
            IntegrityError: The bytes are missing or are not the bytes that were written.
        """
        names = wanted_columns(layout, selection)
        path, _ = self._verified(copy)
        schema = pa.schema([layout.schema.field(name) for name in names])
        with self._verifier.reading(copy.location):
            metadata = pq.read_metadata(path)
            columns = _stored_columns(metadata, schema, copy.location)
            groups = _groups(metadata, layout, selection)
            with pq.ParquetFile(path, metadata=metadata, read_dictionary=_text_categories(schema)) as file:
                physical = file.read_row_groups(groups, columns=columns)
            categories = _categories(metadata, schema, copy.location)
        if not names:
            return physical
        table = from_physical(physical, schema, names, categories)
        if SEQ in names and copy.seq_base:
            shifted = shift_seq(table.column(SEQ), copy.seq_base)
            table = table.set_column(names.index(SEQ), schema.field(SEQ), shifted)
        return table


def _with_hidden(layout: TableLayout, part: Part) -> pa.Table:
    """Return all columns of the layout, those a part lacks filled in: other engines read the files too."""
    table = stored_table(layout, part)
    columns = [
        table.column(field.name)
        if field.name in table.column_names
        else fill_hidden(field.name, field.type, part.partition, 0, part.table.num_rows, part.location)
        for field in layout.schema
    ]
    return pa.Table.from_arrays(columns, schema=layout.schema.remove_metadata())


def _encodings(table: pa.Table, *, packs_integers: bool) -> tuple[list[str], list[str]]:
    """Return the columns to encode by dictionary, and those to store as packed differences; the rest are plain."""
    dictionaries, packed = [], []
    for name, column in zip(table.column_names, table.columns, strict=True):
        type_ = column.type
        if kinds.is_nested(type_) or kinds.is_boolean(type_):
            continue
        if _is_text(type_) or _has_few_values(column):
            dictionaries.append(name)
        elif packs_integers and (kinds.is_integer(type_) or kinds.is_temporal(type_)):
            packed.append(name)
    return dictionaries, packed


def _bounded(table: pa.Table) -> bool | list[str]:
    """Return the columns to write bounds of: readers take bounds to hold for NaN too, which is no part of them."""
    flawed = {name for name, column in zip(table.column_names, table.columns, strict=True) if _may_hold_nan(column)}
    if not flawed:
        return True
    return [field.name for field in table.schema if field.name not in flawed and not kinds.is_nested(field.type)]


def _may_hold_nan(column: pa.ChunkedArray) -> bool:
    if kinds.is_nested(column.type):
        return any(kind in str(column.type) for kind in ("float", "double"))
    return bool(kinds.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py())


def _is_text(type_: pa.DataType) -> bool:
    return bool(
        kinds.is_string(type_) or kinds.is_large_string(type_) or kinds.is_binary(type_) or kinds.is_large_binary(type_)
    )


def _has_few_values(column: pa.ChunkedArray) -> bool:
    """Judge by a sample: a dictionary of many values costs more than it saves."""
    rows = len(column)
    if rows > _SAMPLE_ROWS:
        column = column.take(pa.array(np.linspace(0, rows - 1, _SAMPLE_ROWS).astype(np.int64)))
    distinct = len(pc.unique(column))
    return distinct <= _FEW_VALUES and 2 * distinct <= len(column)


def _group_rows(table: pa.Table) -> int:
    row_bytes: int = max(1, table.nbytes // max(1, table.num_rows))
    return max(1 << 12, min(_ROW_GROUP_ROWS, _ROW_GROUP_BYTES // row_bytes))


def _stored_columns(metadata: pq.FileMetaData, schema: pa.Schema, location: str) -> list[str]:
    """Return the Parquet columns to read, all of which the file holds."""
    columns = physical_columns(schema, schema.names)
    missing = sorted(set(columns).difference(metadata.schema.to_arrow_schema().names))
    if missing:
        raise IntegrityError(f"{location} does not hold {missing}.", location=location)
    return columns


def _text_categories(schema: pa.Schema) -> list[str]:
    """Return the columns to read as the dictionaries their pages are, which spares looking every row up."""
    return [field.name for field in schema if kinds.is_dictionary(field.type) and _is_text(physical_type(field.type))]


def _categories(metadata: pq.FileMetaData, schema: pa.Schema, location: str) -> Mapping[str, pa.Array]:
    if not any(kinds.is_dictionary(field.type) for field in schema):
        return {}
    return decode_facts(metadata.metadata, location).categories


def _groups(metadata: pq.FileMetaData, layout: TableLayout, selection: Selection) -> list[int]:
    """Return the row groups that may hold wanted rows."""
    checks: list[tuple[int, Callable[[Any], bool]]] = []
    positions = {metadata.schema.column(index).path: index for index in range(metadata.num_columns)}
    if not selection.time.is_everything and layout.time in positions:
        lower, upper = _raw_bounds(layout.schema.field(layout.time).type, selection.time)
        checks.append((positions[layout.time], lambda found: found.max_raw >= lower and found.min_raw < upper))
    if selection.symbols is not None and layout.symbol in positions:
        type_ = metadata.schema.to_arrow_schema().field(layout.symbol).type
        if kinds.is_string(type_):
            symbols = sorted(selection.symbols)
            checks.append((positions[layout.symbol], partial(_spans_any, symbols)))
    return [
        group
        for group in range(metadata.num_row_groups)
        if all(_passes(metadata.row_group(group).column(position).statistics, check) for position, check in checks)
    ]


def _passes(found: Any, check: Callable[[Any], bool]) -> bool:
    return found is None or not found.has_min_max or check(found)


def _spans_any(symbols: list[str], found: Any) -> bool:
    position = bisect_left(symbols, found.min)
    return position < len(symbols) and symbols[position] <= found.max


def _raw_bounds(type_: pa.DataType, wanted: TimeRange) -> tuple[float, float]:
    """Return the first stored value wanted and the first no longer wanted."""
    unit = _DAY_NS if kinds.is_date(type_) else 1_000
    lower = -inf if wanted.start_ns is None else wanted.start_ns // unit
    upper = inf if wanted.end_ns is None else -(-wanted.end_ns // unit)
    return lower, upper
