"""A streaming process killed at any moment: what it was told is durable is there, and nothing is there twice."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import pytest
from checks import check_files, open_attempts
from harness import wait_until
from kernels import Number
from streaming import check_stream

from quantstore.core.failpoints import STEPS

KILLS = 12
CRASHES = [step for step in STEPS if step.startswith(("write.", "compact."))]


def test_killed_at_random_moments_no_durable_row_is_lost_and_none_is_doubled(zygote, tmp_path):
    root, page = str(tmp_path / "store"), tmp_path / "mark"
    mark, chance = Number(page), random.Random(7)
    rows = 0
    for kill in range(KILLS):
        mark.put(rows)
        pid, result = zygote.start("streaming.stream_on", root=root, mark=str(page), first=rows, seed=kill)
        wanted = rows + chance.randint(0, 400)
        assert wait_until(lambda wanted=wanted, result=result: mark.get() > wanted or result.exists(), 60)
        time.sleep(chance.uniform(0, 0.01))
        zygote.kill(pid)
        assert zygote.wait(pid) == -signal.SIGKILL, result.read_text()
        rows = check_stream(root, mark.get())
    assert rows > 500
    check_files(root)
    assert open_attempts(root) == 0


@pytest.mark.parametrize("step", CRASHES)
def test_killed_at_this_step_no_durable_row_is_lost_and_the_stream_goes_on(step, zygote, tmp_path):
    root, page = str(tmp_path / "store"), tmp_path / "mark"
    mark = Number(page)
    times = 3 if step.startswith("compact.") else 17
    pid, result = zygote.start(
        "streaming.stream_on",
        {"QUANTSTORE_FAILPOINT": f"{step}:{times}"},
        root=root,
        mark=str(page),
        first=0,
        seed=1,
    )
    assert zygote.wait(pid) == -signal.SIGKILL, result.read_text()
    rows = check_stream(root, mark.get())
    pid, result = zygote.start("streaming.stream_on", root=root, mark=str(page), first=rows, seed=2, appends=20)
    assert zygote.wait(pid) == 0, result.read_text()
    appended = json.loads(Path(result).read_text())["result"]
    assert check_stream(root, rows + appended) == rows + appended
    check_files(root)
