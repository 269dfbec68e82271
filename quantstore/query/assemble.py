"""Bare-table reads: rows of chosen copies in `(time, _seq)` order, without the SQL engine.

Segments whose spans do not overlap need no sorting between them; those that do are sorted together, cluster by cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quantstore.core.segment import SEQ, TRADE_DATE
from quantstore.core.timerange import TimeRange
from quantstore.query.relations import located
from quantstore.rows.times import row_mask, time_ns
from quantstore.stores.base import Selection

if TYPE_CHECKING:
    from quantstore.core.tier import Tier
    from quantstore.query.plan import Choice, Scan
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import SegmentStore


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Exact conditions on rows.

    Attributes:
        time: Event-time range.
        symbols: Symbols wanted, or None for all.
        days: Trade dates wanted, or None for all.
    """

    time: TimeRange = TimeRange()
    symbols: tuple[str, ...] | None = None
    days: tuple[date, ...] | None = None


def clusters(choices: Sequence[Choice]) -> Iterator[list[Choice]]:
    """Group segments whose event-time spans overlap or touch; groups come in time order."""
    group: list[Choice] = []
    end = 0
    for choice in sorted(choices, key=lambda one: (one.placed.segment.stats.min_ns, one.placed.segment.segment_id)):
        stats = choice.placed.segment.stats
        if group and stats.min_ns > end:
            yield group
            group = []
        end = max(end, stats.max_ns) if group else stats.max_ns
        group.append(choice)
    if group:
        yield group


def assemble(
    scan: Scan, form: TableForm, stores: Mapping[Tier, SegmentStore], rows: RowFilter, columns: Sequence[str]
) -> Iterator[pa.Table]:
    """Yield `columns` of the rows that pass, in order, one table per cluster of overlapping segments.

    Raises:
        IntegrityError: A copy is damaged or gone; table, partition and tier are named.
    """
    wanted = pa.schema([form.schema.field(name) for name in columns])
    for group in clusters(scan.choices):
        yield _cluster(group, scan, form, stores, rows, columns).cast(wanted)


def _cluster(
    group: list[Choice],
    scan: Scan,
    form: TableForm,
    stores: Mapping[Tier, SegmentStore],
    rows: RowFilter,
    columns: Sequence[str],
) -> pa.Table:
    in_order = len(group) == 1 and stores[group[0].copy.tier].capabilities.order == "time"
    needed = _needed(form, rows, columns, in_order=in_order)
    parts = []
    for choice in group:
        segment = choice.placed.segment
        with located(scan, choice):
            part = stores[choice.copy.tier].read(
                form.layout, choice.copy, segment.partition, Selection(needed, rows.time, rows.symbols)
            )
        parts.append(_filtered(part, form, rows))
    table = concat(parts)
    if not in_order and table.num_rows:
        table = _in_order(table, form)
    return table.select(list(columns))


def _needed(form: TableForm, rows: RowFilter, columns: Sequence[str], *, in_order: bool) -> tuple[str, ...]:
    extra = []
    if not in_order:
        extra += [form.spec.time, SEQ]
    if not rows.time.is_everything:
        extra.append(form.spec.time)
    if rows.symbols is not None and form.spec.symbol:
        extra.append(form.spec.symbol)
    if rows.days is not None:
        extra.append(TRADE_DATE)
    return tuple(dict.fromkeys([*columns, *extra]))


def concat(parts: list[pa.Table]) -> pa.Table:
    """Return the parts as one table; columns of categories share one dictionary."""
    if len(parts) == 1:
        return parts[0]
    table = pa.concat_tables(parts)
    if any(pa.types.is_dictionary(field.type) for field in table.schema):
        table = unified(table)
    return table


def unified(table: pa.Table) -> pa.Table:
    """Return `table` with one dictionary per column, index types widened where the categories outgrow them."""
    try:
        return table.unify_dictionaries()
    except pa.ArrowInvalid:
        fields = [
            field.with_type(pa.dictionary(pa.int32(), field.type.value_type, field.type.ordered))
            if pa.types.is_dictionary(field.type)
            else field
            for field in table.schema
        ]
        return table.cast(pa.schema(fields)).unify_dictionaries()


def _filtered(table: pa.Table, form: TableForm, rows: RowFilter) -> pa.Table:
    masks: list[Any] = []
    if not rows.time.is_everything and table.num_rows:
        masks.append(_time_mask(table, form, rows.time))
    if rows.symbols is not None and form.spec.symbol:
        masks.append(_is_in(table.column(form.spec.symbol), list(rows.symbols)))
    if rows.days is not None:
        column = table.column(TRADE_DATE)
        masks.append(pc.is_in(column.cast(pa.date32()), pa.array(rows.days, pa.date32())))
    for mask in masks:
        if mask is None or pc.all(mask).as_py() in {True, None}:
            continue
        others = [one for one in masks if one is not None]
        combined = others[0]
        for other in others[1:]:
            combined = pc.and_(combined, other)
        return table.filter(combined)
    return table


def _is_in(column: pa.ChunkedArray, values: list[str]) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    return pc.is_in(column, pa.array(values, column.type))


def _time_mask(table: pa.Table, form: TableForm, wanted: TimeRange) -> Any:
    stamps = time_ns(table.column(form.spec.time), form.spec.name)
    if wanted.covers(int(stamps.min()), int(stamps.max())):
        return None
    return pa.array(row_mask(stamps, wanted))


def _in_order(table: pa.Table, form: TableForm) -> pa.Table:
    import polars as pl

    stamps = time_ns(table.column(form.spec.time), form.spec.name)
    seqs = table.column(SEQ).to_numpy()
    step = np.diff(stamps)
    if ((step > 0) | ((step == 0) & (np.diff(seqs) > 0))).all():
        return table
    order = pl.DataFrame({"time": stamps, "seq": seqs}).select(pl.arg_sort_by("time", "seq")).to_series()
    return table.take(pa.array(order.to_numpy()))
