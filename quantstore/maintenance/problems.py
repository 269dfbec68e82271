"""What may be wrong with a store, and what was found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quantstore.core.render import counted, human_bytes

if TYPE_CHECKING:
    from quantstore.core.segment import Copy, PlacedSegment
    from quantstore.maintenance.mends import Mend

KINDS = {
    "missing": "a copy on record whose file is not there",
    "orphaned": "a file that no record names and no sweep may delete",
    "duplicated": "rows that are reached twice",
    "corrupt": "bytes that are not those that were written",
    "misregistered": "right bytes under facts of the catalog that are wrong",
    "derived": "something made from the rows that says something else",
    "catalog": "rows of the catalog that contradict each other",
}
"""Every kind of problem."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be.

    Attributes:
        kind: One of `KINDS`.
        table: Table concerned; empty for none.
        partition: Partition concerned; empty for none.
        tier: Tier concerned; empty for none.
        location: Where, relative to the store's root.
        message: What is wrong.
        remedy: What can be done about it.
        is_mendable: Whether `fsck(repair=True)` can mend it.
        segment_id: Segment concerned, or None.
        rows: Rows concerned, as the catalog has them.
        first_version: First version that reaches them, or None.
        last_version: Last version that reaches them; None where the newest does, too, or where none is known.
        start_ns: Smallest event time of the rows, nanoseconds since the Unix epoch, UTC, or None.
        end_ns: Largest event time of the rows, or None.
    """

    kind: str
    table: str
    partition: str
    tier: str
    location: str
    message: str
    remedy: str = ""
    is_mendable: bool = False
    segment_id: int | None = None
    rows: int = 0
    first_version: int | None = None
    last_version: int | None = None
    start_ns: int | None = None
    end_ns: int | None = None

    def __str__(self) -> str:
        """Return what is wrong, what it concerns and what can be done."""
        return "\n    ".join(part for part in (f"{self.kind}: {self.message}", self._concerned(), self.remedy) if part)

    def _concerned(self) -> str:
        if not self.rows or self.start_ns is None or self.end_ns is None:
            return ""
        span = f"{_instant(self.start_ns)} to {_instant(self.end_ns)}"
        until = "on" if self.last_version is None else f"to {self.last_version}"
        return f"concerns {counted(self.rows, 'row')}, {span}, of versions {self.first_version} {until}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem and, where it can be mended, how."""

    problem: Problem
    mend: Mend | None = None

    @classmethod
    def of_copy(
        cls,
        kind: str,
        table: str,
        placed: PlacedSegment,
        copy: Copy | None,
        message: str,
        remedy: str = "",
        mend: Mend | None = None,
    ) -> Finding:
        """Return the finding that something is wrong with a copy of a segment, or with the segment."""
        segment, removed = placed.segment, _number(placed.segment.removed_version)
        tier = "" if copy is None else copy.tier.value
        where = f"table {table!r}, partition {segment.partition}" + (f", tier {tier}" if tier else "")
        problem = Problem(
            kind=kind,
            table=table,
            partition=str(segment.partition),
            tier=tier,
            location="" if copy is None else copy.location,
            message=f"{where}: {message}",
            remedy=remedy,
            is_mendable=mend is not None,
            segment_id=segment.segment_id,
            rows=_number(segment.stats.rows if copy is None else placed.rows_of(copy)) or 0,
            first_version=_number(segment.added_version),
            last_version=None if removed is None else removed - 1,
            start_ns=_number(segment.stats.min_ns),
            end_ns=_number(segment.stats.max_ns),
        )
        return cls(problem, mend)

    def explained(self, remedy: str) -> Finding:
        """Return the finding with another way out, that nothing can be mended here."""
        return Finding(replace(self.problem, remedy=remedy, is_mendable=False))


@dataclass(frozen=True, slots=True)
class Repair:
    """Something that was mended.

    Attributes:
        problem: What was wrong.
        done: What was done.
    """

    problem: Problem
    done: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit looked at and found; true in a condition where nothing is wrong.

    Attributes:
        copies: Copies read from first to last byte.
        size_bytes: Bytes read.
        receipts: Moves proven again.
        orphans: Files a sweep would delete; no problem.
        problems: What is wrong.
    """

    copies: int
    size_bytes: int
    receipts: int
    orphans: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __bool__(self) -> bool:
        """Whether nothing is wrong."""
        return self.ok

    def __repr__(self) -> str:
        """Return a summary, then a few lines per problem."""
        state = "everything is as recorded" if self.ok else counted(len(self.problems), "problem")
        head = (
            f"audit: {state}; {self.copies} copies ({human_bytes(self.size_bytes)}) read, {self.receipts} moves "
            f"proven, {self.orphans} orphans"
        )
        return "\n".join([head, *_indented(self.problems)])


@dataclass(frozen=True, slots=True)
class FsckReport:
    """What a check of the whole store found and mended; true in a condition where nothing wrong is left.

    Attributes:
        copies: Copies looked at.
        size_bytes: Bytes of these; read where the check was deep.
        receipts: Moves proven again.
        orphans: Files a sweep would delete; no problem.
        deep: Whether contents were read.
        repairs: What was mended.
        problems: What is wrong still.
    """

    copies: int
    size_bytes: int
    receipts: int
    orphans: int
    deep: bool
    repairs: tuple[Repair, ...]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing wrong is left."""
        return not self.problems

    def __bool__(self) -> bool:
        """Whether nothing wrong is left."""
        return self.ok

    def __repr__(self) -> str:
        """Return a summary, then a few lines per problem mended and left."""
        read = "read" if self.deep else "looked at, their contents not read"
        state = "nothing is wrong" if self.ok else f"{counted(len(self.problems), 'problem')} left"
        mended = f", {len(self.repairs)} mended" if self.repairs else ""
        head = (
            f"fsck: {state}{mended}; {self.copies} copies ({human_bytes(self.size_bytes)}) {read}, "
            f"{self.receipts} moves proven, {self.orphans} orphans"
        )
        done = [f"  mended {one.problem.kind}: {one.problem.message}\n    {one.done}" for one in self.repairs]
        return "\n".join([head, *done, *_indented(self.problems)])

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {"ok": self.ok, **asdict(self)}


def _indented(problems: Iterable[Problem]) -> list[str]:
    return [f"  {one}" for one in problems]


def _number(value: Any) -> int | None:
    """Return a number; nothing for what a damaged catalog has instead of one."""
    return value if isinstance(value, int) else None


def _instant(ns: int) -> str:
    seconds, rest = divmod(ns, 10**9)
    try:
        whole = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{ns} ns"
    return f"{whole:%Y-%m-%dT%H:%M:%S}" + (f".{rest:09d}".rstrip("0") if rest else "") + "Z"
