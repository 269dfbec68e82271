"""What a store must hold by the word of its journal."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SLOTS = 40
"""Slots of the table that is kept by slot."""


def slots_of(write: int, count: int) -> list[int]:
    """Return the slots that an upsert fills: so many from one on, round and round."""
    return [(write * 7 + number) % SLOTS for number in range(count)]


@dataclass
class Ledger:
    """What a store must hold by the word of its journal."""

    state: dict[str, list[list[int]]] = field(default_factory=lambda: {"trades": [], "marks": []})
    versions: list[tuple[int, Any]] = field(default_factory=list)
    pending: dict[str, Any] | None = None
    landed: bool | None = None
    """Whether the pending write was found in the store after all; None before it was looked for."""
    lines: int = 0
    writes: int = 0
    fed: int = 0
    """Rows of a stream that were told to be durable."""
    feeding: int = 0
    """Rows of a stream that may be there."""
    marks: dict[str, dict[str, bool | None]] = field(default_factory=lambda: {"tag": {}, "create": {}})
    """Whether each tag and each table made is there; None where that is not known."""

    def read(self, journal: Path) -> None:
        """Take in what the journal has to say since last time."""
        lines = journal.read_text().splitlines()
        for event in map(json.loads, lines[self.lines :]):
            if "begin" in event:
                self.pending = event["begin"]
                self.landed = self.landed or None  # what was not there may be now
                self.writes = max(self.writes, event["begin"]["write"] + 1)
            elif "refused" in event:
                self.pending = self.landed = None
            elif {"fed", "feeding", "tag", "untag", "create"} & set(event):
                self._note(event)
            elif "expire" in event:
                self.versions = [one for one in self.versions if one[0] >= event["expire"]]
            else:
                self._acknowledge(event)
        self.lines = len(lines)

    def _acknowledge(self, event: dict[str, Any]) -> None:
        assert self.pending is not None
        assert self.pending["write"] == event["done"]
        # Whether a write that changes nothing had landed before it was made again, no state can tell.
        is_as_found = event["replayed"] == bool(self.landed) or not event["is_change"]
        assert is_as_found, "a write made again was added twice, or taken for another"
        if not self.landed and event["is_change"]:
            self._enter(self.pending, event["version"])
        self.pending = self.landed = None

    def _note(self, event: dict[str, Any]) -> None:
        self.fed = event.get("fed", self.fed)
        self.feeding = event.get("feeding", self.feeding)
        for kind, is_there in (("tag", True), ("untag", False), ("create", True)):
            if kind in event:
                marks = self.marks["create" if kind == "create" else "tag"]
                marks[event[kind]] = None if event["begun"] else is_there

    def acceptable(self) -> list[Any]:
        """Return the states the store may be in."""
        if self.pending is None or self.landed is not None:
            return [self.state]
        return [self.state, applied(self.state, self.pending)]

    def settle(self, found: dict[str, int]) -> None:
        """Enter what became of the write that was under way."""
        if self.pending is None or self.landed is not None:
            return
        self.landed = found["state"] == 1
        if self.landed:
            self._enter(self.pending, found["version"])

    def _enter(self, write: dict[str, Any], version: int) -> None:
        self.state = applied(self.state, write)
        self.versions.append((version, self.state))


def applied(state: Any, write: dict[str, Any]) -> Any:
    """Return `state` after a write, or after a change that says itself what it leads to."""
    if "outcome" in write:
        return deepcopy(write["outcome"])
    after = {name: list(rows) for name, rows in state.items()}
    table, first = write["table"], write["first"]
    if write["mode"] == "transaction":
        for name in ("trades", "marks"):
            after[name].append([write["write"], write["rows"]])
    if write["mode"] in {"upsert", "transaction"}:
        count = write["rows"] if write["mode"] == "upsert" else min(5, write["rows"])
        books = dict(after["books"]) | dict.fromkeys(slots_of(write["write"], count), write["write"])
        after["books"] = [[slot, books[slot]] for slot in sorted(books)]
        return after
    if write["mode"] == "overwrite":
        after[table] = []
    elif write["mode"] == "replace":
        after[table] = [one for one in after[table] if one[0] < first]
    elif write["mode"] == "delete":
        after[table] = [one for one in after[table] if one[0] != first]
    if write["rows"]:
        after[table].append([write["write"], write["rows"]])
    return after
