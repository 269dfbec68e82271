"""Memory: a table ten times the budget goes through every tier in a process that stays within the budget."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from budget import PHASES, ROW_BYTES
from harness import HERE, python_path
from kernels import Number

BUDGET = int(os.environ.get("QUANTSTORE_BUDGET_MB", "256")) * 2**20
TIMES = 10


def anonymous_bytes(pid: int) -> int:
    """Return the anonymous memory a process has in use; maps of files are not counted."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.timeout(900)
def test_a_table_ten_times_the_budget_is_written_moved_and_read_within_it(tmp_path, capsys):
    page = Number(tmp_path / "page")
    rows = TIMES * BUDGET // ROW_BYTES
    process = subprocess.Popen(
        [sys.executable, str(HERE / "budget.py"), str(tmp_path / "store"), str(rows), str(tmp_path / "page"), "64MB"],
        env=os.environ | {"PYTHONPATH": python_path()},
        stderr=subprocess.PIPE,
        text=True,
    )
    peaks = dict.fromkeys(PHASES, 0)
    baseline = 0
    while process.poll() is None:
        phase, used = page.get(), anonymous_bytes(process.pid)
        if phase == 0:
            baseline = max(baseline, used)
        elif phase < len(PHASES):
            peaks[PHASES[phase]] = max(peaks[PHASES[phase]], used - baseline)
        time.sleep(0.02)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    with capsys.disabled():
        print(f"\n{rows:,} rows, {TIMES * BUDGET / 2**20:.0f} MiB, budget {BUDGET / 2**20:.0f} MiB, ", end="")
        print(f"{baseline / 2**20:.0f} MiB before; above that:")
        for name, peak in peaks.items():
            print(f"  {name:14} {peak / 2**20:6.0f} MiB")
        print(errors)
    assert max(peaks.values()) <= BUDGET
