"""A disk that is full: refused with path and room; with room again nothing is lost, doubled or left over."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from telling import INTERNALS, ticks

import quantstore as qs
from quantstore.core import space
from quantstore.core.space import disk_full, free_bytes
from quantstore.errors import CapacityError

RESTS = (0, 4_096, 16_384, 40_960, 65_536, 98_304, 131_072, 262_144, 524_288)
"""From nothing to enough for the files and not for the commit."""


def rows(seed, count=20_000, day="2026-01-05"):
    """Rows that no codec makes small."""
    rng = np.random.default_rng(seed)
    stamps = pd.date_range(day, periods=count, freq="s", tz="UTC").as_unit("us")
    notes = [f"{one:x}" for one in rng.integers(0, 2**62, count)]
    return pd.DataFrame({"ts": stamps, "symbol": "AAPL", "price": rng.random(count), "note": notes})


@pytest.fixture
def store(small_disk):
    """A store on the small disk."""
    with qs.open(small_disk.folder / "s") as opened:
        opened.write(ticks(), "trades")
        yield opened


def refused_for_room(action, disk):
    """Run what may find no room; return whether it did, and check what it says then."""
    found = None
    try:
        action()
    except CapacityError as error:
        found = error
    if found is not None:
        assert type(found) is CapacityError
        assert "No room to " in str(found)
        assert "free there. Free space and try again; nothing was changed." in str(found)
        assert not INTERNALS.search(str(found))
        assert found.context["path"].startswith(str(disk.folder))
        assert 0 <= found.context["free_bytes"] < 1 << 20
    return found is not None


def check_whole(store, disk, counts):
    """Every row is there once, and after a sweep every file belongs to one that is."""
    store.sweep("0s")
    assert {name: len(store.read(name)) for name in counts} == counts
    report = store.audit()
    assert report.ok, report
    known = {location for _, location in store.metadata_catalog.garbage.locations()}
    assert {path.split("/", 2)[2] for path in disk.rows()} == known
    assert "open" not in store.metadata_catalog.attempts.states().values()


@pytest.mark.parametrize("tier", ["hot", "warm", "cold"])
def test_writing_finds_no_room(store, small_disk, tier):
    """At whatever step the room runs out: attempt, file, directory or commit."""
    small, expected, full = rows(0, 400), {"trades": 6, "new": 0}, 0
    store.create("new", pa.Schema.from_pandas(small, preserve_index=False))
    for number, rest in enumerate(RESTS):
        version = store.metadata_catalog.snapshot().version
        frame = small.assign(price=float(number))
        with small_disk.full(rest):
            no_room = refused_for_room(lambda frame=frame: store.write(frame, "new", tier), small_disk)
            assert len(store.read("trades")) == 6
            assert len(store.read("SELECT * FROM trades")) == 6
        assert store.metadata_catalog.snapshot().version == version + (not no_room)
        expected["new"] += 0 if no_room else len(small)
        full += no_room
        check_whole(store, small_disk, expected)
    assert 2 <= full < len(RESTS)
    store.write(small, "new", tier, on_repeat="append")
    check_whole(store, small_disk, expected | {"new": expected["new"] + len(small)})


def test_a_large_write_finds_no_room_in_the_middle(store, small_disk):
    frame = rows(1, 200_000)
    with small_disk.full(2 << 20):
        assert refused_for_room(
            lambda: store.write((frame[at : at + 20_000] for at in range(0, 200_000, 20_000)), "new"), small_disk
        )
        assert refused_for_room(lambda: store.write(frame, "new", "cold"), small_disk)
    assert store.tables() == ["trades"]
    check_whole(store, small_disk, {"trades": 6})
    store.write(frame, "new", "cold")
    check_whole(store, small_disk, {"trades": 6, "new": 200_000})


@pytest.mark.parametrize("destination", ["warm", "cold"])
def test_moving_finds_no_room(store, small_disk, destination):
    store.write(rows(2, 2_000), "new")
    full = 0
    for rest in (*RESTS, 1 << 20):
        with small_disk.full(rest):
            no_room = refused_for_room(lambda: store.migrate("new", "any", destination), small_disk)
            assert len(store.read("new")) == 2_000
        full += no_room
        check_whole(store, small_disk, {"trades": 6, "new": 2_000})
        placed = set(store.table("new").placement()["tier"])
        assert placed == ({"hot"} if no_room else {destination})
        store.migrate("new", "any", "hot")
    assert 2 <= full <= len(RESTS)


def test_the_catalog_alone_finds_no_room(store, small_disk):
    """What changes the catalog and nothing else is refused as well, and opening and reading go on."""
    with small_disk.full():
        assert refused_for_room(lambda: [store.create(f"t{number}") for number in range(100)], small_disk)
        made = store.tables()
        assert len(store.read("trades")) == 6
        assert store.read("trades", to="reader").read_all().num_rows == 6
        assert store.read("trades", to="relation").fetchall()
        assert store.explain("trades")
        assert store.audit().ok
        for read_only in (True, False):
            with qs.open(small_disk.folder / "s", read_only=read_only) as other:
                assert len(other.read("trades")) == 6
    store.create("later")
    assert store.tables() == sorted([*made, "later"])
    check_whole(store, small_disk, {"trades": 6})


def test_a_store_that_found_no_room_to_be_made_is_made_later(small_disk):
    with small_disk.full():
        assert refused_for_room(lambda: qs.open(small_disk.folder / "s"), small_disk)
    with qs.open(small_disk.folder / "s") as store:
        store.write(ticks(), "trades")
        assert len(store.read("trades")) == 6


def test_a_store_closed_on_a_full_disk_is_whole(small_disk):
    with qs.open(small_disk.folder / "s") as store:
        store.write(ticks(), "trades")
        store.read("trades")
        ballast = small_disk.full()
        ballast.__enter__()
    with qs.open(small_disk.folder / "s", read_only=True) as store:
        assert len(store.read("trades")) == 6
    ballast.__exit__(None, None, None)
    with qs.open(small_disk.folder / "s") as store:
        check_whole(store, small_disk, {"trades": 6})


def test_a_sort_that_spills_finds_no_room(small_disk, tmp_path, monkeypatch):
    """The rows are elsewhere; what does not fit into memory goes to the small disk."""
    monkeypatch.setattr("tempfile.tempdir", str(small_disk.folder))
    count = 2_000_000
    stamps = "TIMESTAMP '2026-01-05' + to_milliseconds(range) AS ts"
    with qs.open(tmp_path / "s", memory_limit="80MB") as store:
        made = duckdb.sql(f"SELECT {stamps}, md5(range::VARCHAR) AS note, random() AS price FROM range({count})")
        store.write(made.to_arrow_table(), "trades", "cold")
        sql = "SELECT * FROM trades ORDER BY note, price"
        with small_disk.full(1 << 20), pytest.raises(CapacityError, match="does not fit") as caught:
            store.read(sql, to="reader").read_all()
        assert caught.value.context["path"] == str(small_disk.folder)
        assert 0 <= caught.value.context["free_bytes"] < 2 << 20
        assert not INTERNALS.search(str(caught.value))
        assert store.read("SELECT * FROM trades ORDER BY note LIMIT 3").shape == (3, 3)
        assert store.read("SELECT count(*) AS n FROM trades")["n"].tolist() == [count]
    assert not list(small_disk.folder.glob("quantstore-*/*"))


def test_a_query_that_needs_too_much_memory_says_what_to_do(tmp_path):
    with qs.open(tmp_path / "s", memory_limit="1MB") as store:
        store.write(rows(1, 50_000), "trades")
        with pytest.raises(CapacityError, match="more memory than the engine may use") as caught:
            store.read("SELECT a.note, count(*) FROM trades a, trades b GROUP BY 1")
    assert "memory_limit=" in str(caught.value)
    assert "SET " not in str(caught.value)


def test_room_is_told_of_places_that_do_not_exist_yet(tmp_path, monkeypatch):
    assert free_bytes(tmp_path / "not" / "there") == pytest.approx(free_bytes(tmp_path), rel=0.1)

    def unknown(path):
        raise PermissionError

    monkeypatch.setattr(space.shutil, "disk_usage", unknown)
    assert free_bytes(tmp_path) is None
    assert "free there" not in str(disk_full("write x", tmp_path))
