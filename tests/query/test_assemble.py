"""Order of bare reads where segments overlap, meet at an instant, or hold one instant only."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantstore.manager import HybridStorageManager

TIERS = ("hot", "warm", "cold")
SPANS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4), st.sampled_from(TIERS)), min_size=1, max_size=7)


def rows(first: int, length: int, write: int) -> pa.Table:
    """Return rows at each second of a span, several to a second."""
    seconds = np.repeat(np.arange(first, first + length + 1), 2)
    return pa.table(
        {
            "ts": pa.array(seconds * 1_000_000_000, pa.timestamp("ns")),
            "symbol": pa.array(np.array(["B", "A"])[np.arange(len(seconds)) % 2]),
            "id": write * 1_000 + np.arange(len(seconds)),
        }
    )


@settings(max_examples=40, deadline=None)
@given(spans=SPANS, start=st.none() | st.integers(0, 16), to=st.sampled_from(["arrow", "reader"]))
def test_rows_come_by_time_and_then_by_arrival_however_segments_meet(tmp_path_factory, spans, start, to):
    folder = tmp_path_factory.mktemp("store")
    with HybridStorageManager(*(folder / tier for tier in TIERS), folder / "catalog.sqlite") as store:
        written = [rows(first, length, write) for write, (first, length, _) in enumerate(spans)]
        for table, (_, _, tier) in zip(written, spans, strict=True):
            store.write(table, "ticks", tier, symbol="symbol")
        begin = None if start is None else np.datetime64(start, "s")
        got = store.read("ticks", start=None if begin is None else str(begin), to=to)
        got = got.read_all() if to == "reader" else got
    everything = pa.concat_tables(written)
    order = np.lexsort((everything["id"].to_numpy(), everything["ts"].to_numpy()))
    expected = everything.take(pa.array(order))
    if begin is not None:
        expected = expected.filter(pa.array(expected["ts"].to_numpy() >= begin))
    assert got["id"].to_pylist() == expected["id"].to_pylist()
    assert got.equals(expected)


@pytest.mark.parametrize("tier", TIERS)
def test_segments_that_meet_at_an_instant_are_given_one_by_one(tier, tmp_path):
    """Else a day of stamps in whole seconds, written in pieces, would be held in memory at once."""
    with HybridStorageManager(*(tmp_path / one for one in TIERS), tmp_path / "catalog.sqlite") as store:
        for write in range(5):
            store.write(rows(write * 3, 3, write), "ticks", tier, symbol="symbol")
        batches = [batch.num_rows for batch in store.read("ticks", to="reader")]
    assert sum(batches) == 40
    assert max(batches) <= 10
