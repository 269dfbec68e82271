"""Polars on a frame in memory, or on the right Parquet files."""

from __future__ import annotations

from typing import Any

import polars as pl
from data import Data


class Polars:
    """Answers the questions without a store; results are handed over as Arrow."""

    def __init__(self, data: Data) -> None:
        self._data = data

    def window(self) -> Any:
        """Read five minutes of two symbols."""
        return self._window(self._data.polars.lazy())

    def window_of_files(self, files: list[str]) -> Any:
        """Read five minutes of two symbols from the store's own cold files; stamps are cut to microseconds."""
        return self._window(pl.scan_parquet(files, hive_partitioning=False))

    def _window(self, frame: pl.LazyFrame) -> Any:
        facts = self._data.facts
        inside = (pl.col("ts") >= facts.low) & (pl.col("ts") < facts.high)
        return frame.filter(inside & pl.col("symbol").is_in([facts.one, facts.two])).collect().to_arrow()

    def groups(self) -> Any:
        """Group all rows by symbol and day."""
        grouped = self._data.polars.group_by("symbol", "trade_date")
        return grouped.agg(pl.len().alias("n"), pl.sum("size"), pl.mean("price")).to_arrow()

    def bars(self) -> Any:
        """Make minute bars of a symbol's day."""
        facts = self._data.facts
        frame = self._data.polars.lazy()
        mine = frame.filter((pl.col("symbol") == facts.bars) & (pl.col("trade_date") == facts.day))
        grouped = mine.group_by(pl.col("ts").dt.truncate("1m").alias("minute"), maintain_order=True)
        price = pl.col("price")
        return (
            grouped.agg(
                open=price.first(), high=price.max(), low=price.min(), close=price.last(), volume=pl.sum("size")
            )
            .collect()
            .to_arrow()
        )
