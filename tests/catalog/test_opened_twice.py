"""One process opens a store twice, and another one comes and goes."""

from __future__ import annotations

import subprocess
import sys

import polars as pl

import quantstore as qs

OTHER = "import sys, quantstore as qs\nwith qs.open(sys.argv[1]) as store: print(store.read('t', to='arrow').num_rows)"


def rows_seen_by_another_process(root):
    done = subprocess.run([sys.executable, "-c", OTHER, str(root)], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_what_is_written_after_a_second_opening_is_seen_by_other_processes(tmp_path):
    """Opening a database's file outside of SQLite lets go of the locks that keep its log from being deleted."""
    frame = pl.DataFrame({"ts": pl.Series([0]).cast(pl.Datetime("ns")), "x": [1]})
    with qs.open(tmp_path) as first, qs.open(tmp_path) as second:
        first.write(frame, "t")
        assert rows_seen_by_another_process(tmp_path) == 1
        assert (tmp_path / "catalog.sqlite-wal").exists()
        first.write(frame, "t", on_repeat="append")
        second.write(frame, "t", on_repeat="append")
        assert rows_seen_by_another_process(tmp_path) == 3
