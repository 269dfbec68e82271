"""ArcticDB on LMDB, which syncs its data file before a write returns."""

from __future__ import annotations

import shutil
from datetime import datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import arcticdb
import pandas as pd
from data import Data, once, size_of

NAME, FROM_PANDAS = "ticks", "ticks_pandas"
TICK = pd.Timedelta(1, "ns")


class Arctic:
    """A library with the ticks, written from Arrow and from pandas."""

    def __init__(self, folder: Path, data: Data) -> None:
        self._folder, self._data = folder, data
        self.place = folder / "arctic"
        self._turn = 0
        self._fresh: Any = None

    def make(self) -> None:
        """Write the ticks."""
        once(self.place, self._make)

    def _make(self) -> None:
        library = open_library(self.place)
        library.write(NAME, self._data.stamped, index_column=True)
        library.write(FROM_PANDAS, self._data.pandas)

    @cached_property
    def library(self) -> Any:
        """The library with the ticks."""
        return open_library(self.place)

    def whole(self, name: str, output: str) -> Any:
        """Read all rows."""
        return self.library.read(name, output_format=output).data

    def window(self, library: Any = None) -> Any:
        """Read five minutes of two symbols."""
        facts = self._data.facts
        query = arcticdb.QueryBuilder()
        query = query[query["symbol"].isin([facts.one, facts.two])]
        span = (pd.Timestamp(facts.low), pd.Timestamp(facts.high) - TICK)  # ranges include their ends
        library = library or self.library
        return library.read(NAME, date_range=span, query_builder=query, output_format="PYARROW").data

    def bars(self) -> Any:
        """Make minute bars of a symbol's day."""
        facts = self._data.facts
        start = pd.Timestamp(datetime.combine(facts.day, time()), tz="UTC")
        query = arcticdb.QueryBuilder().date_range((start, start + timedelta(days=1) - TICK))
        query = query[query["symbol"] == facts.bars].resample("1min")
        query = query.agg(
            {
                "open": ("price", "first"),
                "high": ("price", "max"),
                "low": ("price", "min"),
                "close": ("price", "last"),
                "volume": ("size", "sum"),
            }
        )
        return self.library.read(NAME, query_builder=query, output_format="PYARROW").data

    def groups(self) -> Any:
        """Group all rows by symbol and day: read four columns and group in Polars, as it groups by one column only."""
        import polars as pl

        columns = ["symbol", "trade_date", "size", "price"]
        frame = self.library.read(NAME, columns=columns, output_format="POLARS").data
        return frame.group_by("symbol", "trade_date").agg(pl.len().alias("n"), pl.sum("size"), pl.mean("price"))

    def open_fresh(self) -> None:
        """Open a new, empty library."""
        self._turn += 1
        self._fresh_folder = self._folder / f"arctic-fresh-{self._turn}"
        self._fresh = open_library(self._fresh_folder)

    def write(self, frame: Any) -> Any:
        """Write a frame into the new library."""
        options = {} if isinstance(frame, pd.DataFrame) else {"index_column": True}
        self._fresh.write(NAME, frame, **options)
        return frame

    def fresh_size(self) -> int:
        """Return the bytes of the new library."""
        return size_of(self._fresh_folder)

    def drop_fresh(self) -> None:
        """Delete the new library."""
        self._fresh = None
        shutil.rmtree(self._fresh_folder)


def open_library(folder: Path) -> Any:
    """Open or make a library that takes Arrow and Polars, which ArcticDB has behind a switch of its own still."""
    library = arcticdb.Arctic(f"lmdb://{folder}").get_library("bench", create_if_missing=True)
    library._nvs._set_allow_arrow_input()  # noqa: SLF001 - there is no public switch yet
    return library
