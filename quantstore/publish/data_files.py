"""Iceberg's records of our Parquet files, made from their footers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import pyarrow_to_schema
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import (
    DayTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
    TruncateTransform,
    YearTransform,
)
from pyiceberg.typedef import Record
from pyiceberg.types import (
    DateType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    StringType,
    TimestampType,
    TimestamptzType,
)

from quantstore.core.segment import ASSET_CLASS, SEQ, TRADE_DATE, Partition
from quantstore.core.table import Grain
from quantstore.errors import IntegrityError, UnsupportedError
from quantstore.publish.columns import PublishedColumns, field_id

_FIRST_PARTITION_FIELD = 1000
_EPOCH = date(1970, 1, 1)
_BOUND_CHARACTERS = 16
_WORKERS = 4
_WHOLE: dict[type[IcebergType], str] = {
    IntegerType: "<i",
    DateType: "<i",
    LongType: "<q",
    TimestampType: "<q",
    TimestamptzType: "<q",
}
_FLOATING: dict[type[IcebergType], str] = {FloatType: "<f", DoubleType: "<d"}


@dataclass(frozen=True, slots=True)
class ColdFile:
    """A file to publish.

    Attributes:
        path: Absolute path.
        partition: The partition that all its rows belong to.
        rows: Number of rows.
        size_bytes: Size of the file.
    """

    path: str
    partition: Partition
    rows: int
    size_bytes: int


class PartitionValues:
    """How the partitions of a table are told to Iceberg, which knows dates, stamps and texts as trade dates."""

    def __init__(self, schema: pa.Schema, grain: Grain) -> None:
        kind = schema.field(TRADE_DATE).type
        self._fields: list[tuple[str, str, Transform[Any, Any]]] = []
        self._value = _BY_GRAIN[grain]
        transform = _TRANSFORMS[grain]
        if pa.types.is_string(kind):
            length = {Grain.MONTH: 7, Grain.YEAR: 4}.get(grain, 10)
            transform = IdentityTransform() if length == 10 else TruncateTransform(length)
            self._value = lambda day: day.isoformat()[:length]
        elif pa.types.is_timestamp(kind) and isinstance(transform, IdentityTransform):
            transform = DayTransform()
        name = TRADE_DATE if isinstance(transform, IdentityTransform) else f"{TRADE_DATE}_{grain.value}"
        while name != TRADE_DATE and name in schema.names:
            name += "_"
        self._fields.append((name, TRADE_DATE, transform))
        self._has_class = ASSET_CLASS in schema.names and pa.types.is_string(schema.field(ASSET_CLASS).type)
        if self._has_class:
            self._fields.append((ASSET_CLASS, ASSET_CLASS, IdentityTransform()))

    def spec(self, schema: Schema) -> PartitionSpec:
        """Return the partition spec of a table with these columns."""
        return PartitionSpec(
            *(
                PartitionField(schema.find_field(source).field_id, _FIRST_PARTITION_FIELD + number, transform, name)
                for number, (name, source, transform) in enumerate(self._fields)
            )
        )

    def record(self, partition: Partition) -> Record:
        """Return the values of a partition."""
        day = self._value(partition.trade_date)
        return Record(day, partition.asset_class) if self._has_class else Record(day)


_BY_GRAIN: dict[Grain, Callable[[date], Any]] = {
    Grain.DAY: lambda day: (day - _EPOCH).days,
    Grain.AUTO: lambda day: (day - _EPOCH).days,
    Grain.MONTH: lambda day: (day.year - 1970) * 12 + day.month - 1,
    Grain.YEAR: lambda day: day.year - 1970,
}
_TRANSFORMS: dict[Grain, Transform[Any, Any]] = {
    Grain.DAY: IdentityTransform(),
    Grain.AUTO: IdentityTransform(),
    Grain.MONTH: MonthTransform(),
    Grain.YEAR: YearTransform(),
}


def iceberg_schema(columns: pa.Schema) -> Schema:
    """Return columns, which carry field ids, as Iceberg knows them."""
    return pyarrow_to_schema(columns)


def data_files(
    files: Iterable[ColdFile], columns: PublishedColumns, schema: Schema, partitions: PartitionValues
) -> list[DataFile]:
    """Return Iceberg's records of files, with the statistics that their footers hold.

    Args:
        files: The files.
        columns: The published columns.
        schema: The same as Iceberg knows them.
        partitions: How partitions are told.

    Raises:
        FileNotFoundError: A file is gone.
        IntegrityError: A file is damaged.
        UnsupportedError: A file knows a column by another field id than the table.
    """
    make = _Maker(columns, schema, partitions)
    with ThreadPoolExecutor(_WORKERS) as pool:
        return list(pool.map(make.data_file, files))


class _Maker:
    def __init__(self, columns: PublishedColumns, schema: Schema, partitions: PartitionValues) -> None:
        self._stored = columns.stored
        self._partitions = partitions
        self._kinds = {field.field_id: type(field.field_type) for field in schema.fields}

    def data_file(self, file: ColdFile) -> DataFile:
        """Return the record of one file."""
        try:
            footer = pq.read_metadata(file.path)
        except FileNotFoundError:  # moved meanwhile: the caller looks again
            raise
        except (pa.ArrowException, OSError) as error:
            raise IntegrityError(
                f"{file.path} cannot be published, as it cannot be read: {error}. audit() lists all damage.",
                location=file.path,
            ) from error
        ids = self._ids(file, footer)
        sizes: dict[int, int] = {}
        counts: dict[int, int] = {}
        nulls: dict[int, int] = {}
        lowest: dict[int, bytes] = {}
        highest: dict[int, bytes] = {}
        groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
        for position in range(footer.num_columns):
            chunks = [group.column(position) for group in groups]
            number = ids.get(chunks[0].path_in_schema) if chunks else None
            if number is None:
                continue
            sizes[number] = sum(chunk.total_compressed_size for chunk in chunks)
            counts[number] = sum(chunk.num_values for chunk in chunks)
            found = [chunk.statistics for chunk in chunks if chunk.is_stats_set]
            if len(found) < len(chunks) or not all(one.has_null_count for one in found):
                continue
            nulls[number] = sum(one.null_count for one in found)
            bounds = _bounds(self._kinds.get(number), found)
            if bounds[0] is not None:
                lowest[number] = bounds[0]
            if bounds[1] is not None:
                highest[number] = bounds[1]
        return DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=file.path,
            file_format=FileFormat.PARQUET,
            partition=self._partitions.record(file.partition),
            record_count=footer.num_rows,
            file_size_in_bytes=file.size_bytes,
            column_sizes=sizes,
            value_counts=counts,
            null_value_counts=nulls,
            nan_value_counts={},
            lower_bounds=lowest,
            upper_bounds=highest,
            key_metadata=None,
            split_offsets=sorted(_offset(group) for group in groups),
            equality_ids=None,
            sort_order_id=None,
            spec_id=0,
        )

    def _ids(self, file: ColdFile, footer: pq.FileMetaData) -> dict[str, int]:
        """Return the field ids of a file's columns; refuse a file that readers would take the wrong columns from."""
        held = {field.name: field_id(field) for field in footer.schema.to_arrow_schema() if field.name != SEQ}
        for name, number in held.items():
            if self._stored.get(number) != name:
                raise UnsupportedError(
                    f"{file.path} knows column {name!r} by another field id than the published table, so no reader "
                    "would find it.",
                    location=file.path,
                    column=name,
                )
        return held


