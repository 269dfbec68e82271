"""Reading a whole table from hot, every number summed so that mapped bytes are really read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from data import FOUR, NUMBERS, ONE
from job import Contender, Job, Target

if TYPE_CHECKING:
    from bench import Bench

ARCTIC, MAPPED = "ArcticDB", "mapped bare Arrow IPC"


def sum_arrow(table: Any) -> Any:
    """Sum the numbers of an Arrow table and return it."""
    import pyarrow.compute as pc

    for name in NUMBERS:
        pc.sum(table[name])
    return table


def sum_polars(frame: Any) -> Any:
    """Sum the numbers of a Polars frame and return it."""
    frame.select(*NUMBERS).sum()
    return frame


def sum_pandas(frame: Any) -> Any:
    """Sum the numbers of a pandas frame and return it."""
    for name in NUMBERS:
        frame[name].sum()
    return frame


def _pandas(table: Any, *, arrow: bool = False) -> Any:
    import pandas as pd

    return (
        table.to_pandas(types_mapper=pd.ArrowDtype) if arrow else table.to_pandas(date_as_object=False).set_index("ts")
    )


def _polars(table: Any) -> Any:
    import polars as pl

    return pl.DataFrame(table)


def contenders(
    own: Callable[[Bench], Any], arctic: Callable[[Bench], Any], mapped: Callable[[Bench], Any]
) -> Callable[[Bench], list[Contender]]:
    """Return what makes the contenders, given how each of them reads and sums."""

    def make(bench: Bench) -> list[Contender]:
        return [
            Contender("quantstore", lambda: own(bench), ready=lambda: bench.own.hot),
            Contender(ARCTIC, lambda: arctic(bench), "arcticdb", ready=lambda: bench.arctic.library),
            Contender(MAPPED, lambda: mapped(bench), "pyarrow", ready=lambda: bench.bare),
        ]

    return make


TO_ARROW = contenders(
    lambda bench: sum_arrow(bench.own.whole("ticks", "arrow")),
    lambda bench: sum_arrow(bench.arctic.whole("ticks", "PYARROW")),
    lambda bench: sum_arrow(bench.bare.mapped()),
)
TO_POLARS = contenders(
    lambda bench: sum_polars(bench.own.whole("ticks", "polars")),
    lambda bench: sum_polars(bench.arctic.whole("ticks", "POLARS")),
    lambda bench: sum_polars(_polars(bench.bare.mapped())),
)
TO_ARROW_PANDAS = contenders(
    lambda bench: sum_pandas(bench.own.whole("ticks", "pandas", "pyarrow")),
    lambda bench: sum_pandas(_pandas(bench.arctic.whole("ticks", "PYARROW"), arrow=True)),
    lambda bench: sum_pandas(_pandas(bench.bare.mapped(), arrow=True)),
)
TO_PANDAS = contenders(
    lambda bench: sum_pandas(bench.own.whole("ticks_pandas", "pandas")),
    lambda bench: sum_pandas(bench.arctic.whole("ticks_pandas", "PANDAS")),
    lambda bench: sum_pandas(_pandas(bench.bare.mapped())),
)


def _job(name: str, title: str, make: Callable[[Bench], list[Contender]], target: Target) -> Job:
    return Job(f"whole-{name}", f"Whole table from hot to {title}, every number summed", (ONE, FOUR), make, (target,))


JOBS = [
    _job("arrow", "Arrow", TO_ARROW, Target("5x the speed of ArcticDB", "speed", 5.0, (ARCTIC,))),
    _job("polars", "Polars", TO_POLARS, Target("5x the speed of ArcticDB", "speed", 5.0, (ARCTIC,))),
    _job(
        "arrow-pandas",
        "ArrowDtype pandas",
        TO_ARROW_PANDAS,
        Target("3x the speed of ArcticDB", "speed", 3.0, (ARCTIC,)),
    ),
    _job("pandas", "default pandas", TO_PANDAS, Target("within 2.5x of ArcticDB's time", "time", 2.5, (ARCTIC,))),
]
