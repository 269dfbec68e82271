"""Progress of long operations: one line that is updated in place, shown after a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from html import escape
from typing import Any

from quantstore.core.events import Progress, listening
from quantstore.core.render import human_count, human_seconds

AFTER_SECONDS = 1.0
EVERY_SECONDS = 0.25


@dataclass(slots=True)
class _Running:
    """An operation as far as it has been announced."""

    begun: float
    latest: Progress
    shown: float | None = None
    handle: Any = None

    @property
    def is_done(self) -> bool:
        return self.latest.total is not None and self.latest.done >= self.latest.total


class ProgressLine:
    """Listens to what is announced while cells run and shows operations that take longer than a second.

    Args:
        is_notebook: Whether HTML can be updated in place; else the line of a terminal is rewritten, and where stderr is
            no terminal nothing is shown.
        clock: Seconds, increasing.
    """

    def __init__(self, *, is_notebook: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._is_notebook = is_notebook
        self._clock = clock
        self._running: dict[tuple[str, str], _Running] = {}
        self._listening: AbstractContextManager[None] | None = None

    def begin_cell(self, *_: object) -> None:
        """Listen, in the context that the cell runs in."""
        self._leave()
        self._listening = listening(self.hear)
        self._listening.__enter__()

    def end_cell(self, result: Any = None) -> None:
        """Stop listening and give every line still open its last words."""
        self._leave()
        has_failed = result is not None and not getattr(result, "success", True)
        for running in self._running.values():
            self._close(running, "stopped" if has_failed or running.latest.total is not None else "done")
        self._running.clear()

    def hear(self, event: Progress) -> None:
        """Take note of an event, and show it where it is time to."""
        now = self._clock()
        key = (event.operation, event.table)
        running = self._running.get(key)
        if running is not None and event.done < running.latest.done:
            self._close(running, "done")
            running = None
        if running is None:
            running = self._running[key] = _Running(now, event)
        running.latest = event
        if running.is_done:
            self._close(self._running.pop(key), "done")
        elif now - running.begun >= AFTER_SECONDS and now - (running.shown or 0.0) >= EVERY_SECONDS:
            self._show(running, now, "")

    def _close(self, running: _Running, state: str) -> None:
        if running.shown is None:
            return
        self._show(running, self._clock(), state)
        if not self._is_notebook and sys.stderr.isatty():
            sys.stderr.write("\n")

    def _show(self, running: _Running, now: float, state: str) -> None:
        running.shown = now
        text = describe(running.latest, now - running.begun, state)
        if self._is_notebook:
            _show_html(running, text)
        elif sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[2K{text}")
            sys.stderr.flush()

    def _leave(self) -> None:
        if self._listening is not None:
            # A cell that awaits ran in a context of its own, which is gone and its listeners with it.
            with suppress(ValueError):
                self._listening.__exit__(None, None, None)
            self._listening = None


def describe(event: Progress, seconds: float, state: str = "") -> str:
    """Return an event as a line: `migrate trades: 64 of 128 segments, 3.2 s`."""
    what = f"{event.operation} {event.table}".rstrip()
    total = "" if event.total is None else f" of {human_count(event.total)}"
    amount = f"{human_count(event.done)}{total} {event.unit}"
    return ", ".join(part for part in (f"{what}: {amount}", human_seconds(seconds), state) if part)


def _show_html(running: _Running, text: str) -> None:
    from IPython.display import display

    event = running.latest
    share = "" if event.total is None else f"<progress value='{event.done}' max='{event.total}'></progress> "
    bundle = {"text/plain": text, "text/html": f"<div style='font-size:85%'>{share}{escape(text)}</div>"}
    if running.handle is None:
        running.handle = display(bundle, raw=True, display_id=True)
    else:
        running.handle.update(bundle, raw=True)
