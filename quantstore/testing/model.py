"""A store as plain Python: what every verb means, with neither files nor a database, to compare a real store with.

`ReferenceStore` keeps every version whole. What a verb does to the rows of a table is in `quantstore.testing.modes`;
here is what versions, names, tags, holds, readers and expiry mean. Verbs that move rows about change nothing, so that
there is nothing to model: `migrate`, `compact`, `sweep`, `publish`, `maintain` without an age, pins of living tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from quantstore.core.segment import ASSET_CLASS, TRADE_DATE
from quantstore.errors import AccessDeniedError, ConflictError, InvalidInputError, NotFoundError
from quantstore.testing.modes import Change, Effect, Row, TableState, brought_rows, content_of, effect


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a write to one table; the facts of a `WriteResult`.

    Attributes:
        version: Version that holds the rows.
        rows: Rows added.
        deleted: Rows removed.
        replayed: Whether nothing was changed because all of it had been done before.
    """

    version: int
    rows: int
    deleted: int
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A version: when it was made, which tables there are, dropped ones included, and which names they have."""

    version: int
    time_ns: int
    names: Mapping[str, int]
    tables: Mapping[int, TableState]


@dataclass(frozen=True, slots=True)
class _Done:
    """A write that was made: its version, mode, id and content, what it did, and whether all its rows were added."""

    version: int
    operation: str
    write_id: str | None
    content: Any
    columns: tuple[str, ...]
    outcome: Outcome
    is_whole: bool


@dataclass(slots=True)
class ReferenceStore:
    """A store's content: every version of every table, and what keeps old ones.

    Attributes:
        now_ns: What time it is; set it as the clock of the real store is set.
        oldest: The version from which on all are kept.
        tags: Versions by tag.
        readers: Versions that open readers keep, each as often as there are readers.
        holds: By number: table, oldest version kept, and when it ends or None.
        pins: By number: table, and when it ends or None.
    """

    now_ns: int = 0
    oldest: int = 0
    tags: dict[str, int] = field(default_factory=dict)
    readers: Counter[int] = field(default_factory=Counter)
    holds: dict[int, tuple[int, int, int | None]] = field(default_factory=dict)
    pins: dict[int, tuple[int, int | None]] = field(default_factory=dict)
    _snapshots: dict[int, Snapshot] = field(default_factory=lambda: {0: Snapshot(0, 0, {}, {})})
    _done: dict[int, list[_Done]] = field(default_factory=dict)
    _dropped: list[int] = field(default_factory=list)
    _dead: set[int] = field(default_factory=set)

    def copy(self) -> ReferenceStore:
        """Return a store that goes its own way from here."""
        return replace(
            self,
            tags=dict(self.tags),
            readers=Counter(self.readers),
            holds=dict(self.holds),
            pins=dict(self.pins),
            _snapshots=dict(self._snapshots),
            _done={number: list(done) for number, done in self._done.items()},
            _dropped=list(self._dropped),
            _dead=set(self._dead),
        )

    @property
    def version(self) -> int:
        """The newest version."""
        return len(self._snapshots) - 1

    def at(self, version: int | None = None) -> Snapshot:
        """Return a version as it was made, expired or not; default the newest."""
        return self._snapshots[self.version if version is None else version]

    def version_at(self, instant_ns: int) -> int:
        """Return the newest version made at or before an instant."""
        return max(one.version for one in self._snapshots.values() if one.version == 0 or one.time_ns <= instant_ns)

    def names(self, version: int | None = None) -> list[str]:
        """Return the names of the tables there are, sorted."""
        return sorted(self.at(version).names)

    def table(self, name: str, version: int | None = None) -> TableState:
        """Return a table.

        Raises:
            NotFoundError: There is none of the name, or the version has expired.
        """
        snapshot = self.at(version)
        number = snapshot.names.get(name)
        if version is not None and not self.is_kept(version, number):
            raise NotFoundError(f"Version {version} has expired.")
        if number is None:
            raise NotFoundError(f"No table {name!r}.", table=name)
        return snapshot.tables[number]

    def is_kept(self, version: int, table_id: int | None = None) -> bool:
        """Whether a version can be read, of all tables or at least of one."""
        if version >= self.oldest or version in self.tags.values() or self.readers[version] > 0:
            return True
        return any(held == table_id and oldest <= version for held, oldest, _ in self._holds_now())

    def kept_versions(self) -> list[int]:
        """Return the versions of which all tables can be read."""
        return [version for version in self._snapshots if self.is_kept(version)]

    def commit(self, changes: Sequence[Change], write_id: str | None = None) -> list[Outcome]:
        """Make changes of one or several tables in one version, all of them or none.

        Args:
            changes: In order; those of one table follow the rules of transactions.
            write_id: Name of the whole.

        Raises:
            QuantStoreError: One of them is refused; nothing is changed.
        """
        groups: dict[str, list[Change]] = {}
        for change in changes:
            groups.setdefault(change.table, []).append(change)
        version, now = self.version + 1, self.at()
        names, tables = dict(now.names), dict(now.tables)
        planned: list[tuple[TableState, _Done | None, Outcome]] = []
        idle: list[tuple[int, _Done]] = []
        for name, group in groups.items():
            number = names.get(name)
            if number is None and group[0].mode == "delete":
                raise NotFoundError(f"No table {name!r}.", table=name)
            state = TableState(len(tables) + 1, name) if number is None else tables[number]
            made = self._planned(state, group, version, write_id, is_new=number is None)
            planned.append(made)
            if made[1] is None and write_id is not None and number is not None:
                idle.append((number, self._idle(state, group, write_id, made[2])))
            if made[1] is not None:
                tables[state.table_id], names[name] = made[0], state.table_id
        if any(done is not None for _, done, _ in planned):
            self._add(names, tables)
            for state, done, _ in planned:
                if done is not None:
                    self._done.setdefault(state.table_id, []).append(done)
        for table_id, one in idle:
            if not any(known.write_id == write_id for known in self._done.get(table_id, ())):
                self._done.setdefault(table_id, []).append(one)
        return [outcome for _, _, outcome in planned]

    def preview(self, change: Change) -> Outcome:
        """Return what a dry run of a change says: the rows it would add and remove, repeats not looked for."""
        state = self.at().tables.get(self.at().names.get(change.table, 0)) or TableState(0, change.table)
        if change.mode == "error" and state.is_written:
            raise ConflictError("The table exists.", table=change.table)
        if change.mode == "delete" and not state.table_id:
            raise NotFoundError(f"No table {change.table!r}.", table=change.table)
        _refuse_meaningless(state, change)
        made = effect(state, change, self.version + 1)
        return Outcome(self.version, len(made.added), made.removed)

    def create(self, name: str, columns: Mapping[str, pa.DataType] | None = None, **form: Any) -> None:
        """Make an empty table.

        Args:
            name: Its name.
            columns: Its columns, or None.
            form: `time`, `symbol` and `key` of its state.

        Raises:
            InvalidInputError: The name is taken.
        """
        now = self.at()
        if name in now.names:
            raise InvalidInputError(f"Table {name!r} exists already.", table=name)
        number, version = len(now.tables) + 1, self.version + 1
        state = TableState(number, name, columns, changed_version=version, **form)
        self._add({**now.names, name: number}, {**now.tables, number: state})

    def rename(self, name: str, new: str) -> None:
        """Give a table another name; older versions keep the old one.

        Raises:
            NotFoundError: There is none of the name.
            InvalidInputError: The name is taken.
        """
        now, state = self.at(), self.table(name)
        if name == new:
            return
        if new in now.names:
            raise InvalidInputError(f"There is a table {new!r}.", table=new)
        names = {other: number for other, number in now.names.items() if other != name}
        self._add({**names, new: state.table_id}, self._named(state, new))

    def drop(self, name: str) -> None:
        """Take a table away; older versions keep it.

        Raises:
            NotFoundError: There is none of the name.
            AccessDeniedError: A hold keeps it.
        """
        now, state = self.at(), self.table(name)
        if any(held == state.table_id for held, _, _ in self._holds_now()):
            raise AccessDeniedError(f"Table {name!r} is held.", table=name)
        self._add({other: number for other, number in now.names.items() if other != name}, self._named(state, name))
        self._dropped.append(state.table_id)

    def undrop(self, name: str) -> None:
        """Bring back the table dropped last under a name.

        Raises:
            NotFoundError: None was, or nothing keeps it any more.
            InvalidInputError: Another table has the name.
        """
        now = self.at()
        number = next((one for one in reversed(self._dropped) if now.tables[one].name == name), None)
        if number is None:
            raise NotFoundError(f"No table {name!r} was dropped.", table=name)
        if name in now.names:
            raise InvalidInputError(f"There is a table {name!r}.", table=name)
        if number in self._dead or not self._is_reachable(number):
            raise NotFoundError(f"Table {name!r} was dropped, and all its versions have expired.", table=name)
        self._dropped.remove(number)
        self._add({**now.names, name: number}, self._named(now.tables[number], name))

    def restore(self, name: str, version: int, *, made: bool = True) -> None:
        """Make a version with the rows and columns a table had at an old one.

        Args:
            name: The table.
            version: What to go back to.
            made: Whether the store made a version; it need not where rows and columns are the same already.

        Raises:
            NotFoundError: The version has expired, or the table was not there yet.
            AssertionError: No version was made although something differs.
        """
        now, state = self.at(), self.table(name)
        old = self.at(version).tables.get(state.table_id)
        if old is None or not self.is_kept(version, state.table_id):
            raise NotFoundError(f"Table {name!r} cannot be read at version {version}.", table=name)
        columns = state.columns if old.columns is None else old.columns
        if not made:
            places = [row.place for row in state.rows], [row.place for row in old.rows]
            assert sorted(places[0]) == sorted(places[1]), f"{name!r} differs from version {version}"  # noqa: S101
            assert columns == state.columns, f"{name!r} has other columns at version {version}"  # noqa: S101
            return
        back = replace(state, rows=old.rows, columns=columns, changed_version=self.version + 1)
        self._add(now.names, {**now.tables, state.table_id: back})

    def tag(self, name: str, version: int | None = None) -> None:
        """Name a version.

        Raises:
            NotFoundError: It has expired.
            ConflictError: The name is that of another version.
        """
        number = self.version if version is None else version
        if self.tags.get(name, number) != number:
            raise ConflictError(f"Tag {name!r} names another version.", tag=name)
        if name not in self.tags and not self.is_kept(number):
            raise NotFoundError(f"Version {number} has expired.")
        self.tags[name] = number

    def untag(self, name: str) -> None:
        """Take a tag away.

        Raises:
            NotFoundError: There is none.
        """
        if self.tags.pop(name, None) is None:
            raise NotFoundError(f"No tag {name!r}.", tag=name)

    def hold(self, number: int, name: str, until_ns: int | None = None) -> None:
        """Keep every version of a table that is kept now, and all that follow, under a number.

        Raises:
            NotFoundError: There is no such table.
        """
        table_id = self.table(name).table_id
        oldest = min([self.oldest, *(oldest for held, oldest, _ in self._holds_now() if held == table_id)])
        self.holds[number] = table_id, oldest, until_ns

    def release(self, number: int) -> None:
        """End a hold."""
        self.holds.pop(number, None)

    def pin(self, number: int, name: str, until_ns: int | None = None) -> None:
        """Pin a table; of what pins do only that a dropped table stays is content."""
        self.pins[number] = self.table(name).table_id, until_ns

    def unpin(self, number: int) -> None:
        """Release a pin."""
        self.pins.pop(number, None)

    def expire(self, before: int) -> None:
        """Give up the versions before one that nothing keeps. Holds and pins whose time is over end for good."""
        self.holds = {number: one for number, one in self.holds.items() if self._is_on(one[2])}
        self.pins = {number: one for number, one in self.pins.items() if self._is_on(one[1])}
        self.oldest = max(self.oldest, min(before, self.version))
        self._dead |= {number for number in self._dropped if not self._is_reachable(number)}

    def _add(self, names: Mapping[str, int], tables: Mapping[int, TableState]) -> None:
        time_ns = max(self.now_ns, self.at().time_ns + 1)
        version = self.version + 1
        self._snapshots[version] = Snapshot(version, time_ns, names, tables)

    def _named(self, state: TableState, name: str) -> dict[int, TableState]:
        """Return all tables, with one that the next version names, or takes the name of."""
        changed = replace(state, name=name, changed_version=self.version + 1)
        return {**self.at().tables, state.table_id: changed}

    def _planned(
        self, state: TableState, group: Sequence[Change], version: int, write_id: str | None, *, is_new: bool
    ) -> tuple[TableState, _Done | None, Outcome]:
        """Return a table after changes, what to note of them, and what to say; without a note nothing changes."""
        operation = "+".join(dict.fromkeys(change.mode for change in group))
        known = [one for one in self._done.get(state.table_id, ()) if write_id and one.write_id == write_id]
        if known:
            return self._replayed(state, group, operation, known[0])
        after, effects = state, list[Effect]()
        for change in group:
            if change.mode == "error" and state.is_written:
                raise ConflictError(f"Table {state.name!r} exists.", table=state.name)
            _refuse_meaningless(after, change)
            first = sum(len(one.added) for one in effects)
            effects.append(effect(after, change, version, first))
            after = effects[-1].state
        if len(group) == 1 and (again := self._repeated(state, group[0])) is not None:
            return state, None, again
        expected = next((one.expected_version for one in group if one.expected_version is not None), None)
        if not is_new and expected is not None and expected != state.changed_version:
            raise ConflictError("The table was changed since.", table=state.name)
        if len(group) == 1 and effects[0].is_same:
            return state, None, Outcome(state.changed_version, 0, 0, replayed=True)
        rows, removed = sum(len(one.added) for one in effects), sum(one.removed for one in effects)
        if state.columns is not None and not (rows or removed or group[0].mode == "overwrite"):
            return state, None, Outcome(state.changed_version, 0, 0)
        outcome = Outcome(version, rows, removed)
        content = effects[0].content if len(effects) == 1 else tuple(one.content for one in effects)
        is_whole = len(effects) == 1 and effects[0].is_whole
        done = _Done(version, operation, write_id, content, tuple(after.columns or ()), outcome, is_whole)
        return replace(after, changed_version=version, is_written=True), done, outcome

    def _replayed(
        self, state: TableState, group: Sequence[Change], operation: str, known: _Done
    ) -> tuple[TableState, None, Outcome]:
        """Return what a write that was made before did then.

        Raises:
            ConflictError: That one was another.
        """
        contents = tuple(_content(change, state, known.columns) for change in group)
        if operation != known.operation or (contents[0] if len(group) == 1 else contents) != known.content:
            raise ConflictError("The write id was used with other content.", table=state.name)
        return state, None, replace(known.outcome, replayed=True)

    def _idle(self, state: TableState, group: Sequence[Change], write_id: str, said: Outcome) -> _Done:
        """Return what to note of a named write that changed nothing, so that it changes nothing when sent again."""
        columns = tuple(state.columns or ())
        contents = tuple(_content(change, state, columns) for change in group)
        content = contents[0] if len(group) == 1 else contents
        operation = "+".join(dict.fromkeys(change.mode for change in group))
        outcome = Outcome(state.changed_version, 0, 0, replayed=said.replayed)
        return _Done(state.changed_version, operation, write_id, content, columns, outcome, is_whole=False)

    def _repeated(self, state: TableState, change: Change) -> Outcome | None:
        """Return what an earlier write did of which all rows are there still, and which brought the same rows.

        Raises:
            ConflictError: There is one, and repeats are to be refused.
        """
        if change.mode != "append" or change.on_repeat == "append" or change.frame is None or not change.frame.num_rows:
            return None
        brought = brought_rows(change.frame, state)
        for done in reversed(self._done.get(state.table_id, [])):
            others = [name for name in change.frame.column_names if name not in done.columns]
            there = sum(row.version == done.version for row in state.rows)
            is_live = done.is_whole and done.outcome.rows and there == done.outcome.rows
            if not is_live or any(change.frame.column(name).null_count < len(brought) for name in others):
                continue
            if set(done.columns) <= set(change.frame.column_names) and done.content == content_of(
                brought, done.columns
            ):
                if change.on_repeat == "raise":
                    raise ConflictError("These rows are in the table already.", table=state.name)
                return replace(done.outcome, replayed=True)
        return None

    def _is_reachable(self, table_id: int) -> bool:
        """Whether a dropped table has a name at a kept version, or a hold or pin keeps it."""
        holding = {held for held, _, _ in self._holds_now()}
        pinning = {held for held, until in self.pins.values() if self._is_on(until)}
        if table_id in holding | pinning:
            return True
        return any(table_id in self._snapshots[version].names.values() for version in self.kept_versions())

    def _holds_now(self) -> Iterable[tuple[int, int, int | None]]:
        return [one for one in self.holds.values() if self._is_on(one[2])]

    def _is_on(self, until_ns: int | None) -> bool:
        return until_ns is None or until_ns > self.now_ns


def _content(change: Change, state: TableState, columns: Iterable[str]) -> Any:
    """Return what tells a change from others of its kind: its rows, or its condition."""
    if change.frame is None:
        return f"where {change.where.sql}" if change.where is not None else ""
    return content_of(brought_rows(change.frame, state), columns)


def rows_between(old: TableState | None, new: TableState | None) -> tuple[list[Row], list[Row]]:
    """Return the rows that came and those that went between two versions of a table, by what identifies a row."""
    before = {} if old is None else {row.place: row for row in old.rows}
    after = {} if new is None else {row.place: row for row in new.rows}
    came = [row for place, row in after.items() if place not in before]
    return came, [row for place, row in before.items() if place not in after]


def _refuse_meaningless(state: TableState, change: Change) -> None:
    """Refuse a condition on columns that a table has not.

    Raises:
        InvalidInputError: It has none yet.
        NotFoundError: It has others.
    """
    if change.where is None:
        return
    if state.columns is None:
        raise InvalidInputError(f"Table {state.name!r} has no rows yet.", table=state.name)
    if unknown := change.where.columns - set(state.columns) - {TRADE_DATE, ASSET_CLASS}:
        raise NotFoundError(f"Table {state.name!r} has no column {min(unknown)!r}.", table=state.name)
