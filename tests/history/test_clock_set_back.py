"""Holds beside a clock that is set back: what has ended stays so, what has not still holds."""

from __future__ import annotations

import pandas as pd
import pytest

from quantstore.catalog.catalog import Catalog
from quantstore.core.clock import ManualClock
from quantstore.errors import AccessDeniedError, NotFoundError
from quantstore.manager import HybridStorageManager


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(tmp_path, clock):
    catalog = Catalog(tmp_path / "catalog.sqlite", clock=clock)
    parts = (tmp_path / "hot", tmp_path / "warm", tmp_path / "cold")
    with HybridStorageManager(*parts, catalog) as opened:
        yield opened


def ticks(symbol: str) -> pd.DataFrame:
    stamps = pd.date_range("2026-01-05T10:00Z", periods=4, freq="1s")
    return pd.DataFrame({"ts": stamps, "symbol": symbol, "price": 1.0})


@pytest.mark.parametrize("ends", ["by itself", "by release"])
def test_a_hold_that_ended_keeps_nothing_though_the_clock_is_set_back(store, clock, ends):
    store.write(ticks("A"), "t")
    hold = store.table("t").hold("audit", until="1h" if ends == "by itself" else None)
    clock.advance(7200)
    if ends == "by release":
        hold.release()
    store.write(ticks("B"), "t", mode="overwrite")
    store.expire(before=2)
    clock.advance(-86_400)
    assert store.table("t").holds() == []
    with pytest.raises(NotFoundError):
        store.read("t", as_of=1)


def test_a_pin_that_ended_brings_no_dropped_table_back_empty(store, clock):
    store.write(ticks("A"), "t")
    store.write(ticks("A"), "other")
    store.pin("t", until="1h")
    clock.advance(7200)
    store.expire(before=store.table("t").drop())
    clock.advance(-86_400)
    with pytest.raises(NotFoundError):
        store.undrop("t")


def test_a_hold_holds_while_the_newest_version_is_of_a_time_to_come(store, clock):
    store.write(ticks("A"), "t")
    clock.advance(-86_400)
    store.table("t").hold("audit", until="1h")
    with pytest.raises(AccessDeniedError):
        store.table("t").drop()
