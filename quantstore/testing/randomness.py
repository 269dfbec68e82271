"""Random words that are the same on every machine, process and NumPy release.

Only raw bits of a bit generator and IEEE basic operations are used: the distributions of `numpy.random.Generator`
may change between releases, and `exp` or `log` differ in the last bit between processors.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class Purpose(IntEnum):
    """What a stream of random words is for; streams of different purposes are independent."""

    INSTRUMENTS = 0
    PRICES = 1
    HALTS = 2
    VOLUMES = 3
    TRADES = 4
    QUOTES = 5
    TICKS = 6
    CORRECTIONS = 7


def bit_source(seed: int, purpose: Purpose, *key: int) -> np.random.SFC64:
    """Return the source of random words that belongs to `seed`, `purpose` and `key`."""
    return np.random.SFC64(np.random.SeedSequence([seed, int(purpose), *key]))


def words(source: np.random.SFC64, count: int) -> Words:
    """Return the next `count` random 64-bit words."""
    drawn: Words = source.random_raw(count)
    return drawn


def quarters(drawn: Words) -> tuple[NDArray[np.uint16], ...]:
    """Return four arrays of 16 random bits for each word."""
    parts = drawn.astype("<u8", copy=False).view("<u2").reshape(-1, 4)
    return parts[:, 0], parts[:, 1], parts[:, 2], parts[:, 3]


def fractions(drawn: Words) -> Floats:
    """Return uniform numbers in [0, 1) with 53 bits each."""
    return (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53


def hashed(values: Integers, salt: int) -> Words:
    """Return a random word for each value, the same for the same value and salt wherever it stands (SplitMix64)."""
    mixed = values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
