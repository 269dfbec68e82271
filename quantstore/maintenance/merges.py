"""Which segments a compaction merges: pure, from a list of segments to a list of merges.

Two rules, both by rows, which add up exactly where bytes do not:

- Segments that hold less than a quarter of a full one are merged, smallest first, as long as those before are together
  at least half as large as the next. Whatever is rewritten thus ends up in a segment at least one and a half times as
  large, so that a row of a stream is rewritten at most log1.5(rows) times, however often compaction runs; and what is
  left are sizes each more than twice all smaller ones together, so at most log3(rows) segments.
- Where rows are kept in time order, larger segments that overlap in time form layers, each free of overlap. Layers are
  merged by the same rule, cut in time where they are more than one segment can hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import accumulate
from typing import TypeVar

from quantstore.core.render import counted
from quantstore.core.segment import Partition, PlacedSegment
from quantstore.core.tier import Tier

SMALL_SHARE = 4
"""A segment is small where it holds less than one part in so many of a full one."""
MOST_FILES = 16_384
"""The most files that one merge takes in."""
_FILE_OVERHEAD = 8 * 1024
_GROWTH = 2


@dataclass(frozen=True, slots=True)
class Shape:
    """What the planner must know of the rows that a schema gives and of the store that keeps them.

    Attributes:
        row_bytes: Bytes of a row in memory, as far as its types tell.
        mixes: Whether a file may hold all asset classes of a day.
        by_time: Whether rows are kept in time order.
    """

    row_bytes: int
    mixes: bool
    by_time: bool


@dataclass(frozen=True, slots=True)
class Unit:
    """The segments that share one file, mostly one.

    Attributes:
        segments: They.
        rows: Rows of them all.
        min_ns: Smallest event time.
        max_ns: Largest event time.
    """

    segments: tuple[PlacedSegment, ...]
    rows: int
    min_ns: int
    max_ns: int

    @classmethod
    def of(cls, segments: Sequence[PlacedSegment]) -> Unit:
        """Return the unit that some segments are."""
        stats = [one.segment.stats for one in segments]
        return cls(
            tuple(segments),
            sum(one.rows for one in stats),
            min(one.min_ns for one in stats),
            max(one.max_ns for one in stats),
        )

    @property
    def is_whole(self) -> bool:
        """Whether these are all the segments that the file was written with."""
        partitions = {one.segment.partition for one in self.segments}
        return len(partitions) == len(self.segments) == self.segments[0].primary.sharers

    @property
    def _key(self) -> tuple[int, int]:
        return self.min_ns, self.segments[0].segment.segment_id


@dataclass(frozen=True, slots=True)
class Merge:
    """Segments of one tier, day and schema that are to become few.

    Attributes:
        units: Their files, oldest event time first.
        pieces: How many files come of them.
        is_mixed: Whether each file may hold several asset classes.
        why: Why they are worth it.
    """

    units: tuple[Unit, ...]
    pieces: int
    is_mixed: bool
    why: str

    @property
    def sources(self) -> list[PlacedSegment]:
        """The segments."""
        return [one for unit in self.units for one in unit.segments]

    @property
    def tier(self) -> Tier:
        """Where they are."""
        return self.units[0].segments[0].primary.tier

    @property
    def schema_id(self) -> int:
        """The columns they have."""
        return self.units[0].segments[0].segment.schema_id

    @property
    def partition(self) -> Partition:
        """Their partition; of a mixed merge only the day counts."""
        return self.units[0].segments[0].segment.partition

    @property
    def partitions(self) -> list[Partition]:
        """All their partitions, in order."""
        found = {one.segment.partition for one in self.sources}
        return sorted(found, key=lambda one: (one.trade_date, one.asset_class is None, one.asset_class or ""))

    @property
    def rows(self) -> int:
        """Rows of all."""
        return sum(unit.rows for unit in self.units)

    @property
    def size_bytes(self) -> int:
        """Bytes that they take now."""
        return sum(one.primary.size_bytes for one in self.sources)

    @property
    def version(self) -> int:
        """The version of the newest of them."""
        return max(one.segment.added_version for one in self.sources)


_Group = tuple[Tier, int, date, str | None, bool]


def plan_merges(
    segments: Iterable[PlacedSegment], shape: Callable[[int, Tier], Shape], segment_bytes: int
) -> list[Merge]:
    """Return the merges worth making.

    Args:
        segments: The live segments of one table.
        shape: Tells what rows of a schema are like in a tier.
        segment_bytes: Size of a full segment in memory.
    """
    groups: dict[_Group, list[PlacedSegment]] = {}
    shapes: dict[tuple[int, Tier], Shape] = {}
    for placed in segments:
        segment, tier = placed.segment, placed.primary.tier
        key = (segment.schema_id, tier)
        if key not in shapes:
            shapes[key] = shape(*key)
        kind = None if shapes[key].mixes else segment.partition.asset_class
        is_null = kind is None and not shapes[key].mixes
        group = (tier, segment.schema_id, segment.partition.trade_date, kind, is_null)
        groups.setdefault(group, []).append(placed)
    merges: list[Merge] = []
    for (tier, schema_id, *_), members in groups.items():
        if len(members) > 1:
            merges += _merges_of(_units(members), shapes[schema_id, tier], segment_bytes)
    return merges


def full_rows(units: Sequence[Unit], shape: Shape, segment_bytes: int) -> int:
    """Return the rows of a full segment: what its types tell, or the files, where those show that rows are longer."""
    stored = sum(one.primary.size_bytes for unit in units for one in unit.segments) - _FILE_OVERHEAD * len(units)
    seen = stored // max(1, sum(unit.rows for unit in units))
    return max(1, segment_bytes // max(1, shape.row_bytes, seen))


def _units(members: Sequence[PlacedSegment]) -> list[Unit]:
    files: dict[tuple[str, str], list[PlacedSegment]] = {}
    for one in members:
        files.setdefault((one.primary.store, one.primary.location), []).append(one)
    return sorted((Unit.of(some) for some in files.values()), key=lambda unit: unit._key)  # noqa: SLF001


def _merges_of(units: list[Unit], shape: Shape, segment_bytes: int) -> list[Merge]:
    most = full_rows(units, shape, segment_bytes)
    small = [unit for unit in units if unit.rows * SMALL_SHARE < most]
    merges = []
    for some in _bins(small, most):
        chosen = grown(some, lambda unit: unit.rows)
        if len(chosen) > 1:
            merges.append(Merge(_by_time(chosen), 1, shape.mixes, _why_small(chosen, most)))
    if shape.by_time:
        large = [unit for unit in units if unit.rows * SMALL_SHARE >= most]
        merges += [_layered(layers, most, shape) for layers in _overlapping(large)]
    return merges


def _bins(small: list[Unit], most: int) -> list[list[Unit]]:
    """Cut units in time order into lots that each fit into one segment."""
    lots: list[list[Unit]] = []
    rows = 0
    for unit in small:
        if not lots or rows + unit.rows > most or len(lots[-1]) >= MOST_FILES:
            lots.append([])
            rows = 0
        lots[-1].append(unit)
        rows += unit.rows
    return lots


_Sized = TypeVar("_Sized")


def grown(items: Iterable[_Sized], size: Callable[[_Sized], int]) -> list[_Sized]:
    """Return the most items, smallest first, of which the largest is at most twice the others together."""
    ordered = sorted(items, key=size)
    before = list(accumulate((size(one) for one in ordered), initial=0))
    last = max((at for at in range(1, len(ordered)) if _GROWTH * before[at] >= size(ordered[at])), default=-1)
    return ordered[: last + 1]


def _overlapping(large: list[Unit]) -> list[list[list[Unit]]]:
    """Return, for each stretch of time in which units overlap, the layers worth merging."""
    stretches: list[list[Unit]] = []
    end = 0
    for unit in large:
        if stretches and unit.min_ns <= end:
            stretches[-1].append(unit)
            end = max(end, unit.max_ns)
        else:
            stretches.append([unit])
            end = unit.max_ns
    chosen = [grown(_layers(stretch), lambda layer: sum(unit.rows for unit in layer)) for stretch in stretches]
    return [layers for layers in chosen if len(layers) > 1]


def _layers(stretch: list[Unit]) -> list[list[Unit]]:
    """Deal units out to as few layers as can be in which none overlap; touching at an instant counts as overlap."""
    layers: list[list[Unit]] = []
    for unit in stretch:
        fitting = [layer for layer in layers if layer[-1].max_ns < unit.min_ns]
        if fitting:
            max(fitting, key=lambda layer: layer[-1].max_ns).append(unit)
        else:
            layers.append([unit])
    return layers


def _layered(layers: list[list[Unit]], most: int, shape: Shape) -> Merge:
    units = _by_time([unit for layer in layers for unit in layer])
    pieces = -(-sum(unit.rows for unit in units) // most)
    why = f"{counted(len(units), 'file')} overlap in time, {len(layers)} deep; one layer is read without sorting"
    return Merge(units, pieces, shape.mixes, why)


def _by_time(units: Iterable[Unit]) -> tuple[Unit, ...]:
    return tuple(sorted(units, key=lambda unit: unit._key))  # noqa: SLF001


def _why_small(units: Sequence[Unit], most: int) -> str:
    least, largest = units[0].rows, units[-1].rows
    rows = f"{least:,}" if least == largest else f"{least:,} to {largest:,}"
    return f"{counted(len(units), 'file')} of {rows} rows, where a full one holds about {most:,}"
