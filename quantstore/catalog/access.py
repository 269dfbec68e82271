"""How often and how lately segments are read."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any

from sqlalchemy import select

from quantstore.catalog import schema
from quantstore.catalog.database import Database
from quantstore.catalog.records import Heat
from quantstore.core.clock import Clock
from quantstore.errors import QuantStoreError

HALF_LIFE_SECONDS = 7 * 24 * 3600
FLUSH_SECONDS = 30
_a = schema.access.c


class Access:
    """Counts reads in memory and writes the counts down now and then; losing a few is harmless.

    Heat is a count of reads in which each read weighs half as much every seven days.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: Counter[int] = Counter()
        self._last_flush_ns = clock.now_ns()

    def record(self, segment_ids: Iterable[int]) -> None:
        """Count one read of each segment."""
        with self._lock:
            self._pending.update(segment_ids)
            is_due = self._clock.now_ns() - self._last_flush_ns > FLUSH_SECONDS * 10**9
        if is_due:
            self.flush()

    def flush(self) -> None:
        """Write the counts down; a store that cannot be written keeps them in memory."""
        with self._lock:
            pending, self._pending = self._pending, Counter()
            now = self._last_flush_ns = self._clock.now_ns()
        if not pending or self._database.read_only:
            return
        try:
            self._write(pending, now)
        except QuantStoreError:
            with self._lock:
                self._pending.update(pending)

    def heats(self) -> dict[int, Heat]:
        """Return reads, last read and present heat by segment id, what is still in memory left out."""
        now = self._clock.now_ns()
        with self._database.read() as connection:
            return {
                row.segment_id: Heat(row.reads, row.last_read_ns, row.heat * _decay(now - row.last_read_ns))
                for row in connection.execute(select(schema.access))
            }

    def _write(self, pending: Counter[int], now: int) -> None:
        with self._database.write() as connection:
            ids = list(pending)
            known: dict[int, Any] = {}
            for start in range(0, len(ids), 500):
                some = _a.segment_id.in_(ids[start : start + 500])
                known |= {row.segment_id: row for row in connection.execute(select(schema.access).where(some))}
                connection.execute(schema.access.delete().where(some))
            rows = []
            for segment_id, reads in pending.items():
                old = known.get(segment_id)
                heat = reads + (old.heat * _decay(now - old.last_read_ns) if old else 0.0)
                total = reads + (old.reads if old else 0)
                rows.append({"segment_id": segment_id, "reads": total, "last_read_ns": now, "heat": heat})
            connection.execute(schema.access.insert(), rows)


def _decay(elapsed_ns: int) -> float:
    return math.exp2(-max(elapsed_ns, 0) / (HALF_LIFE_SECONDS * 1e9))
