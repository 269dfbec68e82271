"""What the same SQL text costs the second time, beside the engine alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data import FOUR, ONE
from job import OWN, Contender, Job, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench import Bench

RAW = "raw engine, same final SQL and relations"


@dataclass(slots=True)
class Statement:
    """What the store hands to its engine: the final SQL, its parameters and the Arrow tables it names."""

    sql: str = ""
    params: dict[str, Any] | None = None
    connection: Any = None

    def run(self) -> Any:
        """Run it on a database of its own."""
        return self.connection.execute(self.sql, self.params or None).to_arrow_table()


def listen(store: Any, ask: Callable[[], Any]) -> Statement:
    """Ask once and return what reached the engine."""
    from peers.duckdb import connect

    engine, found = store._engine, Statement()  # noqa: SLF001 - only here the final SQL can be seen
    read = engine.read
    store._reader.close()  # noqa: SLF001 - a repeat hands over no tables, as its cursor knows them

    def recorded(sql: str, params: Any, tables: Any, views: Any = None, **options: Any) -> Any:
        found.sql, found.params, found.connection = sql, dict(params), connect()
        for name, table in tables.items():
            found.connection.register(name, table)
        return read(sql, params, tables, views, **options)

    engine.read = recorded
    try:
        ask()
    finally:
        del engine.read
    if not found.sql:
        raise RuntimeError("the store did not hand the statement to its engine by Engine.read")
    return found


def repeat(tier: str, question: str) -> Callable[[Bench], list[Contender]]:
    """Return what makes the contenders for a question to a tier."""

    def contenders(bench: Bench) -> list[Contender]:
        own = bench.own
        kept: list[Statement] = []

        def ask() -> Any:
            return getattr(own, question)(getattr(own, tier))

        def again() -> Any:
            return kept[0].run()

        def ready() -> None:
            ask()
            kept[:] = [listen(getattr(own, tier), ask)]

        return [
            Contender("quantstore", ask, ready=ask),
            Contender(RAW, again, "duckdb", ready=ready),
        ]

    return contenders


def cached(tier: str) -> Callable[[Bench], list[Contender]]:
    """Return what makes the contenders for a thousand rows that are kept from before, in each kind of frame."""

    def contenders(bench: Bench) -> list[Contender]:
        from peers.own import WINDOW

        facts, sql = bench.data.facts, f"{WINDOW} LIMIT 1000"

        def ask(to: str) -> Callable[[], Any]:
            return lambda: getattr(bench.own, tier).read(sql, params=facts.window, to=to)

        def ready(to: str) -> Callable[[], Any]:
            def twice() -> None:
                for _ in range(2):
                    ask(to)()
                if getattr(bench.own, tier).last.cache != "memory":
                    raise RuntimeError("the answer was not kept")

            return twice

        kinds = {OWN: "pandas", "to Polars": "polars", "to Arrow": "arrow"}
        found = [Contender(name, ask(to), ready=ready(to), note="from the result cache") for name, to in kinds.items()]
        return [*found, Contender("read anew", lambda: bench.own.sql(getattr(bench.own, tier), sql, facts.window))]

    return contenders


TARGET = Target("adds under 1 ms over the raw engine", "added", 0.001, (RAW,))
JOBS = [
    Job("repeat-hot", "Repeat of the same SQL text, window from hot", (ONE, FOUR), repeat("hot", "window"), (TARGET,)),
    Job(
        "repeat-cold", "Repeat of the same SQL text, window from cold", (ONE, FOUR), repeat("cold", "window"), (TARGET,)
    ),
    Job(
        "repeat-cached",
        "Repeat of a statement with 1,000 rows in its answer, from the result cache",
        (ONE, FOUR),
        cached("hot"),
        (Target("below 1 ms", "seconds", 0.001),),
    ),
    Job("repeat-bars", "Repeat of the same SQL text, bars from hot", (ONE, FOUR), repeat("hot", "bars"), (TARGET,)),
]
