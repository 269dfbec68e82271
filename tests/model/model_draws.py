"""Draws what happens next in the life of a store, from what its model holds now."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pyarrow as pa
from model_checks import schema_of
from model_operations import TIERS, Answer, Operation, StreamIn, Transact, Verb, Write

from quantstore.core.segment import ASSET_CLASS, TRADE_DATE
from quantstore.testing import generate
from quantstore.testing.model import ReferenceStore
from quantstore.testing.modes import DAY_NS, Change, TableState, brought_rows

NAMES = ("trades", "quotes", "notes", "deals")
KEY = ("ts", "symbol")
MANY_ROWS = 40
WEIGHTS = {
    "append": 16,
    "replace": 6,
    "replace_where": 4,
    "upsert": 8,
    "delete": 6,
    "overwrite": 2,
    "error": 1,
    "empty": 1,
    "dry_run": 4,
    "retry": 3,
    "other_content": 1,
    "repeat": 3,
    "misfit": 2,
    "expected": 2,
    "transaction": 6,
    "stream": 4,
    "create": 2,
    "rename": 3,
    "drop": 2,
    "undrop": 3,
    "restore": 4,
    "tag": 3,
    "untag": 1,
    "hold": 2,
    "release": 1,
    "pin": 4,
    "unpin": 2,
    "expire": 4,
    "migrate": 14,
    "compact": 7,
    "sweep": 4,
    "maintain": 2,
    "publish": 4,
    "unpublish": 1,
    "open_at": 3,
    "close_at": 2,
    "jump": 5,
    "reopen": 2,
}
"""How often each kind of step is drawn."""


class Draws:
    """Draws operations, and remembers what was written so that it can be written again.

    Args:
        model: What the store holds.
        chance: Draws.
        publishes: Whether tables may be published.
    """

    def __init__(self, model: ReferenceStore, chance: Random, *, publishes: bool) -> None:
        self.model, self.chance = model, chance
        kinds = {kind: weight for kind, weight in WEIGHTS.items() if publishes or "publish" not in kind}
        self._kinds, self._weights = list(kinds), list(kinds.values())
        self._writes: list[Write | Transact] = []
        self._ids = 0
        self.published: set[int] = set()

    def kind(self) -> str:
        """Draw a kind of step."""
        if not self.model.names():
            return self.chance.choice(("append", "stream", "create", "undrop", "error"))
        return self.chance.choices(self._kinds, self._weights)[0]

    def possible(self, kind: str) -> str:
        """Return a kind of step if it is possible now, else one that is."""
        return kind if kind in self._kinds and self.model.names() else self.kind()

    def operation(self, kind: str) -> Operation:
        """Draw an operation of a kind."""
        return getattr(self, f"_{kind}")()

    def note(self, operation: Operation, answer: Answer) -> None:
        """Remember what was done."""
        if isinstance(operation, Write | Transact) and not getattr(operation, "dry_run", False):
            changes = operation.changes if isinstance(operation, Transact) else (operation.change,)
            if all(one.frame is None or one.frame.schema.field("id").type == pa.int64() for one in changes):
                self._writes.append(operation)
        if isinstance(operation, Verb) and answer.error is None and "publish" in operation.name:
            number = self.model.table(operation.arguments[0]).table_id
            (self.published.add if operation.name == "publish" else self.published.discard)(number)

    def allowed(self, operation: Verb, answer: Answer) -> Answer:
        """Return what a verb that changes no content may say: nothing, or that there is nothing to do it to."""
        name = operation.arguments[0]
        if name is not None and name not in self.model.names():
            return Answer(error="NotFoundError")
        if operation.name == "unpublish" and self.model.table(name).table_id not in self.published:
            return Answer(error="NotFoundError")
        return answer if answer.error == "UnsupportedError" and "publish" in operation.name else Answer()

    def _name(self) -> str:
        known = self.model.names()
        return self.chance.choice(NAMES) if not known or self.chance.random() < 0.12 else self.chance.choice(known)

    def _state(self) -> TableState:
        return self.model.table(self.chance.choice(self.model.names()))

    def _columns(self, name: str) -> pa.Schema:
        """Draw the columns of a frame that a table of this name can take."""
        number = self.model.at().names.get(name)
        state = None if number is None else self.model.at().tables[number]
        if state is None or state.columns is None:
            return generate.schema(self.chance)
        known = schema_of(state)
        return generate.grown(self.chance, known) if self.chance.random() < 0.12 else known

    def _frame(self, name: str, *, most: int = 6, **options: Any) -> pa.Table:
        return generate.frame(self.chance, self._columns(name), self.chance.randint(1, most), **options)

    def _id(self) -> str | None:
        self._ids += 1
        return f"write-{self._ids}" if self.chance.random() < 0.4 else None

    def _tier(self) -> str:
        return self.chance.choice(TIERS)

    def _write(self, change: Change, **options: Any) -> Write:
        return Write(change, self._tier(), self._id(), **options)

    def _append(self) -> Write:
        name = self._name()
        number = self.model.at().names.get(name)
        if number is not None and len(self.model.at().tables[number].rows) > MANY_ROWS:
            return self._overwrite()
        return self._write(Change(name, self._frame(name), on_repeat=self.chance.choice(("skip", "append", "raise"))))

    def _change(self, name: str, mode: str) -> Change:
        """Draw a correction."""
        if mode == "upsert":
            number = self.model.at().names.get(name)
            key = () if number is None else self.model.at().tables[number].key
            return Change(name, self._frame(name, key=KEY), mode, key=() if key else KEY)
        frame = self._frame(name)
        if self.chance.random() < 0.3:
            frame = self._old_rows(name) or frame
        return Change(name, frame, mode)

    def _old_rows(self, name: str) -> pa.Table | None:
        """Return a frame that was written to a table of this name before, which may be there still."""
        earlier = [one.change for one in self._writes if isinstance(one, Write) and one.change.table == name]
        frames = [change.frame for change in earlier if change.frame is not None and change.frame.num_rows]
        return self.chance.choice(frames) if frames else None

    def _replace(self) -> Write:
        return self._write(self._change(self._name(), "replace"))

    def _upsert(self) -> Write:
        return self._write(self._change(self._name(), "upsert"))

    def _replace_where(self) -> Write:
        """Draw a replace with a condition, mostly of rows that meet it."""
        state = self._state()
        frame = self._frame(state.name)
        where = generate.condition(self.chance, schema_of(state))
        if self.chance.random() < 0.9:
            inside = [where.says(facts) is True for facts in brought_rows(frame, state)]
            frame = frame.filter(pa.array(inside, pa.bool_()))
        return self._write(Change(state.name, frame, "replace", where))

    def _delete(self) -> Write:
        state = self._state()
        return self._write(Change(state.name, mode="delete", where=generate.condition(self.chance, schema_of(state))))

    def _overwrite(self) -> Write:
        name = self._state().name
        return self._write(Change(name, self._frame(name), "overwrite"))

    def _error(self) -> Write:
        name = self._name()
        return self._write(Change(name, self._frame(name), "error"))

    def _empty(self) -> Write:
        state = self._state()
        mode = self.chance.choice(("append", "replace", "upsert", "overwrite"))
        key = KEY if mode == "upsert" and not state.key else ()
        return self._write(Change(state.name, schema_of(state).empty_table(), mode, key=key))

    def _dry_run(self) -> Write:
        kind = self.chance.choice(("append", "replace", "upsert", "replace_where", "delete", "overwrite"))
        return replace(getattr(self, f"_{kind}")(), dry_run=True, write_id=None)

    def _retry(self) -> Operation:
        """Draw a write that was made before under its id, or at least tried."""
        named = [one for one in self._writes if one.write_id is not None and self._knows_columns(one)]
        return self.chance.choice(named) if named else self._append()

    def _knows_columns(self, write: Write | Transact) -> bool:
        """Whether the columns that a write's conditions ask for are there, whatever table has the name by now."""
        changes = write.changes if isinstance(write, Transact) else (write.change,)
        there = self.model.at()
        tables = {one.table: there.tables.get(there.names.get(one.table, 0)) for one in changes}
        hidden = {TRADE_DATE, ASSET_CLASS}
        return all(
            one.where is None
            or (state := tables[one.table]) is None
            or one.where.columns <= hidden | set(state.columns or ())
            for one in changes
        )

    def _other_content(self) -> Operation:
        """Draw a write under an id that was used for other rows."""
        named = [
            one
            for one in self._writes
            if isinstance(one, Write) and one.write_id and one.change.mode == "append" and one.change.frame.num_rows > 1
        ]
        if not named:
            return self._append()
        one = self.chance.choice(named)
        return replace(one, change=replace(one.change, frame=one.change.frame.slice(1)))

    def _repeat(self) -> Operation:
        """Draw an append of rows that were written before, whatever the columns are by now."""
        name = self._state().name
        frame = self._old_rows(name)
        if frame is None or self.chance.random() < 0.1:
            return self._append()
        lacking = [field for field in schema_of(self.model.table(name)) if field.name not in frame.column_names]
        for field in lacking:
            frame = frame.append_column(field, pa.nulls(frame.num_rows, field.type))
        return self._write(Change(name, frame, on_repeat=self.chance.choice(("skip", "skip", "raise"))))

    def _misfit(self) -> Write:
        state = self._state()
        columns = generate.misfit(self.chance, schema_of(state))
        frame = generate.frame(self.chance, columns, 2)
        return self._write(Change(state.name, frame, self.chance.choice(("append", "replace", "overwrite"))))

    def _expected(self) -> Write:
        state = self._state()
        version = self.chance.choice((state.changed_version, self.chance.randint(0, self.model.version)))
        change = Change(state.name, self._frame(state.name), on_repeat="append", expected_version=version)
        return Write(change, self._tier())

    def _transaction(self) -> Transact:
        """Draw a transaction over one to three tables, each with one change or several that go together."""
        changes: list[Change] = []
        for name in dict.fromkeys(self._name() for _ in range(self.chance.randint(1, 3))):
            is_there = name in self.model.names()
            kind = self.chance.choice(("append", "appends", "replace", "upsert", "overwrite", "delete", "both"))
            if kind in {"delete", "both"} and is_there:
                where = generate.condition(self.chance, schema_of(self.model.table(name)))
                changes.append(Change(name, mode="delete", where=where))
            if kind in {"replace", "upsert", "overwrite"}:
                changes.append(self._change(name, kind))
            elif kind != "delete" or not is_there:
                frame = self._frame(name)
                changes.append(Change(name, frame, on_repeat="append"))
                if kind == "appends":
                    changes.append(Change(name, frame.slice(0, 2), on_repeat="append"))
        return Transact(tuple(changes), tuple(self._tier() for _ in changes), self._id())

    def _stream(self) -> StreamIn:
        name = self._name()
        columns = self._columns(name)
        rows = [self.chance.randint(1, 3) for _ in range(self.chance.randint(1, 3))]
        frames = tuple(generate.frame(self.chance, columns, count) for count in rows)
        return StreamIn(name, self._tier(), frames)

    def _create(self) -> Verb:
        key = self.chance.choice((None, KEY))
        return Verb("create", (self.chance.choice(NAMES), generate.schema(self.chance), key))

    def _rename(self) -> Verb:
        return Verb("rename", (self._name(), self.chance.choice(NAMES)))

    def _drop(self) -> Verb:
        return Verb("drop", (self._name(),))

    def _undrop(self) -> Verb:
        return Verb("undrop", (self.chance.choice(NAMES),))

    def _restore(self) -> Verb:
        return Verb("restore", (self._name(), self.chance.randint(0, self.model.version)))

    def _tag(self) -> Verb:
        name = f"tag {self.chance.choice('abcde')}"
        return Verb("tag", (name, self.chance.choice((None, self.chance.randint(0, self.model.version)))))

    def _untag(self) -> Verb:
        return Verb("untag", (f"tag {self.chance.choice('abcde')}",))

    def _hold(self) -> Verb:
        return Verb("hold", (self._name(), self.chance.choice((None, 1800, 86_400))))

    def _release(self) -> Verb:
        return Verb("release", (self.chance.choice([0, *self.model.holds]),))

    def _pin(self) -> Verb:
        symbols = self.chance.choice((None, ("A",), ("A", "B")))
        return Verb("pin", (self._name(), self._tier(), symbols, self.chance.choice((None, 1800))))

    def _unpin(self) -> Verb:
        return Verb("unpin", (self.chance.choice([0, *self.model.pins]),))

    def _expire(self) -> Verb:
        return Verb("expire", (self.chance.randint(self.model.oldest, self.model.version),))

    def _migrate(self) -> Verb:
        state = self._state()
        source, target = self.chance.choice((*TIERS, "any")), self._tier()
        where = before = None
        kind = self.chance.random()
        if kind < 0.25:
            where = generate.condition(self.chance, schema_of(state)).sql
        elif kind < 0.5:
            stamp = generate.FIRST_DAY_NS + self.chance.choice(generate.DAYS) * DAY_NS + 10**6
            before = (stamp, schema_of(state).field("ts").type.tz is not None)
        return Verb("migrate", (state.name, source, target, where, before))

    def _compact(self) -> Verb:
        return Verb("compact", (self.chance.choice((None, self._name())), self.chance.choice((None, None, *TIERS))))

    def _sweep(self) -> Verb:
        return Verb("sweep")

    def _maintain(self) -> Verb:
        return Verb("maintain")

    def _publish(self) -> Verb:
        return Verb("publish", (self._name(),))

    def _unpublish(self) -> Verb:
        return Verb("unpublish", (self._name(),))
