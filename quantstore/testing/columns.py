"""Arrow batches of simulated rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from quantstore.testing.checks import check_counts
from quantstore.testing.instruments import UNITS, Universe
from quantstore.testing.records import ACTIONS, CONDITIONS, SIDES, Rows
from quantstore.testing.sessions import NS_PER_DAY

TRADES = (
    "ts", "symbol", "price", "size", "side", "condition", "exchange", "trade_id", "trade_date", "asset_class",
)  # fmt: skip
QUOTES = ("ts", "symbol", "bid", "ask", "bid_size", "ask_size", "exchange", "trade_date", "asset_class")
TICKS = ("ts", "symbol", "price", "size", "bid", "ask", "exchange", "trade_date", "asset_class")
CORRECTIONS = (
    "trade_id", "ts", "symbol", "action", "price", "size", "exchange", "received_at", "trade_date", "asset_class",
)  # fmt: skip
INSTANT = pa.timestamp("ns", tz="UTC")
DECIMAL = pa.decimal128(18, 6)

PRICES = ("price", "bid", "ask")
TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(("ts", "received_at"), INSTANT),
    **dict.fromkeys(("size", "bid_size", "ask_size", "trade_id"), pa.int64()),
    **dict.fromkeys(("symbol", "exchange", "asset_class", "side", "condition", "action"), pa.string()),
    "trade_date": pa.date32(),
}

Array = Any
"""An Arrow array; the type stubs of pyarrow tell too little of what its functions take and return."""
Encode = Callable[[Rows, str], Array]


class Encoder:
    """Turns rows into record batches of one schema.

    Args:
        columns: Names, in order.
        decimal: Prices as decimal128(18, 6) instead of double.
        dictionary: Symbols as dictionary(int32, string) instead of string.
    """

    def __init__(
        self, universe: Universe, columns: Sequence[str], *, decimal: bool = False, dictionary: bool = False
    ) -> None:
        self._universe = universe
        self._dictionary = dictionary
        self._texts: dict[str, Array] = {
            "symbol": pa.array([each.symbol for each in universe.instruments], pa.string()),
            "exchange": pa.array(universe.exchanges, pa.string()),
            "asset_class": pa.array([each.name for each in universe.classes], pa.string()),
            "side": pa.array(SIDES, pa.string()),
            "condition": pa.array(CONDITIONS, pa.string()),
            "action": pa.array(ACTIONS, pa.string()),
        }
        price = _decimals if decimal else _doubles
        self._encoders: Mapping[str, Encode] = {
            **dict.fromkeys(("ts", "received_at"), _instants),
            **dict.fromkeys(PRICES, price),
            **dict.fromkeys(("size", "bid_size", "ask_size", "trade_id"), _integers),
            **dict.fromkeys(("exchange", "side", "condition", "action"), self._text),
            "symbol": self._symbols,
            "asset_class": self._classes,
            "trade_date": _dates,
        }
        types = TYPES | dict.fromkeys(PRICES, DECIMAL if decimal else pa.float64())
        if dictionary:
            types["symbol"] = pa.dictionary(pa.int32(), pa.string())
        self.schema: pa.Schema = pa.schema([(name, types[name]) for name in columns])

    def encode(self, rows: Rows) -> pa.RecordBatch:
        """Return `rows` as a record batch."""
        arrays = [self._encoders[name](rows, name) for name in self.schema.names]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _text(self, rows: Rows, name: str) -> Array:
        return self._texts[name].take(pa.array(rows[name]))

    def _symbols(self, rows: Rows, name: str) -> Array:
        codes: Array = pa.array(rows[name].astype(np.int32))
        if self._dictionary:
            return pa.DictionaryArray.from_arrays(codes, self._texts[name])
        return self._texts[name].take(codes)

    def _classes(self, rows: Rows, name: str) -> Array:
        return self._texts[name].take(pa.array(self._universe.class_index.take(rows["symbol"])))


def stream(encoder: Encoder, blocks: Iterator[Rows], batch_rows: int) -> pa.RecordBatchReader:
    """Return a reader over `blocks` in batches of exactly `batch_rows` rows, the last one shorter."""
    check_counts(batch_rows=batch_rows)
    batches = (encoder.encode(rows) for rows in blocks)
    return pa.RecordBatchReader.from_batches(encoder.schema, _resized(batches, batch_rows))


def _resized(batches: Iterator[pa.RecordBatch], batch_rows: int) -> Iterator[pa.RecordBatch]:
    waiting: list[pa.RecordBatch] = []
    missing = batch_rows
    for batch in batches:
        start = 0
        while batch.num_rows - start >= missing:
            waiting.append(batch.slice(start, missing))
            start += missing
            yield _joined(waiting)
            waiting, missing = [], batch_rows
        if start < batch.num_rows:
            waiting.append(batch.slice(start))
            missing -= batch.num_rows - start
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def _fixed(kind: pa.DataType, values: NDArray[Any], length: int) -> Array:
    return pa.Array.from_buffers(kind, length, [None, pa.py_buffer(np.ascontiguousarray(values))])


def _instants(rows: Rows, name: str) -> Array:
    return _fixed(INSTANT, rows[name], len(rows[name]))


def _dates(rows: Rows, _name: str) -> Array:
    days = (rows["ts"] // NS_PER_DAY).astype(np.int32)
    return _fixed(pa.date32(), days, len(days))


def _integers(rows: Rows, name: str) -> Array:
    return pa.array(rows[name], pa.int64(), mask=rows.get(f"{name}_missing"))


def _doubles(rows: Rows, name: str) -> Array:
    # One correctly rounded division gives the double nearest to the decimal price.
    return pa.array(rows[name] / UNITS, pa.float64(), mask=rows.get(f"{name}_missing"))


def _decimals(rows: Rows, name: str) -> Array:
    values = rows[name]
    wide = np.zeros((len(values), 2), dtype="<i8")
    wide[:, 0] = values
    prices = _fixed(DECIMAL, wide, len(values))
    missing = rows.get(f"{name}_missing")
    return prices if missing is None else pc.if_else(pa.array(missing), None, prices)
