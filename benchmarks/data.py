"""The ticks, made once per variant, and the questions asked of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

DAYS, SYMBOLS = 10, 500
NUMBERS = ("price", "size", "bid", "ask")


@dataclass(frozen=True, slots=True)
class Variant:
    """A kind of data: how many asset classes, and so segments of a day, the ticks are spread over."""

    name: str
    title: str
    asset_classes: tuple[str, ...] = ()


ONE = Variant("one-class", "one asset class", ("CRYPTO",))
FOUR = Variant("four-classes", "four asset classes, interleaved", ("EQUITY", "FX", "CRYPTO", "FUTURE"))
CATALOG = Variant("catalog", "synthetic catalog")
VARIANTS = {variant.name: variant for variant in (ONE, FOUR, CATALOG)}


@dataclass(frozen=True, slots=True)
class Facts:
    """Values that the questions are asked with.

    Attributes:
        low: Start of the fullest five minutes of the middle day.
        high: Their end, excluded.
        one: A symbol of the two most active ones.
        two: The other.
        bars: The most active symbol among those that trade in the most minutes of the middle day.
        day: The middle day.
    """

    low: datetime
    high: datetime
    one: str
    two: str
    bars: str
    day: date

    @property
    def window(self) -> dict[str, Any]:
        """Parameters of the question for five minutes of two symbols."""
        return {"low": self.low, "high": self.high, "one": self.one, "two": self.two}

    @property
    def symbol_day(self) -> dict[str, Any]:
        """Parameters of the question for the bars of a day and symbol."""
        return {"one": self.bars, "day": self.day}


class Data:
    """The ticks of a variant: one Arrow file, and frames made from it where they are asked for."""

    def __init__(self, folder: Path, variant: Variant, rows: int) -> None:
        self.folder, self.variant, self.rows = folder, variant, rows
        self.path = folder / "ticks.arrow"

    def make(self) -> None:
        """Write the ticks and the facts about them, unless they are there."""
        from quantstore.testing.simulator import benchmark_ticks

        once(
            self.path,
            lambda: self._write(
                benchmark_ticks(self.rows, days=DAYS, symbols=SYMBOLS, asset_classes=self.variant.asset_classes)
            ),
        )
        once(self.folder / "facts.json", self._write_facts)

    def _write(self, reader: pa.RecordBatchReader) -> None:
        import pyarrow as pa

        table = reader.read_all().combine_chunks()
        with pa.OSFile(str(self.path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=1 << 20)
        sync(self.path)

    def _write_facts(self) -> None:
        import polars as pl

        frame = self.polars
        one, two = (
            frame["symbol"]
            .value_counts(sort=True, name="n")
            .sort("n", "symbol", descending=[True, False])["symbol"][:2]
        )
        day = frame["trade_date"][frame.height // 2]
        middle = frame.filter(pl.col("trade_date") == day)
        windows = middle.filter(pl.col("symbol").is_in([one, two])).group_by(pl.col("ts").dt.truncate("5m")).len()
        low = windows.sort("len", "ts", descending=[True, False])["ts"][0]
        minutes = middle.group_by("symbol").agg(minutes=pl.col("ts").dt.truncate("1m").n_unique() // 100, rows=pl.len())
        bars = minutes.sort("minutes", "rows", "symbol", descending=[True, True, False])["symbol"][0]
        facts = {"low": low.isoformat(), "one": one, "two": two, "bars": bars, "day": day.isoformat()}
        (self.folder / "facts.json").write_text(json.dumps(facts))

    @cached_property
    def facts(self) -> Facts:
        """Values for the questions."""
        found = json.loads((self.folder / "facts.json").read_text())
        low = datetime.fromisoformat(found["low"])
        return Facts(
            low, low + timedelta(minutes=5), found["one"], found["two"], found["bars"], date.fromisoformat(found["day"])
        )

    @cached_property
    def arrow(self) -> pa.Table:
        """The ticks in memory, in one chunk."""
        import pyarrow as pa

        with pa.OSFile(str(self.path)) as source:
            return pa.ipc.open_file(source).read_all().combine_chunks()

    @cached_property
    def polars(self) -> pl.DataFrame:
        """The ticks as Polars."""
        import polars as pl

        return pl.DataFrame(self.arrow)

    @cached_property
    def pandas(self) -> pd.DataFrame:
        """The ticks as pandas, by time; dates are stamps, as pandas has no dates and ArcticDB refuses them."""
        return self.stamped.to_pandas().set_index("ts")

    @cached_property
    def stamped(self) -> pa.Table:
        """The ticks with dates as stamps, for ArcticDB, which refuses date32."""
        import pyarrow as pa

        position = self.arrow.schema.get_field_index("trade_date")
        return self.arrow.set_column(position, "trade_date", self.arrow["trade_date"].cast(pa.timestamp("ns")))

    @cached_property
    def stamped_polars(self) -> pl.DataFrame:
        """The same as Polars."""
        import polars as pl

        return pl.DataFrame(self.stamped)


def once(path: Path, make: Callable[[], None]) -> None:
    """Make something unless a run before has finished making it, as a mark beside it tells."""
    mark = path.with_name(path.name + ".done")
    if not mark.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        make()
        mark.touch()


def sync(path: Path) -> None:
    """Make a file durable."""
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.close(descriptor)


def size_of(path: Path) -> int:
    """Return the bytes that a file, or the files under a folder, take up on disk."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_blocks * 512 for one in files)
