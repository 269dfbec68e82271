"""Whatever a caller hands in, as a stream of Arrow tables."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import pyarrow as pa

from quantstore.errors import InvalidInputError, UnsupportedError

DEFAULT_INDEX_NAME = "ts"
MAX_RECORDED_CATEGORIES = 1000
_SERIES = "A {} has no columns with names; make a frame of it first, such as series.to_frame('price')."
_LAZY_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Source:
    """Rows to be written, in arrival order.

    Attributes:
        schema: Arrow schema of every table.
        tables: The rows; a single table where the caller held them all, else consumed once, lazily.
        is_stream: Whether the rows arrive bit by bit and may exceed memory.
        frame: How to restore what was written: `categories` of category columns in order and, of a pandas frame,
            `index` columns, their original `index_names`, `dtypes` and `freq`.
    """

    schema: pa.Schema
    tables: Iterable[pa.Table]
    is_stream: bool = False
    frame: dict[str, Any] = field(default_factory=dict)


def open_source(data: Any) -> Source:
    """Return `data` as a stream of Arrow tables.

    Args:
        data: pandas or Polars DataFrame, Polars LazyFrame, Arrow table, record batch or reader, anything with
            `__arrow_c_stream__` or `__arrow_c_array__`, or an iterator of any of these with equal schemas.

    Raises:
        InvalidInputError: `data` is none of these, or has columns that Arrow cannot hold; the message names them.
    """
    table = _whole_table(data)
    if table is not None:
        return Source(table.schema.remove_metadata(), [table], frame=_frame(data, table))
    if isinstance(data, pa.RecordBatchReader):
        return _reader_source(data)
    if _is_polars_lazy(data):
        return _iterator_source(_lazy_batches(data))
    if hasattr(data, "to_frame"):
        raise InvalidInputError(_SERIES.format(type(data).__name__))
    if hasattr(data, "__arrow_c_stream__"):
        return _reader_source(_reader(data))
    if isinstance(data, Iterable) and not isinstance(data, (str, bytes, dict)):
        return _iterator_source(iter(data))
    raise InvalidInputError(
        f"Rows cannot come as {type(data).__name__}; pass a pandas or Polars DataFrame, an Arrow table or reader, or "
        "an iterator of these."
    )


def _frame(data: Any, table: pa.Table) -> dict[str, Any]:
    """Return how to restore a frame like `data`."""
    categories = {
        field.name: listed
        for field in table.schema
        if pa.types.is_dictionary(field.type) and (listed := categories_of(table.column(field.name))) is not None
    }
    frame: dict[str, Any] = {"categories": categories} if categories else {}
    if not _is_pandas(data):
        return frame
    from quantstore.rows.pandas_source import describe_frame

    return frame | describe_frame(data)


def categories_of(column: pa.ChunkedArray) -> list[Any] | None:
    """Return the categories of a category column in order, or None where they are too many to record.

    Those of ordered columns are always recorded: their order is part of what the column means.

    Raises:
        UnsupportedError: Ordered categories are neither texts, numbers nor truth values.
    """
    if column.num_chunks == 0:
        return None
    dictionary = column.unify_dictionaries().chunk(0).dictionary
    if not column.type.ordered and len(dictionary) > MAX_RECORDED_CATEGORIES:
        return None
    listed: list[Any] = dictionary.to_pylist()
    if all(isinstance(one, str | int | float) for one in listed):
        return listed
    if column.type.ordered:
        raise UnsupportedError(
            f"Ordered categories of {dictionary.type} cannot be kept; use texts or numbers as categories."
        )
    return None


def _whole_table(data: Any) -> pa.Table | None:
    """Return `data` as one table where the caller holds all of it in memory, else None."""
    if _is_pandas(data):
        from quantstore.rows.pandas_source import pandas_to_arrow

        return pandas_to_arrow(data)
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if _is_polars(data):
        _refuse_polars_objects(data)
        return data.to_arrow()
    if hasattr(data, "__arrow_c_array__") and not hasattr(data, "__arrow_c_stream__"):
        return pa.Table.from_batches([pa.record_batch(data)])
    return None


def _lazy_batches(data: Any) -> Iterator[Any]:
    """Yield a lazy frame's rows bit by bit; releases of Polars that cannot compute them all at once first."""
    if hasattr(data, "collect_batches"):
        batches = iter(data.collect_batches(chunk_size=_LAZY_ROWS, maintain_order=True))
    else:
        batches = iter(data.collect(engine="streaming").iter_slices(_LAZY_ROWS))
    first = next(batches, None)
    yield data.head(0).collect() if first is None else first
    yield from batches


def _reader_source(reader: pa.RecordBatchReader) -> Source:
    tables = (pa.Table.from_batches([batch]) for batch in reader)
    return Source(reader.schema.remove_metadata(), tables, is_stream=True)


def _reader(data: Any) -> pa.RecordBatchReader:
    try:
        return pa.RecordBatchReader.from_stream(data)
    except pa.ArrowException as error:
        raise InvalidInputError(_SERIES.format(type(data).__name__)) from error


def _iterator_source(items: Iterator[Any]) -> Source:
    first = next(items, None)
    if first is None:
        raise InvalidInputError("The iterator gave no batch, so there is no schema to write; pass an empty frame.")
    head = open_source(first)
    tables = chain(head.tables, (table for item in items for table in _next_tables(item)))
    return Source(head.schema, tables, is_stream=True, frame=head.frame)


def _next_tables(item: Any) -> Iterable[pa.Table]:
    return open_source(item).tables


def _is_pandas(data: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def _is_polars(data: Any) -> bool:
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(data, polars.DataFrame)


def _is_polars_lazy(data: Any) -> bool:
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(data, polars.LazyFrame)


def _refuse_polars_objects(data: Any) -> None:
    import polars as pl

    objects = [name for name, kind in data.schema.items() if kind == pl.Object]
    if objects:
        raise InvalidInputError(f"Column {objects[0]!r} holds Python objects; cast it to a Polars type first.")
