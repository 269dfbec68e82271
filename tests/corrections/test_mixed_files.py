"""Corrections of segments that share a file: what stays shares a file again, and what loses nothing stays put."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import quantstore as qs

CLASSES = ["CRYPTO", "EQUITY", "FX", None]
ROWS = 400


def ticks(prices: np.ndarray) -> pa.Table:
    """Return one day of interleaved classes, each row its own key."""
    at = np.arange(ROWS)
    return pa.table(
        {
            "ts": pa.array(at * 1_000_000_000, pa.timestamp("ns", "UTC")),
            "symbol": [f"S{one % 8}" for one in at],
            "price": prices,
            "asset_class": pa.array([CLASSES[one % 4] for one in at], pa.string()),
        }
    )


def places(store: qs.HybridStorageManager) -> dict[str | None, str]:
    """Return where the segments of each asset class that hold old rows are."""
    found = store.table("t").placement()
    rows = found.to_pylist() if isinstance(found, pa.Table) else found.to_dict("records")
    return {
        one["asset_class"] if isinstance(one["asset_class"], str) else None: one["location"]
        for one in sorted(rows, key=lambda one: -one["rows"])[:4]
    }


def correct(store: qs.HybridStorageManager, mode: str, chosen: np.ndarray) -> None:
    """Give some rows other prices, or take them away."""
    few = ticks(np.arange(ROWS) + 0.5).take(pa.array(chosen))
    if mode == "delete":
        assert store.delete("t", where="price < 80 AND asset_class IN ('CRYPTO', 'FX')").deleted == len(chosen)
    else:
        result = store.write(few, "t", mode="upsert")
        assert (result.rows, result.deleted) == (len(chosen), len(chosen))


@pytest.mark.parametrize("mode", ["upsert", "delete"])
def test_classes_that_lose_rows_share_a_new_file_and_the_others_keep_theirs(tmp_path, mode):
    with qs.open(tmp_path / "store") as store:
        store.write(ticks(np.arange(ROWS, dtype=float)), "t", key=["ts", "symbol"])
        before = places(store)
        assert len(set(before.values())) == 1
        chosen = np.array([at for at in range(80) if at % 4 in (0, 2)])
        correct(store, mode, chosen)
        after = places(store)
        assert after["EQUITY"] == after[None] == before["EQUITY"]
        assert after["CRYPTO"] == after["FX"] != before["FX"]
        expected = np.arange(ROWS, dtype=float)
        expected[chosen] += 0.5
        if mode == "delete":
            expected = np.delete(expected, chosen)
        assert store.read("SELECT price FROM t ORDER BY ts", to="arrow").column(0).to_pylist() == expected.tolist()
        assert store.audit().ok


def test_a_class_that_loses_rows_alone_gets_a_file_of_its_own_and_one_that_loses_all_gets_none(tmp_path):
    with qs.open(tmp_path / "store") as store:
        store.write(ticks(np.arange(ROWS, dtype=float)), "t", key=["ts", "symbol"])
        before = places(store)
        store.delete("t", where="asset_class = 'FX' OR (asset_class = 'EQUITY' AND price < 10)")
        found = store.read("SELECT asset_class, count(*) AS n FROM t GROUP BY 1", to="arrow").to_pylist()
        assert {one["asset_class"]: one["n"] for one in found} == {"CRYPTO": 100, "EQUITY": 97, None: 100}
        after = {kind: place for kind, place in places(store).items() if kind != "FX"}
        assert after["CRYPTO"] == after[None] == before[None] != after["EQUITY"]
        assert store.audit().ok
