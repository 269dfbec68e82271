"""Other processes of a sequence: one that lives long and does what it is told, others that are killed at a step.

They are forked by a process that has imported everything and called nothing, so that each costs milliseconds.
"""

from __future__ import annotations

import ctypes
import importlib
import mmap
import os
import pickle
import signal
import struct
import subprocess
import sys
import traceback
import warnings
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
_IMPORTS = (
    "duckdb",
    "pandas",
    "polars",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "sqlalchemy.dialects.sqlite",
    "sqlglot.dialects.duckdb",
    "pyiceberg.table",
    "pyiceberg.catalog.sql",
    "model_operations",
    "quantstore.testing.generate",
)
_PACKAGES = ["catalog", "core", "corrections", "maintenance", "publish", "query", "rows", "stores", "tiering", "write"]


class SharedClock:
    """The time of day of all processes of a sequence, in a page of memory they share; it moves when told."""

    def __init__(self, path: Path, start_ns: int | None = None) -> None:
        if start_ns is not None:
            path.write_bytes(struct.pack("q", start_ns).ljust(mmap.PAGESIZE, b"\0"))
        with path.open("r+b") as file:
            self._cell = memoryview(mmap.mmap(file.fileno(), mmap.PAGESIZE)).cast("q")

    def now_ns(self) -> int:
        return self._cell[0]

    def advance(self, seconds: float) -> None:
        self._cell[0] += int(seconds * 10**9)


def open_store(root: Path, *, cache: str = "off") -> Any:
    """Open the store below a folder, by the folder's own clock."""
    from quantstore.catalog.catalog import Catalog
    from quantstore.manager import HybridStorageManager

    catalog = Catalog(root / "catalog.sqlite", create=True, clock=SharedClock(root.parent / "clock"))
    return HybridStorageManager(root / "hot", root / "warm", root / "cold", catalog, cache=cache)


class Second:
    """A process that has a store open and does one operation after the other."""

    def __init__(self, zygote: Zygote, root: Path, cache: str) -> None:
        path = str(root.parent / "second.socket")
        with Listener(path, "AF_UNIX") as listener:
            self.pid = zygote.start(("serve", path, str(root), cache))
            self._pipe: Connection = listener.accept()

    def run(self, operation: Any) -> Any:
        """Do an operation there and return its answer.

        Raises:
            AssertionError: Something else than an answer came.
        """
        self._pipe.send(operation)
        answer = self._pipe.recv()
        assert not isinstance(answer, str), answer
        return answer

    def close(self) -> None:
        self._pipe.send(None)
        self._pipe.close()


class Zygote:
    """Forks processes that have everything imported."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "PYTHONPATH": path}
        environment.pop("QUANTSTORE_FAILPOINT", None)
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(HERE / "model_children.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def start(self, job: tuple[Any, ...]) -> int:
        """Start a process and return its number."""
        return int(self._ask(("start", job)))

    def wait(self, pid: int) -> int:
        """Wait for a process; return its exit code, negative for the signal that killed it."""
        return int(self._ask(("wait", pid)))

    def run_killed(self, root: Path, operation: Any, step: str, count: int) -> Any:
        """Do an operation in a process that is killed at the n-th passing of a step; return its answer, None if killed.

        Raises:
            AssertionError: It ended in another way.
        """
        result = root.parent / "result.pickle"
        result.unlink(missing_ok=True)
        code = self.wait(self.start(("killed", str(root), operation, step, count, str(result))))
        if code == -signal.SIGKILL:
            return None
        assert result.exists(), f"{operation} ended with {code} at {step}"
        answer = pickle.loads(result.read_bytes())
        assert not isinstance(answer, str), answer
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, question: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(question, self._process.stdin)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)


def _serve() -> None:
    output, alive = os.fdopen(os.dup(1), "wb"), set()
    os.dup2(2, 1)
    while True:
        try:
            kind, what = pickle.load(sys.stdin.buffer)
        except EOFError:
            break
        if kind == "start":
            answer = _fork(what)
            alive.add(answer)
        else:
            _, status = os.waitpid(what, 0)
            alive.discard(what)
            answer = os.waitstatus_to_exitcode(status)
        pickle.dump(answer, output)
        output.flush()
    for pid in alive:
        os.kill(pid, signal.SIGKILL)


def _fork(job: tuple[Any, ...]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no child outlives the zygote
        warnings.simplefilter("ignore")
        {"serve": _obey, "killed": _be_killed}[job[0]](*job[1:])
    except BaseException:  # noqa: BLE001 - told on stderr
        traceback.print_exc()
    finally:
        os._exit(0)


def _obey(address: str, root: str, cache: str) -> None:
    from model_operations import answered

    with Client(address, "AF_UNIX") as pipe, open_store(Path(root), cache=cache) as store:
        while (operation := pipe.recv()) is not None:
            try:
                answer: Any = answered(operation.run, store)
            except BaseException:  # noqa: BLE001 - the parent wants to see it
                answer = traceback.format_exc()
            pipe.send(answer)


def _be_killed(root: str, operation: Any, step: str, count: int, result: str) -> None:
    from model_operations import answered

    from quantstore.core import failpoints

    left = count

    def hook(reached: str) -> None:
        nonlocal left
        if reached == step:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        with open_store(Path(root)) as store:
            failpoints.set_hook(hook)
            answer: Any = answered(operation.run, store)
            failpoints.set_hook(None)
    except BaseException:  # noqa: BLE001 - the parent wants to see it
        answer = traceback.format_exc()
    Path(result).write_bytes(pickle.dumps(answer))


def _import_everything() -> None:
    import pkgutil

    for name in _IMPORTS:
        importlib.import_module(name)
    for package in _PACKAGES:
        path = importlib.import_module(f"quantstore.{package}").__path__
        for module in pkgutil.iter_modules(path, f"quantstore.{package}."):
            importlib.import_module(module.name)


if __name__ == "__main__":
    sys.modules["model_children"] = sys.modules["__main__"]
    _import_everything()
    _serve()
