"""Price paths shared by trades and quotes, and the book around them."""

from __future__ import annotations

import numpy as np

from quantstore.testing.instruments import Universe
from quantstore.testing.randomness import Floats, Integers, Purpose, bit_source, quarters, words
from quantstore.testing.sessions import FULL_WEEKDAY, MINUTES_PER_DAY, NS_PER_DAY, weekday_of

FLOOR_TICKS = 50.0
"""No path falls below it, so that the widest book stays above zero."""
OPENING_VARIANCE = 0.1
"""Variance of the jump at the start of a session, as a share of a full day's."""
MAX_NODES = 600_000
_TAILS = np.repeat([0.8, 1.6, 4.0], [230, 23, 3])
_WIDENING = np.repeat(np.array([0, 1, 2, 3], dtype=np.int64), [160, 64, 24, 8])


class PricePath:
    """A geometric random walk of mid prices for every instrument, drawn one UTC day at a time.

    The walk steps at nodes 10 seconds to 15 minutes apart (closer for fewer instruments) and is linear in between. It
    depends on seed and instruments only, so that trades and quotes of one simulator agree.
    """

    def __init__(self, universe: Universe, seed: int) -> None:
        self._universe = universe
        self._seed = seed
        self._level = universe.first_ticks.astype(np.float64)
        affordable = MAX_NODES // len(universe.instruments)
        choices = (second for second in (10, 30, 60, 300) if 86_400 // second <= affordable)
        self._node_seconds = next(choices, 900)
        self._nodes: Floats = np.empty((0, 0))
        self._day = 0

    def advance(self, day: int) -> None:
        """Draw the path of `day` (counted from 1970-01-01), which starts where the previous one ended."""
        deviation = np.stack([self._deviation(index, day) for index in range(len(self._universe.classes))])
        shape = (deviation.shape[1], len(self._universe.instruments))
        drawn = words(bit_source(self._seed, Purpose.PRICES, day), shape[0] * shape[1])
        first, second, third, tail = quarters(drawn)
        normal = (first.astype(np.float64) + second + third - 1.5 * 65_535) / 32_768
        normal *= _TAILS[tail >> 8]
        steps = normal.reshape(shape) * deviation[self._universe.class_index].T
        growth = _exp(np.clip(np.cumsum(steps, axis=0), -1.5, 1.5))
        walked = np.maximum(self._level * growth, FLOOR_TICKS)
        self._nodes = np.concatenate([self._level[np.newaxis], walked])
        self._level = walked[-1]
        self._day = day

    def mid_ticks(self, ts_ns: Integers, symbol: Integers) -> Floats:
        """Return the mid prices, in ticks, of instruments at instants of the day advanced to."""
        node_ns = self._node_seconds * 1_000_000_000
        offset = ts_ns - self._day * NS_PER_DAY
        node = offset // node_ns
        index = node * self._nodes.shape[1] + symbol
        flat = self._nodes.reshape(-1)
        before: Floats = flat.take(index)
        after: Floats = flat.take(index + self._nodes.shape[1])
        part: Floats = (offset - node * node_ns) / node_ns
        return before + (after - before) * part

    def _deviation(self, class_index: int, day: int) -> Floats:
        asset_class = self._universe.classes[class_index]
        weights = asset_class.session.weights(weekday_of(day))
        full = int(asset_class.session.weights(FULL_WEEKDAY).sum())
        seconds = self._node_seconds
        variance = weights / full
        opening = (weights > 0) & (np.roll(weights, 1) == 0)
        if seconds <= 60:
            variance = np.repeat(variance * (seconds / 60), 60 // seconds)
            variance[np.flatnonzero(opening) * (60 // seconds)] += OPENING_VARIANCE
        else:
            minutes = seconds // 60
            variance = (weights.reshape(MINUTES_PER_DAY // minutes, minutes).sum(axis=1)) / full
            variance[np.flatnonzero(opening) // minutes] += OPENING_VARIANCE
        return asset_class.volatility * np.sqrt(variance)


def book(universe: Universe, mid_ticks: Floats, symbol: Integers, noise: Integers) -> tuple[Integers, Integers]:
    """Return best bid and ask in ticks around the mid; `noise` are random bytes that widen the spread at times."""
    spread = universe.spread_ticks.take(symbol) + _WIDENING.take(noise)
    bid = np.floor(mid_ticks - spread * 0.5).astype(np.int64)
    return bid, bid + spread


def _exp(exponent: Floats) -> Floats:
    """Return e to the power, |exponent| <= 1.5, by basic operations, which round alike on every processor."""
    terms = 14
    result = np.ones_like(exponent)
    for term in range(terms, 0, -1):
        result *= exponent
        result /= term
        result += 1.0
    return result
