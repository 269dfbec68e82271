"""Eight processes at work on shared tables: `python tests/durability/eight.py --seconds 300 --seed 1`.

Each process owns rows that nobody else writes (witnesses: its number, a serial number, and a check that is a function
of both) and keeps a plain account of those that must be there. Corrections touch the process's own rows only, while
migrations, compaction, expiry and sweeps touch everybody's. While it works, each process reads its own rows and those
of all, within one version by two ways; in the end everything is counted once more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.compute as pc  # noqa: E402

TABLES = ("trades", "quotes")
TIERS = ("hot", "warm", "cold")
FIRST_NS = 1_772_409_600_000_000_000
DAY_NS = 86_400 * 10**9
PRIME = 2_654_435_761
MOST_ROWS = 400
LEAST = 12
"""What each process does however slow the machine is."""
KINDS = {
    "append": 30,
    "correct": 12,
    "delete": 8,
    "upsert": 8,
    "transaction": 6,
    "retry": 5,
    "migrate": 9,
    "compact": 4,
    "expire": 2,
    "sweep": 3,
    "read own": 12,
    "read all": 12,
}
"""What a process does how often."""


def rows_of(owner: int, serials: list[int], state: int = 0) -> pa.Table:
    """Return rows of an owner; `state` counts the corrections of a row."""
    number = np.array(serials, np.int64)
    mixed = (number * PRIME + owner) % 1_000_003
    return pa.table(
        {
            "ts": pa.array(FIRST_NS + mixed % 3 * DAY_NS + mixed * 1_000, pa.timestamp("ns", "UTC")),
            "symbol": pa.array([f"S{owner}"] * len(number), pa.string()),
            "serial": number,
            "state": pa.array([state] * len(number), pa.int64()),
            "check": pa.array(mixed * 7 + state),
        }
    )


class Worker:
    """One of the processes: what it must find of its own, and what it did."""

    def __init__(self, store: Any, owner: int, seed: int) -> None:
        self.store, self.owner = store, owner
        self.chance = random.Random(f"{seed}-{owner}")
        self.kept: dict[str, dict[int, int]] = {table: {} for table in TABLES}
        self.serial = self.writes = 0
        self.last: tuple[str, Any, str, int] | None = None
        self.counts: Counter[str] = Counter()

    def step(self, kind: str | None = None) -> None:
        """Do one thing, drawn or named; a conflict that its contract allows is counted and changes nothing."""
        from quantstore.errors import ConflictError

        kind = kind or self.chance.choices(list(KINDS), list(KINDS.values()))[0]
        self.counts[kind] += 1
        try:
            getattr(self, "_" + kind.replace(" ", "_"))(self.chance.choice(TABLES))
        except ConflictError as error:
            self.counts["(conflicts)"] += 1
            self.counts[f"(conflict of {kind}: {str(error).partition(';')[0][-60:]})"] += 1

    def _new(self, most: int = 20) -> list[int]:
        first = self.serial
        self.serial += self.chance.randint(1, most)
        return list(range(first, self.serial))

    def _some(self, table: str) -> list[int]:
        mine = sorted(self.kept[table])
        return self.chance.sample(mine, min(len(mine), self.chance.randint(1, 6)))

    def _where(self, serials: list[int]) -> str:
        return f"symbol = 'S{self.owner}' AND serial IN ({', '.join(map(str, serials))})"

    def _append(self, table: str) -> None:
        if len(self.kept[table]) > MOST_ROWS:
            mine = sorted(self.kept[table])[: MOST_ROWS // 2]
            assert self.store.delete(table, self._where(mine)).deleted == len(mine)
            for serial in mine:
                del self.kept[table][serial]
        serials, name = self._new(), f"{self.owner}-{self.writes}"
        self.writes += 1
        rows = rows_of(self.owner, serials)
        result = self.store.write(rows, table, self.chance.choice(TIERS), write_id=name)
        assert (result.rows, result.replayed) == (len(serials), False), result
        self.kept[table].update(dict.fromkeys(serials, 0))
        self.last = (table, rows, name, result.version)

    def _retry(self, _: str) -> None:
        if self.last is not None:
            table, rows, name, version = self.last
            result = self.store.write(rows, table, self.chance.choice(TIERS), write_id=name)
            assert (result.replayed, result.version) == (True, version), result

    def _correct(self, table: str) -> None:
        serials = self._some(table)
        if serials:
            state = max(self.kept[table][one] for one in serials) + 1
            rows = rows_of(self.owner, serials, state)
            result = self.store.write(
                rows, table, self.chance.choice(TIERS), mode="replace", where=self._where(serials)
            )
            assert (result.rows, result.deleted) == (len(serials), len(serials)), result
            self.kept[table].update(dict.fromkeys(serials, state))

    def _upsert(self, table: str) -> None:
        old, new = self._some(table), self._new(3)
        state = max([self.kept[table][one] for one in old], default=0) + 1
        result = self.store.write(rows_of(self.owner, old + new, state), table, mode="upsert")
        assert (result.rows, result.deleted) == (len(old) + len(new), len(old)), result
        self.kept[table].update(dict.fromkeys(old + new, state))

    def _delete(self, table: str) -> None:
        serials = self._some(table)
        if serials:
            result = self.store.delete(table, self._where(serials))
            assert result.deleted == len(serials), result
            for serial in serials:
                del self.kept[table][serial]

    def _transaction(self, _: str) -> None:
        """Write the same rows to both tables: who reads one version sees both or neither."""
        serials = self._new(5)
        with self.store.transaction() as tx:
            for table in TABLES:
                tx.write(rows_of(self.owner, serials), table, self.chance.choice(TIERS), on_repeat="append")
        assert len({result.version for result in tx.results}) == 1
        for table in TABLES:
            self.kept[table].update(dict.fromkeys(serials, 0))

    def _migrate(self, table: str) -> None:
        where = self.chance.choice((None, None, f"symbol = 'S{self.chance.randrange(8)}'", "serial % 2 = 0"))
        self.store.migrate(table, "any", self.chance.choice(TIERS), where=where)

    def _compact(self, table: str) -> None:
        self.store.compact(table)

    def _expire(self, _: str) -> None:
        self.store.expire(older_than=2)

    def _sweep(self, _: str) -> None:
        self.store.sweep(grace=2)

    def _read_own(self, table: str) -> None:
        """Check that the process's own rows are there, each once, as it wrote them last."""
        found = self.store.read(table, symbols=f"S{self.owner}", to="arrow", columns=["serial", "state", "check"])
        check_own(found, self.owner, self.kept[table])

    def _read_all(self, table: str) -> None:
        """Check that two ways to read one version agree, and that no row of anybody is doubled or wrong."""
        with self.store.at(self.store.metadata_catalog.snapshot().version) as then:
            whole = then.read(table, to="arrow", columns=["symbol", "serial", "state", "check", "_seq"])
            sql = f"SELECT count(*) AS n, sum(serial) AS serials, sum(state) AS states FROM {table}"
            counted = then.read(sql, to="arrow").to_pylist()[0]
        check_rows(whole)
        sums = [whole.num_rows, *(sum(whole[name].to_pylist()) for name in ("serial", "state"))]
        assert sums == [int(value or 0) for value in counted.values()], (sums, counted)


