"""The simulated instruments: asset classes, symbols, tick sizes, spreads and activity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import cycle
from math import fsum

import numpy as np
from numpy.typing import NDArray

from quantstore.errors import InvalidInputError
from quantstore.testing.randomness import Integers, Purpose, bit_source, words
from quantstore.testing.sessions import Session

UNITS = 1_000_000
"""Prices are counted in millionths."""
MAX_SYMBOLS_PER_CLASS = 8192
MONDAY_TO_FRIDAY = frozenset(range(5))
SUNDAY_TO_THURSDAY = frozenset({6, 0, 1, 2, 3})


@dataclass(frozen=True, slots=True)
class AssetClass:
    """What the instruments of one asset class have in common.

    Attributes:
        code: Stable number that keys random streams.
        share: Relative number of rows on a full day.
        lot: Size of the smallest round lot.
        odd_lots: Whether sizes below one lot occur.
        volatility: Standard deviation of the logarithmic return of one full day.
        resolution_ns: Time stamps are multiples of it.
        prefix: Names instruments past the end of the list.
        tick_units: Tick size of those, in millionths.
        listed: Symbol, tick size and first price (both in millionths) of the known instruments, busiest first.
    """

    name: str
    code: int
    share: int
    session: Session
    exchanges: tuple[str, ...]
    lot: int
    odd_lots: bool
    volatility: float
    resolution_ns: int
    prefix: str
    tick_units: int
    listed: tuple[tuple[str, int, int], ...]


def _listed(tick_units: int, **prices: float) -> tuple[tuple[str, int, int], ...]:
    return tuple((name.replace("_", "-"), tick_units, round(price * UNITS)) for name, price in prices.items())


_EQUITY = AssetClass(
    name="EQUITY",
    code=0,
    share=8,
    session=Session(open_minute=810, minutes=390, weekdays=MONDAY_TO_FRIDAY, depth=4.0),
    exchanges=("XNAS", "XNYS", "ARCX", "BATS", "IEXG"),
    lot=100,
    odd_lots=True,
    volatility=0.018,
    resolution_ns=1,
    prefix="EQ",
    tick_units=10_000,
    listed=_listed(
        10_000, NVDA=178.0, AAPL=266.0, TSLA=392.0, MSFT=474.0, AMZN=221.0, AMD=205.0, META=594.0, GOOGL=299.0,
        JPM=298.0, XOM=117.0, BAC=51.5, KO=72.7, PFE=25.1, INTC=34.5, F=12.9, WMT=105.0,
    ),
)  # fmt: skip
_FX = AssetClass(
    name="FX",
    code=1,
    share=5,
    session=Session(open_minute=1320, minutes=1440, weekdays=SUNDAY_TO_THURSDAY, depth=1.0),
    exchanges=("EBS", "LMAX", "OANDA"),
    lot=100_000,
    odd_lots=False,
    volatility=0.005,
    resolution_ns=1_000,
    prefix="FX",
    tick_units=10,
    listed=(
        *_listed(10, EURUSD=1.15132),
        *_listed(1_000, USDJPY=156.402),
        *_listed(10, GBPUSD=1.30987, AUDUSD=0.64561, USDCAD=1.41012, USDCHF=0.80834, NZDUSD=0.56118),
        *_listed(1_000, EURJPY=180.071),
        *_listed(10, EURGBP=0.87896),
    ),
)
_CRYPTO = AssetClass(
    name="CRYPTO",
    code=2,
    share=6,
    session=Session(open_minute=0, minutes=1440, weekdays=frozenset(range(7)), depth=0.6),
    exchanges=("BINANCE", "COINBASE", "KRAKEN"),
    lot=1,
    odd_lots=False,
    volatility=0.04,
    resolution_ns=1_000_000,
    prefix="CR",
    tick_units=100,
    listed=(
        *_listed(10_000, BTC_USD=86_500.0, ETH_USD=2_820.0, SOL_USD=131.0),
        *_listed(100, XRP_USD=2.0512, ADA_USD=0.4123),
        *_listed(10_000, BNB_USD=842.0, LTC_USD=83.2),
        *_listed(10, DOGE_USD=0.14512),
        *_listed(1_000, LINK_USD=12.415, AVAX_USD=13.207),
    ),
)
_FUTURE = AssetClass(
    name="FUTURE",
    code=3,
    share=6,
    session=Session(open_minute=1380, minutes=1380, weekdays=SUNDAY_TO_THURSDAY, depth=3.0),
    exchanges=("XCME",),
    lot=1,
    odd_lots=False,
    volatility=0.012,
    resolution_ns=1,
    prefix="FU",
    tick_units=250_000,
    listed=(
        *_listed(250_000, ESZ6=6_612.25, NQZ6=24_290.5),
        *_listed(10_000, CLF7=58.06),
        *_listed(15_625, ZNZ6=113.015625),
        *_listed(100_000, GCZ6=4_079.5),
        *_listed(1_000_000, YMZ6=46_310.0),
        *_listed(250_000, ZCZ6=437.5),
        *_listed(1_000, NGF7=4.58),
        *_listed(5_000, SIZ6=49.91),
    ),
)
ASSET_CLASSES: dict[str, AssetClass] = {each.name: each for each in (_EQUITY, _FX, _CRYPTO, _FUTURE)}


@dataclass(frozen=True, slots=True)
class Instrument:
    """One simulated instrument.

    Attributes:
        rank: 1 for the busiest of its asset class; activity is proportional to 1 / rank.
        tick_units: Tick size in millionths.
        first_units: Price at the start of the simulation in millionths, a multiple of the tick size.
        spread_ticks: Usual distance from bid to ask.
    """

    symbol: str
    asset_class: str
    rank: int
    tick_units: int
    first_units: int
    spread_ticks: int

    @property
    def tick_size(self) -> Decimal:
        """The smallest price step."""
        return Decimal(self.tick_units) / UNITS


def choose_classes(names: str | Sequence[str]) -> tuple[AssetClass, ...]:
    """Return the asset classes named, in the order given.

    Raises:
        InvalidInputError: A name is unknown or repeated, or there is none.
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    chosen = tuple(ASSET_CLASSES[name] for name in names if name in ASSET_CLASSES)
    if len(chosen) != len(names) or len(set(names)) != len(names) or not chosen:
        raise InvalidInputError(
            f"asset_classes={names} must be distinct names among {', '.join(ASSET_CLASSES)}.",
            asset_classes=list(names),
        )
    return chosen


