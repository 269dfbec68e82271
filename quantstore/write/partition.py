"""Split rows by partition, put them in a store's order, and note what the catalog should know of each piece."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quantstore.core.segment import ASSET_CLASS, SEQ, TRADE_DATE, UNKNOWN_ASSET_CLASS, Partition, SegmentStats
from quantstore.core.table import Grain
from quantstore.errors import InvalidInputError
from quantstore.rows.calendars import session_dates
from quantstore.rows.times import Int64s, as_date, as_numpy, time_ns
from quantstore.write.order import Order, ranked_codes, stable_order

if TYPE_CHECKING:
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import TableLayout

MAX_LISTED_SYMBOLS = 32
_EPOCH = np.datetime64(0, "D")
_WORTH_THREADS = 100_000
Integers = np.ndarray[Any, np.dtype[np.int64]] | np.ndarray[Any, np.dtype[np.int32]]


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one day (or month, or year), of one partition or of several, in a store's order.

    Attributes:
        table: Layout columns; `_seq` is left out where it counts rows up from `seq_start`, and the hidden partition
            columns where they are constant.
        seq_start: The first row's ordinal where `_seq` is left out, else 0.
        partition: The partition of all rows; in a mixed piece only its day counts.
        is_mixed: Whether the column `asset_class` says which partition a row belongs to.
        rows: The rows with all partition columns.
        time: Event time in nanoseconds.
    """

    table: pa.Table
    seq_start: int
    partition: Partition
    is_mixed: bool
    rows: pa.Table
    time: Int64s


def add_hidden(table: pa.Table, form: TableForm, asset_class: str | None) -> pa.Table:
    """Return `table` with the partition columns it lacks: `trade_date` derived from time, `asset_class` as told.

    Raises:
        InvalidInputError: A row has no time, or its time lies outside what the table's calendar knows.
        MissingDependencyError: The package that knows calendars is not installed.
    """
    time = table.column(form.spec.time)
    if time.null_count:
        raise InvalidInputError(
            f"Time column {form.spec.time!r} has {time.null_count} empty values in {table.num_rows} rows; fill them "
            "or drop these rows.",
            table=form.spec.name,
        )
    columns = dict(zip(table.column_names, table.columns, strict=True))
    if TRADE_DATE not in columns:
        columns[TRADE_DATE] = _trade_dates(time, form)
    if ASSET_CLASS not in columns:
        value = asset_class or form.spec.asset_class or UNKNOWN_ASSET_CLASS
        constant = pa.repeat(pa.scalar(value, pa.string()), table.num_rows)
        columns[ASSET_CLASS] = pa.chunked_array([constant]).cast(form.schema.field(ASSET_CLASS).type)
    return pa.table({name: columns[name] for name in form.schema.names if name != SEQ})


def _trade_dates(time: pa.ChunkedArray, form: TableForm) -> pa.ChunkedArray:
    """Return the trade dates of event times: their session in the table's calendar, else their UTC date."""
    spec = form.spec
    return as_date(time) if spec.calendar is None else session_dates(time, spec.calendar, spec.time, spec.name)


