"""Ways to harm a file, and jobs that ask a store about a harmed one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from checks import files_on_disk, placement
from workload import DAY_NS, FIRST_DAY_NS, TIERS, open_store

from quantstore.errors import QuantStoreError
from quantstore.manager import HybridStorageManager

ROWS = 3_000
DAYS = {"hot": "2026-02-28", "warm": "2026-03-01", "cold": "2026-03-02"}
"""The one day that each tier holds."""


def make(root: str) -> None:
    """Make a store with one file in each tier."""
    with open_store(root) as store:
        for number, tier in enumerate(TIERS):
            store.write(rows(number), "trades", tier, symbol="symbol", asset_class="FX")


def rows(day: int) -> pa.Table:
    """Return rows of one day."""
    numbers = np.arange(ROWS)
    ts = FIRST_DAY_NS + day * DAY_NS + numbers * 1_000_000_007
    return pa.table(
        {
            "ts": pa.array(ts, pa.timestamp("ns", "UTC")),
            "symbol": pa.array(np.array(["EURUSD", "GBPUSD"])[numbers % 2]),
            "price": numbers * 0.25 + day,
        }
    )


def _flip(at: Callable[[int], int]) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        position = at(path.stat().st_size)
        with path.open("r+b") as file:
            file.seek(position)
            byte = file.read(1)[0]
            file.seek(position)
            file.write(bytes([byte ^ 0x10]))

    return harm


def _rewrite(path: Path, content: bytes) -> None:
    """Write other bytes of the same number in place and set the clock of the file back."""
    status = path.stat()
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _swap_halves(path: Path) -> None:
    content = path.read_bytes()
    half = len(content) // 2
    _rewrite(path, content[half:] + content[:half])


HARMS: dict[str, Callable[[Path], None]] = {
    "first byte flipped": _flip(lambda size: 0),
    "a byte of the first column flipped": _flip(lambda size: min(700, size // 5)),
    "the middle byte flipped": _flip(lambda size: size // 2),
    "a byte of the footer flipped": _flip(lambda size: size - 60),
    "a byte of the footer's length flipped": _flip(lambda size: size - 8),
    "last byte flipped": _flip(lambda size: size - 1),
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut by a byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    "cut to nothing": lambda path: os.truncate(path, 0),
    "grown by a byte": lambda path: os.truncate(path, path.stat().st_size + 1),
    "zeroed": lambda path: _rewrite(path, bytes(path.stat().st_size)),
    "rewritten with the same size and time": _swap_halves,
    "deleted": Path.unlink,
}


def ask_afresh(root: str, tier: str) -> list[str]:
    """Ask a store opened just now; return what is not as it should be."""
    with open_store(root) as store:
        return answers(store, root, tier)


def ask_open(root: str, tier: str, progress: str) -> list[str]:
    """Harm the file of a tier in every way under a store that has read and mapped it; return what is not right."""
    problems = []
    (path,) = (Path(root) / place for place in files_on_disk(root) if place.startswith(tier))
    original = path.read_bytes()
    with open_store(root) as store:
        for name, harm in HARMS.items():
            Path(progress).write_text(name)
            held = [store.read("trades", to="arrow"), store.read("SELECT * FROM trades", to="arrow")]
            if held[0].num_rows != 3 * ROWS or held[1].num_rows != 3 * ROWS:
                problems.append(f"{name}: rows are missing before it")
            harm(path)
            problems += [f"{name}: {problem}" for problem in answers(store, root, tier)]
            del held
            put_back(path, original)
    return problems


def put_back(path: Path, original: bytes) -> None:
    """Undo the harm."""
    path.unlink(missing_ok=True)
    path.write_bytes(original)


def answers(store: HybridStorageManager, root: str, tier: str) -> list[str]:
    """Ask a store whose only file in `tier` is harmed everything there is to ask; return what is not right."""
    day = DAYS[tier]
    others = [other for other in DAYS.values() if other != day]
    before = placement(root), files_on_disk(root)
    problems = []
    for what, ask in questions(store, day, tier).items():
        problems += [f"{what} {problem}" for problem in refused(ask, tier, day)]
    for other in others:
        if store.read("trades", dates=other, to="arrow").num_rows != ROWS:
            problems.append(f"{other} cannot be read")
        sql = f"SELECT count(*) FROM trades WHERE ts >= '{other}T00:00:00Z' AND ts < '{other}T12:00:00Z'"
        if store.read(sql, to="arrow").column(0)[0].as_py() != ROWS:
            problems.append(f"{other} cannot be asked for in SQL")
    found = [(one.kind, one.table, one.partition, one.tier) for one in store.audit().problems]
    kind = "corrupt" if any(place.startswith(tier) for place in before[1]) else "missing"
    if found != [(kind, "trades", f"trade_date={day}/asset_class=FX", tier)]:
        problems.append(f"audit reports {found}")
    if (placement(root), files_on_disk(root)) != before:
        problems.append("something was changed")
    return problems


def questions(store: HybridStorageManager, day: str, tier: str) -> dict[str, Callable[[], Any]]:
    """Return what cannot be done without the harmed file."""
    destination = "warm" if tier != "warm" else "cold"
    some_minutes = f"ts > '{day}T00:05:00Z' AND ts < '{day}T00:10:00Z'"
    return {
        "bare read": lambda: store.read("trades"),
        "bare read of the day": lambda: store.read("trades", dates=day, to="polars"),
        "SQL": lambda: store.read("SELECT symbol, sum(price) FROM trades GROUP BY symbol"),
        "SQL of the day": lambda: store.read(f"SELECT max(price) FROM trades WHERE {some_minutes}"),
        "counting": lambda: store.read("SELECT count(*) FROM trades", to="arrow"),
        "reader": lambda: store.read("trades", to="reader").read_all(),
        "SQL reader": lambda: store.read("SELECT * FROM trades", to="reader").read_all(),
        "move": lambda: store.migrate("trades", tier, destination),
        "move of some": lambda: store.migrate("trades", tier, destination, where="price > 10"),
        "move of the early": lambda: store.migrate("trades", tier, destination, before=f"{day}T00:10Z"),
    }


def refused(ask: Callable[[], Any], tier: str, day: str) -> list[str]:
    """Return what is wrong with how a question is refused."""
    place = {"table": "trades", "partition": f"trade_date={day}/asset_class=FX", "tier": tier}
    try:
        ask()
    except QuantStoreError as error:
        if error.code != "integrity":
            return [f"raises {error!r}"]
        named = {name: error.context.get(name) for name in place}
        unnamed = [value for value in place.values() if value not in str(error)]
        return [f"names {named}, leaves out {unnamed}: {error}"] if named != place or unnamed else []
    return ["is answered"]
