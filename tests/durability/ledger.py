"""What a store must hold by the word of its journal."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


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

    def read(self, journal: Path) -> None:
        """Take in what the journal has to say since last time."""
        lines = journal.read_text().splitlines()
        for event in map(json.loads, lines[self.lines :]):
            if "begin" in event:
                self.pending = event["begin"]
                self.landed = self.landed or None  # what was not there may be now
                self.writes = max(self.writes, event["begin"]["write"] + 1)
            elif "expire" in event:
                self.versions = [one for one in self.versions if one[0] >= event["expire"]]
            else:
                self._acknowledge(event)
        self.lines = len(lines)

    def _acknowledge(self, event: dict[str, Any]) -> None:
        assert self.pending is not None
        assert self.pending["write"] == event["done"]
        assert event["replayed"] == bool(self.landed), "a write made again was added twice, or taken for another"
        if not self.landed and event["is_change"]:
            self._enter(self.pending, event["version"])
        self.pending = self.landed = None

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
    after = deepcopy(state)
    table, first = write["table"], write["first"]
    if write["mode"] == "overwrite":
        after[table] = []
    elif write["mode"] == "replace":
        after[table] = [one for one in after[table] if one[0] < first]
    elif write["mode"] == "delete":
        after[table] = [one for one in after[table] if one[0] != first]
    if write["rows"]:
        after[table].append([write["write"], write["rows"]])
    return after