def check_own(found: pa.Table, owner: int, kept: dict[int, int]) -> None:
    """Check the rows of an owner against its account."""
    serials, states = found["serial"].to_pylist(), found["state"].to_pylist()
    assert len(serials) == len(set(serials)), f"rows of {owner} are there twice"
    rows = dict(zip(serials, states, strict=True))
    lost, extra = kept.items() - rows.items(), rows.items() - kept.items()
    assert not lost | extra, f"of {owner}: lost {sorted(lost)[:9]}, not expected {sorted(extra)[:9]}"


def check_rows(found: pa.Table) -> None:
    """Check that every row is whole and there once."""
    owner = np.array([int(symbol[1:]) for symbol in found["symbol"].to_pylist()], np.int64)
    serial, state = found["serial"].to_numpy(), found["state"].to_numpy()
    mixed = (serial * PRIME + owner) % 1_000_003
    assert np.array_equal(found["check"].to_numpy(), mixed * 7 + state), "a row has values of another"
    assert len(np.unique(found["_seq"].to_numpy())) == found.num_rows, "rows share a _seq"
    assert len(np.unique(owner * 10**9 + serial)) == found.num_rows, "a row is there twice"


def count_rounds(counts: Counter[str]) -> None:
    """Count how often this process found itself outpaced by another, which it then follows by itself."""
    from quantstore.catalog.conflicts import OutpacedError

    made = OutpacedError.__init__

    def counted(self: Any, *arguments: Any, **context: Any) -> None:
        counts["(outpaced by another process)"] += 1
        made(self, *arguments, **context)

    OutpacedError.__init__ = counted


