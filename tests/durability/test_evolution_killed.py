"""A process killed while it gives a table other columns: either both rows and columns are there, or neither."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pyarrow as pa
import pytest

import quantstore as qs
from quantstore.core.failpoints import STEPS

WRITE = """
import sys
import pyarrow as pa, quantstore as qs
with qs.open(sys.argv[1]) as store:
    stamps = pa.array([1_767_623_400_000_000, 1_767_623_401_000_000], pa.timestamp("us", "UTC"))
    rows = pa.table({"ts": stamps, "size": pa.array([2**40, 7]), "venue": pa.array(["X", None])})
    print(store.write(rows, "t", "cold", mode=sys.argv[2], write_id="grow"))
"""


@pytest.mark.parametrize("mode", ["append", "upsert"])
@pytest.mark.parametrize("step", [step for step in STEPS if step.startswith("write.")])
def test_columns_come_with_their_rows_or_not_at_all(tmp_path, step, mode):
    root = str(tmp_path / "store")
    stamps = pa.array([1_767_623_400_000_000, 1_767_623_460_000_000], pa.timestamp("us", "UTC"))
    before = pa.table({"ts": stamps, "size": pa.array([1, 2], pa.int32())})
    with qs.open(root) as store:
        store.write(before, "t", key="ts")
    command = [sys.executable, "-c", WRITE, root, mode]
    killed = subprocess.run(command, env=environment(step), capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    sizes = [1, 2**40, 7, 2] if mode == "append" else [2**40, 7, 2]
    with qs.open(root) as store:
        found = store.read("t", to="arrow")
        if found.schema == before.schema:
            assert found.equals(before)
        else:
            assert step == "write.committed"
            assert found["size"].to_pylist() == sizes
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    with qs.open(root) as store:
        found = store.read("t", to="arrow")
        assert found["size"].to_pylist() == sizes
        assert found["venue"].to_pylist() == [{2**40: "X"}.get(size) for size in sizes]
        assert store.read("t", to="arrow", as_of=1).equals(before)
        store.sweep(grace=0)
        assert store.audit()


def environment(step):
    return os.environ | {"QUANTSTORE_FAILPOINT": f"{step}:1"}
