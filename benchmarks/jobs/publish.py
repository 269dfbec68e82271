"""Publishing cold rows as an Iceberg table, beside pyiceberg's own way from the same Arrow rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import FOUR, ONE, sync
from job import Contender, Job, Target

if TYPE_CHECKING:
    from bench import Bench

APPEND = "pyiceberg append"


def contenders(bench: Bench) -> list[Contender]:
    """Return the contenders: rows that are in cold, rows that have yet to come there, and rows for pyiceberg."""
    own = bench.own
    mine = Contender(
        "quantstore",
        lambda: _published(bench),
        "pyiceberg",
        before=own.fill_fresh_cold,
        after=own.drop_fresh,
        note="rows are in cold; every file of metadata synced",
    )
    whole = Contender(
        "quantstore, write into cold and publish",
        lambda: _written_and_published(bench),
        "pyiceberg",
        ready=lambda: bench.data.arrow,
        before=own.open_fresh,
        after=own.drop_fresh,
        size=lambda: own.fresh_size("cold"),
        note="sorted by symbol and time, partitioned by day",
    )
    theirs = Contender(
        APPEND,
        lambda: bench.iceberg.append_arrow(bench.data.arrow),
        "pyiceberg",
        ready=lambda: bench.data.arrow,
        before=bench.later("iceberg", "open_fresh"),
        after=bench.later("iceberg", "drop"),
        size=bench.later("iceberg", "size"),
        note="as they come, not partitioned; in microseconds, as it cannot write nanoseconds",
    )
    return [mine, whole, theirs]


def _published(bench: Bench) -> Any:
    (done,) = bench.own.fresh.publish()
    for file in Path(done.location).parent.rglob("*"):
        if file.is_file():
            sync(file)
    return bench.data.arrow


def _written_and_published(bench: Bench) -> Any:
    bench.own.fresh.write(bench.data.arrow, "ticks", "cold")
    return _published(bench)


JOBS = [
    Job(
        "publish",
        "Publish cold rows as an Iceberg table",
        (ONE, FOUR),
        contenders,
        (Target("1.5x the speed of pyiceberg's append of the same rows", "speed", 1.5, (APPEND,)),),
        reads=False,
        is_short=False,
    )
]
