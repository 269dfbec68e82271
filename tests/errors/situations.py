"""The situations of docs/errors.md: each function gets into one, and the error it raises is what the page shows."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
from telling import ticks

import quantstore as qs
from quantstore.catalog import file_systems
from quantstore.errors import AccessDeniedError


class Place:
    """A store with tables, and what else a situation may need."""

    def __init__(self, folder, monkeypatch, request):
        self.folder = folder
        self.patch = monkeypatch
        self._request = request
        self.store = qs.open(folder / "s")
        self.store.write(ticks(), "trades")
        self.store.write(ticks(), "quotes", "cold")
        self.store.write(ticks(zone=None), "naive")

    def asked(self, fixture):
        """A fixture that only some situations need."""
        return self._request.getfixturevalue(fixture)

    def closed(self):
        """The folder of a store that nobody has open."""
        self.store.close()
        return self.folder / "s"


def reading(query, **options):
    return lambda place: place.store.read(query, **options)


def writing(make, table="new", **options):
    return lambda place: place.store.write(make(), table, **options)


def reused_write_id(place):
    place.store.write(ticks(price=2.0), "trades", write_id="monday")
    place.store.write(ticks(price=3.0), "trades", write_id="monday")


def in_a_hundred_years():
    return ticks().assign(ts=lambda df: df["ts"] + pd.DateOffset(years=100))


def twice_in_a_cell(place):
    place.store.write(ticks(), "trades", on_repeat="append")
    place.store.table("trades").wide("price")


def full_disk(place):
    disk = place.asked("small_disk")
    store = qs.open(disk.folder / "s")
    with disk.full(1 << 18):
        store.write(pd.concat([ticks(60_000)] * 20), "trades")


def no_memory(place):
    with qs.open(place.folder / "small", memory_limit="1MB") as store:
        store.write(ticks(60_000), "trades")
        store.read("SELECT a.price, count(*) FROM trades a, trades b GROUP BY 1")


def another_user(place):
    user = place.asked("other_user")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        with qs.open(name + "/s") as store:
            store.write(ticks(), "trades")
        raise AccessDeniedError(user.run(f"qs.open({name + '/s'!r})")["message"])


def another_users_folder(place):
    user = place.asked("other_user")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        raise AccessDeniedError(user.run(f"qs.open({name + '/new'!r})")["message"])


def changed_catalog(sql, **options):
    def act(place):
        folder = place.closed()
        connection = sqlite3.connect(folder / "catalog.sqlite")
        connection.execute(sql)
        connection.commit()
        connection.close()
        qs.open(folder, **options)

    return act


def damaged_catalog(place):
    folder = place.closed()
    (folder / "catalog.sqlite").write_bytes(b"not a catalog" * 1000)
    qs.open(folder)


def lost_catalog(place):
    folder = place.closed()
    (folder / "catalog.sqlite").unlink()
    qs.open(folder)


def foreign_database(place):
    (place.folder / "other").mkdir()
    connection = sqlite3.connect(place.folder / "other" / "catalog.sqlite")
    connection.execute("CREATE TABLE theirs (a)")
    connection.commit()
    connection.close()
    qs.open(place.folder / "other")


def network(place):
    table = place.folder / "mountinfo"
    table.write_text(f"20 1 0:20 / {place.folder} rw - nfs4 server:/share rw\n")
    place.patch.setattr(file_systems, "MOUNTS", table)
    qs.open(place.folder / "new")


def damaged_rows(place):
    (path,) = (place.folder / "s" / "cold").rglob("*.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.chmod(0o644)
    path.write_bytes(content)
    place.store.read("quotes")


def missing_rows(place):
    for path in (place.folder / "s" / "hot" / "trades").iterdir():
        path.unlink()
    place.store.read("trades")


def read_only(place):
    with qs.open(place.folder / "s", read_only=True) as store:
        store.write(ticks(), "trades")


def doubled():
    stamps, numbers = pa.array(ticks()["ts"]), pa.array([1] * 6)
    return pa.Table.from_arrays([stamps, numbers, numbers], names=["ts", "price", "price"])


def expired(place):
    place.store.expire(before=place.store.metadata_catalog.snapshot().version)
    place.store.read("trades", as_of=1)


def unknown_tag(place):
    place.store.tag("paper-1")
    place.store.read("trades", as_of="papr-1")


def changed_past(place):
    with place.store.at(1) as past:
        past.write(ticks(), "trades")


def held(place):
    place.store.table("trades").hold("audit")
    place.store.table("trades").drop()


SITUATIONS = {
    "SQL with a mistake": reading("SELECT * FORM trades"),
    "a column that does not exist": reading("SELECT pric FROM trades"),
    "a table that does not exist": reading("SELECT * FROM trade"),
    "an alias that does not exist": reading("SELECT x.price FROM trades t"),
    "a text without quotes": reading("SELECT * FROM trades WHERE symbol = AAPL"),
    "a column of several tables": reading("SELECT price FROM trades t JOIN quotes q USING (ts)"),
    "a column beside an aggregate": reading("SELECT symbol, sum(price) FROM trades"),
    "a function that does not exist": reading("SELECT avgg(price) FROM trades"),
    "types that do not go together": reading("SELECT price + symbol FROM trades"),
    "a value that is not of a type": reading("SELECT CAST(symbol AS INTEGER) FROM trades"),
    "a text that is no time": reading("SELECT * FROM trades WHERE ts > 'soon'"),
    "a time zone that does not exist": reading("SELECT ts AT TIME ZONE 'America/NewYork' FROM trades"),
    "a bound with a zone on naive times": reading("naive", start=pd.Timestamp("2026-01-05", tz="UTC")),
    "a parameter without a value": reading("SELECT * FROM trades WHERE price > $low"),
    "a statement that writes": reading("DELETE FROM trades"),
    "a function with side effects": reading("SELECT nextval('x')"),
    "several statements": reading("SELECT 1; SELECT 2"),
    "a file that is not there": reading("SELECT * FROM 'nope.parquet'"),
    "a table at a version before it": reading("quotes", as_of=1),
    "a version that has expired": expired,
    "a tag that does not exist": unknown_tag,
    "a result that is too large": reading("trades", max_bytes=100),
    "a query that needs too much memory": no_memory,
    "no time column": writing(lambda: ticks().drop(columns="ts")),
    "several time columns": writing(lambda: ticks().assign(sent=ticks()["ts"]).rename(columns={"ts": "made"})),
    "a calendar that does not exist": writing(ticks, calendar="XNYSE"),
    "naive times and a calendar": writing(lambda: ticks(zone=None), calendar="XNYS"),
    "times outside the calendar": writing(in_a_hundred_years, calendar="XNYS"),
    "another grain or calendar than the table's": writing(ticks, "trades", grain="year"),
    "columns of several levels": writing(lambda: pd.concat({"close": ticks(), "open": ticks()}, axis=1)),
    "two rows for one cell of a wide frame": twice_in_a_cell,
    "a column twice": writing(doubled),
    "columns that look alike": writing(lambda: ticks().rename(columns={"size": "pricе"})),
    "columns missing or unknown": writing(lambda: ticks().rename(columns={"price": "prise"}), "trades"),
    "columns of other types": writing(lambda: ticks(price="1.5", size=0.5), "trades"),
    "naive times into a zoned table": writing(lambda: ticks(zone=None), "trades"),
    "a name that cannot be read": writing(ticks, "trades\u200b"),
    "a name that looks like another": writing(ticks, "trаdes"),
    "a write id used for other content": reused_write_id,
    "rows that are there already": writing(ticks, "trades", on_repeat="raise"),
    "a table that changed meanwhile": writing(lambda: ticks(price=9.0), "trades", expected_version=7),
    "a change of the past": changed_past,
    "a table that is held": held,
    "a store opened read-only": read_only,
    "a full disk": full_disk,
    "a store of another user": another_user,
    "a folder that may not be written": another_users_folder,
    "a catalog of a newer release": changed_catalog("INSERT INTO catalog_upgrades VALUES (99, 'new', 0)"),
    "a catalog of an older release, read-only": changed_catalog(
        "DELETE FROM catalog_upgrades WHERE number > 1", read_only=True
    ),
    "a damaged catalog": damaged_catalog,
    "a lost catalog": lost_catalog,
    "the database of another program": foreign_database,
    "a catalog on a network file system": network,
    "a URL where a folder is needed": lambda place: qs.open("s3://bucket/store"),
    "rows that are damaged": damaged_rows,
    "rows that are gone": missing_rows,
}