def _offset(group: pq.RowGroupMetaData) -> int:
    """Return where a row group begins."""
    first = group.column(0)
    return int(min(first.data_page_offset, first.dictionary_page_offset or first.data_page_offset))


def _bounds(kind: type[IcebergType] | None, found: list[pq.Statistics]) -> tuple[bytes | None, bytes | None]:
    """Return the smallest and largest value of a column as Iceberg writes them, where it has any and they are known."""
    # A footer leaves long texts out; floats without bounds are not numbers, which Iceberg's bounds leave out as well.
    is_unsure = kind not in _FLOATING and any(one.num_values and not one.has_min_max for one in found)
    found = [one for one in found if one.has_min_max]
    if kind is None or not found or is_unsure:
        return None, None
    if kind in _WHOLE:
        form = _WHOLE[kind]
        lowest, highest = min(one.min_raw for one in found), max(one.max_raw for one in found)
        return struct.pack(form, lowest), struct.pack(form, highest)
    if kind in _FLOATING:
        form = _FLOATING[kind]
        return struct.pack(form, min(one.min for one in found)), struct.pack(form, max(one.max for one in found))
    if kind is StringType:
        first, last = min(one.min for one in found), max(one.max for one in found)
        return first[:_BOUND_CHARACTERS].encode(), _above(last)
    return None, None


def _above(text: str) -> bytes | None:
    """Return a short text that is not below `text`, or None where there is none at hand."""
    if len(text) <= _BOUND_CHARACTERS:
        return text.encode()
    last = ord(text[_BOUND_CHARACTERS - 1]) + 1
    if last > 0x10FFFF or 0xD800 <= last <= 0xDFFF:
        return None
    return (text[: _BOUND_CHARACTERS - 1] + chr(last)).encode()
