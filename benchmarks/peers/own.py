"""quantstore, by its public interface."""

from __future__ import annotations

import contextlib
import inspect
import io
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

from data import Data, once, size_of

import quantstore as qs

TABLE, FROM_PANDAS = "ticks", "ticks_pandas"
WINDOW = f"SELECT * FROM {TABLE} WHERE ts >= $low AND ts < $high AND symbol IN ($one, $two)"
GROUPS = (
    f"SELECT symbol, trade_date, count(*) AS n, sum(size) AS size, avg(price) AS price FROM {TABLE} "
    "GROUP BY symbol, trade_date"
)
BARS = (
    "SELECT date_trunc('minute', ts) AS minute, arg_min(price, _seq) AS open, max(price) AS high, min(price) AS low, "
    f"arg_max(price, _seq) AS close, sum(size) AS volume FROM {TABLE} "
    "WHERE symbol = $one AND trade_date = $day GROUP BY 1 ORDER BY 1"
)


class Own:
    """A store with the ticks in hot (from Arrow, and from pandas) and one with them in cold."""

    def __init__(self, folder: Path, data: Data) -> None:
        self._folder, self._data = folder, data
        self.places = {"hot": folder / "own-hot", "cold": folder / "own-cold"}
        self._turn = 0
        self.fresh: Any = None

    def make(self) -> None:
        """Write both stores."""
        once(self.places["hot"], self._make_hot)
        once(self.places["cold"], self._make_cold)

    def _make_hot(self) -> None:
        with open_store(self.places["hot"]) as store:
            store.write(self._data.arrow, TABLE)
            store.write(self._data.pandas, FROM_PANDAS)

    def _make_cold(self) -> None:
        with open_store(self.places["cold"]) as store:
            store.write(self._data.arrow, TABLE, "cold")

    def load_code(self) -> None:
        """Load what is loaded on first use, so that a first run needs memory for rows only."""
        rows = self._data.arrow.slice(0, 10)
        self.open_fresh()
        self.fresh.write(rows, TABLE)
        self.fresh.migrate(TABLE, "hot", "cold")
        self.sql(self.fresh, WINDOW, self._data.facts.window)
        self.fresh.read(TABLE)
        self.fresh.read(TABLE, to="polars")
        self.drop_fresh()

    @cached_property
    def hot(self) -> Any:
        """The store with the ticks in hot."""
        return open_store(self.places["hot"])

    @cached_property
    def cold(self) -> Any:
        """The store with the ticks in cold."""
        return open_store(self.places["cold"])

    def window(self, store: Any) -> Any:
        """Read five minutes of two symbols."""
        return self.sql(store, WINDOW, self._data.facts.window)

    def groups(self, store: Any) -> Any:
        """Group all rows by symbol and day."""
        return self.sql(store, GROUPS)

    def bars(self, store: Any) -> Any:
        """Make minute bars of a symbol's day."""
        return self.sql(store, BARS, self._data.facts.symbol_day)

    def sql(self, store: Any, sql: str, params: dict[str, Any] | None = None) -> Any:
        """Read SQL to Arrow, past any cache of results."""
        return store.read(sql, params=params, to="arrow", **no_cache())

    def whole(self, table: str, to: str, dtype_backend: str | None = None) -> Any:
        """Read a whole table from hot."""
        return self.hot.read(table, to=to, dtype_backend=dtype_backend, **no_cache())

    def files(self) -> list[str]:
        """Return the cold files that hold the five minutes: what an engine must be given to need no planning."""
        plan = self.cold.explain(WINDOW, params=self._data.facts.window)
        locations = [choice.copy.location for scan in plan.scans for choice in scan.choices]
        return [str(self.places["cold"] / "cold" / location) for location in locations]

    def open_fresh(self) -> None:
        """Open a new, empty store."""
        self._turn += 1
        self._fresh_folder = self._folder / f"own-fresh-{self._turn}"
        self.fresh = open_store(self._fresh_folder)

    def fill_fresh(self) -> None:
        """Open a new store with the ticks in hot."""
        self.open_fresh()
        self.fresh.write(self._data.arrow, TABLE)

    def fill_fresh_cold(self) -> None:
        """Open a new store with the ticks in cold."""
        self.open_fresh()
        self.fresh.write(self._data.arrow, TABLE, "cold")

    def fresh_size(self, tier: str) -> int:
        """Return the bytes of a tier of the new store."""
        return size_of(self._fresh_folder / tier)

    def drop_fresh(self) -> None:
        """Close and delete the new store."""
        self.fresh.close()
        self.fresh = None
        shutil.rmtree(self._fresh_folder)


def open_store(folder: Path) -> Any:
    """Open or make a store, without the line that says so."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        return qs.open(folder, cache="auto")


def no_cache() -> dict[str, bool]:
    """Return the option that keeps a read from a cache of results, where there is such a cache."""
    return {"cache": False} if "cache" in inspect.signature(qs.HybridStorageManager.read).parameters else {}
