"""The grain that a table's first rows ask for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from quantstore.core.segment import ASSET_CLASS, TRADE_DATE
from quantstore.core.table import Grain
from quantstore.rows.columns import VALID_FROM
from quantstore.write.order import ranked_codes
from quantstore.write.partition import day_numbers

if TYPE_CHECKING:
    import pyarrow as pa

    from quantstore.rows.form import TableForm

MIN_DAYS = 60
"""Trade dates from which on rows are a long panel; fewer say nothing about the years to come."""
DAY_ROWS, DAY_BYTES = 100_000, 4 * 2**20
"""Size of an average partition from which on `day` is wide enough."""
MONTH_ROWS, MONTH_BYTES = 250_000, 16 * 2**20
"""The same for `month`."""
_DENSE_SPAN = 2**22


@dataclass(frozen=True, slots=True)
class Spread:
    """How rows spread over time.

    Attributes:
        rows: Number of rows.
        size: Their bytes in memory.
        days: Distinct trade dates.
        day_partitions: Distinct pairs of trade date and asset class.
        month_partitions: Distinct pairs of month and asset class.
    """

    rows: int
    size: int
    days: int
    day_partitions: int
    month_partitions: int


def fitting_grain(spread: Spread, *, is_reference: bool = False) -> Grain:
    """Return the narrowest grain that does not cut rows into crumbs; `day` where they span too little to tell.

    Args:
        spread: How the rows spread.
        is_reference: Whether event time says from when on a row holds; such tables are sparse for good.
    """
    if spread.days < MIN_DAYS and not is_reference:
        return Grain.DAY
    if spread.rows >= DAY_ROWS * spread.day_partitions or spread.size >= DAY_BYTES * spread.day_partitions:
        return Grain.DAY
    if spread.rows >= MONTH_ROWS * spread.month_partitions or spread.size >= MONTH_BYTES * spread.month_partitions:
        return Grain.MONTH
    return Grain.YEAR


def with_grain(form: TableForm, rows: pa.Table) -> TableForm:
    """Return `form` with the grain its first rows decide, unchanged where it is decided or there are none.

    Args:
        form: The table's form.
        rows: Rows with all columns but `_seq`.
    """
    if form.spec.grain is not Grain.AUTO or rows.num_rows == 0:
        return form
    is_reference = form.spec.time.casefold() == VALID_FROM
    grain = fitting_grain(spread_of(rows, form), is_reference=is_reference)
    return replace(form, spec=replace(form.spec, grain=grain))


def spread_of(rows: pa.Table, form: TableForm) -> Spread:
    """Return how rows, with all columns but `_seq`, spread over trade dates and asset classes."""
    days = day_numbers(rows.column(TRADE_DATE), form.spec.name)
    codes, classes = np.zeros(1, np.int64), 1
    if ASSET_CLASS not in form.hidden:
        codes, texts = ranked_codes(rows.column(ASSET_CLASS))
        classes = len(texts)
    first = int(days.min())
    pairs = _distinct((days.astype(np.int64) - first) * classes + codes)
    pair_days, pair_codes = np.divmod(pairs, classes)
    months = (pair_days + first).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return Spread(
        rows=rows.num_rows,
        size=rows.nbytes,
        days=len(np.unique(pair_days)),
        day_partitions=len(pairs),
        month_partitions=len(np.unique(months * classes + pair_codes)),
    )


def _distinct(numbers: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the distinct values of numbers from 0 on, without sorting where they lie close together."""
    if int(numbers.max()) < _DENSE_SPAN:
        return np.flatnonzero(np.bincount(numbers))
    return np.unique(numbers)
