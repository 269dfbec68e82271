"""Answers of this process, the ones used last."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that is kept.

    Attributes:
        value: The answer.
        size_bytes: What it takes.
        since: When it was kept.
    """

    value: Any
    size_bytes: int
    since: float


class MemoryCache:
    """Values by key, bounded by bytes and age; the least used go first.

    Args:
        max_bytes: What all values together may take.
        max_age_seconds: How long one is kept, however often it is used.
        clock: Seconds that only grow.
    """

    def __init__(self, max_bytes: int, max_age_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_bytes = max_bytes
        self._max_age = max_age_seconds
        self._clock = clock
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def get(self, key: str) -> Any | None:
        """Return the value of a key, or None."""
        with self._guarded():
            kept = self._kept.get(key)
            if kept is None:
                return None
            if self._clock() - kept.since > self._max_age:
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return kept.value

    def put(self, key: str, value: Any, size_bytes: int) -> None:
        """Keep a value, if there is room for it at all; what was used longest ago makes way."""
        with self._guarded():
            self._drop(key)
            if size_bytes > self.max_bytes:
                return
            self._kept[key] = Kept(value, size_bytes, self._clock())
            self._size += size_bytes
            while self._size > self.max_bytes:
                self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """Let go of everything."""
        with self._guarded():
            self._kept.clear()
            self._size = 0

    def size(self) -> tuple[int, int]:
        """Return how many values there are and how many bytes they take."""
        with self._guarded():
            return len(self._kept), self._size

    def _drop(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        self._size -= kept.size_bytes if kept else 0

    def _guarded(self) -> threading.Lock:
        if self._pid != os.getpid():  # another thread of the parent may have held the lock
            self._pid, self._lock = os.getpid(), threading.Lock()
        return self._lock
