"""Split rows by partition, put them in a store's order, and note what the catalog should know of each piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quantstore.core.segment import ASSET_CLASS, SEQ, TRADE_DATE, UNKNOWN_ASSET_CLASS, Partition, SegmentStats
from quantstore.core.table import Grain
from quantstore.errors import InvalidInputError
from quantstore.rows.times import Int64s, as_date, as_numpy, time_ns
from quantstore.write.order import Order, ranked_codes, stable_order

if TYPE_CHECKING:
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import TableLayout

MAX_LISTED_SYMBOLS = 32
_EPOCH = np.datetime64(0, "D")
_COUNTABLE = 2**22


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one partition in a store's order.

    Attributes:
        table: Layout columns; `_seq` is left out where it counts rows up from `seq_start`, and the hidden partition
            columns where they are constant.
        seq_start: The first row's ordinal where `_seq` is left out, else 0.
    """

    partition: Partition
    stats: SegmentStats
    table: pa.Table
    seq_start: int


def add_hidden(table: pa.Table, form: TableForm, asset_class: str | None) -> pa.Table:
    """Return `table` with the partition columns it lacks: `trade_date` derived from time, `asset_class` as told.

    Raises:
        InvalidInputError: A row has no time, or a `trade_date` is missing or no date.
    """
    time = table.column(form.spec.time)
    if time.null_count:
        raise InvalidInputError(
            f"Time column {form.spec.time!r} has {time.null_count} empty values in {table.num_rows} rows; fill them.",
            table=form.spec.name,
        )
    columns = dict(zip(table.column_names, table.columns, strict=True))
    if TRADE_DATE not in columns:
        columns[TRADE_DATE] = as_date(time)
    if ASSET_CLASS not in columns:
        value = asset_class or form.spec.asset_class or UNKNOWN_ASSET_CLASS
        constant = pa.repeat(pa.scalar(value, pa.string()), table.num_rows)
        columns[ASSET_CLASS] = pa.chunked_array([constant]).cast(form.schema.field(ASSET_CLASS).type)
    return pa.table({name: columns[name] for name in form.schema.names if name != SEQ})


def split(table: pa.Table, form: TableForm, order: Order, first_ordinal: int, max_bytes: int) -> Iterator[Piece]:
    """Cut rows (with hidden columns, in arrival order) into pieces of one partition each, none much over `max_bytes`.

    Rows that arrive in time order with their partitions one after the other are sliced, never copied, when the store
    wants time order.
    """
    if table.num_rows == 0:
        return
    layout = form.layout
    keys, partitions = _partition_keys(table, form)
    time = time_ns(table.column(layout.time), form.spec.name)
    permutation = _permutation(table, layout, order, keys, time)
    if permutation is not None:
        table, keys, time = table.take(pa.array(permutation)), keys[permutation], time[permutation]
    cuts = [0, *(np.flatnonzero(np.diff(keys)) + 1).tolist(), table.num_rows]
    row_bytes = max(1, table.nbytes // table.num_rows)
    for start, end in pairwise(cuts):
        partition = partitions[int(keys[start])]
        for low, high in _slices(start, end, max(1, max_bytes // row_bytes)):
            part = table.slice(low, high - low)
            stats = piece_stats(part, layout, time[low:high])
            if permutation is None:
                seq_start = first_ordinal + low
            else:
                ordinals = pa.array(permutation[low:high] + first_ordinal, pa.int64())
                part, seq_start = part.append_column(SEQ, ordinals), 0
            yield Piece(partition, stats, _without_constants(part, form), seq_start)


def _slices(start: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    count = -(-(end - start) // most)
    edges = np.linspace(start, end, count + 1).astype(int).tolist()
    yield from pairwise(edges)


def _without_constants(table: pa.Table, form: TableForm) -> pa.Table:
    """Leave out hidden partition columns that the partition alone determines."""
    constant = [ASSET_CLASS] if form.spec.grain is not Grain.DAY else [TRADE_DATE, ASSET_CLASS]
    return table.drop_columns([name for name in constant if name in form.hidden])


def _partition_keys(table: pa.Table, form: TableForm) -> tuple[Int64s, dict[int, Partition]]:
    """Return one integer per row that orders partitions by date then asset class, and what each stands for."""
    days = _days(table.column(TRADE_DATE), form)
    if form.spec.grain is not Grain.DAY:
        unit = "M" if form.spec.grain is Grain.MONTH else "Y"
        days = (days.astype("datetime64[D]").astype(f"datetime64[{unit}]").astype("datetime64[D]")).astype(np.int64)
    codes, classes = ranked_codes(table.column(ASSET_CLASS))
    keys = days * (len(classes) or 1) + codes
    partitions = {}
    for key in _distinct(keys):
        day, code = divmod(int(key), len(classes) or 1)
        partitions[int(key)] = Partition((_EPOCH + day).astype(object), classes[code])
    return keys, partitions


def _distinct(keys: Int64s) -> Int64s:
    """Return the distinct keys, ascending."""
    first, last = int(keys.min()), int(keys.max())
    if last - first < _COUNTABLE:
        return np.flatnonzero(np.bincount(keys - first)) + first
    return np.unique(keys)


def _days(column: pa.ChunkedArray, form: TableForm) -> Int64s:
    name = form.spec.name
    try:
        days = as_date(column)
    except (pa.ArrowException, ValueError) as error:
        raise InvalidInputError(
            f"Column 'trade_date' of table {name!r} ({column.type}) holds values that are no dates: {error}"
        ) from None
    if days.null_count:
        raise InvalidInputError(f"Column 'trade_date' of table {name!r} has {days.null_count} empty values; fill them.")
    return np.asarray(as_numpy(days.cast(pa.int32())), np.int64)


def _permutation(table: pa.Table, layout: TableLayout, order: Order, keys: Int64s, time: Int64s) -> Int64s | None:
    """Return the stable sort into (partition, store order), or None where rows are in that order already."""
    groups = [keys]
    if order == "symbol" and layout.symbol:
        groups.append(ranked_codes(table.column(layout.symbol))[0])
    return stable_order(groups, [time])


def piece_stats(table: pa.Table, layout: TableLayout, time: Int64s | None = None) -> SegmentStats:
    """Return what the catalog should know about rows of one partition.

    Args:
        table: At least one row.
        layout: Names of the time and symbol columns.
        time: Event time in nanoseconds where the caller has it.
    """
    stamps = time_ns(table.column(layout.time), "") if time is None else time
    symbols: list[Any] = []
    has_null = False
    if layout.symbol:
        column = table.column(layout.symbol)
        has_null = column.null_count > 0
        symbols = sorted(value for value in pc.unique(column).to_pylist() if value is not None)
    return SegmentStats(
        rows=table.num_rows,
        min_ns=int(stamps.min()),
        max_ns=int(stamps.max()),
        symbols=tuple(symbols) if layout.symbol and len(symbols) <= MAX_LISTED_SYMBOLS else None,
        min_symbol=symbols[0] if symbols else None,
        max_symbol=symbols[-1] if symbols else None,
        has_null_symbol=has_null,
    )
