"""A disk as POSIX promises it, and no better: what was not synced may be there after a power cut, or not, or in part.

A file's content is durable once the file is synced, a name once the directory it is in is synced; neither implies the
other. What comes after may reach the disk in any order, writes in pieces of 512 bytes, and a file may have its new
length with zeros or old garbage in it. Renames, alone of all, happen wholly or not at all.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

SECTOR = 512
ROOT = 0
Piece = tuple[int, bytes | None]
"""A write: where, and what; or a new length, and None."""


@dataclass(slots=True)
class File:
    """Content that is durable, content as processes see it, and how the one became the other."""

    durable: bytes = b""
    seen: bytearray = field(default_factory=bytearray)
    pending: list[Piece] = field(default_factory=list)

    def write(self, offset: int, data: bytes) -> None:
        """Write at a place."""
        put(self.seen, offset, data)
        self.pending.append((offset, data))

    def truncate(self, size: int) -> None:
        """Set the length."""
        resize(self.seen, size)
        self.pending.append((size, None))

    def sync(self, pieces: int | None = None) -> None:
        """Make the first so many pending pieces durable, or all."""
        done = self.pending if pieces is None else self.pending[:pieces]
        self.durable = bytes(applied(self.durable, done))
        self.pending = self.pending[len(done) :]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of names: `name` in `folder` becomes `node` (None: nothing), or what `source` was there (a rename)."""

    folder: int
    name: str
    node: int | None
    source: tuple[int, str] | None = None

    @property
    def folders(self) -> set[int]:
        """The directories it touches."""
        return {self.folder} | ({self.source[0]} if self.source else set())


@dataclass(frozen=True, slots=True)
class Policy:
    """What a power cut leaves of what was not synced.

    Attributes:
        names: `none`, `all`, `prefix` (the first so many changes) or `some` (any of them).
        content: `none`, `all`, `prefix` (the first so many writes, the next torn), `some` (any sectors), `zeros` or
            `garbage` (the new length, but not the new bytes where the file grew).
    """

    names: str
    content: str


POLICIES = (
    Policy("none", "none"),
    Policy("all", "none"),
    Policy("all", "zeros"),
    Policy("all", "garbage"),
    Policy("none", "all"),
    Policy("all", "all"),
    Policy("all", "prefix"),
    Policy("prefix", "prefix"),
    Policy("prefix", "some"),
    Policy("some", "some"),
    Policy("some", "none"),
)


class Disk:
    """Directories and files below one root."""

    def __init__(self) -> None:
        self.files: dict[int, File] = {}
        self.seen: dict[int, dict[str, int]] = {ROOT: {}}
        self.durable: dict[int, dict[str, int]] = {ROOT: {}}
        self.pending: list[Change] = []
        self._last = ROOT

    def new_file(self, folder: int, name: str) -> int:
        """Make an empty file and return its number."""
        self._last += 1
        self.files[self._last] = File()
        self._change(Change(folder, name, self._last))
        return self._last

    def new_folder(self, folder: int, name: str) -> int:
        """Make a directory and return its number."""
        self._last += 1
        self.seen[self._last], self.durable[self._last] = {}, {}
        self._change(Change(folder, name, self._last))
        return self._last

    def remove(self, folder: int, name: str) -> None:
        """Take a name away."""
        self._change(Change(folder, name, None))

    def rename(self, folder: int, name: str, new_folder: int, new_name: str) -> None:
        """Give a file another name, in place of whatever has it."""
        self._change(Change(new_folder, new_name, None, (folder, name)))

    def sync(self, node: int, pieces: int | None = None) -> None:
        """Make a file's content, or a directory's names, durable."""
        if node in self.files:
            self.files[node].sync(pieces)
            return
        for change in [one for one in self.pending if node in one.folders]:
            make(change, self.durable)
        self.pending = [one for one in self.pending if node not in one.folders]

    def find(self, parts: tuple[str, ...]) -> int | None:
        """Return the number of what is at a path now."""
        node = ROOT
        for part in parts:
            found = self.seen.get(node, {}).get(part)
            if found is None:
                return None
            node = found
        return node

    def after_power_cut(self, policy: Policy, chance: random.Random) -> dict[str, bytes | None]:
        """Return what a power cut now may leave: the content of every file by its path, None for a directory."""
        names = {node: dict(entries) for node, entries in self.durable.items()}
        for change in chosen(self.pending, policy.names, chance):
            make(change, names)
        contents: dict[int, bytes] = {}

        def content(node: int) -> bytes:
            if node not in contents:
                contents[node] = left(self.files[node], policy.content, chance)
            return contents[node]

        return self._tree(names, content)

    def now(self) -> dict[str, bytes | None]:
        """Return what processes see."""
        return self._tree(self.seen, lambda node: bytes(self.files[node].seen))

    def _tree(self, names: dict[int, dict[str, int]], content: object) -> dict[str, bytes | None]:
        tree: dict[str, bytes | None] = {}
        todo = [("", ROOT)]
        while todo:
            path, node = todo.pop()
            for name, entry in names[node].items():
                if entry in self.files:
                    tree[path + name] = content(entry)  # type: ignore[operator]
                elif path + name not in tree:
                    tree[path + name] = None
                    todo.append((f"{path}{name}/", entry))
        return tree

    def _change(self, change: Change) -> None:
        make(change, self.seen)
        self.pending.append(change)


