"""Copy-on-write: segments without the rows that go, in the tier they are in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from quantstore.catalog.conflicts import outpaced
from quantstore.catalog.records import Rewrite
from quantstore.core.segment import ASSET_CLASS, SEQ, SEQ_VERSION_SHIFT
from quantstore.query.sources import reading
from quantstore.rows.evolution import adapted, own_columns
from quantstore.rows.times import time_ns
from quantstore.stores.base import Part, Selection
from quantstore.stores.integrity import require_rows
from quantstore.write.order import ranked_codes
from quantstore.write.partition import Piece, contents, without_constants
from quantstore.write.shares import segments_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.records import TableRecord
    from quantstore.core.segment import NewSegment, PlacedSegment
    from quantstore.core.tier import Tier
    from quantstore.corrections.scopes import Mask
    from quantstore.rows.form import TableForm
    from quantstore.rows.times import Int64s
    from quantstore.stores.base import SegmentStore
    from quantstore.write.staging import Staging

_BATCH_BYTES = 128 * 2**20
"""About as many bytes are held to be written at once."""
_WORTH_THREADS = 2**22
"""Fewer bytes are filtered sooner than threads are started."""

Unit = tuple["PlacedSegment", ...]
"""Segments that are read and written as one: several of a file, or a single one."""


def units(segments: Iterable[PlacedSegment]) -> list[Unit]:
    """Group segments that share a file."""
    files: dict[tuple[str, str], list[PlacedSegment]] = {}
    for placed in segments:
        files.setdefault((placed.primary.store, placed.primary.location), []).append(placed)
    return [tuple(group) for group in files.values()]


@dataclass(frozen=True, slots=True)
class Rest:
    """What is to stay of a unit.

    Attributes:
        unit: The segments as read.
        rows: All rows of their file, or, of a single segment, its own.
        mask: Which of these go.
    """

    unit: Unit
    rows: pa.Table
    mask: Mask


@dataclass(frozen=True, slots=True)
class _Losers:
    """The segments of a unit that lose rows: how many, of which versions; and the rows that stay of them."""

    segments: tuple[tuple[PlacedSegment, int, tuple[int, ...]], ...]
    rows: pa.Table


class Rewriter:
    """Reads segments of one table and writes what is left of them.

    Args:
        catalog: Knows whether a segment was moved away.
        stores: By tier.
        record: The table.
        form: Returns the form in which a schema id keeps rows.
    """

    def __init__(
        self,
        catalog: Catalog,
        stores: Mapping[Tier, SegmentStore],
        record: TableRecord,
        form: Callable[[int], TableForm],
    ) -> None:
        self._catalog = catalog
        self._stores = stores
        self._record = record
        self._find_form = form
        self._forms: dict[int, TableForm] = {}

    def read(self, unit: Unit, form: TableForm, columns: tuple[str, ...]) -> pa.Table:
        """Return some columns of a unit's rows, and `_seq`, as they read in a form of the table.

        Of several segments the rows of the whole file are returned, see `members`.

        Raises:
            IntegrityError: The copy is damaged or gone.
            OutpacedError: Another process has moved the segment, or given the table a newer form.
        """
        names = list(dict.fromkeys([*columns, SEQ]))
        return self._adapted(self._read(unit, tuple(own_columns(self._form(unit), names))), form, names)

    def read_all(self, unit: Unit) -> pa.Table:
        """Return a unit's rows, of several segments those of the whole file, as their file keeps them.

        Raises:
            IntegrityError: The copy is damaged or gone.
            OutpacedError: Another process has moved the segment.
        """
        return self._read(unit, None)

    def adapted(self, rows: pa.Table, form: TableForm) -> pa.Table:
        """Return rows that `read_all` gave as they read in a form of the table.

        Raises:
            OutpacedError: Another process has given the table a newer form.
        """
        return self._adapted(rows, form, form.schema.names)

    def reading(self, placed: PlacedSegment) -> AbstractContextManager[None]:
        """Name a segment that cannot be read in the block, or say that another process has moved it."""
        return reading(self._catalog, self._record.name, placed)

    def without(self, rests: Iterable[Rest], staging: Staging) -> tuple[Rewrite, ...]:
        """Write what stays of units and return a rewrite for each segment that loses rows."""
        found: list[Rewrite] = []
        held: list[_Losers] = []
        size = 0
        for rest in rests:
            held.append(_losers(rest))
            size += held[-1].rows.nbytes
            if size >= _BATCH_BYTES:
                found += self._written(held, staging)
                held, size = [], 0
        return (*found, *self._written(held, staging))

    def _adapted(self, rows: pa.Table, form: TableForm, names: Sequence[str]) -> pa.Table:
        try:
            return adapted(rows, form, names)
        except pa.ArrowInvalid as error:
            raise outpaced(self._record.name) from error

    def _form(self, unit: Unit) -> TableForm:
        schema_id = unit[0].segment.schema_id
        if schema_id not in self._forms:
            self._forms[schema_id] = self._find_form(schema_id)
        return self._forms[schema_id]

    def _read(self, unit: Unit, names: tuple[str, ...] | None) -> pa.Table:
        placed = unit[0]
        copy = placed.primary
        selection = Selection(names, whole_file=len(unit) > 1)
        with self.reading(placed):
            rows = self._stores[copy.tier].read(self._form(unit).layout, copy, placed.segment.partition, selection)
            least = sum(one.segment.stats.rows for one in unit)
            return require_rows(rows, least, copy, exactly=len(unit) in (1, copy.sharers))

    def _written(self, losers: Sequence[_Losers], staging: Staging) -> Iterator[Rewrite]:
        """Make what stays durable, as many files at a time as share a store and a form."""
        groups: dict[tuple[Tier, int], list[_Losers]] = {}
        for one in losers:
            first = one.segments[0][0]
            groups.setdefault((first.primary.tier, first.segment.schema_id), []).append(one)
        for (tier, _), group in groups.items():
            yield from self._write(tier, group, staging)

    def _write(self, tier: Tier, losers: Sequence[_Losers], staging: Staging) -> Iterator[Rewrite]:
        form = self._form((losers[0].segments[0][0],))
        store = self._stores[tier]
        staying = [one for one in losers if one.rows.num_rows]
        pieces = [_piece(one, form) for one in staying]
        staging.replace(placed for one in losers for placed, _, _ in one.segments)
        parts = [
            Part(
                staging.place(form.spec, piece.partition, tier),
                piece.table,
                piece.partition,
                piece.is_mixed,
                staging.origin(form),
            )
            for piece in pieces
        ]
        with ThreadPoolExecutor(1) as beside:  # while bytes are written, rows are counted
            described = [beside.submit(contents, piece, form.layout) for piece in pieces]
            files = staging.write(store, form.layout, parts) if parts else []
        rest: dict[int, tuple[NewSegment, ...]] = {}
        for one, held, made in zip(staying, described, files, strict=True):
            of_class = {placed.segment.partition: placed.segment.segment_id for placed, _, _ in one.segments}
            for new in segments_of(made, held.result(), store, tier):
                rest[of_class[new.partition]] = (new,)
        for one in losers:
            for placed, removed, versions in one.segments:
                yield Rewrite(placed, removed, versions, rest.get(placed.segment.segment_id, ()))


def members(unit: Unit, rows: pa.Table) -> Mask:
    """Return which rows of a unit's file are of its segments; `rows` has the asset classes."""
    if len(unit) in (1, unit[0].primary.sharers):
        return np.ones(rows.num_rows, np.bool_)
    return _of_classes(rows, unit)


