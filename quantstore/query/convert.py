"""Arrow results as the frame the caller asked for, types kept and no copy where a view serves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from quantstore.core.names import listed
from quantstore.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

RESULT_KINDS = ("pandas", "polars", "lazy", "arrow", "reader", "relation")
_MANY_ROWS = 1_000_000
_FEW_ROWS = 50_000
"""So few are converted before other threads have woken up."""
_MANY_CHUNKS = 256
"""Of so many pieces a frame is slower to work with than to join."""
_HUGE_INTEGER = pa.decimal128(38, 0)
DTYPE_BACKENDS = (None, "pyarrow", "numpy_nullable")
_NULLABLE = {
    "int8": "Int8",
    "int16": "Int16",
    "int32": "Int32",
    "int64": "Int64",
    "uint8": "UInt8",
    "uint16": "UInt16",
    "uint32": "UInt32",
    "uint64": "UInt64",
    "bool": "boolean",
}


def check_kind(to: str, dtype_backend: str | None) -> None:
    """Refuse result kinds that do not exist.

    Raises:
        InvalidInputError: Names the ones that do.
    """
    if to not in RESULT_KINDS:
        raise InvalidInputError(f"to={to!r} is not one of {', '.join(RESULT_KINDS)}.")
    if dtype_backend not in DTYPE_BACKENDS:
        raise InvalidInputError(f"dtype_backend={dtype_backend!r} is not one of pyarrow, numpy_nullable.")


def convert(table: pa.Table, to: str, dtype_backend: str | None = None, frame: Mapping[str, Any] | None = None) -> Any:
    """Return `table` as `to`.

    Args:
        table: The result.
        to: `pandas`, `polars`, `lazy` or `arrow`.
        dtype_backend: For pandas: None (NumPy, nullable where a column of integers or booleans has nulls), `pyarrow`
            or `numpy_nullable`.
        frame: How the table's pandas frame looked when written, which restores dtypes and index; None for an answer to
            SQL, where sums of integers (128 bits in the engine) become int64 if they fit.
    """
    if to == "arrow":
        return table
    if to == "polars":
        return to_polars(table)
    if to == "lazy":
        return to_polars(table).lazy()
    return to_pandas(_with_small_sums(table) if frame is None else table, dtype_backend, frame or {})


def _with_small_sums(table: pa.Table) -> pa.Table:
    """Return `table` with whole numbers of 38 digits, which pandas would hold as objects, as int64 where they fit."""
    for position, field in enumerate(table.schema):
        if field.type == _HUGE_INTEGER:
            try:
                table = table.set_column(position, field.name, table.column(position).cast(pa.int64()))
            except pa.ArrowInvalid:
                continue
    return table


def to_polars(table: pa.Table) -> pl.DataFrame:
    """Return a Polars frame; ordered categories become Enum.

    Raises:
        InvalidInputError: Two columns have one name; both ways out are named.
    """
    import polars as pl

    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise InvalidInputError(
            f"The result has several columns called {listed(twice)}, and Polars holds each name once; give them names "
            "of their own (SELECT t.price AS ...), or leave one out (SELECT * EXCLUDE (...)).",
            columns=twice,
        )

    result = _frame_of(table) if table.num_columns else pl.DataFrame()
    enums = {}
    for field in table.schema:
        if pa.types.is_dictionary(field.type) and field.type.ordered:
            categories = _dictionary(table.column(field.name)).to_pylist()
            if all(isinstance(one, str) for one in categories):
                enums[field.name] = pl.Enum(categories)
    return result.cast(enums) if enums else result


def _frame_of(table: pa.Table) -> pl.DataFrame:
    """Return a Polars frame over the table's memory; only texts, which Polars keeps as views, are read."""
    import polars as pl

    texts = [
        field.name for field in table.schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    ]
    if table.num_rows >= _MANY_ROWS and texts:
        with ThreadPoolExecutor(min(len(texts), os.cpu_count() or 1)) as pool:
            views = list(pool.map(lambda name: table.column(name).cast(pa.string_view()), texts))
        for name, view in zip(texts, views, strict=True):
            table = table.set_column(table.column_names.index(name), name, view)
    many_chunks = max(column.num_chunks for column in table.columns) > _MANY_CHUNKS
    result = pl.from_arrow(table, rechunk=many_chunks)
    assert isinstance(result, pl.DataFrame)  # noqa: S101 - tables become frames
    return result