def make(change: Change, names: dict[int, dict[str, int]]) -> None:
    """Change names; where there is nothing to be renamed, nothing happens."""
    entries = names[change.folder]
    if change.source is not None:
        node = names[change.source[0]].pop(change.source[1], None)
        if node is not None:
            entries[change.name] = node
    elif change.node is None:
        entries.pop(change.name, None)
    else:
        entries[change.name] = change.node


def chosen(changes: list[Change], how: str, chance: random.Random) -> list[Change]:
    """Return the changes of names that reached the disk."""
    if how == "prefix":
        return changes[: chance.randint(0, len(changes))]
    if how == "some":
        return [one for one in changes if chance.random() < 0.5]
    return changes if how == "all" else []


def left(file: File, how: str, chance: random.Random) -> bytes:
    """Return the content a power cut leaves."""
    if how == "all" or not file.pending:
        return bytes(file.seen) if how == "all" else file.durable
    if how == "prefix":
        count = chance.randint(0, len(file.pending))
        content = applied(file.durable, file.pending[:count])
        if count < len(file.pending):
            _tear(content, file.pending[count], chance)
        return bytes(content)
    if how == "some":
        content = bytearray(file.durable)
        for piece in file.pending:
            _scatter(content, piece, chance)
        return bytes(content)
    if how in {"zeros", "garbage"}:
        grown = max(0, len(file.seen) - len(file.durable))
        return file.durable + (bytes(grown) if how == "zeros" else chance.randbytes(grown))
    return file.durable


def applied(content: bytes, pieces: list[Piece]) -> bytearray:
    """Return content after writes."""
    after = bytearray(content)
    for offset, data in pieces:
        if data is None:
            resize(after, offset)
        else:
            put(after, offset, data)
    return after


def put(content: bytearray, offset: int, data: bytes) -> None:
    """Write bytes; a gap before them is filled with zeros."""
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def resize(content: bytearray, size: int) -> None:
    """Cut content, or fill it up with zeros."""
    del content[size:]
    content.extend(bytes(size - len(content)))


def _tear(content: bytearray, piece: Piece, chance: random.Random) -> None:
    """Write the beginning, up to the border of a sector."""
    offset, data = piece
    if data is not None:
        borders = range(-offset % SECTOR, len(data), chance.choice((SECTOR, 4096)))
        put(content, offset, data[: chance.choice(borders) if borders else 0])


def _scatter(content: bytearray, piece: Piece, chance: random.Random) -> None:
    """Write any of the sectors."""
    offset, data = piece
    if data is None:
        if chance.random() < 0.5:
            resize(content, offset)
        return
    borders = [0, *range(-offset % SECTOR or SECTOR, len(data), SECTOR), len(data)]
    if len(borders) > 64:
        borders = sorted({0, len(data), *chance.sample(borders, 62)})
    for start, end in pairwise(borders):
        if chance.random() < 0.5:
            put(content, offset + start, data[start:end])


def lay_down(tree: dict[str, bytes | None], root: Path) -> None:
    """Make real what a disk holds."""
    root.mkdir(parents=True)
    for path, content in sorted(tree.items()):
        target = root / path
        if content is None:
            target.mkdir()
        else:
            target.write_bytes(content)
