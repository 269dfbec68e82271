"""Tables over three tiers, with ties, nulls and late segments, and predicates made up at random."""

from __future__ import annotations

import datetime as dt
import random

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

TIERS = ("hot", "warm", "cold")
ENGINES = ("in-memory", "streaming")
FIRST = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
SYMBOLS = ["AAPL", "IBM", "MSFT", "TSLA", "ZM"]
POLARS = tuple(int(part) for part in pl.__version__.split(".")[:2])
RESOLVES = POLARS >= (2, 1)
c = pl.col


def rows(seed, count, days=6, unit="ns", zone="UTC"):
    """Return rows of many types; stamps are whole minutes, so that many are equal."""
    rng = np.random.default_rng(seed)
    minutes = np.sort(rng.integers(0, days * 24 * 60, count)) if days else np.zeros(count, np.int64)
    start = int(FIRST.timestamp()) * 10**6
    stamps = pl.Series(start + minutes * 60 * 10**6, dtype=pl.Int64).cast(pl.Datetime("us")).cast(pl.Datetime(unit))
    lacks = rng.random(count) < 0.1
    text = pl.Series([None if none else SYMBOLS[at] for none, at in zip(lacks, rng.integers(0, 5, count), strict=True)])
    price = pl.Series(np.where(rng.random(count) < 0.1, np.nan, rng.normal(100, 5, count)))
    return pl.DataFrame(
        {
            "ts": stamps if zone is None else stamps.dt.replace_time_zone("UTC").dt.convert_time_zone(zone),
            "symbol": text.cast(pl.String),
            "price": price.set(pl.Series(rng.random(count) < 0.1), None),  # NaN is another thing than null
            "size": pl.Series(rng.integers(0, 50, count)),
            "venue": pl.Series(rng.choice(["X", "Y", "Z"], count)).cast(pl.Categorical),
            "grade": pl.Series(rng.choice(["low", "mid", "high"], count)).cast(pl.Enum(["low", "mid", "high"])),
            "fee": pl.Series(rng.integers(0, 999, count)).cast(pl.Decimal(12, 2)),
            "asset_class": pl.Series(rng.choice(["EQUITY", "FX"], count)),
        }
    )


def spread(store, seed, **shape):
    """Write overlapping frames, move their days to three tiers, in any order, and write one more that comes late."""
    chance = random.Random(seed)
    for write in range(4):
        frame = rows(10 * seed + write, chance.randint(30, 120), days=chance.choice([1, 3, 6]), **shape)
        store.write(frame, "t", chance.choice(TIERS), symbol="symbol")
        if write == 2:
            for days, tier in zip((9, 4, 2), chance.sample(TIERS, 3), strict=True):
                before = (FIRST + dt.timedelta(days=days)).replace(tzinfo=None).isoformat()
                store.migrate("t", "any", tier, before=before + ("" if shape.get("zone", "UTC") is None else "Z"))


def assert_same(found, wanted):
    """Check schema and rows; categories are compared as text, as Polars before 1.32 compares codes."""
    assert found.schema == wanted.schema
    plain = {pl.Categorical: pl.String}
    assert_frame_equal(found.cast(plain), wanted.cast(plain))


def raised(error):
    """Return what `error` comes out of a collect as: Polars before 2 gives its own error, with ours in the text."""
    return error if POLARS >= (2, 0) else pl.exceptions.ComputeError


