"""Stores and catalogs that fail on purpose: by exact script, or by chance with a seed.

`FaultyStore` goes around any store, `FaultyCatalog` is a catalog whose database fails at the driver, where a lost reply
would come from. Both ask a `Script` before each call.

```python
script = Script({("hot.write", 1): Fault("after")})  # the first write to hot happens, and its caller gets an error
store = quantstore.open(
    "./store",
    hot=FaultyStore(ArrowStore("./store/hot", "hot"), script),
    catalog=FaultyCatalog("./store/catalog.sqlite", script),
)
```
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from quantstore.catalog.catalog import Catalog
from quantstore.errors import CapacityError, UnavailableError
from quantstore.stores.base import Selection

if TYPE_CHECKING:
    import pyarrow as pa

    from quantstore.core.clock import Clock
    from quantstore.core.segment import Copy, Partition
    from quantstore.stores.base import Capabilities, Part, SegmentStore, Stored, TableLayout, Written

Kind = Literal["before", "after", "hang", "slow", "full", "short", "stale", "torn"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Every kind of fault.

- `before`: nothing happens, the caller gets an error.
- `after`: it happens, and the caller gets an error all the same (the ambiguous reply).
- `hang`: nothing happens until the script is released, or `seconds` are over; then as `before`.
- `slow`: it happens `seconds` later.
- `full`: the device is full; a store may have written some of several parts.
- `short`: a read lacks rows, a list lacks files.
- `stale`: a read finds the bytes of another file, a list is as it was at first.
- `torn`: a read finds the first half of the bytes.
"""
CATALOG_CALLS = ("catalog.read", "catalog.write", "catalog.commit")
"""What a `FaultyCatalog` asks its script about: the begin of a transaction that reads, of one that writes, its end."""
_ANSWERS: dict[str, tuple[Kind, ...]] = {
    "write": ("before", "after", "full"),
    "read": ("before", "short", "stale", "torn"),
    "verify": ("before", "stale", "torn"),
    "delete": ("before", "after"),
    "list": ("before", "short", "stale"),
    "close": (),
    "catalog.read": ("before",),
    "catalog.write": ("before", "full"),
    "catalog.commit": ("before", "after", "full"),
}
_Answer = TypeVar("_Answer")
_EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: What; see `KINDS`.
        seconds: How long at most a `hang`, how long a `slow` call takes.
    """

    kind: Kind
    seconds: float = 0.01


class Script:
    """Says which call of which operation gets which fault, and keeps a record.

    Operations are called after the store and the method, such as `hot.write`, `cold.read`, or one of `CATALOG_CALLS`.
    Safe to share between threads, stores and a catalog.

    Args:
        faults: By operation and number of the call, from 1 on.
        rate: Share of all other calls that fail by chance.
        kinds: What may happen by chance; what means nothing for an operation does not happen to it.
        seed: Makes chance repeatable; None for a new one, which `seed` tells.

    Attributes:
        seed: The seed used.
        calls: The operations asked about, in order.
        fired: Operation, number of the call, and kind of each fault that came.
    """

    def __init__(
        self,
        faults: Mapping[tuple[str, int], Fault] | None = None,
        *,
        rate: float = 0.0,
        kinds: Sequence[Kind] = ("before", "after", "full", "slow"),
        seed: int | None = None,
    ) -> None:
        self.seed = random.SystemRandom().randrange(2**32) if seed is None else seed
        self.calls: list[str] = []
        self.fired: list[tuple[str, int, Kind]] = []
        self._faults = dict(faults or {})
        self._rate, self._kinds = rate, tuple(kinds)
        self._random = random.Random(self.seed)  # noqa: S311 - repeatable, not secret
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._is_released = threading.Event()
        self._is_over = False

    def next(self, operation: str) -> Fault | None:
        """Count a call and return what is to go wrong with it."""
        with self._lock:
            self._counts[operation] += 1
            self.calls.append(operation)
            if self._is_over:
                return None
            number = self._counts[operation]
            fault = self._faults.get((operation, number)) or self._by_chance(operation)
            if fault is not None:
                self.fired.append((operation, number, fault.kind))
            return fault

    def stop(self) -> None:
        """Let nothing go wrong any more, and whatever hangs go on."""
        self._is_over = True
        self._is_released.set()

    def release(self) -> None:
        """Let whatever hangs, now or later, go on at once."""
        self._is_released.set()

    def wait(self, fault: Fault) -> None:
        """Wait as long as a fault says."""
        if fault.kind == "hang":
            self._is_released.wait(fault.seconds)
        elif fault.kind == "slow":
            time.sleep(fault.seconds)

    def _by_chance(self, operation: str) -> Fault | None:
        if self._random.random() >= self._rate:
            return None
        possible = [kind for kind in self._kinds if kind in {"slow", "hang"} or kind in kinds_of(operation)]
        return Fault(self._random.choice(possible)) if possible else None


def kinds_of(operation: str) -> tuple[Kind, ...]:
    """Return the kinds of faults that change what an operation does; `hang` and `slow` go with all."""
    return _ANSWERS[operation if operation in _ANSWERS else operation.rpartition(".")[2]]


class FaultyStore:
    """A store that does what another one does, except where its script says otherwise.

    Args:
        inner: The store that keeps the bytes; `stale` and `torn` reads need one of local files.
        script: What goes wrong.
    """

    def __init__(self, inner: SegmentStore, script: Script) -> None:
        self.inner = inner
        self.name = inner.name
        self._script = script
        self._listed: list[Stored] | None = None

    def __getattr__(self, name: str) -> Any:
        """Return what the inner store has beyond the protocol, such as `root`."""
        return getattr(self.inner, name)

    @property
    def capabilities(self) -> Capabilities:
        """What the inner store can do."""
        return self.inner.capabilities

    def write(self, layout: TableLayout, parts: Sequence[Part]) -> list[Written]:
        """Write parts; where the device is full, the first half of them remains under its final names."""

        def some() -> None:
            if len(parts) > 1:
                self.inner.write(layout, parts[: len(parts) // 2])

        return self._called("write", lambda: self.inner.write(layout, parts), when_full=some)

    def read(
        self, layout: TableLayout, copy: Copy, partition: Partition, selection: Selection = _EVERYTHING
    ) -> pa.Table:
        """Return rows of a copy."""
        fault = self._script.next(f"{self.name}.read")
        with self._damaged(copy, fault):
            table = self._applied("read", fault, lambda: self.inner.read(layout, copy, partition, selection))
        return table.slice(0, table.num_rows // 2) if fault is not None and fault.kind == "short" else table

    def verify(self, copy: Copy, *, deep: bool = False) -> str:
        """Check a copy and return its path."""
        fault = self._script.next(f"{self.name}.verify")
        with self._damaged(copy, fault):
            return self._applied("verify", fault, lambda: self.inner.verify(copy, deep=deep))

    def delete(self, location: str) -> None:
        """Delete a copy's bytes."""
        self._called("delete", lambda: self.inner.delete(location))

    def list(self) -> Iterator[Stored]:
        """Yield what is in the store."""
        fault = self._script.next(f"{self.name}.list")
        found = self._applied("list", fault, lambda: list(self.inner.list()))
        if self._listed is None:
            self._listed = found
        if fault is not None and fault.kind == "short":
            found = found[: len(found) // 2]
        elif fault is not None and fault.kind == "stale":
            found = self._listed
        return iter(found)

    def close(self) -> None:
        """Close the inner store."""
        self.inner.close()

    def _called(
        self, operation: str, act: Callable[[], _Answer], when_full: Callable[[], None] | None = None
    ) -> _Answer:
        fault = self._script.next(f"{self.name}.{operation}")
        if fault is not None and fault.kind == "full" and when_full is not None:
            when_full()
        return self._applied(operation, fault, act)

    def _applied(self, operation: str, fault: Fault | None, act: Callable[[], _Answer]) -> _Answer:
        if fault is None:
            return act()
        self._script.wait(fault)
        what = f"Store {self.name!r} did not answer to {operation} (a fault made on purpose)."
        if fault.kind == "full":
            raise CapacityError(f"Store {self.name!r} is full (a fault made on purpose).", store=self.name)
        if fault.kind in {"before", "hang"}:
            raise UnavailableError(what, store=self.name)
        answer = act()
        if fault.kind == "after":
            raise UnavailableError(what, store=self.name)
        return answer

    @contextmanager
    def _damaged(self, copy: Copy, fault: Fault | None) -> Iterator[None]:
        """Put other bytes in the place of a copy's file while the block runs."""
        if fault is None or fault.kind not in {"stale", "torn"}:
            yield
            return
        root = Path(self.inner.root)  # type: ignore[attr-defined]
        path = root / copy.location
        aside = path.with_name(f"aside.{path.name}")
        path.rename(aside)  # so that maps of it keep what they have
        try:
            others = [root / one.location for one in self.inner.list() if one.location != copy.location]
            if fault.kind == "stale" and others:
                shutil.copyfile(others[0], path)
            elif fault.kind == "torn":
                path.write_bytes(aside.read_bytes()[: aside.stat().st_size // 2])
            yield
        finally:
            aside.replace(path)


class FaultyCatalog(Catalog):
    """A catalog whose database fails as its script says; `CATALOG_CALLS` names what can.

    Args:
        path: The database file.
        script: What goes wrong, once the catalog is open.
        clock: Where the time of day comes from.
    """

    def __init__(self, path: str | Path, script: Script, *, clock: Clock | None = None) -> None:
        super().__init__(path, clock=clock)
        self._script = script
        engine = self._database._engine  # noqa: SLF001 - the seam of the driver
        event.listen(engine, "begin", self._begin, insert=True)
        event.listen(engine, "commit", self._commit)

    def _begin(self, connection: Connection) -> None:
        self._fail("catalog.write" if _is_write(connection) else "catalog.read", connection)

    def _commit(self, connection: Connection) -> None:
        if _is_write(connection):
            self._fail("catalog.commit", connection)

    def _fail(self, operation: str, connection: Connection) -> None:
        fault = self._script.next(operation)
        if fault is None:
            return
        self._script.wait(fault)
        if fault.kind == "after":
            driver: Any = connection.connection.dbapi_connection
            driver.execute("COMMIT")
        if fault.kind != "slow":
            sign = "database or disk is full" if fault.kind == "full" else "disk I/O error"
            raise OperationalError(operation, None, sqlite3.OperationalError(f"{sign} (a fault made on purpose)"))


def _is_write(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("quantstore_write"))
