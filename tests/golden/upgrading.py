"""Processes that upgrade a catalog, and are killed at every statement of it.

Run as a script it imports the catalog once and forks a child per job, so that a kill costs milliseconds: each line on
its standard input is the folder of a store and the number of the statement before which to die (0: none), each line of
its answer the child's exit code.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Self


class Upgrader:
    """The process that forks children which upgrade."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def upgrade(self, place: Path, kill_at: int = 0) -> int:
        """Open a store's catalog for writing; return the exit code, negative for the signal that killed it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(f"{place}\t{kill_at}", file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def form_on_disk(place: Path) -> int:
    """Return the catalog's form, past any code of quantstore."""
    with closing(sqlite3.connect(place / "catalog.sqlite")) as database:
        return int(database.execute("SELECT max(number) FROM catalog_upgrades").fetchone()[0])


def _watch(kill_at: int) -> None:
    """Kill this process right before the n-th statement of all; COMMIT counts as one, what follows it as another."""
    from sqlalchemy import Engine, event

    left = kill_at

    def reached(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", reached)
    event.listen(Engine, "commit", reached)
    event.listen(Engine, "checkin", reached)


def _upgrade(place: str, kill_at: int) -> None:
    from quantstore.catalog.catalog import Catalog

    if kill_at:
        _watch(kill_at)
    Catalog(Path(place) / "catalog.sqlite").close()


def _serve() -> None:
    import sqlalchemy.dialects.sqlite  # noqa: F401

    import quantstore.catalog.catalog  # noqa: F401

    for line in sys.stdin:
        place, kill_at = line.rstrip("\n").split("\t")
        pid = os.fork()
        if not pid:
            try:
                _upgrade(place, int(kill_at))
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve()
