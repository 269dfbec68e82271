"""Audit: prove that every copy is whole and every move is still true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quantstore.core.events import Progress, announce
from quantstore.core.render import human_bytes
from quantstore.errors import QuantStoreError
from quantstore.maintenance.sweep import attempt_of, orphans
from quantstore.rows.fingerprint import column_proofs
from quantstore.write.order import is_in_store_order
from quantstore.write.partition import piece_stats

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.records import Receipt
    from quantstore.core.segment import Copy, PlacedSegment, SegmentStats, Subset
    from quantstore.core.tier import Tier
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import SegmentStore


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as the catalog says.

    Attributes:
        kind: `damaged`, `mismatch`, `receipt` or `unknown_file`.
        table: Table concerned; empty for a file that belongs to none.
        partition: Partition concerned.
        tier: Tier concerned.
        location: Where, relative to the store's root.
        message: What is wrong.
    """

    kind: str
    table: str
    partition: str
    tier: str
    location: str
    message: str


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
        """Return a summary, then one line per problem."""
        state = "everything is as recorded" if self.ok else f"{len(self.problems)} problems"
        head = (
            f"audit: {state}; {self.copies} copies ({human_bytes(self.size_bytes)}) read, {self.receipts} moves "
            f"proven, {self.orphans} orphans"
        )
        lines = [f"  {one.kind}: {one.message}" for one in self.problems]
        return "\n".join([head, *lines])


class Auditor:
    """Reads every copy back and compares it with the catalog."""

    def __init__(self, catalog: Catalog, stores: Mapping[Tier, SegmentStore], form: Callable[[int], TableForm]) -> None:
        self._catalog = catalog
        self._stores = stores
        self._form = form
        self._problems: list[Problem] = []
        self._proven = 0
        self._read: set[tuple[str, str]] = set()

    def run(self) -> AuditReport:
        """Audit the whole store; reads all of it."""
        segments = self._catalog.every_segment()
        receipts = {receipt.copy_id: receipt for receipt in self._catalog.receipts()}
        copies = [(placed, copy) for placed in segments for copy in placed.copies]
        for number, (placed, copy) in enumerate(copies, start=1):
            self._check(placed, copy, receipts.get(copy.copy_id))
            announce(Progress("audit", "", number, len(copies), "copies"))
        unknown = self._unknown_files()
        return AuditReport(
            copies=len(copies),
            size_bytes=sum(copy.size_bytes for _, copy in copies),
            receipts=self._proven,
            orphans=len(orphans(self._catalog, self._stores)),
            problems=(*self._problems, *unknown),
        )

    def _check(self, placed: PlacedSegment, copy: Copy, receipt: Receipt | None) -> None:
        store = self._stores[copy.tier]
        form = self._form(placed.segment.schema_id)
        try:
            file = (store.name, copy.location)
            store.verify(copy, deep=file not in self._read)
            self._read.add(file)
            table = store.read(form.layout, copy, placed.segment.partition)
        except QuantStoreError as error:
            if self._catalog.is_live_copy(copy.copy_id):
                self._note("damaged", form, placed, copy, str(error))
            return
        found = piece_stats(table, form.layout) if table.num_rows else None
        if copy.subset is not None:
            if not _is_subset(copy.subset, found):
                self._note("mismatch", form, placed, copy, f"rows read are {found}, recorded are {copy.subset}")
        elif found != placed.segment.stats:
            self._note("mismatch", form, placed, copy, f"rows read are {found}, recorded are {placed.segment.stats}")
        elif not is_in_store_order(table, form.layout, store.capabilities.order):
            self._note("mismatch", form, placed, copy, "rows are out of order")
        if receipt is not None:
            if column_proofs(table) != receipt.columns:
                self._note(
                    "receipt", form, placed, copy, f"values differ from receipt {receipt.receipt_id} of the move"
                )
            else:
                self._proven += 1

    def _note(self, kind: str, form: TableForm, placed: PlacedSegment, copy: Copy, message: str) -> None:
        partition = str(placed.segment.partition)
        where = f"table {form.spec.name!r}, partition {partition}, tier {copy.tier.value}: "
        self._problems.append(Problem(kind, form.spec.name, partition, copy.tier.value, copy.location, where + message))

    def _unknown_files(self) -> list[Problem]:
        listed = [(tier, stored) for tier, store in self._stores.items() for stored in store.list()]
        known_attempts = set(self._catalog.attempts.states())
        known = self._catalog.garbage.locations()
        return [
            Problem("unknown_file", "", "", tier.value, stored.location, f"{stored.location} belongs to no attempt")
            for tier, stored in listed
            if attempt_of(stored.location) not in known_attempts
            and (self._stores[tier].name, stored.location) not in known
        ]


def _is_subset(subset: Subset, found: SegmentStats | None) -> bool:
    """Whether rows are those of a shadow's symbols, by their number and names."""
    if found is None or found.rows != subset.rows:
        return False
    return found.symbols is None or set(found.symbols) <= set(subset.symbols)