def _of_classes(rows: pa.Table, segments: Iterable[PlacedSegment]) -> Mask:
    codes, classes = ranked_codes(rows.column(ASSET_CLASS))
    wanted = [placed.segment.partition.asset_class for placed in segments]
    return np.isin(codes, [classes.index(one) for one in wanted if one in classes])


def removed_of(unit: Unit, rows: pa.Table, mask: Mask) -> list[tuple[PlacedSegment, Int64s]]:
    """Return the segments of a unit that lose rows, and the numbers of these; `rows` has the asset classes."""
    gone = np.flatnonzero(mask)
    if len(unit) == 1 or not len(gone):
        return [(unit[0], gone)] if len(gone) else []
    codes, classes = ranked_codes(rows.column(ASSET_CLASS).take(pa.array(gone)))
    present = [placed for placed in unit if placed.segment.partition.asset_class in classes]
    found = [(placed, gone[codes == classes.index(placed.segment.partition.asset_class)]) for placed in present]
    return [(placed, numbers) for placed, numbers in found if len(numbers)]


def _losers(rest: Rest) -> _Losers:
    """Tell which segments lose rows, and leave out the rows that go and those of the other segments."""
    seq = rest.rows.column(SEQ).to_numpy()
    removed = removed_of(rest.unit, rest.rows, rest.mask)
    segments = tuple(
        (placed, len(gone), tuple(np.unique(seq[gone] >> SEQ_VERSION_SHIFT).tolist())) for placed, gone in removed
    )
    stays = ~rest.mask
    if len(rest.unit) > 1 and len(removed) < rest.unit[0].primary.sharers:
        stays &= _of_classes(rest.rows, [placed for placed, _ in removed])
    return _Losers(segments, _filtered(rest.rows, pa.array(stays)))


def _filtered(rows: pa.Table, stays: pa.Array) -> pa.Table:
    """Return the rows that stay; where there are many, column by column on all processors."""
    if rows.nbytes < _WORTH_THREADS:
        return rows.filter(stays)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        columns = list(pool.map(lambda column: column.filter(stays), rows.columns))
    return pa.Table.from_arrays(columns, schema=rows.schema)


def _piece(losers: _Losers, form: TableForm) -> Piece:
    """Return the rows that stay as what is to be written."""
    partition = losers.segments[0][0].segment.partition
    stamps = time_ns(losers.rows.column(form.spec.time), form.spec.name)
    rows = losers.rows
    return Piece(without_constants(rows, form), 0, partition, len(losers.segments) > 1, rows, stamps)
