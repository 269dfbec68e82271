"""Which rows a correction takes away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quantstore.catalog.segments import SegmentFilter
from quantstore.core.segment import ASSET_CLASS, SEQ, TRADE_DATE
from quantstore.core.timerange import TimeRange
from quantstore.errors import InvalidInputError
from quantstore.rows.times import Int64s, as_date, time_ns

if TYPE_CHECKING:
    import polars as pl

    from quantstore.catalog.catalog import View
    from quantstore.core.segment import PlacedSegment
    from quantstore.query.condition import Condition
    from quantstore.rows.form import TableForm

Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]


class Scope(Protocol):
    """The rows that a correction takes away.

    Attributes:
        is_by_segment: Whether `mask` looks at one segment only, and not at every row it is given.
    """

    is_by_segment: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that `mask` looks at, `_seq` apart."""
        ...

    def wanted(self, view: View) -> SegmentFilter:
        """Return what every segment with such a row passes."""
        ...

    def mask(self, placed: PlacedSegment, rows: pa.Table) -> Mask:
        """Return which rows go; `rows` has `columns` and `_seq`, and may be of other segments of the file, too."""
        ...


class ConditionScope:
    """The rows that meet a SQL condition."""

    columns: tuple[str, ...] = ()
    is_by_segment = True

    def __init__(self, condition: Condition) -> None:
        self._condition = condition

    def wanted(self, view: View) -> SegmentFilter:
        """Return what every segment with such a row passes."""
        return self._condition.wanted(view)

    def mask(self, placed: PlacedSegment, rows: pa.Table) -> Mask:
        """Return which rows of a segment meet the condition."""
        return np.isin(rows.column(SEQ).to_numpy(), self._condition.rows(placed).to_numpy())


class GroupScope:
    """The rows of every `(trade_date, asset_class, symbol)` that a frame has a row of.

    Args:
        full: The frame's rows, with all columns but `_seq`.
        form: The table's form.
    """

    is_by_segment = False

    def __init__(self, full: pa.Table, form: TableForm) -> None:
        symbol = form.spec.symbol
        self.columns = (TRADE_DATE, ASSET_CLASS, *([symbol] if symbol else []))
        self._groups = _keys(full, self.columns).unique()
        days = self._groups[TRADE_DATE].unique().to_list()
        self._wanted = SegmentFilter(
            days=tuple(sorted({form.spec.grain.floor(day) for day in days})),
            asset_classes=_all_texts(self._groups[ASSET_CLASS]),
            symbols=_all_texts(self._groups[symbol]) if symbol else None,
        )

    def wanted(self, view: View) -> SegmentFilter:  # noqa: ARG002 - the same at every version
        """Return what every segment with such a row passes."""
        return self._wanted

    def mask(self, placed: PlacedSegment, rows: pa.Table) -> Mask:  # noqa: ARG002 - the rows say it all
        """Return which rows of a segment are of one of the groups."""
        return _is_among(_keys(rows, self.columns), self._groups)


