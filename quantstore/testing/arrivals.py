"""The order in which rows arrive: most at once, a few late."""

from __future__ import annotations

import numpy as np

from quantstore.testing.records import Rows, concatenated, taken


class ArrivalOrder:
    """Turns rows in event order into rows in arrival order, holding back only the late ones."""

    def __init__(self) -> None:
        self._pending: Rows | None = None

    def merge(self, rows: Rows, end_ns: int) -> Rows:
        """Return what arrives before `end_ns`, given the rows whose event time lies before it."""
        late = rows["arrival"] > rows["ts"]
        held = taken(rows, np.flatnonzero(late))
        if self._pending is not None:
            held = concatenated(self._pending, held)
        held = taken(held, np.lexsort((held["trade_id"], held["arrival"])))
        due = int(np.searchsorted(held["arrival"], end_ns))
        self._pending = {name: values[due:] for name, values in held.items()}
        on_time = np.flatnonzero(~late)
        places = np.searchsorted(rows["ts"][on_time], held["arrival"][:due], side="right")
        order = np.insert(on_time, places, len(late) + np.arange(due))
        return taken(concatenated(rows, {name: values[:due] for name, values in held.items()}), order)

    def flush(self) -> Rows | None:
        """Return the rows still on their way, in arrival order, or None."""
        left, self._pending = self._pending, None
        return left if left is not None and len(left["ts"]) else None
