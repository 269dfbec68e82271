"""A catalog of very many segments, of which only those of one day have bytes."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from data import once
from peers.own import open_store

REAL, SYMBOL = 100, "S250A"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_DAY, DAYS, REAL_DAY = datetime(2010, 1, 1, tzinfo=UTC), 4000, 2000
DAY_NS, HOUR_NS = 86_400_000_000_000, 3_600_000_000_000
BLOCK = 10_000


def real_rows() -> pa.Table:
    """Return the rows of the one day that has bytes: ten each of 100 asset classes, all within one hour."""
    start = int((FIRST_DAY + timedelta(days=REAL_DAY, hours=12)).timestamp()) * 10**9
    stamps = np.sort(start + np.arange(REAL * 10) * (HOUR_NS // (REAL * 10)))
    classes = pa.array([f"CLASS{number:03d}" for number in range(REAL)]).take(pa.array(np.arange(REAL * 10) % REAL))
    return pa.table(
        {
            "ts": pa.array(stamps).cast(pa.timestamp("ns", "UTC")),
            "symbol": pa.repeat(pa.scalar(SYMBOL), REAL * 10),
            "price": np.linspace(10, 20, REAL * 10),
            "asset_class": classes,
        }
    )


def one_row(number: int) -> pa.Table:
    """Return a row long after all others, for a commit that changes nothing about them."""
    instant = int((FIRST_DAY + timedelta(days=DAYS + 10)).timestamp()) * 10**9 + number
    row = real_rows().slice(0, 1).set_column(0, "ts", pa.array([instant]).cast(pa.timestamp("ns", "UTC")))
    return row.set_column(1, "symbol", pa.array(["S000"]))


def make(folder: Path, segments: int) -> None:
    """Make a store with a real day and, straight in its catalog, the other segments."""
    once(folder, lambda: _make(folder, segments))


def _make(folder: Path, segments: int) -> None:
    with open_store(folder) as store:
        store.write(real_rows(), "ticks")
        path = store.metadata_catalog.path
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        segment, copy = _template(connection, "segments", "segment_id"), _template(connection, "copies", "copy_id")
        for begin in range(0, segments - REAL, BLOCK):
            made = list(_rows(segment, copy, begin, min(begin + BLOCK, segments - REAL)))
            _insert(connection, "segments", [one for one, _ in made])
            _insert(connection, "copies", [one for _, one in made])


def _template(connection: sqlite3.Connection, table: str, key: str) -> dict[str, Any]:
    """Return the newest real row; what a synthetic row does not say is as in this one."""
    cursor = connection.execute(f"SELECT * FROM {table} ORDER BY {key} DESC LIMIT 1")
    return dict(zip((column[0] for column in cursor.description), cursor.fetchone(), strict=True))


def _rows(
    segment: dict[str, Any], copy: dict[str, Any], begin: int, end: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield segments of every length, from an hour to a month, over eleven years but the real day."""
    from quantstore.catalog.segments import span_class

    for number in range(begin, end):
        low, high = _span(number)
        names = [f"S{(number * 7 + step * 31) % 500:03d}" for step in range(8 if number % 2 else 1)]
        yield (
            segment
            | {
                "segment_id": segment["segment_id"] + 1 + number,
                "trade_date": low // DAY_NS,
                "asset_class": f"CLASS{number // DAYS % REAL:03d}",
                "rows": 50_000,
                "min_ns": low,
                "max_ns": high,
                "span_class": span_class(low, high),
                "symbols": json.dumps(sorted(names)),
                "min_symbol": min(names),
                "max_symbol": max(names),
            },
            copy
            | {
                "copy_id": copy["copy_id"] + 1 + number,
                "segment_id": segment["segment_id"] + 1 + number,
                "location": f"synthetic/{number}",
            },
        )


def _span(number: int) -> tuple[int, int]:
    """Return first and last nanosecond: mostly an hour, of every fifth a day, of every twentieth thirty days."""
    day = number % (DAYS - 1)
    day += day >= REAL_DAY
    start = (FIRST_DAY - EPOCH).days * DAY_NS
    if number % 20 == 0:
        day -= 30 if REAL_DAY - 30 < day < REAL_DAY else 0
        return start + day * DAY_NS, start + (day + 30) * DAY_NS - 1
    if number % 5 == 0:
        return start + day * DAY_NS, start + (day + 1) * DAY_NS - 1
    low = start + day * DAY_NS + number // DAYS % 23 * HOUR_NS
    return low, low + HOUR_NS - 1


def _insert(connection: sqlite3.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    names = ", ".join(f'"{name}"' for name in rows[0])
    marks = ", ".join("?" for _ in rows[0])
    connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", [tuple(row.values()) for row in rows])
