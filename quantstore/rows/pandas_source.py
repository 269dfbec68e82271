"""pandas frames on their way in: index to columns, columns to Arrow, and notes on how to restore them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

from quantstore.errors import InvalidInputError
from quantstore.rows.source import DEFAULT_INDEX_NAME


def pandas_to_arrow(df: pd.DataFrame) -> pa.Table:
    """Return the columns of `df`, index columns first, as an Arrow table.

    NaN in a numpy-backed float column is a missing value, as pandas has it; in ArrowDtype and masked columns NaN and
    null stay apart.

    Raises:
        InvalidInputError: Column labels are not distinct text, or a column holds what Arrow cannot; names the column.
    """
    _check_labels(df)
    names, arrays = [], []
    for name, values in _index_columns(df):
        names.append(name)
        arrays.append(_to_arrow(name, values))
    for position, name in enumerate(df.columns):
        names.append(name)
        arrays.append(_to_arrow(name, df.iloc[:, position]))
    if len(set(names)) < len(names):
        doubled = min(name for name in names if names.count(name) > 1)
        raise InvalidInputError(f"Column {doubled!r} is also the name of an index level; rename one of them.")
    if not names:
        raise InvalidInputError("The frame has no columns.")
    return pa.table(dict(zip(names, arrays, strict=True)))


def describe_frame(df: pd.DataFrame) -> dict[str, Any]:
    """Return index columns and dtypes, as JSON-able values, so that a bare-table read can restore them."""
    index = [name for name, _ in _index_columns(df)]
    dtypes = {name: _dtype_name(values.dtype) for name, values in _index_columns(df)}
    dtypes |= {name: _dtype_name(dtype) for name, dtype in zip(df.columns, df.dtypes, strict=True)}
    freq = getattr(df.index, "freqstr", None) if isinstance(df.index, pd.DatetimeIndex) else None
    return {
        "index": index,
        "index_names": list(df.index.names) if index else [],
        "columns_name": df.columns.name if isinstance(df.columns.name, str) else None,
        "dtypes": {name: kind for name, kind in dtypes.items() if kind},
        "freq": freq,
    }


def _check_labels(df: pd.DataFrame) -> None:
    if isinstance(df.columns, pd.MultiIndex):
        raise InvalidInputError(
            "MultiIndex columns cannot be stored; join the levels: df.columns = ['_'.join(c) for c in df.columns]. Of "
            "(field, symbol) columns write one field, df['close'] with wide='close', or make the symbols rows: "
            "df.stack(level=1, future_stack=True)."
        )
    for label in df.columns:
        if not isinstance(label, str):
            raise InvalidInputError(f"Column label {label!r} is not text; rename it: df.columns = df.columns.map(str).")
    if not df.columns.is_unique:
        label = df.columns[df.columns.duplicated()][0]
        raise InvalidInputError(f"Column {label!r} appears more than once; rename one of them.")


def _index_columns(df: pd.DataFrame) -> list[tuple[str, Any]]:
    """Return the index levels worth keeping: every named one and a DatetimeIndex."""
    index = df.index
    if isinstance(index, pd.MultiIndex):
        unnamed = [level for level, name in enumerate(index.names) if not isinstance(name, str)]
        if unnamed:
            raise InvalidInputError(
                f"Level {unnamed[0]} of the row MultiIndex has no name; name it with df.index.names = [...] or drop it "
                "with df.reset_index(drop=True)."
            )
        return [(str(name), index.get_level_values(level)) for level, name in enumerate(index.names)]
    if isinstance(index, pd.DatetimeIndex):
        return [(str(index.name) if index.name is not None else DEFAULT_INDEX_NAME, index)]
    if index.name is not None:
        return [(str(index.name), index)]
    if pd.api.types.is_integer_dtype(index.dtype):
        return []  # row labels left over from filtering; a bare-table read has fresh ones
    raise InvalidInputError(
        f"The row index holds {index.dtype} labels and has no name; name it (df.index.name = 'symbol') to keep it or "
        "drop it with df.reset_index(drop=True)."
    )


def _to_arrow(name: str, values: Any) -> Any:
    try:
        array = pa.array(values, from_pandas=True) if not _keeps_nan(values.dtype) else pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(f"Column {name!r} ({values.dtype}) cannot be stored: {error}", column=name) from error
    if isinstance(values.dtype, pd.CategoricalDtype):
        # pandas picks the width of codes by the number of categories; a table's type must not depend on it.
        return array.cast(pa.dictionary(pa.int32(), array.type.value_type, array.type.ordered))
    return array


def _keeps_nan(dtype: Any) -> bool:
    return isinstance(dtype, pd.api.extensions.ExtensionDtype)


def _dtype_name(dtype: Any) -> str:
    """Return a name that `restore` understands, or nothing where Arrow's own conversion restores the dtype."""
    if isinstance(dtype, pd.CategoricalDtype):
        return "category"
    return str(dtype)