def list_instruments(
    symbols: int | Sequence[str] | Mapping[str, str], classes: Sequence[AssetClass], seed: int
) -> tuple[Instrument, ...]:
    """Return the instruments asked for, grouped by asset class, busiest first within each.

    Args:
        symbols: How many, dealt evenly to the classes; or names; or a mapping of names to asset classes. A plain
            name keeps the class it is known for, unknown ones are dealt out in turn.
        classes: Classes to deal to.
        seed: Decides the first prices of unknown names.

    Raises:
        InvalidInputError: No symbol, a repeated one, too many, or a class that was not chosen.
    """
    named = _assign(symbols, classes)
    instruments: list[Instrument] = []
    for asset_class in classes:
        names = [name for name, owner in named if owner == asset_class.name]
        if len(names) > MAX_SYMBOLS_PER_CLASS:
            raise InvalidInputError(
                f"{len(names)} symbols in {asset_class.name}; at most {MAX_SYMBOLS_PER_CLASS} can be simulated."
            )
        instruments += _of_class(names, asset_class, seed)
    return tuple(instruments)


def _assign(symbols: int | Sequence[str] | Mapping[str, str], classes: Sequence[AssetClass]) -> list[tuple[str, str]]:
    chosen = {each.name for each in classes}
    if isinstance(symbols, int):
        turns = [index % len(classes) for index in range(symbols)]
        pairs = [
            (name, asset_class.name)
            for index, asset_class in enumerate(classes)
            for name in _names(asset_class, turns.count(index))
        ]
    elif isinstance(symbols, Mapping):
        pairs = list(symbols.items())
    else:
        names = (symbols,) if isinstance(symbols, str) else symbols
        known = {name: each.name for each in classes for name, _, _ in each.listed}
        turn = cycle(each.name for each in classes)
        pairs = [(name, known[name] if name in known else next(turn)) for name in names]
    strays = sorted({owner for _, owner in pairs} - chosen)
    if not pairs or strays or len({name for name, _ in pairs}) != len(pairs):
        problem = f"asset classes {strays} are not among {sorted(chosen)}" if strays else "none, or a name twice"
        raise InvalidInputError(f"symbols= cannot be simulated: {problem}; name at least one symbol, each once.")
    return pairs


