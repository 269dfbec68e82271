"""What a read will touch and why: plans are values, made before any file is opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from quantstore.catalog.segments import EVERYTHING, SegmentFilter
from quantstore.core.render import counted, human_bytes, human_count
from quantstore.core.segment import Copy, PlacedSegment, Role
from quantstore.core.tier import ALL_TIERS, Tier
from quantstore.rows.form import known_form

if TYPE_CHECKING:
    from quantstore.catalog.catalog import View
    from quantstore.catalog.records import TableRecord
    from quantstore.core.table import TableSchema
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import Selection

_RANK = {tier: rank for rank, tier in enumerate(ALL_TIERS)}
_CONDITIONS = (
    ("partition", ("first_day", "last_day", "days")),
    ("asset class", ("asset_classes",)),
    ("time", ("time",)),
    ("symbol", ("symbols",)),
)
Missing = Literal["warn", "raise", "ignore"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A segment and the copy that will answer for it."""

    placed: PlacedSegment
    copy: Copy


@dataclass(frozen=True, slots=True)
class TierUse:
    """How much of one tier a read touches."""

    tier: Tier
    segments: int
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """Segments that need not be opened, and the condition that proves it."""

    reason: str
    segments: int


@dataclass(frozen=True, slots=True)
class Scan:
    """What is read of one table reference.

    Attributes:
        record: The table.
        alias: How the query calls it.
        schema: The schema at the version read.
        wanted: Conditions that segments were pruned by.
        choices: Segments to open, oldest first, each with the copy that answers.
        older: Forms of segments that were written before the table had the schema, by their schema ids.
        left_out: Segments that `tiers=` leaves out.
        pruned: What was skipped and why.
    """

    record: TableRecord
    alias: str
    schema: TableSchema
    wanted: SegmentFilter
    choices: tuple[Choice, ...]
    left_out: tuple[PlacedSegment, ...] = ()
    pruned: tuple[Pruned, ...] = ()
    older: Mapping[int, TableForm] = field(default_factory=dict, compare=False)

    def form_of(self, choice: Choice, form: TableForm) -> TableForm:
        """Return the form in which a segment keeps its rows; `form` is that of the schema."""
        return self.older.get(choice.placed.segment.schema_id, form)

    def uses(self) -> tuple[TierUse, ...]:
        """Return what the scan touches, tier by tier."""
        return tier_uses(self.choices)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one read touches; `str()` shows it.

    Attributes:
        query: Table name or SQL as given.
        version: Store version read.
        generation: Placement generation it was planned at.
        scans: One per table reference.
        tiers: Tiers the caller allowed.
        notes: Things worth knowing, such as why nothing could be pruned.
    """

    query: str
    version: int
    generation: int
    scans: tuple[Scan, ...]
    tiers: tuple[Tier, ...] = ALL_TIERS
    notes: tuple[str, ...] = field(default=())

    def uses(self) -> tuple[TierUse, ...]:
        """Return what all scans touch, tier by tier, each segment counted once."""
        seen = {choice.copy.copy_id: choice for scan in self.scans for choice in scan.choices}
        return tier_uses(tuple(seen.values()))

    @property
    def left_out(self) -> tuple[PlacedSegment, ...]:
        """Segments that `tiers=` leaves out, each once."""
        seen = {placed.segment.segment_id: placed for scan in self.scans for placed in scan.left_out}
        return tuple(seen.values())

    def __str__(self) -> str:
        """Return the plan as text."""
        lines = [f"version {self.version}, placement generation {self.generation}"]
        for scan in self.scans:
            shown = (
                scan.record.name
                if scan.alias.casefold() == scan.record.name.casefold()
                else (f"{scan.record.name} AS {scan.alias}")
            )
            total = len(scan.choices) + len(scan.left_out) + sum(pruned.segments for pruned in scan.pruned)
            lines.append(f"scan {shown}: {len(scan.choices)} of {total} segments")
            lines += [f"  {line}" for line in _scan_lines(scan)]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)

    def _repr_pretty_(self, printer: object, _cycle: bool) -> None:
        printer.text(str(self))  # type: ignore[attr-defined]


def _scan_lines(scan: Scan) -> list[str]:
    lines = []
    for use in scan.uses():
        amount = f"{counted(use.segments, 'segment')}, {counted(use.rows, 'row')}, {human_bytes(use.size_bytes)}"
        lines.append(f"{use.tier.value}: {amount}")
    lines += [
        f"pruned {counted(pruned.segments, 'segment')}: {pruned.reason}" for pruned in scan.pruned if pruned.segments
    ]
    if scan.left_out:
        rows = sum(placed.segment.stats.rows for placed in scan.left_out)
        lines.append(f"left out by tiers=: {counted(len(scan.left_out), 'segment')}, {human_count(rows)} rows")
    return lines


def tier_uses(choices: Sequence[Choice]) -> tuple[TierUse, ...]:
    """Sum choices by tier, hottest first; tiers not touched are absent."""
    uses = []
    for tier in ALL_TIERS:
        mine = [choice for choice in choices if choice.copy.tier is tier]
        if mine:
            rows = sum(choice.placed.rows_of(choice.copy) for choice in mine)
            uses.append(TierUse(tier, len(mine), rows, sum(choice.copy.size_bytes for choice in mine)))
    return tuple(uses)


def plan_scan(
    view: View, record: TableRecord, alias: str, wanted: SegmentFilter, tiers: Sequence[Tier], *, explain: bool = False
) -> Scan:
    """Choose what to read of one table: prune in the catalog, then pick the hottest allowed copy of what is left.

    Args:
        view: Consistent view of the catalog.
        record: The table, at the view's version.
        alias: How the query calls it.
        wanted: Conditions every needed row meets.
        tiers: Tiers that may answer.
        explain: Whether to work out which condition prunes how many segments.
    """
    assert record.schema is not None  # noqa: S101 - tables without columns are refused before planning
    placed = [one for one in view.segments(record.table_id, wanted) if may_hold_symbol(one, wanted.symbols)]
    choices, left_out = [], []
    for one in placed:
        copy = _serving(one.copies, tiers, wanted.symbols, view.unreadable)
        if copy is not None:
            choices.append(Choice(one, copy))
        else:
            left_out.append(one)
    pruned = _pruned(view, record, wanted, len(placed)) if explain else ()
    older = older_forms(view, record, choices)
    return Scan(record, alias, record.schema, wanted, tuple(choices), tuple(left_out), pruned, older)


def older_forms(view: View, record: TableRecord, choices: Iterable[Choice]) -> Mapping[int, TableForm]:
    """Return the forms of the segments that do not have the form of the table, by their schema ids."""
    others = {choice.placed.segment.schema_id for choice in choices} - {record.schema_id}
    if not others:
        return {}
    return {number: known_form(record, schema) for number, schema in view.schemas(frozenset(others)).items()}


def _serving(
    copies: Sequence[Copy], tiers: Sequence[Tier], symbols: tuple[str, ...] | None, unreadable: frozenset[int]
) -> Copy | None:
    """Return the hottest allowed copy with every row that may be needed; in one tier the primary, then the smallest.

    A copy that could not be read serves only where no other can: then what is wrong with it is told again.
    """
    able = [copy for copy in copies if copy.tier in tiers and copy.serves(symbols)]
    if len(able) > 1:
        able.sort(key=lambda copy: (_RANK[copy.tier], copy.role is not Role.PRIMARY, copy.size_bytes))
        return next((copy for copy in able if copy.copy_id not in unreadable), able[0])
    return able[0] if able else None


def by_file(choices: Iterable[Choice]) -> list[tuple[tuple[Choice, ...], bool]]:
    """Group segments whose rows lie in one file, and say whether these are all the segments it was written with."""
    files: dict[tuple[str, str], list[Choice]] = {}
    for choice in choices:
        files.setdefault((choice.copy.store, choice.copy.location), []).append(choice)
    return [(tuple(group), len(group) == group[0].copy.sharers) for group in files.values()]


def sure_rows(group: Sequence[Choice], selection: Selection) -> int:
    """Return how many rows of segments certainly pass a selection, by the catalog's statistics."""
    if selection.symbols is not None:
        return 0
    spans = [(choice, choice.placed.segment.stats) for choice in group]
    return sum(
        choice.placed.rows_of(choice.copy)
        for choice, stats in spans
        if selection.time.covers(stats.min_ns, stats.max_ns)
    )


def may_hold_symbol(placed: PlacedSegment, symbols: tuple[str, ...] | None) -> bool:
    """Whether a segment can hold a row of one of `symbols`, by the catalog's statistics."""
    stats = placed.segment.stats
    if symbols is None:
        return True
    if stats.symbols is not None:
        return not set(symbols).isdisjoint(stats.symbols)
    if stats.min_symbol is None or stats.max_symbol is None:
        return True
    return any(stats.min_symbol <= symbol <= stats.max_symbol for symbol in symbols)


def _pruned(view: View, record: TableRecord, wanted: SegmentFilter, kept: int) -> tuple[Pruned, ...]:
    """Count what each condition removes of what the ones before it left; `kept` is what all leave."""
    left = view.count(record.table_id)
    passed = EVERYTHING
    pruned = []
    for reason, names in _CONDITIONS:
        values = {name: getattr(wanted, name) for name in names}
        if all(values[name] == getattr(EVERYTHING, name) for name in names):
            continue
        passed = replace(passed, **values)
        rest = kept if passed == wanted else view.count(record.table_id, passed)
        pruned.append(Pruned(reason, left - rest))
        left = rest
    return tuple(pruned)
