"""Asset classes that arrive interleaved share a file in hot, and are segments of their own all the same."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import quantstore as qs
from quantstore.errors import IntegrityError

START = pd.Timestamp("2026-01-05", tz="UTC")
CLASSES: list[str | None] = ["EQUITY", "FX", "FUTURE", None]


def ticks(rows: int = 400, days: int = 2, *, order: str = "sorted") -> pa.Table:
    """Four asset classes in turn, one of them missing, and a few symbols in each."""
    stamps = START + pd.to_timedelta(np.linspace(0, days * 86_400 - 1, rows).astype("int64"), "s")
    numbers = np.arange(rows)
    table = pa.table(
        {
            "ts": pa.array(stamps, pa.timestamp("ns", "UTC")),
            "symbol": pa.array([f"{(CLASSES[n % 4] or 'X')[:2]}{n // 4 % 3}" for n in numbers]),
            "price": pa.array(numbers, pa.float64()),
            "asset_class": pa.array([CLASSES[n % 4] for n in numbers]),
        }
    )
    return table if order == "sorted" else table.take(pa.array(np.random.default_rng(1).permutation(rows)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[qs.HybridStorageManager]:
    """An empty store."""
    with qs.open(tmp_path / "store") as opened:
        yield opened


def files(store: qs.HybridStorageManager) -> int:
    """Return the number of files in hot."""
    return len(list(store.hot_store.list()))


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
@pytest.mark.parametrize("kind", ["text", "dictionary"])
def test_a_day_is_one_file_and_each_class_a_segment(store: qs.HybridStorageManager, order: str, kind: str) -> None:
    """Placement shows four segments a day, whose sizes add up to the files'; reads give the rows in time order."""
    table = ticks(order=order)
    if kind == "dictionary":
        at = table.schema.get_field_index("asset_class")
        table = table.set_column(at, "asset_class", table["asset_class"].dictionary_encode())
    written = store.write(table, "t")
    assert written.segments == 8
    assert files(store) == 2
    placement = store.table("t").placement()
    assert placement["rows"].tolist() == [50] * 8
    assert placement["bytes"].sum() == sum(one.size_bytes for one in store.hot_store.list())
    by_time = table.sort_by("ts")
    assert store.read("t", to="arrow")["price"].to_pylist() == by_time["price"].to_pylist()
    for name in CLASSES:
        condition = "asset_class IS NULL" if name is None else f"asset_class = '{name}'"
        found = store.read(f"SELECT price FROM t WHERE {condition} ORDER BY ts", to="arrow")["price"].to_pylist()
        pairs = zip(by_time["price"].to_pylist(), by_time["asset_class"].to_pylist(), strict=True)
        assert found == [price for price, one in pairs if one == name]


def test_statistics_are_those_of_the_class(store: qs.HybridStorageManager) -> None:
    """Each segment knows the span and the symbols of its own rows."""
    store.write(ticks(days=1), "t")
    with store.metadata_catalog.view() as view:
        record = view.table("t")
        assert record is not None
        placed = view.segments(record.table_id)
    rows = ticks(days=1).to_pandas()
    for one in placed:
        name = one.segment.partition.asset_class
        own = rows[rows["asset_class"].isna() if name is None else rows["asset_class"] == name]
        stats = one.segment.stats
        assert (stats.min_ns, stats.max_ns) == (own["ts"].min().value, own["ts"].max().value)
        assert stats.symbols == tuple(sorted(own["symbol"].unique()))
        assert one.primary.sharers == 4
    assert "1 of 4 segments" in str(store.explain("SELECT * FROM t WHERE symbol = 'FX1'"))


def test_classes_move_one_by_one_and_the_file_goes_with_the_last(store: qs.HybridStorageManager) -> None:
    """Moving a class away leaves the file to the others; no row is lost or doubled at any step."""
    expected = ticks()["price"].to_pylist()
    store.write(ticks(), "t")
    for number, (name, tier) in enumerate(zip(CLASSES, itertools.cycle(["cold", "warm"]), strict=False), start=1):
        where = "asset_class IS NULL" if name is None else f"asset_class = '{name}'"
        assert len(store.migrate("t", "hot", tier, where=where)) == 2
        assert store.read("t", to="arrow")["price"].to_pylist() == expected
        assert sorted(store.read("SELECT price FROM t", to="arrow")["price"].to_pylist()) == expected
        assert store.sweep(grace=0).copies == (8 if number == 4 else 0)
        assert files(store) == (0 if number == 4 else 2)
        assert store.audit().ok


