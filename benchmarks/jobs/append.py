"""Small appends: a thousand rows at a time, and the whole read once they were compacted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from data import FOUR, ONE, once
from job import Contender, Job, Target
from peers.own import no_cache, open_store

from jobs.whole import sum_arrow

if TYPE_CHECKING:
    from bench import Bench

ROWS = 1_000
ARCTIC, BIG = "ArcticDB", "one big write"
TABLE = "ticks"


class Appends:
    """Takes the ticks a thousand rows at a time, in time order, and starts anew where they end."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._turn = 0
        self._store: Any = None

    def _next(self) -> Any:
        frame = self._bench.data.pandas
        first = self._turn * ROWS % max(1, len(frame) - ROWS)
        self._turn += 1
        return frame.iloc[first : first + ROWS]

    def open_own(self) -> None:
        """Open a new store and append once, which makes the table."""
        self._store = open_store(self._bench.folder / f"own-appends-{id(self)}")
        self.own()

    def own(self) -> Any:
        """Append to the store."""
        rows = self._next()
        self._store.write(rows, TABLE, on_repeat="append")
        return rows

    def open_arctic(self) -> None:
        """Open a new library and append once."""
        from peers.arctic import open_library

        self._store = open_library(self._bench.folder / f"arctic-appends-{id(self)}")
        self.arctic()

    def arctic(self) -> Any:
        """Append to the library."""
        rows = self._next()
        self._store.append(TABLE, rows, validate_index=False)
        return rows


def small(bench: Bench) -> list[Contender]:
    """Return the contenders of one durable append."""
    own, arctic = Appends(bench), Appends(bench)
    return [
        Contender("quantstore", own.own, ready=own.open_own),
        Contender(ARCTIC, arctic.arctic, "arcticdb", ready=arctic.open_arctic),
    ]


class Compacted:
    """A store into which the ticks came a thousand rows at a time, and that was compacted after."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._place = bench.folder / "own-compacted"
        self._store: Any = None

    def open(self) -> None:
        """Open the store; make it before, unless that was done."""
        once(self._place, self._make)
        self._store = open_store(self._place)

    def _make(self) -> None:
        ticks = self._bench.data.arrow
        with open_store(self._place) as store:
            for first in range(0, ticks.num_rows, ROWS):
                store.write(ticks.slice(first, ROWS), TABLE, on_repeat="append")
            store.compact(TABLE)

    def read(self) -> Any:
        """Read all and sum the numbers."""
        return sum_arrow(self._store.read(TABLE, to="arrow", **no_cache()))


def compacted(bench: Bench) -> list[Contender]:
    """Return the contenders of a read of everything."""
    many = Compacted(bench)
    return [
        Contender("quantstore", many.read, ready=many.open, note=f"appended {ROWS:,} rows at a time, then compacted"),
        Contender(BIG, lambda: sum_arrow(bench.own.whole(TABLE, "arrow")), ready=lambda: bench.own.hot),
    ]


JOBS = [
    Job(
        "append-1k",
        "Durable append of 1,000 rows, frame as pandas",
        (ONE, FOUR),
        small,
        (Target("within 2x ArcticDB's time", "time", 2.0, (ARCTIC,)),),
        reads=False,
    ),
    Job(
        "append-10k-then-read",
        "Whole table from hot to Arrow, after appends of 1,000 rows (10,000 for 10,000,000 ticks), compacted",
        (ONE, FOUR),
        compacted,
        (Target("within 1.5x of one big write", "time", 1.5, (BIG,)),),
    ),
]
