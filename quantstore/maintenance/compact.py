"""Compaction: small and overlapping segments into few sorted ones; no version's content changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from quantstore.core.events import Progress, announce
from quantstore.core.failpoints import reach
from quantstore.core.segment import ASSET_CLASS
from quantstore.errors import ConflictError, QuantStoreError
from quantstore.maintenance.compacted import CompactedGroup, CompactionReport
from quantstore.maintenance.merger import Files, Merger
from quantstore.maintenance.merges import Merge, Shape, plan_merges
from quantstore.write import arrivals

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.compactions import Compaction
    from quantstore.catalog.records import TableRecord
    from quantstore.core.segment import PlacedSegment
    from quantstore.core.tier import Tier
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import SegmentStore

BATCH_BYTES = 64 * 2**20
_BATCH_MERGES = 64
_ROUNDS = 8
_TEXT_BYTES = 16
_LIST_BYTES = 32


class Compactor:
    """Compacts one table.

    Args:
        catalog: Where compactions are committed.
        stores: By tier.
        form: Returns the form in which a schema id keeps rows.
        record: The table.
        tier: The tier to compact; None for all.
    """

    def __init__(
        self,
        catalog: Catalog,
        stores: Mapping[Tier, SegmentStore],
        form: Callable[[int], TableForm],
        record: TableRecord,
        tier: Tier | None = None,
    ) -> None:
        self._catalog = catalog
        self._stores = stores
        self._find_form = form
        self._forms: dict[int, TableForm] = {}
        self._record = record
        self._tier = tier
        self._merger = Merger(catalog, stores, self._form, record)
        self._refused: set[tuple[int, ...]] = set()

    def run(self) -> CompactionReport:
        """Merge what is worth merging.

        Raises:
            IntegrityError: A source is damaged, or a new segment reads back differently; nothing of it was changed.
            ConflictError: Other processes kept changing the same segments.
        """
        done: list[CompactedGroup] = []
        for left in reversed(range(_ROUNDS)):
            merges = self._merges()[0]
            if not merges:
                break
            try:
                self._make(merges, done)
            except ConflictError:
                if not left:
                    raise
        return CompactionReport(tuple(done), len(self._live()))

    def propose(self) -> CompactionReport:
        """Return what `run` would do first."""
        merges, segments = self._merges()
        merged = sum(len(merge.sources) for merge in merges)
        groups = tuple(CompactedGroup.of(self._record.name, merge) for merge in merges)
        return CompactionReport(groups, segments - merged, dry_run=True)

    def _live(self) -> list[PlacedSegment]:
        with self._catalog.view() as view:
            found = view.segments(self._record.table_id)
        return [one for one in found if self._tier in {None, one.primary.tier}]

    def _merges(self) -> tuple[list[Merge], int]:
        live = self._live()
        found = plan_merges(live, self._shape, arrivals.SEGMENT_BYTES)
        return [merge for merge in found if _ids(merge) not in self._refused], len(live)

    def _shape(self, schema_id: int, tier: Tier) -> Shape:
        form, able = self._form(schema_id), self._stores[tier].capabilities
        row_bytes = sum(_width(field.type) for field in form.schema)
        return Shape(row_bytes, able.mixes and ASSET_CLASS not in form.hidden, able.order == "time")

    def _form(self, schema_id: int) -> TableForm:
        if schema_id not in self._forms:
            self._forms[schema_id] = self._find_form(schema_id)
        return self._forms[schema_id]

    def _make(self, merges: Sequence[Merge], done: list[CompactedGroup]) -> None:
        made = 0
        for batch in _batches(merges):
            done += [CompactedGroup.of(self._record.name, merge) for merge in self._make_batch(batch)]
            made += len(batch)
            announce(Progress("compact", self._record.name, made, len(merges), "merges"))

    def _make_batch(self, batch: Sequence[Merge]) -> list[Merge]:
        """Make some merges in one commit; return those that could be made."""
        attempt = self._catalog.attempts.register("compaction", self._record.name)
        reach("compact.registered")
        files = Files(self._catalog, attempt)
        try:
            compactions: list[Compaction] = []
            made = []
            for merge in batch:
                found = self._merger.merged(merge, files)
                if found:
                    compactions += found
                    made.append(merge)
                else:
                    self._refused.add(_ids(merge))
            reach("compact.verified")
            files.renew()
            if made:
                self._catalog.compactions.compact(files.attempt, self._record, compactions)
            else:
                files.give_up()
        except QuantStoreError as error:
            conflict = self._catalog.attempts.conflict(attempt)
            files.give_up()
            if conflict is not None:
                raise conflict from error
            raise
        except BaseException:
            files.give_up()
            raise
        return made


def _ids(merge: Merge) -> tuple[int, ...]:
    return tuple(sorted(one.segment.segment_id for one in merge.sources))


def _batches(merges: Sequence[Merge]) -> list[list[Merge]]:
    """Group merges so that one commit holds at most about `BATCH_BYTES` of sources."""
    grouped: list[list[Merge]] = []
    size = 0
    for merge in merges:
        if not grouped or size + merge.size_bytes > BATCH_BYTES or len(grouped[-1]) >= _BATCH_MERGES:
            grouped.append([])
            size = 0
        grouped[-1].append(merge)
        size += merge.size_bytes
    return grouped


def _width(kind: Any) -> int:
    """Return about how many bytes a value takes in memory."""
    types = pa.types
    if types.is_dictionary(kind):
        return _width(kind.index_type)
    if types.is_struct(kind):
        return sum(_width(field.type) for field in kind)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_map(kind):
        return _LIST_BYTES
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:
        return _TEXT_BYTES
