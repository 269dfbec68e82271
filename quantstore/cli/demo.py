"""The main job on simulated ticks: write, move through three tiers, ask one question over all of them, prove it."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, cast

from quantstore.cli.facts import Facts, tables_facts
from quantstore.cli.output import text_table
from quantstore.cli.pages import tables_page, tiers_page
from quantstore.core.render import human_bytes, human_count, human_seconds
from quantstore.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd

    from quantstore.catalog.records import Receipt
    from quantstore.manager import HybridStorageManager

DEFAULT_ROWS = 300_000
DAYS = 5
COLD_BEFORE, WARM_BEFORE = "2026-11-18", "2026-11-20"
NOTEBOOK = "quickstart.ipynb"
_MARK = "demo.json"
_OURS = (_MARK, "catalog.journal", "catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm", "hot", "warm", "cold")
_TABLES = ("trades", "quotes")

BARS = """
SELECT symbol,
       time_bucket(INTERVAL '1 minute', ts) AS minute,
       sum(price * size) / sum(size)        AS vwap,
       max(price)                           AS high,
       min(price)                           AS low,
       sum(size)::BIGINT                    AS volume,
       count(*)                             AS trades
FROM trades
GROUP BY ALL
ORDER BY symbol, minute"""
EXPLAINED = """
SELECT avg(ask - bid) AS spread
FROM quotes
WHERE symbol = 'EURUSD' AND ts >= '2026-11-17T08:00Z' AND ts < '2026-11-17T16:00Z'"""

Say = Callable[[str], None]


def run(path: str, rows: int | None = None, *, fresh: bool = False, say: Say | None = None) -> Facts:
    """Make the demo store at `path`, or go on with the one there, and return what happened.

    Args:
        path: A folder; made where needed.
        rows: Ticks to simulate, a third of them trades; default that of the demo there, else `DEFAULT_ROWS`.
        fresh: Whether to delete a demo that is there.
        say: Called with each piece of text as the work goes on.

    Raises:
        InvalidInputError: The folder holds something else, or a demo of another size.
    """
    place, made = _prepare(Path(path).expanduser(), rows, fresh=fresh)
    return _Demo(place, made, say or (lambda _: None)).run()


@dataclass(frozen=True, slots=True)
class _Made:
    """What a demo store was made with."""

    rows: int
    is_new: bool


def _prepare(place: Path, rows: int | None, *, fresh: bool) -> tuple[Path, _Made]:
    """Return the folder, ready for a demo of so many rows."""
    if rows is not None and rows < 1000:
        raise InvalidInputError(f"--rows {rows} is too few for a market of {DAYS} days; ask for 1000 or more.")
    mark = place / _MARK
    there = json.loads(mark.read_text())["rows"] if mark.is_file() else None
    if there is None and place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise InvalidInputError(f"{str(place)!r} exists and is not a demo; choose another place with --path.")
    if there is not None and not fresh:
        if rows not in (None, there):
            raise InvalidInputError(
                f"{str(place)!r} holds a demo of {human_count(there)} rows; add --fresh to make it anew with "
                f"{human_count(rows or 0)}."
            )
        return place, _Made(there, is_new=False)
    _clear(place)
    place.mkdir(parents=True, exist_ok=True)
    chosen = rows or there or DEFAULT_ROWS
    mark.write_text(json.dumps({"rows": chosen}))
    return place, _Made(chosen, is_new=True)


def _clear(place: Path) -> None:
    """Delete a demo store; files of others, and the notebook, stay."""
    for name in _OURS:
        one = place / name
        if one.is_dir():
            shutil.rmtree(one)
        else:
            one.unlink(missing_ok=True)


@dataclass(slots=True)
class _Demo:
    """The steps, each telling what it did and how long it took."""

    place: Path
    made: _Made
    say: Say
    facts: Facts = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self) -> Facts:
        from quantstore import api

        begun = time.perf_counter()
        state = "new" if self.made.is_new else "going on with the one made before (--fresh makes it anew)"
        self.say(f"quantstore demo: {human_count(self.made.rows)} simulated ticks in {self.place} - {state}\n")
        self.facts = {"path": str(self.place), "rows": self.made.rows, "reused": not self.made.is_new}
        with api.open(self.place) as store:
            self._write(store)
            before = self._ask(store)
            self._migrate(store)
            self._show_placement(store)
            self._ask_again(store, before)
            self._explain(store)
            self._check(store)
        self._leave_notebook()
        self.facts["seconds"] = {**self.seconds, "total": time.perf_counter() - begun}
        self.say(f"\nDone in {human_seconds(self.facts['seconds']['total'])}.")
        self._say_next()
        return self.facts

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - begun

    def _write(self, store: HybridStorageManager) -> None:
        from quantstore.testing.simulator import MarketSimulator

        trades = self.made.rows // 3
        quotes = self.made.rows - trades
        simulator = MarketSimulator(days=DAYS, trades_per_day=trades // DAYS, quotes_per_day=quotes // DAYS)
        stream = simulator.stream_trades(trades, batch_rows=20_000)
        with self._timed("simulate"):
            frame = simulator.quotes(quotes).drop_columns(["trade_date"]).to_pandas()
        self.facts["writes"] = []
        self.say("1. write into the hot tier")
        for table, data, how in (("trades", stream, "a stream of Arrow batches"), ("quotes", frame, "a pandas frame")):
            with self._timed(f"write {table}"):
                result = store.write(data, table, write_id=f"demo-{table}")
            self.facts["writes"].append(asdict(result))
            note = ", written before: nothing added" if result.replayed else ""
            took = human_seconds(self.seconds[f"write {table}"])
            self.say(f"   {table}: {human_count(result.rows)} rows from {how} in {took}{note}")

    def _ask(self, store: HybridStorageManager) -> pd.DataFrame:
        with self._timed("query before the moves"):
            bars: pd.DataFrame = store.read(BARS)
        return bars

    def _migrate(self, store: HybridStorageManager) -> None:
        self.say("\n2. move older days down: copy, read back, compare, commit")
        self.facts["moves"] = []
        for source, destination, before in (("hot", "warm", WARM_BEFORE), ("warm", "cold", COLD_BEFORE)):
            with self._timed(f"move {source} to {destination}"):
                moved = [store.migrate(table, source, destination, before=f"{before}T00:00Z") for table in _TABLES]
            receipts = [receipt for some in moved for receipt in cast("list[Receipt]", some)]
            rows = sum(one.rows for one in receipts)
            size, new_size = sum(one.source_bytes for one in receipts), sum(one.destination_bytes for one in receipts)
            self.facts["moves"].append(
                {
                    "source": source,
                    "destination": destination,
                    "before": before,
                    "segments": len(receipts),
                    "rows": rows,
                    "source_bytes": size,
                    "destination_bytes": new_size,
                }
            )
            took = human_seconds(self.seconds[f"move {source} to {destination}"])
            sizes = f"{human_bytes(size)} -> {human_bytes(new_size)}"
            done = f"{human_count(rows)} rows in {len(receipts)} segments, {sizes}, {took}"
            self.say(f"   {source} -> {destination}, before {before}: {done if receipts else 'nothing left to move'}")

    def _show_placement(self, store: HybridStorageManager) -> None:
        tables = tables_facts(store)
        tiers: Facts = {}
        for table in tables:
            for tier, sums in table["tiers"].items():
                mine = tiers.setdefault(tier, dict.fromkeys(sums, 0))
                tiers[tier] = {name: mine[name] + value for name, value in sums.items()}
        self.facts["tables"], self.facts["tiers"] = tables, tiers
        self.say(f"\n3. where the rows are now\n\n{_indented(tiers_page(tiers))}\n\n{_indented(tables_page(tables))}")

    def _ask_again(self, store: HybridStorageManager, before: pd.DataFrame) -> None:
        from pandas.testing import assert_frame_equal

        with self._timed("query"):
            bars = store.read(BARS)
        report = store.last
        assert_frame_equal(bars, before, check_exact=False, rtol=1e-12, atol=0)
        self.facts["query"] = {"sql": BARS.strip(), "bars": len(bars), **bars.attrs["quantstore"]}
        self.say(f"\n4. one question over all tiers: one-minute bars with VWAP\n{_indented(BARS)}\n")
        self.say(_indented(_busiest(bars)))
        self.say(f"\n   {report}")
        if self.made.is_new:
            self.say("   the same answer as before the moves")
        with self._timed("read"):
            trades = store.read("trades")
        self.facts["read"] = {"rows": len(trades), "columns": list(trades.columns)}
        took = human_seconds(self.seconds["read"])
        self.say(f"   read('trades'): all {human_count(len(trades))} rows in time order, as a pandas frame, in {took}")

    def _explain(self, store: HybridStorageManager) -> None:
        plan = str(store.explain(EXPLAINED))
        self.facts["explain"] = plan
        self.say(f"\n5. explain: what a query would touch, and why\n{_indented(EXPLAINED)}\n\n{_indented(plan)}")

    def _check(self, store: HybridStorageManager) -> None:
        with self._timed("sweep"):
            swept = store.sweep(grace=0)
        with self._timed("audit"):
            report = store.audit()
        receipts = len(store.metadata_catalog.receipts())
        self.facts["receipts"] = receipts
        self.facts["sweep"] = asdict(swept)
        self.facts["audit"] = {"ok": report.ok, **asdict(report)}
        self.say(
            f"\n6. prove it\n   {receipts} moves, each with a receipt\n"
            f"   {swept} ({human_seconds(self.seconds['sweep'])})\n   {report} ({human_seconds(self.seconds['audit'])})"
        )

    def _leave_notebook(self) -> None:
        """Put the notebook beside the store; one that is there may hold somebody's work and stays."""
        target = self.place / NOTEBOOK
        if not target.exists():
            target.write_text(files("quantstore.cli").joinpath(NOTEBOOK).read_text())
        self.facts["notebook"] = str(target)

    def _say_next(self) -> None:
        place = str(self.place)
        ours = f"{_program('quantstore')} --store {place}"
        rows = [
            [
                f"{_program('jupyter')} lab {place}/{NOTEBOOK}",
                "the same from a notebook (needs the extra quantstore[jupyter])",
            ],
            [f"{ours} status", "what the store holds"],
            [f"{ours} query 'SELECT count(*) FROM quotes'", "ask it something"],
            [f"{ours} migrate trades cold hot", "bring cold days back"],
        ]
        self.say("\n" + text_table(["what next", ""], rows))


def _busiest(bars: pd.DataFrame) -> str:
    """Return the five symbols with most trades: bars, volume-weighted price, range."""
    lines = []
    for symbol, mine in bars.groupby("symbol", sort=False):
        vwap = float((mine["vwap"] * mine["volume"]).sum() / mine["volume"].sum())
        lines.append((int(mine["trades"].sum()), str(symbol), len(mine), vwap, mine["low"].min(), mine["high"].max()))
    rows = [
        [symbol, human_count(count), human_count(trades), f"{vwap:.6g}", f"{low:.6g}", f"{high:.6g}"]
        for trades, symbol, count, vwap, low, high in sorted(lines, reverse=True)[:5]
    ]
    headers = ["symbol", "bars", "trades", "vwap of the week", "low", "high"]
    return text_table(headers, rows, range(1, len(headers)))


def _program(name: str) -> str:
    """Return how to call a program of the environment this one runs in, which may not be the active one."""
    own = Path(sys.argv[0])
    return str(own.with_name(name)) if own.name == "quantstore" and shutil.which("quantstore") is None else name


def _indented(text: str) -> str:
    return "\n".join("   " + line if line else "" for line in text.strip("\n").split("\n"))
