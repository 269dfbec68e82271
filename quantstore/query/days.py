"""A table day by day: one trade date's rows at a time, however long the table is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from quantstore.catalog.segments import SegmentFilter
from quantstore.core.segment import TRADE_DATE
from quantstore.core.table import Grain
from quantstore.errors import InvalidInputError
from quantstore.query.convert import convert
from quantstore.query.held import Held
from quantstore.query.literals import whole_day
from quantstore.query.plan import may_hold_symbol
from quantstore.query.reader import columns_of
from quantstore.query.request import ReadRequest
from quantstore.query.resolve import unknown_table
from quantstore.rows.form import TableForm, known_form
from quantstore.rows.times import Int64s, as_date, as_numpy

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.records import TableRecord
    from quantstore.query.reader import Reader

KINDS = ("pandas", "polars", "arrow")
WINDOW_ROWS = 1_000_000
"""Rows of a wider partition that are read at once, unless a single day has more."""


@dataclass(frozen=True, slots=True)
class _Span:
    """Trade dates of one partition.

    Attributes:
        days: Those that may have rows.
        rows: The most rows they can have.
    """

    days: tuple[date, ...]
    rows: int


def table_days(
    catalog: Catalog, reader: Reader, record: TableRecord, options: Mapping[str, Any], start: Any, end: Any
) -> Iterator[tuple[date, Any]]:
    """Check what is asked and return the iterator over days, see `quantstore.table.Table.days`."""
    request = ReadRequest(record.name, **options)
    if request.to not in KINDS:
        raise InvalidInputError(f"to={request.to!r} is not one of {', '.join(KINDS)}.")
    form = known_form(record)
    columns_of(form, request)
    if request.symbols is not None and form.spec.symbol is None:
        raise InvalidInputError(f"Table {record.name!r} has no symbol column, so symbols= means nothing.")
    return _each_day(catalog, reader, request, whole_day(start, "start"), whole_day(end, "end"))


def _each_day(
    catalog: Catalog, reader: Reader, request: ReadRequest, start: date | None, end: date | None
) -> Iterator[tuple[date, Any]]:
    """Yield the days of a bare-table read from `start` to before `end`, each with its rows as `request.to`.

    The version is fixed by the first step, and held until the last one or until the iterator is dropped. Partitions of
    a day are read one by one, wider ones about `WINDOW_ROWS` at a time.
    """
    version = catalog.snapshot().version
    held = Held(catalog, version, keeps_copies=False)
    try:
        with catalog.view(version) as view:
            record = view.table(request.query)
            if record is None:
                raise unknown_table(view, request.query)
            form = known_form(record)
            grain = form.spec.grain
            wanted = SegmentFilter(
                first_day=None if start is None else grain.floor(start),
                last_day=None if end is None else end - timedelta(days=1),
                symbols=request.symbols,
            )
            found = [one for one in view.segments(record.table_id, wanted) if may_hold_symbol(one, request.symbols)]
        request = replace(request, as_of=version, cache=False)
        rows: dict[date, int] = {}
        for one in found:
            first = one.segment.partition.trade_date
            rows[first] = rows.get(first, 0) + one.segment.stats.rows
        spans = [_Span(_days_of(first, grain, start, end), rows[first]) for first in sorted(rows)]
        for span in spans:
            for window in _windows(reader, request, span):
                yield from _window(reader, request, form, window)
    finally:
        held.release()


def _days_of(first: date, grain: Grain, start: date | None, end: date | None) -> tuple[date, ...]:
    """Return the days of a partition that lie in a range."""
    day, days = first, []
    while grain.floor(day) == first and (end is None or day < end):
        if start is None or day >= start:
            days.append(day)
        day += timedelta(days=1)
    return tuple(days)


def _windows(reader: Reader, request: ReadRequest, span: _Span) -> Iterator[tuple[date, ...]]:
    """Yield the days of a partition in groups of about `WINDOW_ROWS` rows, without those that have none."""
    if len(span.days) <= 1 or span.rows <= WINDOW_ROWS:
        yield span.days
        return
    counting = replace(request, columns=(TRADE_DATE,), dates=span.days, to="arrow", max_bytes=None)
    numbers, counts = np.unique(_numbers(reader.read(counting)), return_counts=True)
    window: list[date] = []
    held = 0
    for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
        if window and held + count > WINDOW_ROWS:
            yield tuple(window)
            window, held = [], 0
        window.append(_day(number))
        held += count
    if window:
        yield tuple(window)


def _window(reader: Reader, request: ReadRequest, form: TableForm, days: Sequence[date]) -> Iterator[tuple[date, Any]]:
    """Read some days at once and yield them one by one."""
    columns = columns_of(form, request)
    asked = tuple(dict.fromkeys([*columns, TRADE_DATE]))
    table = reader.read(replace(request, columns=asked, dates=tuple(days), to="arrow"))
    told = None if reader.last is None else reader.last.summary()
    numbers = _numbers(table)
    table = table.select(list(columns))
    for number in np.unique(numbers).tolist():
        result = convert(_rows_of(table, numbers, number), request.to, request.dtype_backend, form.frame)
        if request.to == "pandas" and told is not None:
            result.attrs["quantstore"] = told
        yield _day(number), result


def _rows_of(table: pa.Table, numbers: Int64s, number: int) -> pa.Table:
    rows = np.flatnonzero(numbers == number)
    first, count = int(rows[0]), len(rows)
    if int(rows[-1]) - first == count - 1:
        return table.slice(first, count)
    return table.take(pa.array(rows))


def _numbers(table: pa.Table) -> Int64s:
    """Return the trade dates of rows as days since the epoch."""
    return np.asarray(as_numpy(as_date(table.column(TRADE_DATE)).cast(pa.int32())), np.int64)


def _day(number: int) -> date:
    return date(1970, 1, 1) + timedelta(days=number)
