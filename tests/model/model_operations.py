"""What can be done to a store, as values: done to a real store, in whatever process, and to the model alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from quantstore.errors import QuantStoreError
from quantstore.manager import HybridStorageManager
from quantstore.testing.model import Outcome, ReferenceStore
from quantstore.testing.modes import Change

TIERS = ("hot", "warm", "cold")


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation said: facts that both sides must agree on, or the class of its error."""

    facts: Any = None
    error: str | None = None
    message: str = ""

    def agrees(self, other: Answer) -> bool:
        return (self.facts, self.error) == (other.facts, other.error)


def answered(function: Any, *arguments: Any) -> Answer:
    """Call a function and return what it said; errors other than the store's own are passed on."""
    try:
        return Answer(function(*arguments))
    except QuantStoreError as error:
        return Answer(error=type(error).__name__.replace("OutpacedError", "ConflictError"), message=str(error))


@dataclass(frozen=True, slots=True)
class Write:
    """A write or delete of one table."""

    change: Change
    tier: str = "hot"
    write_id: str | None = None
    dry_run: bool = False

    versions = 1

    @property
    def steps(self) -> tuple[str, ...]:
        return ("write.",)

    def run(self, store: HybridStorageManager) -> Any:
        change = self.change
        common = {"write_id": self.write_id, "expected_version": change.expected_version, "dry_run": self.dry_run}
        where = None if change.where is None else change.where.sql
        if change.mode == "delete":
            result = store.delete(change.table, where, **common)
        else:
            options = {"mode": change.mode, "where": where, "key": change.key or None, "on_repeat": change.on_repeat}
            result = store.write(change.frame, change.table, self.tier, **options, **common)
        assert result.dry_run == self.dry_run
        return [facts_of(result, self.dry_run)]

    def apply(self, model: ReferenceStore) -> Any:
        if self.dry_run:
            return [facts_of(model.preview(self.change), True)]
        return [facts_of(outcome) for outcome in model.commit([self.change], self.write_id)]


@dataclass(frozen=True, slots=True)
class Transact:
    """Several changes in one commit."""

    changes: tuple[Change, ...]
    tiers: tuple[str, ...]
    write_id: str | None = None

    versions = 1

    @property
    def steps(self) -> tuple[str, ...]:
        return ("write.",)

    def run(self, store: HybridStorageManager) -> Any:
        with store.transaction(write_id=self.write_id) as tx:
            for change, tier in zip(self.changes, self.tiers, strict=True):
                where = None if change.where is None else change.where.sql
                if change.mode == "delete":
                    tx.delete(change.table, where)
                else:
                    options = {"mode": change.mode, "where": where, "key": change.key or None}
                    tx.write(change.frame, change.table, tier, on_repeat=change.on_repeat, **options)
        return [facts_of(result) for result in tx.results]

    def apply(self, model: ReferenceStore) -> Any:
        return [facts_of(outcome) for outcome in model.commit(self.changes, self.write_id)]


@dataclass(frozen=True, slots=True)
class StreamIn:
    """A stream, flushed after each frame; what was durable when a process died is the first so many frames."""

    table: str
    tier: str
    frames: tuple[Any, ...]

    @property
    def versions(self) -> int:
        return len(self.frames)

    @property
    def steps(self) -> tuple[str, ...]:
        return ("write.",)

    def run(self, store: HybridStorageManager) -> Any:
        with store.stream(self.table, self.tier, max_seconds=None) as stream:
            for frame in self.frames:
                stream.append(frame)
                stream.flush()
        return stream.durable_rows

    def apply(self, model: ReferenceStore) -> Any:
        for frame in self.frames:
            model.commit([Change(self.table, frame, on_repeat="append")])
        return sum(frame.num_rows for frame in self.frames)

    def first(self, number: int) -> StreamIn:
        """Return the same with the first frames only."""
        return replace(self, frames=self.frames[:number])


@dataclass(frozen=True, slots=True)
class Verb:
    """Any other verb, by name, with its arguments; see `_RUN` and `_APPLY`."""

    name: str
    arguments: tuple[Any, ...] = ()

    @property
    def versions(self) -> int:
        return int(self.name in {"create", "rename", "drop", "undrop", "restore"})

    @property
    def steps(self) -> tuple[str, ...]:
        return STEPS_OF.get(self.name, ())

    def run(self, store: HybridStorageManager) -> Any:
        return _RUN[self.name](store, *self.arguments)

    def apply(self, model: ReferenceStore) -> Any:
        apply = _APPLY.get(self.name)
        return None if apply is None else apply(model, *self.arguments)


Operation = Write | Transact | StreamIn | Verb

