"""When something happens, and to which instrument: the sequence of events behind trades and quotes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantstore.testing.instruments import Universe
from quantstore.testing.randomness import Floats, Integers, Purpose, Words, bit_source, fractions, quarters, words
from quantstore.testing.sessions import FULL_WEEKDAY, MINUTES_PER_DAY, NS_PER_DAY, NS_PER_MINUTE, weekday_of

TARGET_BLOCK_ROWS = 131_072
MIN_HALT_MINUTES = 5
MAX_HALT_MINUTES = 30

Volumes = Callable[[int], Integers]
"""Number of events of each asset class on a day."""


@dataclass(frozen=True, slots=True)
class Halts:
    """Intervals of one day in which single instruments do not trade, as arrays of equal length."""

    symbol: Integers
    start_ns: Integers
    end_ns: Integers


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive minutes of one UTC day: the unit of generation, whose size no reader can influence.

    Attributes:
        counts: Events of each asset class in each minute.
    """

    day: int
    first_minute: int
    counts: Integers

    @property
    def end_ns(self) -> int:
        """The first instant after the block."""
        minutes: int = self.counts.shape[1]
        return self.day * NS_PER_DAY + (self.first_minute + minutes) * NS_PER_MINUTE


@dataclass(frozen=True, slots=True)
class Events:
    """Events in time order.

    Attributes:
        ts_ns: Nanoseconds since 1970-01-01 UTC.
        symbol: Position of the instrument.
        bits: Eight arrays of 16 random bits for each event.
    """

    ts_ns: Integers
    symbol: Integers
    bits: tuple[NDArray[np.uint16], ...]


