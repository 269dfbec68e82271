"""Questions in SQL: a window, a group-by, minute bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data import FOUR, ONE
from job import Contender, Job, Target

if TYPE_CHECKING:
    from bench import Bench

NATIVE, ARCTIC, FILES = "native DuckDB table", "ArcticDB", "DuckDB given the right files"


def window_hot(bench: Bench) -> list[Contender]:
    """Return the contenders for five minutes of two symbols from hot."""
    own, duckdb, polars = bench.own, bench.duckdb, bench.polars
    return [
        Contender("quantstore", lambda: own.window(own.hot), ready=lambda: own.hot),
        Contender(NATIVE, lambda: duckdb.window(duckdb.native), "duckdb", ready=lambda: duckdb.native),
        Contender(ARCTIC, bench.later("arctic", "window"), "arcticdb", ready=lambda: bench.arctic.library),
        Contender("Polars frame in memory", polars.window, "polars", ready=lambda: bench.data.polars),
    ]


def window_cold(bench: Bench) -> list[Contender]:
    """Return the contenders for the same from cold; the files to read are known to all but the store."""
    own, duckdb, polars = bench.own, bench.duckdb, bench.polars
    files: list[str] = []

    def find() -> None:
        files[:] = own.files()

    return [
        Contender("quantstore", lambda: own.window(own.cold), ready=lambda: own.cold),
        Contender(FILES, lambda: duckdb.window_of_files(duckdb.memory, files), "duckdb", ready=find),
        Contender(
            "Polars given the right files",
            lambda: polars.window_of_files(files),
            "polars",
            ready=find,
            note="stamps cut to microseconds",
        ),
    ]


def group_hot(bench: Bench) -> list[Contender]:
    """Return the contenders for a group-by over all rows in hot."""
    own, duckdb, polars = bench.own, bench.duckdb, bench.polars
    return [
        Contender("quantstore", lambda: own.groups(own.hot), ready=lambda: own.hot),
        Contender(NATIVE, duckdb.groups, "duckdb", ready=lambda: duckdb.native),
        Contender(
            ARCTIC,
            bench.later("arctic", "groups"),
            "arcticdb",
            ready=lambda: bench.arctic.library,
            note="reads four columns and groups in Polars, as it groups by one column only",
        ),
        Contender("Polars frame in memory", polars.groups, "polars", ready=lambda: bench.data.polars),
    ]


def bars_hot(bench: Bench) -> list[Contender]:
    """Return the contenders for minute bars of a day and symbol from hot."""
    own, duckdb, polars = bench.own, bench.duckdb, bench.polars
    return [
        Contender("quantstore", lambda: own.bars(own.hot), ready=lambda: own.hot),
        Contender(NATIVE, duckdb.bars, "duckdb", ready=lambda: duckdb.native),
        Contender(ARCTIC, bench.later("arctic", "bars"), "arcticdb", ready=lambda: bench.arctic.library),
        Contender("Polars frame in memory", polars.bars, "polars", ready=lambda: bench.data.polars),
    ]


JOBS = [
    Job(
        "window-hot",
        "5 minutes of 2 symbols from hot, SQL to Arrow",
        (ONE, FOUR),
        window_hot,
        (
            Target("within 3x of a native DuckDB table in memory", "time", 3.0, (NATIVE,)),
            Target("faster than ArcticDB's filtered read", "time", 1.0, (ARCTIC,)),
        ),
    ),
    Job(
        "window-cold",
        "5 minutes of 2 symbols from cold, SQL to Arrow",
        (ONE, FOUR),
        window_cold,
        (Target("within 1.3x of DuckDB given the right files", "time", 1.3, (FILES,)),),
    ),
    Job(
        "group-hot",
        "Group-by symbol and day over all rows in hot, SQL to Arrow",
        (ONE, FOUR),
        group_hot,
        (Target("within 1.3x of a native DuckDB table", "time", 1.3, (NATIVE,)),),
    ),
    Job(
        "bars-hot",
        "Minute bars of one day and symbol from hot, SQL to Arrow",
        (ONE, FOUR),
        bars_hot,
        (Target("no slower than ArcticDB's resample", "time", 1.0, (ARCTIC,)),),
    ),
]