def _names(asset_class: AssetClass, count: int) -> list[str]:
    listed = [name for name, _, _ in asset_class.listed[:count]]
    return listed + [f"{asset_class.prefix}{index:04d}" for index in range(len(listed), count)]


def _of_class(names: Sequence[str], asset_class: AssetClass, seed: int) -> list[Instrument]:
    listed = {name: (tick, first) for name, tick, first in asset_class.listed}
    drawn = words(bit_source(seed, Purpose.INSTRUMENTS, asset_class.code), len(names))
    instruments = []
    for rank, (name, word) in enumerate(zip(names, drawn, strict=True), start=1):
        tick = asset_class.tick_units
        tick, first = listed.get(name, (tick, tick * (2_000 + int(word) % 30_000)))
        spread = 1 + rank.bit_length() // 2
        instruments.append(Instrument(name, asset_class.name, rank, tick, first, spread))
    return instruments


@dataclass(frozen=True, slots=True)
class Universe:
    """Instruments as arrays, indexed by the instrument's position."""

    instruments: tuple[Instrument, ...]
    classes: tuple[AssetClass, ...]
    exchanges: tuple[str, ...]
    class_index: NDArray[np.uint8]
    tick_units: Integers
    first_ticks: Integers
    spread_ticks: Integers
    exchange_table: NDArray[np.uint8]
    """Exchange number for (class, random byte)."""
    size_table: Integers
    """Size for (class, random byte): heavy-tailed multiples of the lot."""

    @classmethod
    def of(cls, instruments: tuple[Instrument, ...], classes: Sequence[AssetClass]) -> Universe:
        """Return the arrays for `instruments`; classes without an instrument are left out."""
        present = {each.asset_class for each in instruments}
        kept = tuple(each for each in classes if each.name in present)
        position = {each.name: index for index, each in enumerate(kept)}
        exchanges = tuple(name for each in kept for name in each.exchanges)
        return cls(
            instruments=instruments,
            classes=kept,
            exchanges=exchanges,
            class_index=np.array([position[each.asset_class] for each in instruments], dtype=np.uint8),
            tick_units=np.array([each.tick_units for each in instruments], dtype=np.int64),
            first_ticks=np.array([each.first_units // each.tick_units for each in instruments], dtype=np.int64),
            spread_ticks=np.array([each.spread_ticks for each in instruments], dtype=np.int64),
            exchange_table=np.stack([_exchange_row(each, exchanges) for each in kept]),
            size_table=np.stack([_size_row(each) for each in kept]),
        )

    def slots(self, class_index: int) -> NDArray[np.uint16]:
        """Return 65,536 instrument positions of a class, each as often as its Zipf activity asks."""
        members = np.flatnonzero(self.class_index == class_index).astype(np.uint16)
        rank = np.arange(1, len(members) + 1)
        counts = np.maximum((65_536 / (rank * fsum(1.0 / rank))).astype(np.int64), 1)
        counts[0] += 65_536 - counts.sum()
        return np.repeat(members, counts)


def _exchange_row(asset_class: AssetClass, exchanges: Sequence[str]) -> NDArray[np.uint8]:
    numbers = [exchanges.index(name) for name in asset_class.exchanges]
    return np.array([numbers[byte * len(numbers) // 256] for byte in range(256)], dtype=np.uint8)


def _size_row(asset_class: AssetClass) -> Integers:
    sizes = asset_class.lot * (256 // (256 - np.arange(256, dtype=np.int64)))
    if asset_class.odd_lots:
        sizes[:50] = 1 + (np.arange(50) * 37) % (asset_class.lot - 1)
    return sizes