def split(
    table: pa.Table, form: TableForm, order: Order, first_ordinal: int, max_bytes: int, *, mixes: bool
) -> Iterator[Piece]:
    """Cut rows (with hidden columns, in arrival order) into pieces, none much over `max_bytes`.

    Rows that arrive in time order with their partitions one after the other are sliced, never copied, when the store
    wants time order; where it mixes asset classes, days one after the other will do.

    Args:
        table: The rows.
        form: The table's form.
        order: The store's order.
        first_ordinal: Number of the first row in its commit.
        max_bytes: Size of a piece.
        mixes: Whether a piece may hold all asset classes of a day.
    """
    if table.num_rows == 0:
        return
    layout = form.layout
    is_mixed = mixes and ASSET_CLASS not in form.hidden
    keys: Integers = _days(table.column(TRADE_DATE), form)
    classes = [_first_class(table)]
    if not is_mixed and (ASSET_CLASS not in form.hidden or _has_several(table.column(ASSET_CLASS))):
        codes, classes = ranked_codes(table.column(ASSET_CLASS))
        keys = keys.astype(np.int64) * len(classes) + codes
    time = time_ns(table.column(layout.time), form.spec.name)
    gathered = stable_order([keys], [])
    if gathered is not None:
        keys = keys[gathered]
    cuts = [0, *(np.flatnonzero(keys[1:] != keys[:-1]) + 1).tolist(), table.num_rows]
    most = max(1, max_bytes // max(1, table.nbytes // table.num_rows))

    def ordered(span: tuple[int, int]) -> tuple[pa.Table, Int64s | None]:
        return _in_order(table, time, span, gathered, layout, order)

    for (start, end), (rows, chosen) in zip(pairwise(cuts), _each(ordered, list(pairwise(cuts))), strict=True):
        day, code = divmod(int(keys[start]), len(classes))
        partition = Partition((_EPOCH + day).astype(object), None if is_mixed else classes[code])
        for low, high in _slices(0, end - start, most):
            part, seq_start = rows.slice(low, high - low), first_ordinal + start + low
            stamps = time[start + low : start + high] if chosen is None else time[chosen[low:high]]
            piece = part
            if chosen is not None:
                ordinals = pa.array(chosen[low:high] + first_ordinal, pa.int64())
                piece, seq_start = part.append_column(SEQ, ordinals), 0
            yield Piece(without_constants(piece, form), seq_start, partition, is_mixed, part, stamps)


def _in_order(
    table: pa.Table, time: Int64s, span: tuple[int, int], gathered: Int64s | None, layout: TableLayout, order: Order
) -> tuple[pa.Table, Int64s | None]:
    """Return the rows of one partition in a store's order and their numbers, or None where they follow each other."""
    start, end = span
    chosen = None if gathered is None else gathered[start:end]
    rows = table.slice(start, end - start) if chosen is None else None
    groups: list[Integers] = []
    if order == "symbol" and layout.symbol:
        symbols = table.column(layout.symbol)
        groups = [
            ranked_codes(symbols.slice(start, end - start) if chosen is None else symbols.take(pa.array(chosen)))[0]
        ]
    local = stable_order(groups, [time[start:end] if chosen is None else time[chosen]])
    if local is not None:
        if rows is not None:
            return rows.take(pa.array(local)), local + start
        assert chosen is not None  # noqa: S101 - there are rows, or their numbers
        chosen = chosen[local]
    if rows is not None:
        return rows, None
    return table.take(pa.array(chosen)), chosen


def _each(
    ordered: Callable[[tuple[int, int]], tuple[pa.Table, Int64s | None]], spans: list[tuple[int, int]]
) -> Iterator[tuple[pa.Table, Int64s | None]]:
    """Put partitions in order, several at a time where there is enough to do."""
    if len(spans) < 2 or spans[-1][1] < _WORTH_THREADS:
        yield from map(ordered, spans)
        return
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        yield from pool.map(ordered, spans)


def _has_several(classes: pa.ChunkedArray) -> bool:
    """Whether a hidden column of asset classes, which frames may bring, holds more than one."""
    if classes.null_count:
        return bool(classes.null_count < len(classes))
    if pa.types.is_dictionary(classes.type):
        classes = classes.cast(classes.type.value_type)
    return not pc.all(pc.equal(classes, classes[0])).as_py()


def _first_class(table: pa.Table) -> str | None:
    first = table.column(ASSET_CLASS)[0].as_py()
    return None if first is None else str(first)


def _slices(start: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    count = -(-(end - start) // most)
    edges = np.linspace(start, end, count + 1).astype(int).tolist()
    yield from pairwise(edges)


def without_constants(table: pa.Table, form: TableForm) -> pa.Table:
    """Leave out hidden partition columns that the partition alone determines."""
    constant = [ASSET_CLASS] if form.spec.grain is not Grain.DAY else [TRADE_DATE, ASSET_CLASS]
    return table.drop_columns([name for name in constant if name in form.hidden])


def day_numbers(column: pa.ChunkedArray, name: str) -> Integers:
    """Return the days since the epoch of the `trade_date` column of table `name`.

    Raises:
        InvalidInputError: A value is missing or no date.
    """
    try:
        days = as_date(column)
    except (pa.ArrowException, ValueError) as error:
        raise InvalidInputError(
            f"Column 'trade_date' of table {name!r} ({column.type}) holds values that are no dates: {error}"
        ) from None
    if days.null_count:
        raise InvalidInputError(f"Column 'trade_date' of table {name!r} has {days.null_count} empty values; fill them.")
    return np.asarray(as_numpy(days.cast(pa.int32())))


def _days(column: pa.ChunkedArray, form: TableForm) -> Integers:
    """Return the first day of each row's partition."""
    numbers = day_numbers(column, form.spec.name)
    if form.spec.grain is Grain.DAY:
        return numbers
    unit = "M" if form.spec.grain is Grain.MONTH else "Y"
    return numbers.astype("datetime64[D]").astype(f"datetime64[{unit}]").astype("datetime64[D]").astype(np.int64)


def contents(piece: Piece, layout: TableLayout) -> list[tuple[Partition, SegmentStats]]:
    """Return the partitions a piece holds rows of, and what the catalog should know about the rows of each."""
    if not piece.is_mixed:
        return [(piece.partition, piece_stats(piece.rows, layout, piece.time))]
    codes, classes = ranked_codes(piece.rows.column(ASSET_CLASS))
    counts = np.bincount(codes, minlength=len(classes))
    present = np.flatnonzero(counts).tolist()
    day = piece.partition.trade_date
    if len(present) == 1:
        return [(Partition(day, classes[present[0]]), piece_stats(piece.rows, layout, piece.time))]
    symbols = _symbols_by_class(piece.rows, layout, codes, len(classes))
    found = []
    for code in present:
        stamps = piece.time[codes == code]
        stats = _stats(int(counts[code]), stamps, *symbols[code]) if symbols else _stats(int(counts[code]), stamps)
        found.append((Partition(day, classes[code]), stats))
    return found


def _symbols_by_class(
    rows: pa.Table, layout: TableLayout, codes: Int64s, classes: int
) -> list[tuple[list[str], bool]] | None:
    """Return the sorted symbols of each class and whether it has rows without one; None without a symbol column."""
    if layout.symbol is None:
        return None
    symbols, texts = ranked_codes(rows.column(layout.symbol))
    pairs = np.bincount(codes * len(texts) + symbols, minlength=classes * len(texts)).reshape(classes, len(texts)) > 0
    return [
        ([text for at in np.flatnonzero(row).tolist() if (text := texts[at]) is not None], _has_null(row, texts))
        for row in pairs
    ]


def _has_null(present: np.ndarray[Any, np.dtype[np.bool_]], texts: list[str | None]) -> bool:
    return any(texts[at] is None for at in np.flatnonzero(present).tolist())


def piece_stats(table: pa.Table, layout: TableLayout, time: Int64s | None = None) -> SegmentStats:
    """Return what the catalog should know about rows of one partition.

    Args:
        table: At least one row.
        layout: Names of the time and symbol columns.
        time: Event time in nanoseconds where the caller has it.
    """
    stamps = time_ns(table.column(layout.time), "") if time is None else time
    if layout.symbol is None:
        return _stats(table.num_rows, stamps)
    column = table.column(layout.symbol)
    symbols = sorted(value for value in pc.unique(column).to_pylist() if value is not None)
    return _stats(table.num_rows, stamps, symbols, column.null_count > 0)


def _stats(rows: int, stamps: Int64s, symbols: list[Any] | None = None, has_null: bool = False) -> SegmentStats:
    return SegmentStats(
        rows=rows,
        min_ns=int(stamps.min()),
        max_ns=int(stamps.max()),
        symbols=tuple(symbols) if symbols is not None and len(symbols) <= MAX_LISTED_SYMBOLS else None,
        min_symbol=symbols[0] if symbols else None,
        max_symbol=symbols[-1] if symbols else None,
        has_null_symbol=has_null,
    )
