"""Planning where the catalog holds very many segments and 100 survive."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any

from data import CATALOG
from job import OWN, Contender, Job, Target, Timed

if TYPE_CHECKING:
    from bench import Bench

WINDOW = "SELECT * FROM ticks WHERE ts >= $low AND ts < $high AND symbol IN ('S250A', 'ZZZ')"
DAY = "SELECT * FROM ticks WHERE trade_date = $day"
SYMBOL = "SELECT * FROM ticks WHERE symbol = $symbol"
BARE, BY_DAY, BY_SYMBOL, AFTER, EXPLAIN = (
    f"{OWN}, {what}"
    for what in ("bare-table read", "SQL by day alone", "SQL by symbol alone", "SQL after another commit", "explain")
)
SURVIVORS, PART = 100, "planning part of SQL"


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

    def sql(self, text: str, params: dict[str, Any]) -> Timed:
        """Plan a statement: parse, prune, choose copies, rewrite; nothing is opened."""
        from quantstore.query.request import ReadRequest

        request = ReadRequest(text, params=params)
        store = self.store
        begun, busy = time.perf_counter(), time.process_time()
        with store.metadata_catalog.view() as view:
            plan = store._reader._plan_sql(view, request).plan  # noqa: SLF001 - a read opens files besides
        return self._checked(time.perf_counter() - begun, time.process_time() - busy, plan)

    def _checked(self, seconds: float, busy: float, plan: Any) -> Timed:
        """Return the outcome of planning, once it is known that nothing needed was left out."""
        found = len(plan.scans[0].choices)
        if found != SURVIVORS:
            raise RuntimeError(f"{found} segments survived, not {SURVIVORS}")
        return Timed(seconds, busy, plan.scans[0].choices)

    def window(self) -> Timed:
        """Plan a statement with a span of time and symbols."""
        return self.sql(WINDOW, self.span())

    def day(self) -> Timed:
        """Plan a statement with a day."""
        return self.sql(DAY, {"day": self.span()["low"].date()})

    def symbol(self) -> Timed:
        """Plan a statement with a symbol that lies inside the range of half of all segments, and in none of them."""
        return self.sql(SYMBOL, {"symbol": "S250A"})

    def bare(self) -> Timed:
        """Read the table with bounds, and take the time that the read says it planned."""
        from peers.own import no_cache

        span = self.span()
        table = self.store.read(
            "ticks", start=span["low"], end=span["high"], symbols=["S250A", "ZZZ"], to="arrow", **no_cache()
        )
        report = self.store.last
        if table.num_rows != SURVIVORS * 10:
            raise RuntimeError(f"{table.num_rows} rows were read")
        return self._checked(report.planned_seconds, report.planned_seconds, report.plan)

    def explain(self) -> Any:
        """Explain the statement, with what each condition prunes."""
        return self.store.explain(WINDOW, params=self.span()).scans[0].choices

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
            planned.window()

        return [
            Contender(OWN, planned.window, ready=ready, note=f"{PART}; {note}"),
            Contender(BARE, planned.bare, ready=ready, note="planning part of the read"),
            Contender(BY_DAY, planned.day, ready=ready, before=planned.commit, note=f"after another commit; {PART}"),
            Contender(
                BY_SYMBOL,
                planned.symbol,
                ready=ready,
                before=planned.commit,
                note=f"after another commit; {PART}; the symbol lies inside the range of half of all segments",
            ),
            Contender(AFTER, planned.window, ready=ready, before=planned.commit, note=PART),
            Contender(EXPLAIN, planned.explain, ready=ready, note="also counts what each condition prunes"),
        ]

    return make


def _job(name: str, number: int, title: str, limit: float) -> Job:
    text = f"under {limit * 1000:.0f} ms"
    targets = tuple(Target(text, "seconds", limit, contender=who) for who in (OWN, BARE, BY_DAY))
    return Job(name, f"Planning, {title} segments in the catalog", (CATALOG,), contenders(number), targets, reads=False)


JOBS = [_job("plan-100k", 0, "100,000", 0.010), _job("plan-1m", 1, "1,000,000", 0.050)]