def to_pandas(table: pa.Table, dtype_backend: str | None, frame: Mapping[str, Any]) -> pd.DataFrame:
    """Return a pandas frame whose integers are never floats, with the index restored where `frame` tells it."""
    import pandas as pd

    names = table.column_names
    if len(set(names)) < len(names):  # SELECT * over a join: a frame may hold a name twice, and what follows may not
        apart = table.rename_columns([str(position) for position in range(len(names))])
        result = to_pandas(apart, dtype_backend, {})
        result.columns = pd.Index(names)
        return result
    if dtype_backend == "pyarrow":
        result = table.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True, use_threads=len(table) > _FEW_ROWS)
    else:
        special = _special_columns(table, dtype_backend, frame)
        plain = table.drop_columns(list(special))
        threads = len(table) > _FEW_ROWS
        columns = plain.to_pandas(ignore_metadata=True, use_threads=threads) if plain.num_columns else None
        result = pd.DataFrame(index=range(len(table))) if columns is None else columns
        for position, name in enumerate(table.column_names):
            if name in special:
                result.insert(position, name, _special(table.column(name), special[name]))
        if frame and dtype_backend is None:
            result = _as_written(result, table, frame, set(special))
    return _with_index(result, frame)


def _special_columns(table: pa.Table, dtype_backend: str | None, frame: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pandas dtype of every column that NumPy cannot hold faithfully or that was written as another."""
    import pandas as pd

    written = frame.get("dtypes", {}) if dtype_backend is None else {}
    special: dict[str, Any] = {}
    for field in table.schema:
        kind, recorded = field.type, written.get(field.name, "")
        nullable = _NULLABLE.get(str(kind))
        if recorded.endswith("[pyarrow]"):
            special[field.name] = pd.ArrowDtype(kind)
        elif recorded and recorded[0].isupper() and recorded in {*_NULLABLE.values(), "Float32", "Float64"}:
            special[field.name] = pd.api.types.pandas_dtype(recorded)
        elif recorded == "boolean":
            special[field.name] = pd.BooleanDtype()
        elif nullable and (dtype_backend == "numpy_nullable" or table.column(field.name).null_count):
            special[field.name] = pd.api.types.pandas_dtype(nullable)
        elif dtype_backend == "numpy_nullable" and pa.types.is_floating(kind) and kind.bit_width > 16:
            special[field.name] = pd.api.types.pandas_dtype("Float64" if kind.bit_width == 64 else "Float32")
        elif dtype_backend == "numpy_nullable" and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            special[field.name] = pd.StringDtype()
    return special


def _special(column: pa.ChunkedArray, dtype: Any) -> Any:
    import pandas as pd

    if pa.types.is_null(column.type):
        return pd.array([None] * len(column), dtype=dtype)
    return dtype.__from_arrow__(column)


def _as_written(result: pd.DataFrame, table: pa.Table, frame: Mapping[str, Any], done: set[str]) -> pd.DataFrame:
    """Bring columns whose dtype differs from the written one back to it where that loses nothing."""
    found = dict(zip(result.columns, result.dtypes, strict=True))  # taking a column out of a frame takes longer
    for name, recorded in frame.get("dtypes", {}).items():
        if name in done or name not in found or str(found[name]) == recorded:
            continue
        if recorded == "object":
            result[name] = _objects(table.column(name))
        elif recorded != "category":
            try:
                result[name] = result[name].astype(recorded)
            except (TypeError, ValueError):
                continue  # written by a later frame with values the first dtype cannot hold
    return result


def _objects(column: pa.ChunkedArray) -> Any:
    import pandas as pd

    values = column.to_numpy() if column.num_chunks != 1 else column.chunk(0).to_numpy(zero_copy_only=False)
    return pd.Series(values.astype(object), dtype=object)


def _with_index(result: pd.DataFrame, frame: Mapping[str, Any]) -> pd.DataFrame:
    index = frame.get("index") or []
    if frame.get("columns_name"):
        result.columns.name = frame["columns_name"]
    if not index or any(name not in result.columns for name in index):
        return result
    result = result.set_index(list(index))
    result.index.names = frame["index_names"]
    if frame.get("freq"):
        try:
            result.index.freq = frame["freq"]  # type: ignore[attr-defined]
        except ValueError:
            return result  # rows written since do not keep the rhythm
    return result


def _dictionary(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 0:
        return pa.array([], column.type.value_type)
    return column.unify_dictionaries().chunk(0).dictionary
