"""Runs many small runs of pytest: everything is imported once, and each run is a fork of that.

Reads jobs from its standard input, one a line: `{"name", "arguments", "environment", "output"}`; prints the name and
the exit code of each as it ends.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_WORKER = ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID")
_DRIVERS = ("duckdb", "pandas", "polars", "pyarrow.pandas_compat", "pyarrow.parquet", "pyarrow.dataset")
_DRIVERS += ("sqlalchemy.dialects.sqlite", "sqlglot.dialects.duckdb", "pandas.testing", "pytest")


def run_all(jobs: list[dict[str, Any]], folder: Path) -> dict[str, tuple[int, str]]:
    """Run jobs, two at a time; return exit code and report of each by its name."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    for name in ("QUANTSTORE_FAILPOINT", "QUANTSTORE_BROKEN", "PYTEST_CURRENT_TEST", "PYTEST_ADDOPTS", *_WORKER):
        environment.pop(name, None)
    lines = "".join(json.dumps({**one, "output": str(folder / f"{one['name']}.txt")}) + "\n" for one in jobs)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "runner.py")],
        input=lines,
        capture_output=True,
        text=True,
        env=environment,
        cwd=HERE.parents[1],
        check=True,
    )
    codes = dict(line.split("\t") for line in done.stdout.splitlines())
    return {one["name"]: (int(codes[one["name"]]), (folder / f"{one['name']}.txt").read_text()) for one in jobs}


def _import_everything() -> None:
    import quantstore

    for name in _DRIVERS:
        importlib.import_module(name)
    for package in pkgutil.iter_modules(quantstore.__path__, "quantstore."):
        if package.ispkg and package.name not in {"quantstore.notebook", "quantstore.testing"}:
            path = importlib.import_module(package.name).__path__
            for module in pkgutil.iter_modules(path, f"{package.name}."):
                importlib.import_module(module.name)
    importlib.import_module("defects").load()


def _start(job: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        with Path(job["output"]).open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.environ.update(job["environment"])
        import pytest

        code = int(pytest.main(job["arguments"]))
    except BaseException:  # noqa: BLE001 - reported to whoever reads the output
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    _import_everything()
    gc.freeze()  # what is there already is neither looked at nor copied by the children
    running: dict[int, str] = {}

    def wait() -> None:
        pid, status = os.wait()
        print(running.pop(pid), os.waitstatus_to_exitcode(status), sep="\t", flush=True)

    for line in sys.stdin.readlines():
        if len(running) >= 2:
            wait()
        job = json.loads(line)
        running[_start(job)] = job["name"]
    while running:
        wait()


if __name__ == "__main__":
    _serve()
