"""Where the catalog contradicts itself, as findings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from quantstore.catalog.inspection import REBUILD
from quantstore.core.segment import SEQ
from quantstore.maintenance.checks.spans import SeqSpan, doubled
from quantstore.maintenance.mends import CorrectRows, GiveUp, Mend
from quantstore.maintenance.problems import Finding, Problem
from quantstore.maintenance.unreadable import UNREADABLE
from quantstore.stores.base import Selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quantstore.catalog.inspection import Flaw
    from quantstore.core.segment import PlacedSegment
    from quantstore.maintenance.checks.grounds import Grounds
    from quantstore.rows.times import Int64s

_REMEDY = f"What is right cannot be told from the files: {REBUILD}."
_NOT_SPARE = f"It may be the last to have its rows, and is kept. Mend what is wrong beside it, or {REBUILD}."


def contradictions(grounds: Grounds) -> Iterator[Finding]:
    """Yield where the catalog contradicts itself."""
    placed = {one.segment.segment_id: one for one in grounds.state.segments}
    for flaw in grounds.state.flaws:
        found = None if flaw.segment_id is None else placed.get(flaw.segment_id)
        mend, remedy = _mend(grounds, flaw, found)
        table = grounds.table_name(flaw.table_id)
        if found is not None:
            copy = next((one for one in found.copies if one.copy_id == flaw.copy_id), None)
            yield Finding.of_copy(flaw.kind, table, found, copy, flaw.message, remedy, mend)
            continue
        where = f"table {table!r}: " if table else "catalog: "
        message = where + flaw.message
        yield Finding(Problem(flaw.kind, table, "", "", "", message, remedy, mend is not None, flaw.segment_id), mend)


def _mend(grounds: Grounds, flaw: Flaw, placed: PlacedSegment | None) -> tuple[Mend | None, str]:
    if flaw.mend:
        rows = CorrectRows(grounds, flaw.mend)
        return rows, rows.outlook
    copies = () if placed is None else placed.copies
    copy = next((one for one in copies if one.copy_id == flaw.copy_id), None)
    if placed is None or copy is None or flaw.kind not in {"derived", "duplicated"}:
        return None, _REMEDY
    which = "extra copy" if flaw.kind == "derived" else "second copy"
    mend = GiveUp(grounds, placed, copy, f"gave the {which} up")
    if mend.is_safe():
        return mend, f"fsck(repair=True) gives this {which} up."
    return None, _NOT_SPARE


def doubled_rows(grounds: Grounds, spans: Sequence[SeqSpan]) -> Iterator[Finding]:
    """Yield segments that hold rows of another one at the same version."""

    def read(span: SeqSpan) -> Int64s:
        segment = span.placed.segment
        form = grounds.form(segment.schema_id)
        store, wanted = grounds.stores[span.copy.tier], Selection(columns=(SEQ,))
        try:
            found: Int64s = store.read(form.layout, span.copy, segment.partition, wanted).column(SEQ).to_numpy()
        except UNREADABLE:  # given up since it was checked
            return np.zeros(0, np.int64)
        return found

    for first, second, rows in doubled(spans, read):
        table = grounds.table_name(first.segment.table_id)
        what = f"{rows:,} of its rows are in segment {first.segment.segment_id}, too"
        yield Finding.of_copy("duplicated", table, second, None, what, _REMEDY)