class Tape:
    """Draws the events of one kind, block after block."""

    def __init__(
        self, universe: Universe, seed: int, purpose: Purpose, volumes: Volumes, *, repeats: float, halts: float
    ) -> None:
        self._universe = universe
        self._seed = seed
        self._purpose = purpose
        self._volumes = volumes
        self._repeats = repeats
        self._halts = halts
        self._slots = [universe.slots(index) for index in range(len(universe.classes))]

    def day(self, day: int) -> Iterator[tuple[Block, Events]]:
        """Yield the blocks of a day (counted from 1970-01-01) that hold events, with their events."""
        counts = self._minute_counts(day)
        halts = draw_halts(self._universe, self._seed, day, self._halts)
        total = np.cumsum(counts.sum(axis=0))
        first = 0
        while first < MINUTES_PER_DAY:
            done = int(total[first - 1]) if first else 0
            last = max(int(np.searchsorted(total, done + TARGET_BLOCK_ROWS, side="right")), first + 1)
            block = Block(day, first, counts[:, first:last])
            if block.counts.any():
                yield block, self._events(block, halts)
            first = last

    def _minute_counts(self, day: int) -> Integers:
        source = bit_source(self._seed, Purpose.VOLUMES, int(self._purpose), day)
        volumes = self._volumes(day)
        counts = np.zeros((len(volumes), MINUTES_PER_DAY), dtype=np.int64)
        for index, asset_class in enumerate(self._universe.classes):
            burst = 32_768 + quarters(words(source, MINUTES_PER_DAY))[0].astype(np.int64)
            weights = asset_class.session.weights(weekday_of(day)) * burst // 1024
            if weights.any():
                cumulative = np.cumsum(weights)
                # In floats: the integer product of a large volume and the weights would overflow.
                reached = np.floor(cumulative / cumulative[-1] * float(volumes[index])).astype(np.int64)
                counts[index] = np.diff(reached, prepend=0)
        return counts

    def _events(self, block: Block, halts: Halts) -> Events:
        source = bit_source(self._seed, self._purpose, block.day, block.first_minute)
        drawn = [self._draw(source, block, index) for index in range(len(block.counts))]
        packed = np.sort(np.concatenate(drawn))
        packed = self._repeat(source, packed)
        ts_ns = block.day * NS_PER_DAY + (packed >> 16)
        symbol = packed & 0xFFFF
        kept = _outside(halts, ts_ns, symbol)
        if kept is not None:
            ts_ns, symbol = ts_ns[kept], symbol[kept]
        bits = (*quarters(words(source, len(ts_ns))), *quarters(words(source, len(ts_ns))))
        return Events(ts_ns, symbol, bits)

    def _draw(self, source: np.random.SFC64, block: Block, class_index: int) -> Integers:
        """Return unsorted events of one class: nanosecond of the day in the upper 47 bits, symbol in the lower 16."""
        counts = block.counts[class_index]
        total = int(counts.sum())
        minute = np.repeat(np.arange(block.first_minute, block.first_minute + len(counts)), counts)
        offset = minute * NS_PER_MINUTE + (fractions(words(source, total)) * NS_PER_MINUTE).astype(np.int64)
        resolution = self._universe.classes[class_index].resolution_ns
        if resolution > 1:
            offset -= offset % resolution
        picks = words(source, total // 4 + 1).astype("<u8", copy=False).view("<u2")[:total]
        packed: Integers = (offset << 16) | self._slots[class_index].take(picks).astype(np.int64)
        return packed

    def _repeat(self, source: np.random.SFC64, packed: Integers) -> Integers:
        """Let some events take instant and symbol of the event before: several prints of one sweep."""
        fresh = _at_least(words(source, len(packed)), self._repeats)
        fresh[:1] = True
        origin = np.maximum.accumulate(np.where(fresh, np.arange(len(packed)), 0))
        repeated: Integers = packed.take(origin)
        return repeated


def average_volumes(universe: Universe, seed: int, purpose: Purpose, per_day: int) -> Volumes:
    """Return volumes that average `per_day` on a full weekday and vary by 20 % either way."""
    shares = np.array([each.share for each in universe.classes]) / sum(each.share for each in universe.classes)

    def volumes(day: int) -> Integers:
        source = bit_source(seed, Purpose.VOLUMES, int(purpose), day, 1)
        factor = 0.8 + 0.4 * fractions(words(source, len(shares)))
        return np.rint(per_day * shares * factor * _open_parts(universe, day)).astype(np.int64)

    return volumes


def exact_volumes(universe: Universe, rows: int, days: list[int]) -> Volumes:
    """Return volumes that spread exactly `rows` over `days`."""
    totals = {day: rows * (n + 1) // len(days) - rows * n // len(days) for n, day in enumerate(days)}
    shares = np.array([each.share for each in universe.classes], dtype=np.float64)

    def volumes(day: int) -> Integers:
        parts = np.cumsum(shares * _open_parts(universe, day))
        reached: Integers = np.floor(parts / parts[-1] * totals[day]).astype(np.int64)
        return np.diff(reached, prepend=0)

    return volumes


def draw_halts(universe: Universe, seed: int, day: int, share: float) -> Halts:
    """Return the halts of a day; each instrument whose market opens has one with probability `share`."""
    source = bit_source(seed, Purpose.HALTS, day)
    parts: list[tuple[Integers, Integers, Integers]] = []
    for index, asset_class in enumerate(universe.classes):
        members = np.flatnonzero(universe.class_index == index)
        chance, when, length = (fractions(words(source, len(members))) for _ in range(3))
        minutes = np.flatnonzero(asset_class.session.weights(weekday_of(day)))
        hit = (chance < share) & (len(minutes) > 0)
        if hit.any():
            start = minutes[(when[hit] * len(minutes)).astype(np.int64)]
            lasts = MIN_HALT_MINUTES + (length[hit] * (MAX_HALT_MINUTES - MIN_HALT_MINUTES)).astype(np.int64)
            parts.append((members[hit], start, np.minimum(start + lasts, MINUTES_PER_DAY)))
    if not parts:
        nothing = np.empty(0, dtype=np.int64)
        return Halts(nothing, nothing, nothing)
    symbol, start, end = (np.concatenate(each) for each in zip(*parts, strict=True))
    midnight = day * NS_PER_DAY
    return Halts(symbol, midnight + start * NS_PER_MINUTE, midnight + end * NS_PER_MINUTE)


def _open_parts(universe: Universe, day: int) -> Floats:
    """Return how much of a full day's activity each class has on `day`."""
    sessions = [each.session for each in universe.classes]
    today = np.array([float(session.weights(weekday_of(day)).sum()) for session in sessions])
    full = np.array([float(session.weights(FULL_WEEKDAY).sum()) for session in sessions])
    parts: Floats = today / full
    return parts


def _at_least(drawn: Words, share: float) -> NDArray[np.bool_]:
    return fractions(drawn) >= share


def _outside(halts: Halts, ts_ns: Integers, symbol: Integers) -> NDArray[np.bool_] | None:
    """Return which events fall in no halt, or None for all of them."""
    starts, ends = np.searchsorted(ts_ns, halts.start_ns), np.searchsorted(ts_ns, halts.end_ns)
    touched = np.flatnonzero(starts < ends)
    if not len(touched):
        return None
    kept = np.ones(len(ts_ns), dtype=np.bool_)
    for halt in touched:
        inside = slice(starts[halt], ends[halt])
        kept[inside] &= symbol[inside] != halts.symbol[halt]
    return kept
