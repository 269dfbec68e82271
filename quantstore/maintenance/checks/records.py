"""Where the catalog contradicts itself, as findings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from quantstore.catalog.inspection import REBUILD
from quantstore.core.segment import SEQ
from quantstore.errors import QuantStoreError
from quantstore.maintenance.checks.spans import SeqSpan, doubled
from quantstore.maintenance.mends import CorrectRows, Mend, Remake
from quantstore.maintenance.problems import Finding, Problem
from quantstore.stores.base import Selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quantstore.catalog.inspection import Flaw
    from quantstore.maintenance.checks.grounds import Grounds
    from quantstore.rows.times import Int64s

_REMEDY = f"What is right cannot be told from the files: {REBUILD}."


def contradictions(grounds: Grounds) -> Iterator[Finding]:
    """Yield where the catalog contradicts itself."""
    placed = {one.segment.segment_id: one for one in grounds.state.segments}
    for flaw in grounds.state.flaws:
        mend, remedy = _mend(grounds, flaw)
        found = None if flaw.segment_id is None else placed.get(flaw.segment_id)
        table = grounds.table_name(flaw.table_id)
        if found is not None:
            copy = next((one for one in found.copies if one.copy_id == flaw.copy_id), None)
            yield Finding.of_copy(flaw.kind, table, found, copy, flaw.message, remedy, mend)
            continue
        where = f"table {table!r}: " if table else "catalog: "
        message = where + flaw.message
        yield Finding(Problem(flaw.kind, table, "", "", "", message, remedy, mend is not None, flaw.segment_id), mend)


def _mend(grounds: Grounds, flaw: Flaw) -> tuple[Mend | None, str]:
    if flaw.mend:
        rows = CorrectRows(grounds, flaw.mend)
        return rows, rows.outlook
    if flaw.kind == "derived" and flaw.copy_id is not None:
        give_up = partial(grounds.catalog.repairs.give_up, flaw.copy_id)
        return Remake(give_up, "gave the extra copy up"), "fsck(repair=True) gives this extra copy up."
    if flaw.kind == "duplicated" and flaw.copy_id is not None and _is_spare(grounds, flaw):
        give_up = partial(grounds.catalog.repairs.give_up, flaw.copy_id)
        return Remake(give_up, "gave the second copy up"), "fsck(repair=True) gives the second one up."
    return None, _REMEDY


def _is_spare(grounds: Grounds, flaw: Flaw) -> bool:
    """Whether a segment has another primary that is whole, so that a second one may be given up."""
    for placed in grounds.state.segments:
        if placed.segment.segment_id == flaw.segment_id:
            others = [copy for copy in placed.copies if copy.role == "primary" and copy.copy_id != flaw.copy_id]
            for copy in others:
                try:
                    grounds.stores[copy.tier].verify(copy, deep=True)
                except (QuantStoreError, KeyError):
                    continue
                return True
    return False


def doubled_rows(grounds: Grounds, spans: Sequence[SeqSpan]) -> Iterator[Finding]:
    """Yield segments that hold rows of another one at the same version."""

    def read(span: SeqSpan) -> Int64s:
        segment = span.placed.segment
        form = grounds.form(segment.schema_id)
        store, wanted = grounds.stores[span.copy.tier], Selection(columns=(SEQ,))
        try:
            found: Int64s = store.read(form.layout, span.copy, segment.partition, wanted).column(SEQ).to_numpy()
        except QuantStoreError:  # given up since it was checked
            return np.zeros(0, np.int64)
        return found

    for first, second, rows in doubled(spans, read):
        table = grounds.table_name(first.segment.table_id)
        what = f"{rows:,} of its rows are in segment {first.segment.segment_id}, too"
        yield Finding.of_copy("duplicated", table, second, None, what, _REMEDY)
