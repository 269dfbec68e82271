"""A short turn of many processes at work on shared tables; `eight.py` is the long one."""

from __future__ import annotations

from eight import run


def test_many_processes_at_once_lose_and_double_nothing(tmp_path):
    counts, errors = run(processes=4, seconds=5, seed=11, folder=str(tmp_path))
    assert not errors, "\n".join(errors)
    assert counts["append"] >= 4
    assert counts["(rows in the end)"] > 0
