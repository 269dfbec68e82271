"""The order of rows inside a copy: `time` is (time, _seq), `symbol` is (symbol, time, _seq)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quantstore.core.segment import SEQ
from quantstore.rows.times import Int64s, as_numpy, time_ns

if TYPE_CHECKING:
    from quantstore.stores.base import TableLayout

Order = Literal["time", "symbol"]
_RADIX_GROUPS = 2**16
_BLOCK = 1 << 17


def in_store_order(table: pa.Table, layout: TableLayout, order: Order) -> pa.Table:
    """Return rows of one partition, `_seq` included, in a store's order; unchanged where they are in it already."""
    permutation = stable_order(*_sort_columns(table, layout, order))
    return table if permutation is None else table.take(pa.array(permutation))


def is_in_store_order(table: pa.Table, layout: TableLayout, order: Order) -> bool:
    """Whether rows, `_seq` included, are in a store's order."""
    groups, rest = _sort_columns(table, layout, order)
    return is_sorted([*groups, *rest])


def _sort_columns(table: pa.Table, layout: TableLayout, order: Order) -> tuple[list[Int64s], list[Int64s]]:
    by_symbol = order == "symbol" and layout.symbol is not None
    groups = [ranked_codes(table.column(layout.symbol))[0]] if by_symbol else []
    return groups, [time_ns(table.column(layout.time), ""), as_numpy(table.column(SEQ))]


def ranked_codes(column: pa.ChunkedArray) -> tuple[Int64s, list[str | None]]:
    """Return codes that sort like the texts by code point (null last), and the texts."""
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.large_string()).dictionary_encode()
    encoded = column.unify_dictionaries()
    if encoded.num_chunks == 0:
        return np.zeros(0, np.int64), []
    texts = [None if value is None else str(value) for value in encoded.chunk(0).dictionary.to_pylist()]
    indices = pa.chunked_array([chunk.indices for chunk in encoded.chunks])
    codes = as_numpy(pc.fill_null(indices.cast(pa.int64()), len(texts)) if indices.null_count else indices)
    ranked = sorted(range(len(texts)), key=lambda at: (texts[at] is None, texts[at] or ""))
    ranks = np.empty(len(texts) + 1, np.int64)
    ranks[ranked], ranks[len(texts)] = np.arange(len(texts)), len(texts)
    return ranks[codes], [texts[at] for at in ranked] + [None]


def stable_order(groups: Sequence[np.ndarray[Any, Any]], rest: Sequence[Int64s]) -> Int64s | None:
    """Return the stable permutation that sorts rows by `groups`, then `rest`; None where they are sorted already.

    Rows mostly arrive in the order of `rest`; then sorting by the few groups alone, a radix sort, is enough.
    """
    if is_sorted([*groups, *rest]):
        return None
    dense = _dense(groups)
    if dense is not None:
        permutation = np.argsort(dense, kind="stable")
        if is_sorted([dense[permutation], *(values[permutation] for values in rest)]):
            return permutation
    import polars as pl

    columns = {f"column_{position}": values for position, values in enumerate([*groups, *rest])}
    order = pl.DataFrame(columns).select(pl.arg_sort_by(list(columns), maintain_order=True)).to_series()
    return np.asarray(order.to_numpy(), np.int64)


def _dense(groups: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[tuple[int], np.dtype[np.uint16]] | None:
    """Return one small number per row that sorts like the groups together, or None where they are too many."""
    if not groups:
        return None
    total = np.zeros(len(groups[0]), np.int64)
    count = 1
    for values in groups:
        low, high = int(values.min()), int(values.max())
        count *= high - low + 1
        if count > _RADIX_GROUPS:
            return None
        total = total * (high - low + 1) + (values - low)
    return total.astype(np.uint16)


def is_sorted(columns: Sequence[np.ndarray[Any, Any]]) -> bool:
    """Whether rows ascend lexicographically, the first column leading."""
    rows = len(columns[0])
    blocks = ([values[at : at + _BLOCK + 1] for values in columns] for at in range(0, max(rows - 1, 1), _BLOCK))
    return all(map(_ascend, blocks))


def _ascend(columns: Sequence[np.ndarray[Any, Any]]) -> bool:
    undecided: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None
    for values in columns:
        before, after = values[:-1], values[1:]
        falls = before > after if undecided is None else undecided & (before > after)
        if falls.any():
            return False
        equal = before == after
        undecided = equal if undecided is None else undecided & equal
        if not undecided.any():
            return True
    return True
