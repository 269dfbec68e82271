"""The files of a catalog's journal: their names, and the lines of a log.

A journal is a folder beside the catalog. `base-<epoch>-<number>-<checksum>.sqlite` is the whole catalog as transaction
`<number>` left it; `log-<epoch>.jsonl` holds one line for each transaction after it:
`<number> <checksum> <JSON>`, where the checksum is of the JSON. The first line of a log is its head: it bears the
number of the base, and says which epoch it goes on from, if any.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

Statement = tuple[str, Sequence[Any], bool]
"""SQL, its parameters (of each row, where there are several), and whether there are several rows."""

_BASE = re.compile(r"base-(\d+)-(\d+)-([0-9a-f]{32})\.sqlite")
_LOG = re.compile(r"log-(\d+)\.jsonl")
_BYTES = "base64"
_BLOCK = 1 << 13


@dataclass(frozen=True, slots=True)
class Base:
    """A whole catalog, kept.

    Attributes:
        epoch: Which log goes on from it.
        number: The last transaction it holds.
        checksum: `xxh3_128` of the file, hexadecimal.
        path: The file.
    """

    epoch: int
    number: int
    checksum: str
    path: Path

    def is_whole(self) -> bool:
        """Whether the file holds the bytes that were written."""
        try:
            return file_checksum(self.path) == self.checksum
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a log.

    Attributes:
        number: Of the transaction.
        body: What it did.
        start: Offset of the line in its file.
        end: Offset of the next line.
    """

    number: int
    body: dict[str, Any]
    start: int
    end: int

    @property
    def statements(self) -> list[Statement]:
        """The statements of the transaction."""
        return [
            (sql, [_decoded(row) for row in rows] if many else _decoded(rows), many)
            for sql, rows, many in self.body["do"]
        ]


def folder_of(catalog: Path) -> Path:
    """Return the folder of a catalog's journal."""
    return catalog.with_name(catalog.name.removesuffix(".sqlite") + ".journal")


def bases(folder: Path) -> list[Base]:
    """Return the bases in a folder, newest first."""
    found = [(path, _BASE.fullmatch(path.name)) for path in _files(folder)]
    made = [Base(int(match[1]), int(match[2]), match[3], path) for path, match in found if match]
    return sorted(made, key=lambda one: (one.epoch, one.number), reverse=True)


def logs(folder: Path) -> dict[int, Path]:
    """Return the logs in a folder by their epoch."""
    found = [(path, _LOG.fullmatch(path.name)) for path in _files(folder)]
    return {int(match[1]): path for path, match in found if match}


def newest_epoch(folder: Path) -> int:
    """Return the highest epoch of which there is a base or a log; 0 where there is none."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - at every commit
    except (FileNotFoundError, NotADirectoryError):
        return 0
    found = [_BASE.fullmatch(name) or _LOG.fullmatch(name) for name in names]
    return max((int(match[1]) for match in found if match), default=0)


def base_name(epoch: int, number: int, checksum: str) -> str:
    """Return the name of a base."""
    return f"base-{epoch:06d}-{number}-{checksum}.sqlite"


def log_path(folder: Path, epoch: int) -> Path:
    """Return the place of a log."""
    return folder / f"log-{epoch:06d}.jsonl"


def encode(number: int, body: dict[str, Any]) -> bytes:
    """Return a line."""
    text = json.dumps(body, separators=(",", ":"), default=_encoded).encode()
    return b"%d %016x %s\n" % (number, xxhash.xxh3_64_intdigest(text), text)


def decode(raw: bytes, start: int) -> Line | None:
    """Return the line that bytes are; None where they are none, or not what was written."""
    number, _, rest = raw.partition(b" ")
    checksum, _, text = rest.removesuffix(b"\n").partition(b" ")
    if not raw.endswith(b"\n") or not number.isdigit() or checksum != b"%016x" % xxhash.xxh3_64_intdigest(text):
        return None
    return Line(int(number), json.loads(text), start, start + len(raw))


def read_lines(path: Path) -> Iterator[Line | None]:
    """Yield the lines of a log, None in place of one that is damaged or torn."""
    start = 0
    with path.open("rb") as file:
        for raw in file:
            yield decode(raw, start)
            start += len(raw)


def last_line(descriptor: int) -> tuple[bytes, int] | None:
    """Return the bytes after the last newline but one of a file, and their offset; None where it is empty."""
    end = os.fstat(descriptor).st_size
    start, tail = end, b""
    while start > 0:
        size = min(start, max(_BLOCK, len(tail)))
        start -= size
        tail = os.pread(descriptor, size, start) + tail
        at = tail.rfind(b"\n", 0, len(tail) - 1)
        if at >= 0:
            return tail[at + 1 :], start + at + 1
    return (tail, 0) if tail else None


def file_checksum(path: Path) -> str:
    """Return the `xxh3_128` of a file, hexadecimal."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    found: str = digest.hexdigest()
    return found


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _encoded(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {_BYTES: base64.b64encode(value).decode("ascii")}
    raise TypeError(f"{type(value).__name__} is no parameter of SQLite")


def _decoded(row: Sequence[Any]) -> list[Any]:
    return [base64.b64decode(value[_BYTES]) if isinstance(value, dict) else value for value in row]