class KeyScope:
    """The rows whose key a frame has a row with.

    Args:
        full: The frame's rows, with all columns but `_seq`.
        form: The table's form.
        key: Columns that identify a row.

    Raises:
        InvalidInputError: A key is in the frame twice, or has an empty value.
    """

    is_by_segment = False

    def __init__(self, full: pa.Table, form: TableForm, key: Sequence[str]) -> None:
        self.columns = tuple(key)
        self._keys = _keys(full, self.columns)
        self._refuse_ambiguous(form)
        spec = form.spec
        self._time = spec.time if spec.time in self.columns else None
        self._stamps = np.zeros(0, np.int64)
        time = TimeRange()
        if self._time is not None:
            self._stamps = np.unique(time_ns(full.column(self._time), spec.name))
            time = TimeRange(int(self._stamps[0]), int(self._stamps[-1]) + 1)
        self._wanted = SegmentFilter(
            time=time,
            symbols=_all_texts(self._keys[spec.symbol]) if spec.symbol in self.columns else None,
            asset_classes=_all_texts(self._keys[ASSET_CLASS]) if ASSET_CLASS in self.columns else None,
        )

    def wanted(self, view: View) -> SegmentFilter:  # noqa: ARG002 - the same at every version
        """Return what every segment with such a row passes."""
        return self._wanted

    def mask(self, placed: PlacedSegment, rows: pa.Table) -> Mask:  # noqa: ARG002 - the rows say it all
        """Return which rows of a segment have one of the keys."""
        if self._time is None:
            return _is_among(_keys(rows, self.columns), self._keys)
        near = self._at_stamps(time_ns(rows.column(self._time), ""))
        if len(near) > rows.num_rows // 2:
            return _is_among(_keys(rows, self.columns), self._keys)
        mask = np.zeros(rows.num_rows, np.bool_)
        mask[near[_is_among(_keys(rows.take(pa.array(near)), self.columns), self._keys)]] = True
        return mask

    def _at_stamps(self, stamps: Int64s) -> Int64s:
        """Return the rows at an instant of which the frame has a row; few, so that few keys are compared."""
        if len(self._stamps) < len(stamps) // 4 and np.all(stamps[1:] >= stamps[:-1]):
            starts, ends = (np.searchsorted(stamps, self._stamps, side) for side in ("left", "right"))
            return _ranges(starts, ends)
        at = np.minimum(np.searchsorted(self._stamps, stamps), len(self._stamps) - 1)
        return np.flatnonzero(self._stamps[at] == stamps)

    def positions(self, rows: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return for each row the number of the frame's row with its key; every row has one."""
        numbered = self._keys.with_row_index("__position")
        found = _keys(rows, self.columns).join(
            numbered, on=list(self.columns), how="left", nulls_equal=True, maintain_order="left"
        )
        return np.asarray(found["__position"].to_numpy(), np.int64)

    def _refuse_ambiguous(self, form: TableForm) -> None:
        for name in self.columns:
            if self._keys[name].null_count():
                raise InvalidInputError(
                    f"Key column {name!r} of table {form.spec.name!r} has empty values in the frame; a row without a "
                    "key can be neither found nor updated. Fill or drop them.",
                    table=form.spec.name,
                )
        twice = self._keys.filter(self._keys.is_duplicated())
        if len(twice):
            example = ", ".join(f"{name}={value!r}" for name, value in twice.row(0, named=True).items())
            raise InvalidInputError(
                f"The frame has {len(twice)} rows that share a key of table {form.spec.name!r} (such as {example}); "
                "an upsert needs one row per key. Drop the others first: df.drop_duplicates(key, keep='last').",
                table=form.spec.name,
            )


def _ranges(starts: Int64s, ends: Int64s) -> Int64s:
    """Return the numbers from each start up to its end."""
    lengths = ends - starts
    before = np.cumsum(lengths) - lengths
    return np.asarray(np.repeat(starts - before, lengths) + np.arange(int(lengths.sum())), np.int64)


def _keys(table: pa.Table, columns: Sequence[str]) -> pl.DataFrame:
    """Return columns as a Polars frame in types whose equal values are equal whatever file they come from."""
    import polars as pl

    arrays: dict[str, Any] = {}
    for name in columns:
        column = as_date(table.column(name)) if name == TRADE_DATE else table.column(name)
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
            kind = column.type
        if pa.types.is_string(kind) or pa.types.is_string_view(kind):
            column = column.cast(pa.large_string())
        elif pa.types.is_floating(kind):
            column = pc.add(column, pa.scalar(0.0, kind))  # -0.0 is 0.0
        arrays[name] = column
    found = pl.from_arrow(pa.table(arrays))
    assert isinstance(found, pl.DataFrame)  # noqa: S101 - what Polars makes of a table
    return found


def _is_among(rows: pl.DataFrame, keys: pl.DataFrame) -> Mask:
    columns = rows.columns
    kept = rows.with_row_index("__row").join(keys, on=columns, how="semi", nulls_equal=True)["__row"].to_numpy()
    mask = np.zeros(len(rows), np.bool_)
    mask[kept] = True
    return mask


def _all_texts(column: pl.Series) -> tuple[str, ...] | None:
    """Return the distinct values of a text column; None where there are others, or none can be pruned by."""
    values = column.unique().to_list()
    return tuple(sorted(values)) if all(isinstance(value, str) for value in values) else None
