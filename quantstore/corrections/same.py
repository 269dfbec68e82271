"""Whether rows are the same, value by value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quantstore.rows.fingerprint import row_hashes

if TYPE_CHECKING:
    from quantstore.corrections.scopes import Mask


def equal_rows(left: pa.Table, right: pa.Table) -> Mask:
    """Return which rows of two tables with the same columns and number of rows are equal.

    Null equals null and NaN equals NaN; categories are compared by their values.
    """
    same = np.ones(left.num_rows, np.bool_)
    for name in left.column_names:
        same &= _equal(left.column(name), right.column(name))
    return same


def _equal(left: pa.ChunkedArray, right: pa.ChunkedArray) -> Mask:
    left, right = _plain(left), _plain(right)
    if pa.types.is_null(left.type) and pa.types.is_null(right.type):
        return np.ones(len(left), np.bool_)
    if pa.types.is_nested(left.type) or left.type != right.type:
        return np.asarray(_hashes(left) == _hashes(right))
    both_null = pc.and_(pc.is_null(left), pc.is_null(right))
    equal = pc.fill_null(pc.equal(left, right), False)
    if pa.types.is_floating(left.type):
        nan = pc.and_(pc.fill_null(pc.is_nan(left), False), pc.fill_null(pc.is_nan(right), False))
        equal = pc.or_(equal, nan)
    return np.asarray(pc.or_(both_null, equal).to_numpy())


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    return column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column


def _hashes(column: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return row_hashes(column.combine_chunks())