class Predicates:
    """Makes predicates up over the columns of `rows` and the hidden ones."""

    def __init__(self, seed, frame):
        self._chance = random.Random(seed)
        self._frame = frame
        self._time = frame.schema["ts"]

    def one(self, depth=3):
        """Return a predicate."""
        roll = self._chance.random()
        if depth == 0 or roll < 0.25:
            return self._chance.choice([self._stamp, self._stamp, self._text, self._text, self._day, self._other])()
        if roll < 0.65:
            return self.one(depth - 1) & self.one(depth - 1)
        if roll < 0.85:
            return self.one(depth - 1) | self.one(depth - 1)
        if roll < 0.95:
            return ~self.one(depth - 1)
        return pl.when(self.one(0)).then(self.one(0)).otherwise(self.one(0))

    def _moment(self):
        """Return a stamp of the table, moved a little or not, as Python, as text's parse or in nanoseconds."""
        chance = self._chance
        zone = self._time.time_zone
        stamp = chance.choice(self._frame["ts"].to_list()) + chance.choice(
            [
                dt.timedelta(),
                dt.timedelta(microseconds=chance.choice([-1, 1])),
                dt.timedelta(hours=chance.randint(-9, 9)),
            ]
        )
        kind = chance.randrange(5)
        if kind == 0:
            exact = pl.lit(stamp).dt.timestamp("ns") + chance.choice([-1, 0, 1])
            return pl.lit(pl.select(exact).item()).cast(pl.Datetime("ns", zone))
        if kind == 1:
            return pl.lit(stamp) - pl.duration(minutes=chance.randint(0, 90))
        if kind == 2:
            return stamp.replace(hour=0, minute=0, second=0, microsecond=0)
        if kind == 3 and zone == "UTC":
            return stamp.astimezone(dt.timezone(dt.timedelta(hours=chance.randint(-9, 9))))
        return stamp

    def _stamp(self):
        chance = self._chance
        low, high = self._moment(), self._moment()
        kind = chance.randrange(9)
        if kind == 0:
            return c("ts").is_between(low, high, closed=chance.choice(["both", "left", "right", "none"]))
        if kind == 1:
            return c("ts").is_in([one for one in (self._moment() for _ in range(4)) if isinstance(one, dt.datetime)])
        if kind == 2:
            return (low if isinstance(low, pl.Expr) else pl.lit(low)) < c("ts")
        if kind == 3:
            return c("ts").dt.date() == self._date()
        if kind == 4:
            return c("ts").dt.hour() < chance.randint(0, 24)
        if kind == 5:
            unit = chance.choice(["ms", "us", "ns"])
            return c("ts").cast(pl.Datetime(unit, self._time.time_zone)) <= high
        return chance.choice(
            [c("ts").ge, c("ts").gt, c("ts").le, c("ts").lt, c("ts").eq, c("ts").ne, c("ts").eq_missing]
        )(low)

    def _date(self):
        return (FIRST + dt.timedelta(days=self._chance.randint(-1, 7))).date()

    def _day(self):
        chance, day = self._chance, c("trade_date")
        kind = chance.randrange(4)
        if kind == 0:
            return day.is_in([self._date(), self._date()])
        if kind == 1:
            return day.is_between(self._date(), self._date(), closed=chance.choice(["both", "left", "right", "none"]))
        if kind == 2:
            return day < dt.datetime(2026, 1, chance.randint(4, 12), 5)
        return chance.choice([day.ge, day.gt, day.le, day.lt, day.eq, day.ne])(self._date())

    def _text(self):
        chance = self._chance
        column, values = chance.choice(
            [("symbol", SYMBOLS), ("asset_class", ["EQUITY", "FX", "BOND"]), ("venue", ["X", "Q"])]
        )
        one, some = chance.choice(values), chance.sample(values, chance.randint(0, 2))
        kind = chance.randrange(8)
        if kind == 0:
            return c(column).is_in(some)
        if kind == 1 and column != "venue":
            return c(column).is_in([*some, None], nulls_equal=chance.choice([True, False]))
        if kind == 2:
            return pl.lit(one) == c(column)
        if kind == 3:
            return (c(column) == one) | (c(column) == chance.choice(values))
        if kind == 4:
            return c(column).cast(pl.String).str.starts_with(one[:1])
        return chance.choice([c(column).eq, c(column).ne, c(column).eq_missing, c(column).ne_missing])(one)

    def _other(self):
        chance = self._chance
        return chance.choice(
            [
                c("price") > chance.uniform(90, 110),
                c("price").is_null(),
                c("price").is_nan(),
                c("size") % 2 == 0,
                c("grade") >= "mid",
                c("grade").is_in(["low", "high"]),
                c("fee") > chance.randint(0, 999),
                c("symbol").is_null(),
                c("_seq") % 3 == 0,
                c("symbol") == pl.lit(None, pl.String),
                pl.lit(True),
            ]
        )
