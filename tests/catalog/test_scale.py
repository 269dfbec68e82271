"""Finding segments must not depend on how many there are: counted in steps of the database, not in time."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

import quantstore as qs
from quantstore.catalog import segments, upgrades
from quantstore.catalog.segments import SegmentFilter, span_class
from quantstore.core.timerange import MAX_NS, MIN_NS, TimeRange

DAY = 86_400 * 10**9
START = pd.Timestamp("2001-01-01").value
FIRST = date(2001, 1, 1)
SEGMENTS = 100_000
A_DAY = 500


def fill(path: Path, count: int) -> None:
    """Put `count` segments beside the one that is there: hours and days long, a few of a month."""
    chance = random.Random(5)
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        segment = dict(connection.execute("SELECT * FROM segments").fetchone())
        copy = dict(connection.execute("SELECT * FROM copies").fetchone())
        segment_rows, copy_rows = [], []
        for number in range(2, count + 2):
            day, place = divmod(number, A_DAY)
            low = START + day * DAY + chance.randrange(DAY // 2)
            high = low + chance.choice((0, 10**6, 3600 * 10**9, DAY // 3)) + (30 * DAY if number % 5_000 == 0 else 0)
            symbols = (f"S{place:03d}", f"S{place:03d}" if place % 3 else f"S{place + 1:03d}")
            segment_rows.append(
                segment
                | {"segment_id": number, "trade_date": 11_323 + day, "min_ns": low, "max_ns": high, "symbols": None}
                | {"min_symbol": symbols[0], "max_symbol": symbols[1], "span_class": span_class(low, high)}
            )
            copy_rows.append(copy | {"copy_id": number, "segment_id": number, "location": f"none/{number}"})
        for table, rows in (("segments", segment_rows), ("copies", copy_rows)):
            names = ", ".join(rows[0])
            values = ", ".join(f":{name}" for name in rows[0])
            connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({values})", rows)
    connection.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[qs.HybridStorageManager]:
    """A store whose catalog knows of 100,000 segments."""
    folder = tmp_path_factory.mktemp("many")
    frame = pd.DataFrame({"ts": pd.to_datetime(["2000-06-01"], utc=True), "symbol": ["S001"], "price": [1.0]})
    with qs.open(folder) as opened:
        opened.write(frame, "trades")
    fill(folder / "catalog.sqlite", SEGMENTS)
    with qs.open(folder) as opened:
        yield opened


WINDOW = TimeRange(START + 100 * DAY + DAY // 4, START + 100 * DAY + DAY // 4 + 60 * 10**9)
FILTERS = {
    "window": SegmentFilter(time=WINDOW),
    "window and symbol": SegmentFilter(time=WINDOW, symbols=("S004", "S404")),
    "window and day": SegmentFilter(time=WINDOW, days=(FIRST + timedelta(100),)),
    "day": SegmentFilter(days=(FIRST + timedelta(50),), symbols=("S001", "S301")),
    "days": SegmentFilter(first_day=FIRST + timedelta(7), last_day=FIRST + timedelta(8)),
    "symbol": SegmentFilter(symbols=("S007", "S009")),
    "before": SegmentFilter(time=TimeRange(None, START + DAY // 2)),
    "from": SegmentFilter(time=TimeRange(START + 199 * DAY, None)),
    "an instant": SegmentFilter(time=TimeRange(WINDOW.start_ns, (WINDOW.start_ns or 0) + 1)),
    "nothing": SegmentFilter(time=TimeRange(5, 5), days=()),
}


def reference(store: qs.HybridStorageManager, wanted: SegmentFilter, *, exact: bool = False) -> list[int]:
    """Return the segments that pass, by looking at every one; `exact`: those with one symbol only if it is wanted."""
    conditions, values = ["removed_version IS NULL"], []
    if wanted.time.start_ns is not None:
        conditions.append("max_ns >= ?")
        values.append(wanted.time.start_ns)
    if wanted.time.end_ns is not None:
        conditions.append("min_ns < ?")
        values.append(wanted.time.end_ns)
    if wanted.first_day is not None and wanted.last_day is not None:
        conditions.append("trade_date BETWEEN ? AND ?")
        values += [(wanted.first_day - date(1970, 1, 1)).days, (wanted.last_day - date(1970, 1, 1)).days]
    if wanted.days is not None:
        conditions.append(f"trade_date IN ({', '.join('?' for _ in wanted.days)})")
        values += [(day - date(1970, 1, 1)).days for day in wanted.days]
    if wanted.symbols is not None:
        conditions.append("max_symbol >= ? AND min_symbol <= ?")
        values += [min(wanted.symbols), max(wanted.symbols)]
        if exact:
            conditions.append(f"(min_symbol <> max_symbol OR min_symbol IN ({', '.join('?' for _ in wanted.symbols)}))")
            values += wanted.symbols
    sql = f"SELECT segment_id FROM segments WHERE {' AND '.join(conditions)} ORDER BY min_ns, segment_id"
    with sqlite3.connect(store.metadata_catalog.path) as connection:
        found = [row[0] for row in connection.execute(sql, values)]
    connection.close()
    return found


@pytest.mark.parametrize("name", FILTERS)
def test_indexes_find_what_a_look_at_every_segment_finds(store: qs.HybridStorageManager, name: str) -> None:
    """Every access path gives the segments that pass, in order, save those whose symbols rule them out."""
    with store.metadata_catalog.view() as view:
        table_id = view.table("trades").table_id
        found = [one.segment.segment_id for one in view.segments(table_id, FILTERS[name])]
        expected = reference(store, FILTERS[name])
        if FILTERS[name].symbols is not None:
            assert set(reference(store, FILTERS[name], exact=True)) <= set(found) <= set(expected)
        else:
            assert found == expected
        assert view.count(table_id, FILTERS[name]) == len(found)


@pytest.mark.parametrize("name", ["window", "window and symbol", "window and day", "day", "symbol", "an instant"])
def test_steps_depend_on_what_is_found_only(store: qs.HybridStorageManager, name: str) -> None:
    """The database takes a few hundred steps for a segment found, and no step for most of those that are not."""
    steps = [0]

    def count_steps() -> int:
        steps[0] += 1
        return 0

    with store.metadata_catalog.view() as view:
        table_id = view.table("trades").table_id
        raw = view._connection.connection.driver_connection
        raw.set_progress_handler(count_steps, 10)
        try:
            found = view.segments(table_id, FILTERS[name])
        finally:
            raw.set_progress_handler(None, 0)
    assert found
    assert steps[0] * 10 < 20_000 + 300 * len(found)


def test_a_span_class_holds_its_spans() -> None:
    """Class k is the smallest whose spans are shorter than 16 ** k."""
    for span in (0, 1, 15, 16, 17, 255, 256, 16**7 - 1, 16**7, MAX_NS - MIN_NS):
        number = span_class(MIN_NS, MIN_NS + span)
        assert span < 16**number
        assert number == 0 or span >= 16 ** (number - 1)


def test_a_catalog_of_the_first_form_is_upgraded(tmp_path: Path) -> None:
    """A catalog without span classes gets them, right ones, when it is opened for writing."""
    frame = pd.DataFrame({"ts": pd.to_datetime(["2026-01-05", "2026-01-06"], utc=True), "price": [1.0, 2.0]})
    with qs.open(tmp_path) as store:
        store.write(frame, "trades")
    with sqlite3.connect(tmp_path / "catalog.sqlite") as connection:
        expected = connection.execute("SELECT segment_id, span_class FROM segments").fetchall()
        indexes = "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'segments' AND sql IS NOT NULL"
        names = {row[0] for row in connection.execute(indexes)}
        for name in names:
            connection.execute(f"DROP INDEX {name}")
        connection.execute("ALTER TABLE segments DROP COLUMN span_class")
        connection.execute("CREATE INDEX segments_by_time ON segments (table_id, max_ns, min_ns)")
        connection.execute("DELETE FROM catalog_upgrades WHERE number > 1")
    connection.close()
    with qs.open(tmp_path) as store:
        pd.testing.assert_frame_equal(store.read("trades"), frame, check_flags=False)
    with sqlite3.connect(tmp_path / "catalog.sqlite") as connection:
        assert connection.execute("SELECT segment_id, span_class FROM segments").fetchall() == expected
        assert {row[0] for row in connection.execute(indexes)} == names
        assert connection.execute("SELECT max(number) FROM catalog_upgrades").fetchone()[0] == len(upgrades.STEPS)
    connection.close()
    assert SegmentFilter() == segments.EVERYTHING
