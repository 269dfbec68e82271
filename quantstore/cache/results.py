"""The result cache: what is worth keeping, where, and how often it was of use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantstore.cache.disk import DiskCache
from quantstore.cache.ipc import frozen, thawed
from quantstore.cache.memory import MemoryCache
from quantstore.core.render import counted, human_bytes

if TYPE_CHECKING:
    import pyarrow as pa

DAY_SECONDS = 86_400.0
_MOST_BYTES = 256 * 2**20
_FALLBACK_MEMORY = 4 * 2**30
_DISK_FACTOR = 4
_SMALL_BYTES = 2**20
_LARGEST_SHARE = 8
_WORTH_BYTES_PER_SECOND = 200 * 2**20
"""Copying an answer runs several times as fast: what was computed faster than this is computed again."""
_FACTS_BYTES = 1024


def automatic_bytes() -> int:
    """Return the default bound of the layer in memory: 256 MiB, or a twentieth of the memory where that is less."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        memory = _FALLBACK_MEMORY
    return min(_MOST_BYTES, memory // 20)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was found.

    Attributes:
        table: The rows; its buffers cannot be written to.
        facts: What was kept beside it in this process; None where it came from disk.
        layer: `memory` or `disk`.
    """

    table: pa.Table
    facts: Any
    layer: str


@dataclass(frozen=True, slots=True)
class CacheStats:
    """How much is kept, and of what use it was to this process; prints as one line.

    Attributes:
        memory_hits: Reads answered from memory.
        disk_hits: Reads answered from disk.
        misses: Reads that had to be run, and whose answers could have been kept.
        entries: Answers in memory.
        memory_bytes: What they take.
        files: Answers on disk, of all processes.
        disk_bytes: What they take.
    """

    memory_hits: int
    disk_hits: int
    misses: int
    entries: int = 0
    memory_bytes: int = 0
    files: int = 0
    disk_bytes: int = 0

    def __repr__(self) -> str:
        """Return one line."""
        return (
            f"{counted(self.entries, 'answer')} in memory ({human_bytes(self.memory_bytes)}), "
            f"{self.files:,} on disk ({human_bytes(self.disk_bytes)}); {counted(self.memory_hits, 'hit')} in memory, "
            f"{self.disk_hits:,} on disk, {self.misses:,} missed"
        )


class ResultCache:
    """Answers by the digest of all they depend on.

    An answer is never out of date: what it depends on is in its key. Small answers are kept in memory always,
    larger ones where running the query took longer than copying its answer; on disk those that took a while.

    Args:
        max_bytes: Bound of the layer in memory; 0 keeps nothing anywhere.
        folder: Place of the layer on disk, or None for none.
        is_read_only: Whether nothing may be written to disk.
        disk_after_seconds: How long a query must have run for its answer to be kept on disk.
    """

    def __init__(
        self,
        max_bytes: int,
        folder: Path | None = None,
        *,
        is_read_only: bool = False,
        disk_after_seconds: float = 0.01,
    ) -> None:
        self.is_on = max_bytes > 0
        self.disk_after_seconds = disk_after_seconds
        self._memory = MemoryCache(max_bytes, DAY_SECONDS)
        self._disk: DiskCache | None = None
        if folder is not None and self.is_on:
            self._disk = DiskCache(folder, _DISK_FACTOR * max_bytes, 7 * DAY_SECONDS, is_read_only=is_read_only)
        self._counts = {"memory_hits": 0, "disk_hits": 0, "misses": 0}

    def find(self, key: str) -> Answer | None:
        """Return the answer of a key, or None."""
        kept = self._memory.get(key)
        if kept is not None:
            self._counts["memory_hits"] += 1
            table, facts = kept
            return Answer(table, facts, "memory")
        found = self._from_disk(key)
        if found is None:
            self._counts["misses"] += 1
            return None
        self._counts["disk_hits"] += 1
        self._memory.put(key, (found, None), found.nbytes + _FACTS_BYTES)
        return Answer(found, None, "disk")

    def keep(self, key: str, table: pa.Table, facts: Any, facts_bytes: int, seconds: float) -> None:
        """Keep an answer where it is worth it.

        Args:
            key: What it depends on.
            table: The answer; what is kept shares no memory with it.
            facts: What else to hand out to this process; must never be changed.
            facts_bytes: About what these take.
            seconds: How long it took to run.
        """
        size = table.nbytes
        if size > self._memory.max_bytes // _LARGEST_SHARE or size > max(
            _SMALL_BYTES, seconds * _WORTH_BYTES_PER_SECOND
        ):
            return
        content = frozen(table)
        if content is None:
            return
        self._memory.put(key, (thawed(content), facts), len(content) + facts_bytes + _FACTS_BYTES)
        if self._disk is not None and seconds >= self.disk_after_seconds:
            self._disk.put(key, content)

    def clear(self) -> None:
        """Let go of all answers, also of those that other processes have kept on disk."""
        self._memory.clear()
        if self._disk is not None:
            self._disk.clear()

    def close(self) -> None:
        """Let go of the answers in memory."""
        self._memory.clear()

    def stats(self) -> CacheStats:
        """Return how much is kept, and of what use it was to this process."""
        entries, memory_bytes = self._memory.size()
        files, disk_bytes = (0, 0) if self._disk is None else self._disk.size()
        return CacheStats(
            **self._counts, entries=entries, memory_bytes=memory_bytes, files=files, disk_bytes=disk_bytes
        )

    def __repr__(self) -> str:
        """Say what it holds, or that it is off."""
        return f"result cache: {self.stats()!r}" if self.is_on else "result cache: off"

    def _from_disk(self, key: str) -> pa.Table | None:
        content = self._disk.get(key) if self._disk is not None else None
        if content is None:
            return None
        try:
            return thawed(content)
        except (OSError, ValueError):  # written by a program that is none of ours; Arrow's errors are of these kinds
            return None
