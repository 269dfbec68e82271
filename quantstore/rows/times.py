"""Event time as 64-bit nanoseconds, whatever the column's type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quantstore.errors import InvalidInputError

if TYPE_CHECKING:
    from quantstore.core.timerange import TimeRange

Int64s = np.ndarray[Any, np.dtype[np.int64]]


def time_ns(column: pa.ChunkedArray, table: str) -> Int64s:
    """Return event time as nanoseconds since the epoch, a view where the column holds them already.

    Raises:
        InvalidInputError: A stamp lies outside 1677 to 2262, which 64-bit nanoseconds cannot reach.
    """
    kind = column.type
    try:
        if pa.types.is_date(kind):
            column = column.cast(pa.timestamp("ms")).cast(pa.timestamp("ns"))
        elif kind.unit != "ns":
            column = column.cast(pa.timestamp("ns", kind.tz))
    except pa.ArrowInvalid as error:
        raise InvalidInputError(
            f"The time column of table {table!r} has stamps outside 1677-09-21 to 2262-04-11; correct them."
        ) from error
    return np.asarray(as_numpy(column.cast(pa.int64())), np.int64)


def row_mask(stamps: Int64s, wanted: TimeRange) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which event times lie in a range."""
    mask = np.ones(len(stamps), np.bool_)
    if wanted.start_ns is not None:
        mask &= stamps >= wanted.start_ns
    if wanted.end_ns is not None:
        mask &= stamps < wanted.end_ns
    return mask


def as_date(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the dates (date32) of a column of dates, ISO text or timestamps, zoned ones in UTC.

    Raises:
        ValueError: The column holds something else.
        pyarrow.ArrowInvalid: A text is no date.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_timestamp(kind):
        if kind.tz is not None:
            column = column.cast(pa.timestamp(kind.unit, "UTC")).cast(pa.timestamp(kind.unit))
        # Arrow's cast to date truncates toward the epoch in some releases; flooring first is right in all.
        return pc.floor_temporal(column, unit="day").cast(pa.timestamp("s")).cast(pa.date32())
    if not (pa.types.is_date(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise ValueError("it must be a date, a timestamp or text such as 2026-01-31")
    return column.cast(pa.date32())


def as_numpy(column: pa.ChunkedArray) -> Any:
    """Return a column as a NumPy array, a view where it is one chunk without nulls."""
    if column.num_chunks == 1:
        return column.chunk(0).to_numpy(zero_copy_only=False)
    return column.to_numpy()
