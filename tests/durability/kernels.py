"""Jobs of processes that share a store: one that commits, some that read all the while."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from harness import StepWord
from workload import DAY_NS, FIRST_DAY_NS, Write, ids_of, open_store, rows_of

from quantstore.core import failpoints
from quantstore.errors import QuantStoreError

BATCH = 6
SQL = "SELECT count(*) AS rows, sum(amount) AS amount, count(DISTINCT batch) AS batches FROM ledger"


def balanced(batch: int) -> pa.Table:
    """Return the rows of one commit: their amounts add up to nothing, but those of no part of them do."""
    amounts = np.array([1, 2, 4, 8, 16, -31], np.int64) * (batch + 1)
    days = FIRST_DAY_NS + (np.arange(BATCH) % 2) * DAY_NS
    return pa.table(
        {
            "ts": pa.array(days + batch * 1_000, pa.timestamp("ns", "UTC")),
            "symbol": pa.array(["A", "B", "C", "A", "B", "C"]),
            "batch": pa.array([batch] * BATCH, pa.int64()),
            "amount": amounts,
        }
    )


def commit_all_the_time(root: str, page: str, stop: list[str], commits: int) -> dict[str, Any]:
    """Write, move, compact and sweep on top of one batch, until `commits` are made and all files in `stop` exist.

    Returns:
        `batches`, how many batches each version holds, and `commits`, how many writes and moves were made.
    """
    warnings.simplefilter("error")
    newest, made, held = Number(Path(page)), 0, 1
    batches = {}
    moves = (("hot", "warm"), ("warm", "cold"), ("cold", "hot"))
    with open_store(root) as store:
        while made < commits or not all(Path(path).exists() for path in stop):
            is_new_start = held == 8
            held = 1 if is_new_start else held + 1
            mode = "overwrite" if is_new_start else "append"
            result = store.write(balanced(made), "ledger", mode=mode)
            batches[result.version] = held
            newest.put(result.version)
            made += 1
            if made % 2:
                made += bool(store.migrate("ledger", *moves[made // 2 % 3]))
                store.compact("ledger")
                store.sweep(grace=0)
            time.sleep(0.02)  # leaves the processors to the readers
    return {"batches": batches, "commits": made}


def read_all_the_time(root: str, page: str, done: str, reads: int) -> list[list[int]]:
    """Read `reads` times, and on until as many versions were met as make a test, three bare reads to one in SQL.

    Returns:
        Of each read: the newest version known before it, the version it gave, rows, sum of amounts, batches.
    """
    warnings.simplefilter("error")
    newest = Number(Path(page))
    seen = []
    try:
        with open_store(root) as store:
            for number in count():
                if number >= reads and (len({one[1] for one in seen}) >= VERSIONS or number >= 20 * reads):
                    break
                known = newest.get()
                if number % 4:
                    frame = store.read("ledger")
                    found = (len(frame), int(frame["amount"].sum()), frame["batch"].nunique())
                else:
                    frame = store.read(SQL)
                    found = tuple(int(value) for value in frame.iloc[0])
                seen.append([known, frame.attrs["quantstore"]["version"], *found])
    finally:
        Path(done).touch()
    return seen


VERSIONS = 20
"""How many versions a reader is to meet."""


class Number(StepWord):
    """A number in a shared page."""

    def put(self, value: int) -> None:
        """Set the number."""
        self._cell[0] = value

    def get(self) -> int:
        """Return the number."""
        return self._cell[0]


def write_side_by_side(root: str, first: int, writes: int, start: str) -> list[int]:
    """Append to one table as another process does the same; return the versions made."""
    wait_for(Path(start).exists)
    with open_store(root) as store:
        return [
            store.write(rows_of(ids_of(number, 40)), "trades", mode="append", symbol="symbol").version
            for number in range(first, first + writes)
        ]


def read_slowly(root: str, query: str, halfway: str, go_on: str) -> list[int]:
    """Read a reader to the middle, wait, read the rest; return all ids in the order given."""
    with open_store(root) as store:
        reader = store.read(query, to="reader")
        ids = reader.read_next_batch().column("id").to_pylist()
        Path(halfway).touch()
        wait_for(Path(go_on).exists)
        for batch in reader:
            ids += batch.column("id").to_pylist()
    return ids


def move_and_sweep(root: str, table: str) -> dict[str, int]:
    """Move a table through all tiers, sweeping after each; return copies moved and deleted."""
    moved = deleted = 0
    with open_store(root) as store:
        for source, destination in (("any", "cold"), ("cold", "warm"), ("warm", "hot"), ("hot", "cold")):
            moved += len(store.migrate(table, source, destination))
            deleted += store.sweep(grace=0).copies
    return {"moved": moved, "deleted": deleted}


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until something has come true.

    Raises:
        TimeoutError: It has not.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.001)


def act(root: str, action: dict[str, Any], step: str | None, reached: str, go_on: str) -> dict[str, Any]:
    """Write, migrate or compact, stopping when a step is first reached until told to go on.

    Args:
        root: The store.
        action: `write`, the fields of a `Write` and more options, `migrate`, arguments of the method, or
            `compact`, a table.
        step: Where to stop; None to wait at the very beginning instead.
        reached: File to make on reaching the step.
        go_on: File to wait for there.

    Returns:
        `error`, the class of what was raised, or None, and `result`, how many receipts, whether replayed, or how many
        segments were merged.
    """

    def stop(name: str | None) -> None:
        if name == step and not Path(reached).exists():
            Path(reached).touch()
            wait_for(Path(go_on).exists)

    failpoints.set_hook(stop)
    with open_store(root) as store:
        stop(None)
        try:
            if "migrate" in action:
                result: Any = len(store.migrate(*action["migrate"], **action.get("options", {})))
            elif "compact" in action:
                result = sum(group.segments for group in store.compact(action["compact"]).groups)
            else:
                write = Write(**action["write"])
                options = {"mode": write.mode, "symbol": "symbol"} | action.get("options", {})
                result = store.write(write.data(), write.table, write.tier, **options).replayed
        except QuantStoreError as error:
            return {"error": type(error).__name__, "message": str(error), "result": None}
    return {"error": None, "result": result}
