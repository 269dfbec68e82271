"""Which files a query opens and how much it reads of them, as the operating system saw it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import quantstore as qs

DAYS = 9
ROWS = 20_000
START = pd.Timestamp("2026-01-05", tz="UTC")
TIERS = ("hot", "warm", "cold")
_OPENED = re.compile(r'^openat\([^,]+, "([^"]+)", (O_RDONLY[^,)]*)[^=]*= (\d+)')
_READ = re.compile(r"^(?:read|pread64)\((\d+)<([^>]*)>.* = (\d+)$")
CHILD = """
import sys
import quantstore as qs
with qs.open(sys.argv[1], read_only=True) as store:
    print(store.read(sys.argv[2], to="arrow").num_rows)
"""
QUERIES: dict[str, tuple[str, int]] = {
    # query, files it needs
    "an hour": ("SELECT * FROM trades WHERE ts >= '2026-01-08 10:00:00Z' AND ts < '2026-01-08 11:00:00Z'", 1),
    "a day": ("SELECT symbol, sum(price) FROM trades WHERE trade_date = DATE '2026-01-07' GROUP BY 1", 1),
    "three tiers": ("SELECT count(*) FROM trades WHERE trade_date BETWEEN DATE '2026-01-06' AND DATE '2026-01-08'", 3),
    "a symbol of one day": ("SELECT price FROM trades WHERE symbol = 'ONLY'", 1),
    "an instant before all": ("SELECT * FROM trades WHERE ts < '2025-01-01 00:00:00Z'", 0),
    "a tolerance": (
        (
            "SELECT t.price FROM trades t ASOF JOIN trades q ON t.symbol = q.symbol AND t.ts > q.ts "
            "WHERE t.trade_date = DATE '2026-01-09' AND q.ts >= t.ts - INTERVAL 1 HOUR"
        ),
        2,
    ),
    "everything": ("SELECT avg(price) FROM trades", DAYS),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of nine days, one file each, three in each tier."""
    if shutil.which("strace") is None:
        if os.environ.get("QUANTSTORE_CI"):
            pytest.fail("strace is missing; install it")
        pytest.skip("strace is not installed")
    path = tmp_path_factory.mktemp("opened") / "store"
    chance = np.random.default_rng(3)
    with qs.open(path) as store:
        for day in range(DAYS):
            stamps = START + pd.Timedelta(day, "D") + pd.to_timedelta(np.sort(chance.integers(0, 86_400, ROWS)), "s")
            symbols = np.where(np.arange(ROWS) % 2, "A", "B").astype(object)
            symbols[0] = "ONLY" if day == 4 else "A"
            frame = pd.DataFrame(
                {"ts": stamps, "symbol": symbols, "price": chance.random(ROWS), "size": chance.random(ROWS)}
            )
            store.write(frame, "trades", TIERS[day % 3])
    return path


def traced(root: Path, script: str, arguments: list[str], trace: Path) -> list[str]:
    """Run a script in a process of its own and return the calls strace saw, in the order in which they ended."""
    command = ["strace", "-f", "-y", "-e", "trace=openat,read,pread64,newfstatat,stat,access", "-o", str(trace)]
    subprocess.run([*command, sys.executable, "-c", script, str(root), *arguments], check=True, capture_output=True)
    begun: dict[str, str] = {}
    lines = []
    for line in trace.read_text().splitlines():
        thread, _, text = line.partition(" ")
        text = text.strip()
        if text.endswith("<unfinished ...>"):
            begun[thread] = text.removesuffix("<unfinished ...>")
        elif found := re.match(r"<\.\.\. \w+ resumed>(.*)", text):
            lines.append(begun.pop(thread, "") + found[1])
        else:
            lines.append(text)
    return lines


def files_of(store: qs.HybridStorageManager, plan: Any) -> dict[str, int]:
    """Return the files of a plan with their sizes."""
    roots = {
        store.hot_store.name: store.hot_store,
        store.warm_store.name: store.warm_store,
        store.cold_store.name: store.cold_store,
    }
    paths = (
        Path(roots[choice.copy.store].root).absolute() / choice.copy.location
        for scan in plan.scans
        for choice in scan.choices
    )
    return {str(path): path.stat().st_size for path in paths}


@pytest.mark.parametrize("name", QUERIES)
def test_the_files_opened_are_those_of_the_plan(root: Path, name: str, tmp_path: Path) -> None:
    """No other file of rows is opened, none is forgotten; each is read whole once to be verified, and little beyond."""
    query, count = QUERIES[name]
    with qs.open(root, read_only=True) as store:
        planned = files_of(store, store.explain(query))
    lines = traced(root, CHILD, [query], tmp_path / "trace")
    below = tuple(f"{root.absolute()}/{tier}/" for tier in TIERS)
    opened = {found[1] for line in lines if (found := _OPENED.match(line)) and "O_DIRECTORY" not in found[2]}
    assert {path for path in opened if path.startswith(below)} == set(planned)
    assert len(planned) == count
    read: dict[str, int] = {}
    for line in lines:
        found = _READ.match(line)
        if found and found[2].startswith(below):
            read[found[2]] = read.get(found[2], 0) + int(found[3])
    assert set(read) == set(planned)
    for path, size in planned.items():
        assert size <= read[path] <= 2 * size + 65_536, "verified once, then read at most once"


TWICE = """
import os, sys
import quantstore as qs
with qs.open(sys.argv[1], read_only=True) as store:
    store.read(sys.argv[2].format("count(size)"), to="arrow")
    os.path.exists("/the-second-read-begins")
    store.read(sys.argv[2].format("sum(size)"), to="arrow")
"""


def test_a_verified_file_is_read_only_where_it_is_needed(root: Path, tmp_path: Path) -> None:
    """Asked again, a process reads of a cold file the columns and row groups of the query, not the file."""
    query = "SELECT {} FROM trades WHERE trade_date = DATE '2026-01-07'"
    lines = traced(root, TWICE, [query], tmp_path / "trace")
    begin = next(number for number, line in enumerate(lines) if "the-second-read-begins" in line)
    with qs.open(root, read_only=True) as store:
        ((path, size),) = files_of(store, store.explain(query.format("*"))).items()
    reads = [int(found[3]) for line in lines[begin:] if (found := _READ.match(line)) and found[2] == path]
    assert 0 < sum(reads) < size * 0.7