STEPS_OF = {
    "rename": ("history.",),
    "drop": ("history.",),
    "undrop": ("history.",),
    "restore": ("history.",),
    "migrate": ("move.",),
    "compact": ("compact.",),
    "expire": ("expire.",),
    "publish": ("publish.",),
    "pin": ("pin.",),
    "unpin": ("pin.",),
    "sweep": ("sweep.",),
    "maintain": ("compact.", "publish.", "sweep.", "pin."),
}
"""Beginnings of the names of the steps that an operation passes."""


def facts_of(result: Any, is_dry: bool = False) -> tuple[Any, ...]:
    """Return the facts of a result or outcome to be compared."""
    if is_dry:
        return result.rows, result.deleted
    return Outcome(result.version, result.rows, result.deleted, result.replayed).__getstate__()


def brief(operation: Operation) -> str:
    """Return an operation in one line, of frames only how many rows they have."""
    if isinstance(operation, Verb):
        return f"{operation.name}{operation.arguments}".replace("\n", ", ")
    if isinstance(operation, StreamIn):
        return f"stream({operation.table}, {operation.tier}, {[one.num_rows for one in operation.frames]} rows)"
    changes = operation.changes if isinstance(operation, Transact) else (operation.change,)
    told = " + ".join(
        f"{one.mode}({one.table}, {'' if one.frame is None else one.frame.num_rows} rows, "
        f"where={one.where and one.where.sql}, key={one.key}, {one.on_repeat}, expected={one.expected_version})"
        for one in changes
    )
    return f"{told} id={operation.write_id}{' dry run' if getattr(operation, 'dry_run', False) else ''}"


def _quiet(value: Any) -> None:
    """Say nothing of what a verb returned."""


def _maintain(store: HybridStorageManager) -> None:
    done = store.maintain(grace=0)
    assert done, done


def _migrate(store: HybridStorageManager, table: str, source: str, target: str, where: Any, before: Any) -> None:
    import pandas as pd

    limit = None if before is None else pd.Timestamp(before[0], tz="UTC" if before[1] else None)
    receipts = store.migrate(table, source, target, where=where, before=limit)
    rows = sum(one.rows for one in store.migrate(table, source, target, where=where, before=limit))
    assert rows == 0, f"{len(receipts)} segments were moved, and moving them again found {rows} rows"


def _compact(store: HybridStorageManager, table: str | None, tier: str | None) -> None:
    store.compact(table, tier=tier)
    assert not store.compact(table, tier=tier), "compacting again merged something"


def _pin(store: HybridStorageManager, table: str, tier: str, symbols: Any, until: Any) -> int:
    return store.pin(table, tier, symbols=symbols, until=until).id


def _unpin(store: HybridStorageManager, number: int) -> None:
    for pin in store.pins():
        if pin.id == number:
            pin.release()


def _release(store: HybridStorageManager, number: int) -> None:
    store.metadata_catalog.marks.release(number)


_RUN: dict[str, Any] = {
    "create": lambda store, name, columns, key: _quiet(store.create(name, columns, symbol="symbol", key=key)),
    "rename": lambda store, name, new: _quiet(store.table(name).rename(new)),
    "drop": lambda store, name: _quiet(store.table(name).drop()),
    "undrop": lambda store, name: _quiet(store.undrop(name)),
    "restore": lambda store, name, version: _quiet(store.table(name).restore(version)),
    "tag": lambda store, name, version: _quiet(store.tag(name, version)),
    "untag": lambda store, name: _quiet(store.untag(name)),
    "hold": lambda store, name, until: store.table(name).hold("because", until).hold_id,
    "release": _release,
    "pin": _pin,
    "unpin": _unpin,
    "expire": lambda store, before: _quiet(store.expire(before=before)),
    "migrate": _migrate,
    "compact": _compact,
    "sweep": lambda store: _quiet(store.sweep(grace=0)),
    "maintain": _maintain,
    "publish": lambda store, name: _quiet(store.publish(name)),
    "unpublish": lambda store, name: _quiet(store.unpublish(name)),
}


def _create(model: ReferenceStore, name: str, columns: Any, key: Any) -> None:
    types = None if columns is None else dict(zip(columns.names, columns.types, strict=True))
    model.create(name, types, key=tuple(key or ()))


_APPLY: dict[str, Any] = {
    "create": _create,
    "rename": ReferenceStore.rename,
    "drop": ReferenceStore.drop,
    "undrop": ReferenceStore.undrop,
    "tag": ReferenceStore.tag,
    "untag": ReferenceStore.untag,
    "release": ReferenceStore.release,
    "unpin": ReferenceStore.unpin,
    "expire": ReferenceStore.expire,
}
"""What changes the model as it is; restores, holds and pins need what the store said, see `model_life`."""
