"""What low layers announce and high layers listen to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long operation has come.

    Attributes:
        operation: `write`, `migrate`, `audit` or `sweep`.
        table: Table worked on; empty for store-wide work.
        done: Units finished.
        total: Units in all, or None where unknown (a stream).
        unit: `rows`, `segments` or `copies`.
    """

    operation: str
    table: str
    done: int
    total: int | None
    unit: str


Listener = Callable[[Progress], None]

_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("quantstore_listeners", default=())


def announce(event: Progress) -> None:
    """Tell every listener of the current context."""
    for listener in _listeners.get():
        listener(event)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call `listener` with each event announced inside the block."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)
