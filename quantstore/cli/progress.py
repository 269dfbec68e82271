"""A line on standard error that says how far a long operation has come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from quantstore.cli.output import one_line
from quantstore.core.events import Progress, listening
from quantstore.core.render import human_count

AFTER_SECONDS = 1.0
EVERY_SECONDS = 0.1


@contextmanager
def progress_line(stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Show what is announced inside the block, once it has lasted over a second and only on a terminal.

    Args:
        stream: Where to write; standard error by default.
        clock: Seconds that only grow.
    """
    target = stream or sys.stderr
    if not target.isatty():
        yield
        return
    line = _Line(target, clock)
    try:
        with listening(line.show):
            yield
    finally:
        line.clear()


class _Line:
    """One line of a terminal, written over and over."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._due = clock() + AFTER_SECONDS
        self._length = 0

    def show(self, event: Progress) -> None:
        now = self._clock()
        if now < self._due:
            return
        self._due = now + EVERY_SECONDS
        self._write(_text(event))

    def clear(self) -> None:
        if self._length:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()

    def _write(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(self._length))
        self._stream.flush()
        self._length = len(text)


def _text(event: Progress) -> str:
    what = one_line(f"{event.operation} {event.table}").strip()
    if event.total is None:
        return f"{what}: {human_count(event.done)} {event.unit}"
    share = 100 * event.done // event.total if event.total else 100
    return f"{what}: {human_count(event.done)} of {human_count(event.total)} {event.unit} ({share} %)"
