"""A catalog made again from its journal: the newest whole base, and every transaction after it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from quantstore.catalog import journal_files
from quantstore.catalog.journal import SETTING, stand_of
from quantstore.catalog.journal_files import Base, Line
from quantstore.core.render import counted

_EPHEMERAL = ("attempts", "readers")
"""What only processes that are gone by now had an interest in."""

Missing = Callable[[sqlite3.Connection], frozenset[str]]
"""Returns the copies on record of which no file is there."""


@dataclass(slots=True)
class Replayed:
    """What came of a replay.

    Attributes:
        base: What it began with.
        number: The last transaction it came to.
        transactions: How many it carried out.
        lost: Lines it could not get to, as one before them, or their base, is damaged.
        notes: What was met on the way.
    """

    base: Base
    number: int
    transactions: int = 0
    lost: int = 0
    notes: list[str] = field(default_factory=list)


def replay(catalog: Path, target: Path, missing: Missing) -> Replayed | None:
    """Make the catalog as its journal tells it, as a new file; None where the journal has no whole base.

    Args:
        catalog: The place of the catalog; it may be gone, and is not looked at.
        target: The file to make; durable on return.
        missing: See `Missing`. A last line of which files are missing is left out: its transaction did not commit,
            and its files were cleared away.
    """
    folder = journal_files.folder_of(catalog)
    notes: list[str] = []
    base = _best_base(folder, notes)
    if base is None:
        return None
    shutil.copyfile(base.path, target)
    shutil.copymode(base.path, target)
    done = Replayed(base, base.number, notes=notes)
    with closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.executescript("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF;")
        connection.execute("BEGIN")
        epoch = _replay_logs(connection, folder, done, missing)
        for table in _EPHEMERAL:
            connection.execute(f"DELETE FROM {table}")
        connection.execute("DELETE FROM settings WHERE name = ?", (SETTING,))
        connection.execute("INSERT INTO settings (name, value) VALUES (?, ?)", (SETTING, f"{epoch}:{done.number}"))
        connection.execute("COMMIT")
        done.notes += problems(connection)
    sync_file(target)
    return done


def problems(connection: sqlite3.Connection) -> list[str]:
    """Return what SQLite finds wrong with a catalog."""
    found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    broken = [
        f"row {row[1]} of {row[0]} refers to a row of {row[2]} that is not there"
        for row in connection.execute("PRAGMA foreign_key_check")
    ]
    return found + broken


def is_sound(catalog: Path) -> bool:
    """Whether the catalog at a place is a whole database, and its journal does not go further."""
    if not catalog.is_file() or not catalog.stat().st_size:
        return False
    try:
        with closing(sqlite3.connect(catalog)) as connection:
            epoch, number = stand_of(connection)
            return not problems(connection) and not _goes_further(catalog, epoch, number)
    except sqlite3.Error:
        return False


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _best_base(folder: Path, notes: list[str]) -> Base | None:
    """Return the newest whole base from which the logs lead to the newest one; else the newest whole one."""
    whole = []
    for base in journal_files.bases(folder):
        if base.is_whole():
            whole.append(base)
        elif not whole:
            notes.append(f"{base.path.name} is damaged; an older one was taken")
    logs = journal_files.logs(folder)
    epoch: int | None = journal_files.newest_epoch(folder)
    way = set()
    while epoch is not None and epoch not in way:
        way.add(epoch)
        head = next(journal_files.read_lines(logs[epoch]), None) if epoch in logs else None
        epoch = None if head is None else head.body.get("continues")
    return next((base for base in whole if base.epoch in way), whole[0] if whole else None)


def _goes_further(catalog: Path, epoch: int, number: int) -> bool:
    """Whether a journal knows of a transaction that a catalog lacks, beside one that did not commit."""
    folder = journal_files.folder_of(catalog)
    newest = journal_files.newest_epoch(folder)
    if newest != epoch:
        return newest > epoch
    log = journal_files.logs(folder).get(epoch)
    ends = [] if log is None else [line.number for line in journal_files.read_lines(log) if line]
    return bool(ends) and ends[-1] > number + 1


def _replay_logs(connection: sqlite3.Connection, folder: Path, done: Replayed, missing: Missing) -> int:
    """Carry out the logs that go on from the base; return the epoch of the last one."""
    epoch = done.base.epoch
    logs = journal_files.logs(folder)
    while epoch in logs:
        # what others go on from was committed, and files of it may have been superseded and deleted since
        _replay_log(connection, logs[epoch], done, missing if epoch == max(logs) else None)
        following = [one for one in logs if one > epoch and _goes_on(logs[one], epoch, done.number)]
        if done.lost or not following:
            break
        epoch = max(following)  # the others were begun by transactions that did not commit
    for one in sorted(logs):
        if one > epoch:
            lines = sum(1 for _ in journal_files.read_lines(logs[one]))
            _stop(done, logs[one], lines, "it does not go on from what could be made again")
    return epoch


def _goes_on(log: Path, epoch: int, number: int) -> bool:
    head = next(journal_files.read_lines(log), None)
    return head is not None and head.number == number and head.body.get("continues") == epoch


def _replay_log(connection: sqlite3.Connection, log: Path, done: Replayed, missing: Missing | None) -> None:
    lines = journal_files.read_lines(log)
    head = next(lines, None)
    if head is None or head.number != done.number:
        _stop(done, log, sum(1 for _ in lines), "its first line is damaged")
        return
    for line, is_last in _with_last(lines):
        if line is None and is_last and not _ends_in_newline(log):
            done.notes.append(f"the last line of {log.name} is torn; its transaction did not commit, or was lost")
            return
        if line is None or line.number != done.number + 1:
            after = 1 + sum(1 for _ in lines) + (0 if is_last else 1)
            _stop(done, log, after, f"the line of transaction {done.number + 1} is damaged")
            return
        if not _carry_out(connection, line, missing if is_last else None):
            done.notes.append(
                f"the last line of {log.name} names files that are not there; it is taken as not committed"
            )
            return
        done.number = line.number
        done.transactions += 1


def _with_last(lines: Iterator[Line | None]) -> Iterator[tuple[Line | None, bool]]:
    """Yield each line with whether it is the last one."""
    held: list[Line | None] = []
    for line in lines:
        if held:
            yield held.pop(), False
        held.append(line)
    if held:
        yield held.pop(), True


def _carry_out(connection: sqlite3.Connection, line: Line, missing: Missing | None) -> bool:
    """Do what a line tells; False, and nothing, where `missing` shows that this cannot have been committed."""
    before = None if missing is None else missing(connection)
    connection.execute("SAVEPOINT line")
    for sql, parameters, many in line.statements:
        if many:
            connection.executemany(sql, parameters)
        else:
            connection.execute(sql, parameters).fetchall()
    if missing is not None and before is not None and missing(connection) - before:
        connection.execute("ROLLBACK TO line")
        connection.execute("RELEASE line")
        return False
    connection.execute("RELEASE line")
    return True


def _stop(done: Replayed, log: Path, lines: int, why: str) -> None:
    done.lost += lines
    done.notes.append(f"{log.name}: {why}; {counted(lines, 'line')} could not be carried out")


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
