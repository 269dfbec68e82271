"""Correcting: an upsert of one percent of a day, beside writing again the segments it touches."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
from data import FOUR, ONE
from job import Contender, Job, Target

if TYPE_CHECKING:
    from bench import Bench

REWRITE, WRITE = "read of the day and write of all its rows", "write of all the day's rows"
IPC = "bare Arrow IPC + fsync of the day"
KEY = ["symbol", "ts"]


class Day:
    """One day of ticks with a key that names one row, and one percent of them with other prices."""

    def __init__(self, bench: Bench, tier: str) -> None:
        self._bench, self._tier = bench, tier

    @cached_property
    def rows(self) -> pa.Table:
        """The first day's rows, one a key."""
        ticks = self._bench.data.polars
        day = ticks.filter(pl.col("trade_date") == ticks["trade_date"][0])
        return day.unique(KEY, keep="first", maintain_order=True).to_arrow()

    @cached_property
    def changed(self) -> pa.Table:
        """One percent of the rows, spread evenly, at other prices."""
        few = self.rows.take(pa.array(np.arange(0, self.rows.num_rows, 100)))
        at = few.column_names.index("price")
        return few.set_column(at, "price", pa.array(few.column("price").to_numpy() + 1.0))

    def fill(self) -> None:
        """Open a new store that holds the day."""
        self._bench.own.open_fresh()
        self._bench.own.fresh.write(self.rows, "ticks", self._tier, key=KEY)

    def upsert(self) -> pa.Table:
        """Change one percent."""
        result = self._bench.own.fresh.write(self.changed, "ticks", self._tier, mode="upsert")
        assert result.rows == result.deleted == self.changed.num_rows
        return self.changed

    def rewrite(self) -> pa.Table:
        """Read what an upsert of the day reads and write it all, into another table."""
        self._bench.own.fresh.write(self._bench.own.fresh.read("ticks", to="arrow"), "again", self._tier)
        return self.changed

    def write(self) -> pa.Table:
        """Write all the day's rows into another table."""
        self._bench.own.fresh.write(self.rows, "again", self._tier, on_repeat="append")
        return self.changed

    def bare(self) -> pa.Table:
        """Write all the day's rows into a bare file."""
        self._bench.bare.write_ipc(self.rows)
        return self.changed


def upsert(tier: str) -> Callable[[Bench], list[Contender]]:
    """Return what makes the contenders in a tier."""

    def contenders(bench: Bench) -> list[Contender]:
        day, own = Day(bench, tier), bench.own

        def made(name: str, action: Callable[[], Any]) -> Contender:
            return Contender(name, action, ready=lambda: day.changed, before=day.fill, after=own.drop_fresh)

        bare = Contender(IPC, day.bare, "pyarrow", ready=lambda: day.rows, after=bench.bare.drop)
        return [made("quantstore", day.upsert), made(REWRITE, day.rewrite), made(WRITE, day.write), bare]

    return contenders


JOBS = [
    Job(
        f"upsert-{tier}",
        f"Upsert of one percent of a day in {tier}",
        (ONE, FOUR),
        upsert(tier),
        (Target("no more than the rewrite of the segments it touches", "time", 1.0, (REWRITE,)),),
        reads=False,
        is_short=False,
    )
    for tier in ("hot", "cold")
]
