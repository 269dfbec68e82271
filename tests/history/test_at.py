"""`store.at`, tags and `as_of`: the store as it was, whatever goes on."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import polars as pl
import pytest
from pandas.testing import assert_frame_equal

import quantstore as qs
from quantstore.errors import AccessDeniedError, ConflictError, InvalidInputError, NotFoundError

SQL = "SELECT symbol, count(*) AS n, sum(price) AS total FROM t GROUP BY symbol ORDER BY symbol"


def ticks(first: int, rows: int = 6) -> pd.DataFrame:
    """Rows that no other call gives."""
    numbers = np.arange(first, first + rows)
    stamps = pd.Timestamp("2026-01-05", tz="UTC") + pd.to_timedelta(numbers * 7, "h")
    return pd.DataFrame({"ts": stamps, "symbol": np.where(numbers % 2, "A", "B"), "price": numbers * 1.5})


@pytest.fixture
def filled(store):
    """Three versions of a table, the first tagged, and a table made later."""
    for number in range(3):
        store.write(ticks(number * 10), "t", "warm" if number == 1 else "hot")
        if number == 0:
            store.tag("paper-1")
    store.write(ticks(0), "later")
    return store


def test_every_read_is_at_that_version(filled):
    """Bare reads, SQL, scans, explain, tables and table, by version, tag and instant."""
    committed = filled.table("t").versions().set_index("version")["committed"][1]
    expected = filled.read("t", as_of=1)
    for when in (1, np.int64(1), "paper-1", committed, committed.isoformat()):
        with filled.at(when) as past:
            assert_frame_equal(past.read("t"), expected)
            assert_frame_equal(past.read(SQL), filled.read(SQL, as_of=1))
            assert past.scan("t").select(pl.len()).collect().item() == 6
            assert past.explain(SQL).version == 1
            assert past.tables() == ["t"]
            assert past.table("t").summary()["rows"] == 6
            assert past.table("t").versions()["version"].tolist() == [1]
            assert past.read("t", to="reader").read_all().num_rows == 6
            assert past.read("t", to="relation").fetchall().__len__() == 6
            assert_frame_equal(pd.DataFrame.tier.read("t", store=past), expected)
            with pytest.raises(NotFoundError, match="made later"):
                past.read("later")
    assert filled.tables() == ["later", "t"]


def test_reads_within_reach_back_further_and_never_forward(filled):
    with filled.at(2) as past:
        assert len(past.read("t", as_of=1)) == 6
        assert len(past.at("paper-1").read("t")) == 6
        with pytest.raises(NotFoundError, match="no version 3; the newest is 2"):
            past.read("t", as_of=3)
        filled.tag("new")
        with pytest.raises(NotFoundError, match="newest is 2"):
            past.read("t", as_of="new")
        assert len(past.read("t", as_of=pd.Timestamp("2100-01-01", tz="UTC"))) == 12


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.write(ticks(50), "t"),
        lambda store: store.delete("t", "price > 1"),
        lambda store: store.create("made"),
        lambda store: store.migrate("t", "hot", "cold"),
        lambda store: store.sweep(0),
        lambda store: store.tag("x"),
        lambda store: store.untag("paper-1"),
        lambda store: store.expire("1d"),
        lambda store: store.maintain(),
        lambda store: store.undrop("t"),
        lambda store: store.compact("t"),
        lambda store: store.pin("t", "warm"),
        lambda store: store.table("t").rename("u"),
        lambda store: store.table("t").restore(1),
        lambda store: store.table("t").drop(),
        lambda store: store.table("t").hold("why"),
        lambda store: store.transaction().__enter__().write(ticks(50), "t"),
        lambda store: ticks(50).tier.write("t", store=store),
    ],
)
def test_nothing_can_be_changed_in_the_past(filled, change):
    with filled.at("paper-1") as past, pytest.raises(AccessDeniedError, match="as it was at version 1"):
        change(past)
    assert filled.metadata_catalog.snapshot().version == 4


def test_a_past_store_says_what_it_is_and_leaves_the_store_open(filled):
    past = filled.at(1)
    assert "at version 1" in repr(past)
    past.close()
    past.close()
    assert past.is_closed
    assert not filled.is_closed
    assert len(filled.read("t")) == 18


def test_reads_at_one_instant_agree_while_a_writer_runs(store):
    """Every read through `at` gives the same, whatever is appended, corrected, moved and expired meanwhile."""
    store.write(ticks(0), "t")
    stop, errors = threading.Event(), []

    def work():
        number = 1
        try:
            while not stop.is_set():
                store.write(ticks(number * 10), "t", "hot")
                store.delete("t", f"price = {number * 10 * 1.5}")
                if number % 5 == 0:
                    store.migrate("t", "hot", "cold")
                    store.expire(before=store.metadata_catalog.snapshot().version)
                    store.sweep(grace=0)
                number += 1
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(error)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for _ in range(15):
            with store.at(store.metadata_catalog.snapshot().version) as past:
                first, answer = past.read("t"), past.read(SQL)
                for _ in range(3):
                    assert_frame_equal(past.read("t"), first)
                    assert_frame_equal(past.read(SQL), answer)
                assert answer["n"].sum() == len(first)
    finally:
        stop.set()
        writer.join()
    assert not errors


def test_an_open_past_store_keeps_its_version_and_a_closed_one_does_not(filled):
    filled.untag("paper-1")
    past, dropped = filled.at(1), filled.at(2)
    assert dropped.read("t").shape[0] == 12
    del dropped
    gc.collect()
    filled.expire(before=4)
    filled.sweep(grace=0)
    assert len(past.read("t")) == 6
    with pytest.raises(NotFoundError, match="Version 2 has expired"):
        filled.read("t", as_of=2)
    past.close()
    filled.expire(before=4)
    with pytest.raises(NotFoundError, match="Version 1 has expired; the oldest kept one is 4"):
        filled.at(1)


def test_in_a_store_opened_read_only(filled, tmp_path):
    with qs.open(tmp_path / "store", read_only=True) as reader, reader.at("paper-1") as past:
        assert len(past.read("t")) == 6
        assert reader.tags()["tag"].tolist() == ["paper-1"]


def test_tags_are_listed_named_once_and_taken_away(filled):
    assert filled.tag("paper-1", 1).version == 1
    filled.tag("Paper 2 (final)", "paper-1")
    filled.tag("newest")
    listed = filled.tags()
    assert listed[["tag", "version"]].to_numpy().tolist() == [["newest", 4], ["Paper 2 (final)", 1], ["paper-1", 1]]
    assert str(listed["created"].dtype) == "datetime64[ns, UTC]"
    with pytest.raises(ConflictError, match="names version 1"):
        filled.tag("paper-1", 2)
    assert filled.untag("newest").version == 4
    with pytest.raises(NotFoundError, match="Did you mean 'paper-1'"):
        filled.untag("papr-1")
    with pytest.raises(NotFoundError, match="no version 9"):
        filled.tag("x", 9)
    assert len(filled.read("t", as_of="Paper 2 (final)")) == 6


@pytest.mark.parametrize("name", ["7", "-7", "1_000", "today", "2026-01-05", "2026-01-05T10:00", "10:30", "20260105"])
def test_a_tag_that_reads_as_a_version_or_an_instant_is_refused(filled, name):
    with pytest.raises(InvalidInputError, match="reads as"):
        filled.tag(name)


@pytest.mark.parametrize("name", ["", " ", " x", "x ", "a\nb", "x\u200b", None, 7])
def test_a_tag_that_cannot_be_read_is_refused(filled, name):
    with pytest.raises(InvalidInputError):
        filled.tag(name)


@pytest.mark.parametrize(
    ("when", "kind", "message"),
    [
        ("2026-01-05", InvalidInputError, "is a day"),
        ("7", InvalidInputError, "pass a version as a number"),
        (True, InvalidInputError, "not a point in time"),
        (1.5, InvalidInputError, "not a point in time"),
        ("papr-1", NotFoundError, "Did you mean 'paper-1'"),
        (-1, NotFoundError, "no version -1"),
        (99, NotFoundError, "no version 99; the newest is 4"),
    ],
)
def test_what_means_no_version_is_refused(filled, when, kind, message):
    with pytest.raises(kind, match=message):
        filled.at(when)
    with pytest.raises(kind, match=message):
        filled.read("t", as_of=when)


def test_another_process_keeps_what_it_looks_at_until_it_is_gone(filled, tmp_path):
    filled.untag("paper-1")
    code = (
        "import sys, quantstore as qs\n"
        "past = qs.open(sys.argv[1]).at(1)\n"
        "print(len(past.read('t')), flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "store")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "6\n"
        assert filled.expire(before=4).kept == (1,)
        filled.sweep(grace=0)
        assert len(filled.read("t", as_of=1)) == 6
        other.kill()
        other.wait()
        assert filled.expire(before=4).kept == ()
    with pytest.raises(NotFoundError, match="Version 1 has expired"):
        filled.read("t", as_of=1)
