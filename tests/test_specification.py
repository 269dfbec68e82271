"""The specification's own words run."""

from __future__ import annotations

import inspect
from abc import ABC

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from quantstore import HybridStorageManager, StorageBackend
from quantstore.errors import InvalidInputError, NotFoundError


@pytest.fixture
def ticks():
    stamps = pd.to_datetime(["2026-01-05 09:30", "2026-01-05 09:31", "2026-01-06 09:30"], utc=True)
    return pd.DataFrame({"ts": stamps, "symbol": ["AAPL", "MSFT", "AAPL"], "price": [1.0, 2.0, 3.0]})


def test_the_interface_is_the_one_specified():
    assert issubclass(StorageBackend, ABC)
    assert StorageBackend.__abstractmethods__ == {"write", "read", "migrate"}
    write, read, migrate = (inspect.signature(getattr(StorageBackend, n)) for n in ("write", "read", "migrate"))
    assert list(write.parameters) == ["self", "df", "table", "tier"]
    assert write.parameters["tier"].default == "hot"
    assert list(read.parameters) == ["self", "query", "tiers"]
    assert list(read.parameters["tiers"].default) == ["hot", "warm", "cold"]
    assert list(migrate.parameters) == ["self", "table", "src_tier", "dst_tier"]
    made = list(inspect.signature(HybridStorageManager).parameters)[:4]
    assert made == ["hot_store", "warm_store", "cold_store", "metadata_catalog"]


def test_a_manager_built_by_hand_writes_reads_and_migrates(tmp_path, ticks):
    manager = HybridStorageManager(tmp_path / "h", tmp_path / "w", str(tmp_path / "c"), tmp_path / "catalog")
    assert isinstance(manager, StorageBackend)
    manager.write(ticks, "trades", "hot")
    manager.migrate("trades", "hot", "warm")
    manager.migrate("trades", "warm", "cold")
    manager.write(ticks.assign(price=9.0), "trades", "hot")
    found = manager.read("SELECT symbol, count(*) AS n FROM trades GROUP BY symbol ORDER BY symbol", ["hot", "cold"])
    assert found.to_dict("list") == {"symbol": ["AAPL", "MSFT"], "n": [4, 2]}
    assert len(manager.read("trades")) == 6
    assert {manager.hot_store.name, manager.warm_store.name, manager.cold_store.name} == {"hot", "warm", "cold"}
    manager.close()
    again = HybridStorageManager(tmp_path / "h", tmp_path / "w", tmp_path / "c", tmp_path / "catalog")
    assert_frame_equal(again.read("trades", ["cold"], missing="ignore"), ticks)
    again.close()


def test_stores_and_catalogs_may_be_objects(tmp_path, ticks):
    from quantstore.catalog.catalog import Catalog
    from quantstore.stores.arrow_ipc import ArrowStore
    from quantstore.stores.parquet import ParquetStore

    with HybridStorageManager(
        ArrowStore(tmp_path / "h", name="hot"),
        ParquetStore(tmp_path / "w", name="warm", codec="snappy"),
        ParquetStore(tmp_path / "c", name="cold", codec="gzip"),
        Catalog(tmp_path / "k.sqlite"),
    ) as manager:
        manager.write(ticks, "t", "warm")
        manager.migrate("t", "warm", "cold")
        assert set(manager.table("t").placement()["codec"]) == {"gzip"}
        assert_frame_equal(manager.read("t"), ticks)


@pytest.mark.parametrize("other", ["same", "same/inside"])
def test_tiers_that_share_a_folder_are_refused(tmp_path, other):
    """Two tiers in one place would delete each other's bytes."""
    with pytest.raises(InvalidInputError, match="overlap"):
        HybridStorageManager(tmp_path / "same", tmp_path / other, tmp_path / "c", tmp_path / "k")


def test_migrating_to_where_the_data_is_does_nothing(store, ticks):
    store.write(ticks, "t")
    before = store.table("t").placement()["location"].tolist()
    assert store.migrate("t", "hot", "hot") == []
    assert store.table("t").placement()["location"].tolist() == before


def test_unknown_names_are_refused_with_the_nearest(store, ticks):
    store.write(ticks, "trades")
    with pytest.raises(NotFoundError, match="Did you mean 'trades'"):
        store.read("tradez")
    with pytest.raises(NotFoundError, match="Did you mean 'trades'"):
        store.read("SELECT * FROM trads")
    with pytest.raises(NotFoundError, match="Did you mean 'trades'"):
        store.migrate("trade", "hot", "cold")
    with pytest.raises(InvalidInputError, match="choose hot, warm or cold"):
        store.write(ticks, "trades", "lukewarm")
    with pytest.raises(InvalidInputError, match="Did you mean 'cold'"):
        store.migrate("trades", "hot", "colt")
