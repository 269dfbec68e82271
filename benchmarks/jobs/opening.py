"""First open and later opens, each in a new process: import, open and ask, ask again, open again and ask."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import child
from data import FOUR, ONE
from job import Contender, Job, Phases

if TYPE_CHECKING:
    from bench import Bench

PHASES = ("first open and question", "same question again", "later open and question", "import")
Step = Callable[..., Any]


def _close(opened: Any) -> None:
    opened.close()


def _leave(_opened: Any) -> None:
    """Leave a library that cannot be closed."""


def _own(bench: Bench, tier: str) -> tuple[str, Step, Step, Step]:
    def start() -> Any:
        import quantstore

        return quantstore.open(bench.folder / f"own-{tier}")

    return "quantstore", start, bench.later("own", "window"), _close


def _arctic(bench: Bench) -> tuple[str, Step, Step, Step]:
    def start() -> Any:
        from peers.arctic import open_library

        return open_library(bench.folder / "arctic")

    return "arcticdb", start, bench.later("arctic", "window"), _leave


def _mapped(bench: Bench) -> tuple[str, Step, Step, Step]:
    def start() -> Any:
        import pyarrow as pa
        from peers.duckdb import connect, naive

        connection = connect()
        connection.register("ticks", naive(pa.ipc.open_file(pa.memory_map(str(bench.data.path))).read_all()))
        return connection

    return "duckdb", start, bench.later("duckdb", "window"), _close


def _files(bench: Bench) -> tuple[str, Step, Step, Step]:
    def start() -> Any:
        from peers.duckdb import connect

        return connect()

    files = [str(file) for file in sorted((bench.folder / "own-cold" / "cold").rglob("*.parquet"))]
    return "duckdb", start, lambda connection: bench.duckdb.window_of_files(connection, files), _close


WAYS: dict[str, Callable[[Bench], tuple[str, Step, Step, Step]]] = {
    "own-hot": lambda bench: _own(bench, "hot"),
    "own-cold": lambda bench: _own(bench, "cold"),
    "arctic": _arctic,
    "mapped": _mapped,
    "files": _files,
}


def measure(bench: Bench, way: str) -> dict[str, float]:
    """Return the seconds of each phase; called in a process that has loaded nothing yet."""
    _ = bench.data.facts
    package, start, ask, close = WAYS[way](bench)
    marks = [time.perf_counter()]

    def mark() -> None:
        marks.append(time.perf_counter())

    import_module(package), mark()
    opened = start()
    ask(opened), mark()
    ask(opened), mark()
    close(opened)
    del opened
    begun = time.perf_counter()
    opened = start()
    ask(opened)
    later = time.perf_counter() - begun
    close(opened)
    imported, first, again = (after - before for before, after in pairwise(marks))
    return dict(zip(PHASES, (first, again, later, imported), strict=True))


def _contender(bench: Bench, name: str, way: str, needs: str, note: str = "") -> Contender:
    return Contender(name, lambda: Phases(child.call(bench, "opening", way)), needs, note=note)


def hot(bench: Bench) -> list[Contender]:
    """Return the contenders for opening hot."""
    return [
        _contender(bench, "quantstore", "own-hot", "quantstore", "the first open hashes the files it reads"),
        _contender(bench, "ArcticDB", "arctic", "arcticdb"),
        _contender(bench, "DuckDB over mapped Arrow", "mapped", "duckdb"),
    ]


def cold(bench: Bench) -> list[Contender]:
    """Return the contenders for opening cold."""
    return [
        _contender(bench, "quantstore", "own-cold", "quantstore", "the first open hashes the files it reads"),
        _contender(bench, "DuckDB over all Parquet files", "files", "duckdb"),
    ]


JOBS = [
    Job(
        "open-hot",
        "Opening in a new process, 5 minutes of 2 symbols from hot",
        (ONE, FOUR),
        hot,
        is_short=False,
        is_warmed=False,
    ),
    Job(
        "open-cold",
        "Opening in a new process, 5 minutes of 2 symbols from cold",
        (ONE, FOUR),
        cold,
        is_short=False,
        is_warmed=False,
    ),
]
