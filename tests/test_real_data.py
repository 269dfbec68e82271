"""Real ticks, scattered over tiers at random, give the vendors' own bars."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pandas as pd
import pyarrow.feather as feather
import pyarrow.parquet as pq

import quantstore as qs

TIERS = ("hot", "warm", "cold")
EURUSD_BARS = """
    SELECT date_trunc('minute', ts) AS ts,
           arg_min(bid, _seq) AS bid_open, max(bid) AS bid_high, min(bid) AS bid_low, arg_max(bid, _seq) AS bid_close,
           arg_min(ask, _seq) AS ask_open, max(ask) AS ask_high, min(ask) AS ask_low, arg_max(ask, _seq) AS ask_close
    FROM eurusd GROUP BY ALL ORDER BY ALL
"""
IN_A_FRESH_PROCESS = """
import json, sys
import quantstore as qs
store = qs.open(sys.argv[1], create=False)
frame = store.read(sys.argv[2])
frame["ts"] = frame["ts"].astype("datetime64[ns, UTC]").astype("int64")
print(json.dumps(frame.to_dict("list")))
"""


def fresh_read(path, sql):
    """Return a query's answer as columns, asked by a process that knows only the folder."""
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, str(path), sql], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def scatter(store, table, name, batches, rng):
    """Write rows in arrival order in `batches` random pieces into random tiers, with random moves in between."""
    cuts = sorted(rng.sample(range(1, len(table)), batches - 1))
    for start, end in zip([0, *cuts], [*cuts, len(table)], strict=True):
        store.write(table.slice(start, end - start), name, rng.choice(TIERS))
        if rng.random() < 0.4:
            source, destination = rng.sample(TIERS, 2)
            stamps = table["ts"]
            before = stamps[rng.randrange(len(table))].as_py() if rng.random() < 0.5 else None
            store.migrate(name, source, destination, before=before)
        if rng.random() < 0.2:
            store.sweep(grace=0)


def test_eurusd_ticks_give_the_vendors_6730_minute_bars(tmp_path, real_data):
    seed = random.randrange(10**6)
    print("seed", seed)
    table = pq.read_table(real_data / "eurusd_oanda_tick.parquet")
    with qs.open(tmp_path / "s") as store:
        scatter(store, table, "eurusd", 25, random.Random(seed))
        assert store.audit().ok
    found = fresh_read(tmp_path / "s", EURUSD_BARS)
    vendor = pq.read_table(real_data / "eurusd_oanda_minute.parquet").to_pandas().sort_values("ts")
    assert len(found["ts"]) == len(vendor) == 6730
    assert found["ts"] == vendor["ts"].astype("datetime64[ns, UTC]").astype("int64").tolist()
    mismatches = {
        name: sum(a != b for a, b in zip(found[name], vendor[name].tolist(), strict=True))
        for name in found
        if name != "ts"
    }
    assert set(mismatches.values()) == {0}, mismatches


def test_xrp_trades_give_the_vendors_one_and_five_minute_bars(tmp_path, real_data):
    seed = random.randrange(10**6)
    print("seed", seed)
    raw = pq.read_table(real_data / "xrp_eth_trades.parquet").to_pandas()
    raw.insert(0, "ts", pd.to_datetime(raw.pop("timestamp"), unit="ms", utc=True).astype("datetime64[ns, UTC]"))
    table = __import__("pyarrow").Table.from_pandas(raw, preserve_index=False)
    with qs.open(tmp_path / "s") as store:
        scatter(store, table, "xrp", 25, random.Random(seed))
    for minutes in (1, 5):
        sql = f"""
            SELECT time_bucket(INTERVAL {minutes} MINUTE, ts) AS ts, arg_min(price, _seq) AS open, max(price) AS high,
                   min(price) AS low, arg_max(price, _seq) AS close, sum(amount) AS volume
            FROM xrp GROUP BY 1 ORDER BY 1
        """
        found = fresh_read(tmp_path / "s", sql)
        vendor = feather.read_table(real_data / f"xrp_eth_{minutes}m.feather").to_pandas()
        assert found["ts"] == vendor["date"].astype("datetime64[ns, UTC]").astype("int64").tolist()
        for name in ("open", "high", "low", "close"):
            assert found[name] == vendor[name].tolist(), name
        worst = max(abs(a - b) / max(abs(b), 1e-300) for a, b in zip(found["volume"], vendor["volume"], strict=True))
        assert worst < 1e-9, worst
