"""Writing: hot from three kinds of frame, cold, and the move from hot to cold."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from data import FOUR, ONE
from job import Contender, Job, Target

if TYPE_CHECKING:
    from bench import Bench

IPC, ARCTIC = "bare Arrow IPC + fsync", "ArcticDB"
POLARS, PYARROW, COPY = "sort + Polars zstd", "sort + pyarrow zstd", "sort + DuckDB COPY zstd"
BOTH_KEYS = "Polars sort by both + Polars zstd"
BARE = (POLARS, PYARROW, COPY, BOTH_KEYS)
DATES = "dates given as timestamp[ns], as it refuses date32"


def hot(kind: str) -> Callable[[Bench], list[Contender]]:
    """Return what makes the contenders of a durable write of one kind of frame."""

    def contenders(bench: Bench) -> list[Contender]:
        own, bare = bench.own, bench.bare
        frame = partial(getattr, bench.data, kind)
        stamped = partial(getattr, bench.data, "pandas" if kind == "pandas" else _STAMPED[kind])
        return [
            Contender(
                "quantstore",
                lambda: _written(own.fresh, frame()),
                ready=frame,
                before=own.open_fresh,
                after=own.drop_fresh,
                size=lambda: own.fresh_size("hot"),
            ),
            Contender(
                IPC, lambda: bare.write_ipc(frame()), "pyarrow", ready=frame, after=bare.drop, size=bare.ipc_size
            ),
            Contender(
                ARCTIC,
                lambda: bench.arctic.write(stamped()),
                "arcticdb",
                ready=stamped,
                before=bench.later("arctic", "open_fresh"),
                after=bench.later("arctic", "drop_fresh"),
                size=bench.later("arctic", "fresh_size"),
                note="" if kind == "pandas" else DATES,
            ),
        ]

    return contenders


_STAMPED = {"arrow": "stamped", "polars": "stamped_polars"}


def _written(store: Any, frame: Any, tier: str = "hot") -> Any:
    store.write(frame, "ticks", tier)
    return frame


def _bare(bench: Bench) -> list[Contender]:
    """Return the bare writers, each after a stable sort."""
    bare = bench.bare
    ways: list[tuple[str, str, Callable[[Any], Any], Callable[[], Any]]] = [
        (POLARS, "polars", bare.write_polars, bare.ordered),
        (PYARROW, "pyarrow", bare.write_pyarrow, bare.ordered),
        (COPY, "duckdb", bare.write_duckdb, bare.ordered),
        (BOTH_KEYS, "polars", bare.write_polars, bare.polars_ordered),
    ]
    return [
        Contender(
            name, partial(_sorted, write, order), needs, lambda: bench.data.polars, after=bare.drop, size=bare.size
        )
        for name, needs, write, order in ways
    ]


def _sorted(write: Callable[[Any], Any], order: Callable[[], Any]) -> Any:
    return write(order())


def cold(bench: Bench) -> list[Contender]:
    """Return the contenders of a write into cold."""
    own = bench.own
    mine = Contender(
        "quantstore",
        lambda: _written(own.fresh, bench.data.arrow, "cold"),
        ready=lambda: bench.data.arrow,
        before=own.open_fresh,
        after=own.drop_fresh,
        size=lambda: own.fresh_size("cold"),
    )
    iceberg = Contender(
        "sort + pyiceberg append",
        lambda: bench.iceberg.append(bench.bare.ordered()),
        "pyiceberg",
        ready=lambda: bench.data.polars,
        before=bench.later("iceberg", "open_fresh"),
        after=bench.later("iceberg", "drop"),
        size=bench.later("iceberg", "size"),
        note="in microseconds, as it cannot write nanoseconds",
    )
    return [mine, *_bare(bench), iceberg]


def migration(bench: Bench) -> list[Contender]:
    """Return the contenders of a verified move from hot to cold."""
    own = bench.own
    mine = Contender(
        "quantstore",
        lambda: _migrated(bench),
        ready=lambda: bench.data.arrow,
        before=own.fill_fresh,
        after=own.drop_fresh,
        size=lambda: own.fresh_size("cold"),
        note="reads every copy back and compares it",
    )
    return [mine, *_bare(bench)]


def _migrated(bench: Bench) -> Any:
    bench.own.fresh.migrate("ticks", "hot", "cold")
    return bench.data.arrow


def _hot_targets(*, judged: bool) -> tuple[Target, ...]:
    bare = Target("0.9x the speed of bare Arrow conversion, IPC and fsync", "speed", 0.9, (IPC,))
    arctic = Target("1.5x the speed of ArcticDB", "speed", 1.5, (ARCTIC,))
    return (bare, arctic) if judged else (bare,)


_SIZED = "of the same stable sort and the fastest bare writer at the same size"
JOBS = [
    *(
        Job(
            f"write-{kind}",
            f"Durable write into hot, frame as {title}",
            (ONE, FOUR),
            hot(kind),
            _hot_targets(judged=kind != "pandas"),
            reads=False,
            is_short=False,
        )
        for kind, title in (("pandas", "pandas"), ("polars", "Polars"), ("arrow", "Arrow"))
    ),
    Job(
        "write-cold",
        "Durable write into cold",
        (ONE, FOUR),
        cold,
        (Target(f"within 1.3x {_SIZED}", "time", 1.3, BARE, same_size=True),),
        reads=False,
        is_short=False,
    ),
    Job(
        "migrate",
        "Move from hot to cold, verified",
        (ONE, FOUR),
        migration,
        (Target(f"50 % of the speed {_SIZED}", "speed", 0.5, BARE, same_size=True),),
        reads=False,
        is_short=False,
    ),
]
