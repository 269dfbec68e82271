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
from quantstore.query.plan import by_file, sure_rows
from quantstore.query.relations import located
from quantstore.rows.evolution import adapted, own_columns
from quantstore.rows.times import as_date, row_mask, time_ns
from quantstore.stores.base import Selection
from quantstore.stores.integrity import require_rows

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


@dataclass(frozen=True, slots=True)
class Cluster:
    """Segments whose event-time spans overlap.

    Attributes:
        choices: The segments.
        end: Largest event time of all.
        meets_before: Whether the cluster before ends at the very instant this one begins.
        meets_next: Whether the next one begins at the very instant this one ends.
    """

    choices: tuple[Choice, ...]
    end: int
    meets_before: bool
    meets_next: bool


def clusters(choices: Sequence[Choice]) -> Iterator[Cluster]:
    """Group segments that overlap by more than an instant; groups come in time order."""
    groups: list[list[Choice]] = []
    ends: list[int] = []
    for choice in sorted(choices, key=lambda one: (one.placed.segment.stats.min_ns, one.placed.segment.segment_id)):
        stats = choice.placed.segment.stats
        if groups and stats.min_ns < ends[-1]:
            groups[-1].append(choice)
            ends[-1] = max(ends[-1], stats.max_ns)
        else:
            groups.append([choice])
            ends.append(stats.max_ns)
    meets = [False, *(ends[at] == group[0].placed.segment.stats.min_ns for at, group in enumerate(groups[1:])), False]
    for at, (group, end) in enumerate(zip(groups, ends, strict=True)):
        yield Cluster(tuple(group), end, meets[at], meets[at + 1])


def assemble(
    scan: Scan, form: TableForm, stores: Mapping[Tier, SegmentStore], rows: RowFilter, columns: Sequence[str]
) -> Iterator[pa.Table]:
    """Yield `columns` of the rows that pass, in order, about one table per cluster of overlapping segments.

    Where two clusters meet at an instant, the rows of that instant go with the later one.

    Raises:
        IntegrityError: A copy is damaged or gone; table, partition and tier are named.
    """
    wanted = pa.schema([form.schema.field(name) for name in columns])
    held: list[pa.Table] = []
    for cluster in clusters(scan.choices):
        table = _cluster(cluster, scan, form, stores, rows, columns, held)
        if cluster.meets_next and table.num_rows:
            first = int(np.searchsorted(time_ns(table.column(form.spec.time), form.spec.name), cluster.end))
            # Taken, not sliced: a slice would keep the whole table in memory.
            held.append(table.take(pa.array(np.arange(first, table.num_rows))))
            table = table.slice(0, first)
        yield _typed(table.select(list(columns)), wanted)
        del table


def _typed(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """Return `table` with the types of `wanted`; categories keep codes that had to be widened."""
    fields = [table.schema.field(field.name) if pa.types.is_dictionary(field.type) else field for field in wanted]
    return table.cast(pa.schema(fields))


def _cluster(
    cluster: Cluster,
    scan: Scan,
    form: TableForm,
    stores: Mapping[Tier, SegmentStore],
    rows: RowFilter,
    columns: Sequence[str],
    held: list[pa.Table],
) -> pa.Table:
    """Return the rows of a cluster in order, after those in `held`, which is emptied."""
    first = cluster.choices[0].copy
    files = by_file(cluster.choices)
    in_order = len(files) == 1 and files[0][1] and stores[first.tier].capabilities.order == "time"
    in_order = in_order and not (cluster.meets_before or cluster.meets_next)
    needed = _needed(form, rows, columns, in_order=in_order)
    parts = held[:]
    held.clear()
    for group, is_whole in files:
        own = scan.form_of(group[0], form)
        stored = needed if own is form else tuple(own_columns(own, needed))
        selection = Selection(stored, rows.time, rows.symbols, whole_file=is_whole)
        for choice in group[:1] if is_whole else group:
            with located(scan, choice):
                store = stores[choice.copy.tier]
                part = store.read(own.layout, choice.copy, choice.placed.segment.partition, selection)
                require_rows(part, sure_rows(group if is_whole else (choice,), selection), choice.copy)
            part = _filtered(part, own, rows)
            parts.append(part if own is form else adapted(part, form, needed))
            del part
    return concat(parts) if in_order else _in_order(parts, form)


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
        masks.append(pc.is_in(as_date(column), pa.array(rows.days, pa.date32())))
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


def _in_order(parts: list[pa.Table], form: TableForm) -> pa.Table:
    """Return the rows of all parts, which are emptied, in `(time, _seq)` order."""
    table = concat(parts)
    parts.clear()
    stamps = time_ns(table.column(form.spec.time), form.spec.name)
    seqs = table.column(SEQ).to_numpy()
    step = np.diff(stamps)
    if ((step > 0) | ((step == 0) & (np.diff(seqs) > 0))).all():
        return table
    import polars as pl

    order = pl.DataFrame({"time": stamps, "seq": seqs}).select(pl.arg_sort_by("time", "seq")).to_series()
    indices = pa.array(order.to_numpy())
    columns = []
    schema = table.schema
    for name in schema.names:  # one by one, so that rows are never all there twice
        columns.append(table.column(name).take(indices))
        table = table.drop_columns([name])
    return pa.Table.from_arrays(columns, schema=schema)
