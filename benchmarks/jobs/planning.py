"""Planning where the catalog holds very many segments and 100 survive."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any

from data import CATALOG
from job import Contender, Job, Target, Timed

if TYPE_CHECKING:
    from bench import Bench

SQL = "SELECT * FROM ticks WHERE ts >= $low AND ts < $high AND symbol IN ('AAA', 'ZZZ')"
BARE, EXPLAIN, AFTER = "quantstore, bare-table read", "quantstore, explain", "quantstore, SQL after another commit"
OWN = "quantstore"
SURVIVORS = 100


class Planned:
    """A store with a synthetic catalog; every question has other bounds, so that no plan is found ready-made."""

    def __init__(self, bench: Bench, number: int) -> None:
        self._number, self._bench = number, bench
        self._turns = count()

    @cached_property
    def store(self) -> Any:
        """The store, made where it is missing, with one question asked."""
        import synthetic
        from peers.own import open_store

        folder = self._bench.folder / f"segments-{self._bench.sizes[self._number]}"
        synthetic.make(folder, self._bench.sizes[self._number])
        return open_store(folder)

    def span(self) -> dict[str, Any]:
        """Return the hour that the real segments lie in, each time a microsecond longer."""
        import synthetic

        low = synthetic.FIRST_DAY + timedelta(days=synthetic.REAL_DAY, hours=12)
        return {"low": low, "high": low + timedelta(hours=1, microseconds=next(self._turns))}

    def sql(self) -> Timed:
        """Plan a statement: parse, prune, choose copies, rewrite; nothing is opened."""
        from quantstore.query.request import ReadRequest

        request = ReadRequest(SQL, params=self.span())
        store = self.store
        begun = time.perf_counter()
        with store.metadata_catalog.view() as view:
            plan = store._reader._plan_sql(view, request).plan  # noqa: SLF001 - a read opens files besides
        return Timed(time.perf_counter() - begun, plan.scans[0].choices)

    def bare(self) -> Timed:
        """Read the table with bounds, and take the time that the read says it planned."""
        from peers.own import no_cache

        span = self.span()
        table = self.store.read(
            "ticks", start=span["low"], end=span["high"], symbols=["AAA", "ZZZ"], to="arrow", **no_cache()
        )
        report = self.store.last
        if table.num_rows != SURVIVORS * 10:
            raise RuntimeError(f"{table.num_rows} rows were read")
        return Timed(report.planned_seconds, report.plan.scans[0].choices)

    def explain(self) -> Any:
        """Explain the statement, with what each condition prunes."""
        return self.store.explain(SQL, params=self.span()).scans[0].choices

    def commit(self) -> None:
        """Commit a row that lies outside all bounds."""
        import synthetic

        self.store.write(synthetic.one_row(time.time_ns() % 10**12), "ticks")


def contenders(number: int) -> Callable[[Bench], list[Contender]]:
    """Return what makes the contenders for one of the catalogs."""

    def make(bench: Bench) -> list[Contender]:
        planned = Planned(bench, number)
        note = f"{bench.sizes[number]:,} segments, {SURVIVORS} survive"

        def ready() -> None:
            planned.sql()

        return [
            Contender(OWN, planned.sql, ready=ready, note=f"planning part of SQL; {note}"),
            Contender(BARE, planned.bare, ready=ready, note="planning part of the read"),
            Contender(AFTER, planned.sql, ready=ready, before=planned.commit, note="planning part of SQL"),
            Contender(EXPLAIN, planned.explain, ready=ready, note="also counts what each condition prunes"),
        ]

    return make


def _job(name: str, number: int, title: str, limit: float) -> Job:
    text = f"under {limit * 1000:.0f} ms"
    targets = tuple(Target(text, "seconds", limit, contender=who) for who in (OWN, BARE))
    return Job(name, f"Planning, {title} segments in the catalog", (CATALOG,), contenders(number), targets, reads=False)


JOBS = [_job("plan-100k", 0, "100,000", 0.010), _job("plan-1m", 1, "1,000,000", 0.050)]