def test_a_split_takes_only_its_own_rows_out_of_the_file(store: qs.HybridStorageManager) -> None:
    """A condition that cuts one segment leaves the others of the file as they are."""
    expected = ticks()["price"].to_pylist()
    store.write(ticks(), "t")
    store.migrate("t", "hot", "cold", where="symbol = 'FX1'")
    assert store.read("t", to="arrow")["price"].to_pylist() == expected
    assert sorted(store.read("SELECT price FROM t", to="arrow")["price"].to_pylist()) == expected
    cold = store.read("SELECT DISTINCT symbol FROM t", tiers="cold", missing="ignore", to="arrow")["symbol"].to_pylist()
    assert cold == ["FX1"]
    assert store.audit().ok
    store.sweep(grace=0)
    assert store.read("t", to="arrow")["price"].to_pylist() == expected


def test_windows_over_some_of_the_classes(store: qs.HybridStorageManager) -> None:
    """Bare reads by time, symbol and day give the rows of a plain table, with the file whole or not."""
    rows = ticks().to_pandas()
    store.write(ticks(), "t")
    options: list[dict[str, Any]] = [
        {"symbols": ["EQ1", "X2"]},
        {"symbols": "FU0", "start": START + pd.Timedelta("5h"), "end": START + pd.Timedelta("30h")},
        {"dates": "2026-01-06", "symbols": ["FX0"], "columns": ["price"]},
        {"columns": ["_seq", "asset_class"]},
    ]
    for _ in range(2):
        for one in options:
            kept = rows
            if "symbols" in one:
                kept = kept[
                    kept["symbol"].isin([one["symbols"]] if isinstance(one["symbols"], str) else one["symbols"])
                ]
            kept = kept[
                (kept["ts"] >= one.get("start", START)) & (kept["ts"] < one.get("end", START + pd.Timedelta("9D")))
            ]
            if "dates" in one:
                kept = kept[kept["ts"].dt.strftime("%Y-%m-%d") == one["dates"]]
            found = store.read("t", to="arrow", **one)
            assert found.num_rows == len(kept)
            if "price" in found.column_names:
                assert found["price"].to_pylist() == kept["price"].tolist()
        store.migrate("t", "hot", "warm", where="asset_class = 'FX'")


def test_damage_names_the_partition(store: qs.HybridStorageManager) -> None:
    """A flipped bit in a shared file is an error for every class in it."""
    store.write(ticks(days=1), "t")
    (file,) = store.hot_store.list()
    path = Path(store.hot_store.root) / file.location
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="trade_date=2026-01-05"):
        store.read("t")
    with pytest.raises(IntegrityError, match="asset_class=FX"):
        store.read("SELECT * FROM t WHERE asset_class = 'FX'")
    assert len(store.audit().problems) == 4


def test_a_catalog_from_before_files_were_shared(tmp_path: Path) -> None:
    """Its copies are taken over as they are."""
    with qs.open(tmp_path) as store:
        store.write(ticks().drop_columns("asset_class"), "t")
    path = tmp_path / "catalog.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("DROP INDEX copies_of_pins")
        for name in ("pin_id", "subset"):
            connection.execute(f"ALTER TABLE copies DROP COLUMN {name}")
        connection.execute("DELETE FROM settings WHERE name = 'oldest_version'")
        connection.execute("DELETE FROM table_names")
        connection.execute("ALTER TABLE copies DROP COLUMN sharers")
        connection.execute("ALTER TABLE copies DROP COLUMN file_bytes")
        connection.execute("DELETE FROM catalog_upgrades WHERE number > 2")
        before = connection.execute("SELECT * FROM copies").fetchall()
    connection.close()
    with qs.open(tmp_path) as store:
        assert store.read("t").shape[0] == 400
        store.write(ticks(), "u")
        assert files(store) == 4
    with sqlite3.connect(path) as connection:
        after = connection.execute("SELECT * FROM copies WHERE sharers = 1").fetchall()
    connection.close()
    assert [row[: len(before[0])] for row in after] == before
