"""Start, watch and kill real processes.

A `Zygote` has imported everything once and forks a child per job, so that killing a process and opening the store
afresh in another costs milliseconds. Children tell which step they are in through a `StepWord`, a shared page that
outlives them.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import mmap
import os
import pkgutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Self

from quantstore.core.failpoints import STEPS

HERE = Path(__file__).parent
OUTSIDE = "(outside)"
WORDS = (OUTSIDE, *STEPS)
AFTER_CLEAN_UP = frozenset({OUTSIDE, "write.committed", "move.committed", "compact.committed", "sweep.done"}) | {
    "history.committed",
    "expire.committed",
    "pin.committed",
    "pin.released",
}
"""Steps at which nothing is begun and not yet finished."""
_PACKAGES = (
    "cache",
    "catalog",
    "core",
    "corrections",
    "maintenance",
    "publish",
    "query",
    "rows",
    "stores",
    "tiering",
    "verbs",
    "write",
)
_DRIVERS = (
    "duckdb",
    "pandas",
    "polars",
    "pyarrow.pandas_compat",
    "sqlalchemy.dialects.sqlite",
    "sqlglot.dialects.duckdb",
)


class StepWord:
    """How many steps a child has announced, and the last of them, in a shared page."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(mmap.PAGESIZE))
        with path.open("r+b") as file:
            # One store of eight aligned bytes: whoever looks, or is killed, sees all of it or nothing.
            self._cell = memoryview(mmap.mmap(file.fileno(), mmap.PAGESIZE)).cast("Q")
        self._count = 0

    def put(self, word: str) -> None:
        """Announce `word`."""
        self._count += 1
        self._cell[0] = self._count << 8 | WORDS.index(word)

    def get(self) -> tuple[int, str]:
        """Return the number of announcements and the last word."""
        value = self._cell[0]
        return value >> 8, WORDS[value & 0xFF]

    def begin(self, operation: int) -> None:
        """Announce that an operation of this number begins, 0 for none."""
        self._cell[1] = operation

    def operation(self) -> int:
        """Return the number of the operation that is under way."""
        return self._cell[1]

    def clear(self) -> None:
        """Set back to nothing announced."""
        self._cell[0] = self._cell[1] = 0


class Zygote:
    """A process that forks children for jobs: functions of the modules in this folder, called with keywords."""

    def __init__(self, folder: Path) -> None:
        self._results = folder
        self._started = 0
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "PYTHONPATH": python_path()}
        environment.pop("QUANTSTORE_FAILPOINT", None)
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(HERE / "harness.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=environment,
        )

    def start(self, function: str, environment: dict[str, str] | None = None, **arguments: Any) -> tuple[int, Path]:
        """Start a job and return its process id and where its result will be."""
        self._started += 1
        result = self._results / f"result-{self._process.pid}-{self._started}.json"
        job = {"function": function, "arguments": arguments, "environment": environment or {}, "result": str(result)}
        return int(self._ask({"start": job})), result

    def wait(self, pid: int) -> int:
        """Wait for a child to end; return its exit code, negative for the signal that killed it."""
        return int(self._ask({"wait": pid}))

    def kill(self, pid: int) -> None:
        """Kill a child that has not been waited for."""
        os.kill(pid, signal.SIGKILL)

    def run(self, function: str, **arguments: Any) -> Any:
        """Run a job to its end and return its result.

        Raises:
            AssertionError: It raised; the message holds the traceback.
        """
        pid, path = self.start(function, **arguments)
        code = self.wait(pid)
        assert path.exists(), f"{function} ended with {code} and no result"
        answer = json.loads(path.read_text())
        path.unlink()
        assert code == 0, f"{function} ended with {code}:\n{answer['error']}"
        return answer["result"]

    def close(self) -> None:
        """End the zygote and every child it still has."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the zygote has died"
        return json.loads(answer)


def run_script(code: str, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """Run Python code in a process of its own, from scratch, and return how it ended and what it printed."""
    whole = os.environ | {"PYTHONPATH": python_path()} | (environment or {})
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        capture_output=True,
        check=False,
        text=True,
        env=whole,
        timeout=240,
    )


def python_path() -> str:
    """Return the search path with which a new process finds this folder and the package."""
    return os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])


def _fork(job: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no child outlives the zygote
        os.close(0)
        os.dup2(2, 1)
        code = _perform(job)
    finally:
        os._exit(code)


def _perform(job: dict[str, Any]) -> int:
    os.environ.update(job["environment"])
    if job["environment"]:
        importlib.reload(sys.modules["quantstore.core.failpoints"])  # reads QUANTSTORE_FAILPOINT as a new process does
    module, name = job["function"].split(".")
    answer, code = {}, 0
    try:
        answer["result"] = getattr(importlib.import_module(module), name)(**job["arguments"])
    except BaseException:  # noqa: BLE001 - whatever it is, the parent wants to see it
        answer["error"] = traceback.format_exc()
        code = 1
    temporary = Path(job["result"] + ".part")
    temporary.write_text(json.dumps(answer))
    temporary.rename(job["result"])
    return code


def import_everything() -> None:
    """Import whatever a child may need; nothing is called, so that no library has threads that a fork would lose."""
    for name in _DRIVERS:
        importlib.import_module(name)
    for package in _PACKAGES:
        path = importlib.import_module(f"quantstore.{package}").__path__
        for module in pkgutil.iter_modules(path, f"quantstore.{package}."):
            importlib.import_module(module.name)
    for path in HERE.glob("*.py"):
        if path.stem not in {"harness", "conftest"} and not path.stem.startswith("test_"):
            importlib.import_module(path.stem)


def _serve() -> None:
    import_everything()
    alive: set[int] = set()
    for line in sys.stdin:
        question = json.loads(line)
        if "start" in question:
            pid = _fork(question["start"])
            alive.add(pid)
            answer = pid
        else:
            _, status = os.waitpid(question["wait"], 0)
            alive.discard(question["wait"])
            answer = os.waitstatus_to_exitcode(status)
        print(json.dumps(answer), flush=True)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)


def wait_until(condition: Any, seconds: float, pause: float = 0.0001) -> bool:
    """Poll until `condition()` or the time is over; return whether it came true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


if __name__ == "__main__":
    _serve()
