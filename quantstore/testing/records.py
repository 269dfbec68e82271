"""What an event says: the columns of trades, quotes, ticks and corrections as NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantstore.testing.checks import check_counts
from quantstore.testing.instruments import Universe
from quantstore.testing.prices import book
from quantstore.testing.randomness import Floats, Integers, Purpose, fractions, hashed
from quantstore.testing.tape import Events

Rows = dict[str, NDArray[Any]]
"""Columns of equal length; prices in millionths, texts as numbers, instants in nanoseconds."""

SIDES = ("B", "S", None)
BUY, SELL, NO_SIDE = range(3)
CONDITIONS = ("@", "I", "X", "Z")
REGULAR, ODD_LOT, CROSS, LATE = range(4)
ACTIONS = ("CORRECT", "BUST")
CROSS_SHARE = 0.03
MISSING_SIZE_SHARE = 0.004
MAX_DELAY_NS = 900_000_000_000
MAX_CORRECTION_DELAY_NS = 2 * 86_400_000_000_000
SECOND_NS = 1_000_000_000


def taken(rows: Rows, index: Integers) -> Rows:
    """Return the rows at `index`."""
    return {name: values.take(index) for name, values in rows.items()}


def concatenated(first: Rows, second: Rows) -> Rows:
    """Return the rows of both."""
    return {name: np.concatenate([first[name], second[name]]) for name in first}


def limited(blocks: Iterator[Rows], rows: int | None) -> Iterator[Rows]:
    """Return `blocks` cut off after so many rows; None keeps all.

    Raises:
        InvalidInputError: `rows` is negative.
    """
    if rows is None:
        return blocks
    check_counts(0, rows=rows)
    return _first_rows(blocks, rows)


def _first_rows(blocks: Iterator[Rows], rows: int) -> Iterator[Rows]:
    left = rows
    while left > 0 and (block := next(blocks, None)) is not None:
        kept = min(left, len(block["ts"]))
        yield {name: values[:kept] for name, values in block.items()}
        left -= kept


def trade_rows(universe: Universe, events: Events, mid_ticks: Floats, first_id: int, late: float) -> Rows:
    """Return the trades of `events`: executions at bid or ask, a few crosses inside the spread."""
    widening, sizing, kind, lateness, delay, missing, _, _ = events.bits
    rows = _executed(universe, events, mid_ticks, widening, sizing, kind)
    size = rows["size"]
    lots = np.array([each.lot if each.odd_lots else 0 for each in universe.classes], dtype=np.int64)
    is_odd = size < lots.take(universe.class_index.take(events.symbol))
    is_late = lateness < int(late * 65_536)
    condition = np.where(is_odd, ODD_LOT, REGULAR).astype(np.int8)
    condition[rows["side"] == NO_SIDE] = CROSS
    condition[is_late] = LATE
    held_ns = SECOND_NS + ((delay / 65_536) ** 2 * MAX_DELAY_NS).astype(np.int64)
    rows["condition"] = condition
    rows["size_missing"] = missing < int(MISSING_SIZE_SHARE * 65_536)
    rows["trade_id"] = np.arange(first_id, first_id + len(size))
    rows["arrival"] = events.ts_ns + np.where(is_late, held_ns, 0)
    return rows


def quote_rows(universe: Universe, events: Events, mid_ticks: Floats) -> Rows:
    """Return the quotes of `events`."""
    widening, _, kind, _, _, _, bid_size, ask_size = events.bits
    rows = _booked(universe, events, mid_ticks, widening, kind)
    rows["bid_size"] = _sizes(universe, events.symbol, bid_size)
    rows["ask_size"] = _sizes(universe, events.symbol, ask_size)
    return rows


def tick_rows(universe: Universe, events: Events, mid_ticks: Floats) -> Rows:
    """Return trades together with the quotes they met."""
    widening, sizing, kind, *_ = events.bits
    return _executed(universe, events, mid_ticks, widening, sizing, kind)


def correction_rows(universe: Universe, trades: Rows, seed: int, share: float, busts: float) -> Rows:
    """Return the corrections and busts of a few of `trades`, in the order of `trades`.

    Which trades are corrected, and how, depends on seed and trade id alone.
    """
    salt = seed * 0x1000 + int(Purpose.CORRECTIONS)
    chosen = taken(trades, np.flatnonzero(fractions(hashed(trades["trade_id"], salt % 2**64)) < share))
    what, how, when = (hashed(chosen["trade_id"], (salt + n) % 2**64) for n in (1, 2, 3))
    tick = universe.tick_units.take(chosen["symbol"])
    moved = (1 + how % np.uint64(20)).astype(np.int64) * np.where(how >> np.uint64(63) > 0, 1, -1)
    delay = 30 * SECOND_NS + (fractions(when) ** 2 * MAX_CORRECTION_DELAY_NS).astype(np.int64)
    lot = np.array([each.lot for each in universe.classes]).take(universe.class_index.take(chosen["symbol"]))
    is_bust = fractions(what) < busts
    return {
        "ts": chosen["ts"],
        "symbol": chosen["symbol"],
        "exchange": chosen["exchange"],
        "trade_id": chosen["trade_id"],
        "action": is_bust.astype(np.int8),
        "price": np.maximum(chosen["price"] + moved * tick, tick),
        "price_missing": is_bust,
        "size": np.where(chosen["size_missing"], lot, chosen["size"]),
        "size_missing": is_bust,
        "received_at": chosen["arrival"] + delay,
    }


def _booked(
    universe: Universe,
    events: Events,
    mid_ticks: Floats,
    widening: NDArray[np.uint16],
    kind: NDArray[np.uint16],
) -> Rows:
    bid, ask = book(universe, mid_ticks, events.symbol, (widening >> 8).astype(np.int64))
    tick = universe.tick_units.take(events.symbol)
    venue = universe.class_index.take(events.symbol).astype(np.int64) * 256 + (kind >> 8)
    return {
        "ts": events.ts_ns,
        "symbol": events.symbol,
        "exchange": universe.exchange_table.reshape(-1).take(venue),
        "bid": bid * tick,
        "ask": ask * tick,
    }


def _executed(
    universe: Universe,
    events: Events,
    mid_ticks: Floats,
    widening: NDArray[np.uint16],
    sizing: NDArray[np.uint16],
    kind: NDArray[np.uint16],
) -> Rows:
    rows = _booked(universe, events, mid_ticks, widening, kind)
    tick = universe.tick_units.take(events.symbol)
    is_buy = (widening & 1) == 0
    is_cross = (kind & 0xFF) < int(CROSS_SHARE * 256)
    spread = (rows["ask"] - rows["bid"]) // tick
    inside = rows["bid"] + spread // 2 * tick
    rows["price"] = np.where(is_cross, inside, np.where(is_buy, rows["ask"], rows["bid"]))
    rows["side"] = np.where(is_cross, NO_SIDE, np.where(is_buy, BUY, SELL)).astype(np.int8)
    rows["size"] = _sizes(universe, events.symbol, sizing)
    return rows


def _sizes(universe: Universe, symbol: Integers, bits: NDArray[np.uint16]) -> Integers:
    place = universe.class_index.take(symbol).astype(np.int64) * 256 + (bits >> 8)
    return universe.size_table.reshape(-1).take(place)
