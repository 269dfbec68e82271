"""What runs of the same statement leave to each other."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from quantstore.query.statement import KeptRun

if TYPE_CHECKING:
    from quantstore.query.statement import Statement

_REMEMBERED = 8
_ABANDONED: list[object] = []
_MANY_ROWS = 2_000_000
"""Beside the work on so many rows, handing tables to the engine costs nothing."""


class Repeats:
    """The last few statements that were run, each with a cursor of the engine that knows its tables.

    A cursor keeps maps of files alive, so all are let go of once segments have moved.
    """

    def __init__(self) -> None:
        self._runs: OrderedDict[int, tuple[Statement, KeptRun]] = OrderedDict()
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._generation = -1

    def of(self, statement: Statement) -> KeptRun | None:
        """Return what earlier runs of this very statement left; None where it is not worth keeping."""
        choices = (choice for scan in statement.plan.scans for choice in scan.choices)
        if sum(choice.placed.segment.stats.rows for choice in choices) > _MANY_ROWS:
            return None
        if any(source.frame is not None for source in statement.sources):
            return None
        if self._pid != os.getpid():
            self._leave_to_parent()
        with self._lock:
            if statement.plan.generation != self._generation:
                self._clear()
                self._generation = statement.plan.generation
            known = self._runs.setdefault(id(statement), (statement, KeptRun()))
            self._runs.move_to_end(id(statement))
            while len(self._runs) > _REMEMBERED:
                _close(self._runs.popitem(last=False)[1][1])
        return known[1]

    def _leave_to_parent(self) -> None:
        _ABANDONED.append(self._runs)  # their cursors would wait for threads that do not exist here
        self._runs, self._lock, self._pid = OrderedDict(), threading.Lock(), os.getpid()

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        for _, run in self._runs.values():
            _close(run)
        self._runs.clear()


def _close(run: KeptRun) -> None:
    while run.cursors:
        run.cursors.pop().close()