def work(root: str, owner: int, seconds: float, seed: int, account: str) -> None:
    """Work until the time is over, and write down what must be there and what was done."""
    from workload import open_store

    from quantstore.errors import QuantStoreWarning

    warnings.simplefilter("ignore", QuantStoreWarning)
    errors = list[str]()
    with open_store(root, cache=random.Random(owner).choice(("off", "16MB"))) as store:
        worker = Worker(store, owner, seed)
        count_rounds(worker.counts)
        end = time.monotonic() + seconds
        while (time.monotonic() < end or sum(worker.counts.values()) < LEAST) and not errors:
            try:
                worker.step(None if worker.counts else "append")
            except Exception:  # noqa: BLE001 - told
                errors.append(traceback.format_exc())
    Path(account).write_text(json.dumps({"kept": worker.kept, "counts": worker.counts, "errors": errors}))


def run(processes: int, seconds: float, seed: int, folder: str | None = None) -> tuple[Counter[str], list[str]]:
    """Run the processes, and check in the end; return what was done, and what went wrong."""
    from workload import open_store

    with tempfile.TemporaryDirectory(prefix="quantstore-eight-", dir=folder) as place:
        root = Path(place) / "store"
        with open_store(root) as store:
            for table in TABLES:
                store.create(table, rows_of(0, []).schema, symbol="symbol", key=["symbol", "serial"], grain="day")
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
        accounts = [Path(place) / f"account-{owner}.json" for owner in range(processes)]
        code = "import sys, eight; a = sys.argv; eight.work(a[1], int(a[2]), float(a[3]), int(a[4]), a[5])"
        environment["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parents[1])])
        started = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(root), str(owner), str(seconds), str(seed), str(account)],
                env=environment,
            )
            for owner, account in enumerate(accounts)
        ]
        for process in started:
            process.wait()
        return _settled(root, accounts)


def _settled(root: Path, accounts: list[Path]) -> tuple[Counter[str], list[str]]:
    """Check everything once more, now that nobody is at work."""
    from workload import open_store

    counts, errors = Counter[str](), list[str]()
    kept = {}
    for owner, account in enumerate(accounts):
        if not account.exists():
            errors.append(f"process {owner} left no account")
            continue
        told = json.loads(account.read_text())
        counts.update(told["counts"])
        errors += told["errors"]
        kept[owner] = {table: {int(one): state for one, state in rows.items()} for table, rows in told["kept"].items()}
    with open_store(root) as store:
        for table in TABLES:
            whole = store.read(table, to="arrow", columns=["symbol", "serial", "state", "check", "_seq"])
            check_rows(whole)
            counts["(rows in the end)"] += whole.num_rows
            for owner, tables in kept.items() if not errors else ():
                check_own(whole.filter(pc.equal(whole["symbol"], f"S{owner}")), owner, tables[table])
        report = store.audit()
        if not report.ok:
            errors.append(repr(report))
        store.sweep(grace=0)
        counts["(versions)"] = store.metadata_catalog.snapshot().version
    return counts, errors


def main() -> int:
    """Run, print what was done, and return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--folder", help="where the store is made")
    options = parser.parse_args()
    print(f"seed {options.seed}: {options.processes} processes for {options.seconds:g} s", flush=True)
    counts, errors = run(options.processes, options.seconds, options.seed, options.folder)
    for name, number in sorted(counts.items(), key=lambda one: (one[0].startswith("("), -one[1])):
        print(f"{number:>9,}  {name}")
    done = sum(number for name, number in counts.items() if not name.startswith("("))
    print(f"{done:,} operations, {done / options.seconds:.1f} a second; {len(errors)} errors or wrong answers")
    for error in errors:
        print(error, file=sys.stderr)
    return int(bool(errors))


if __name__ == "__main__":
    sys.exit(main())
