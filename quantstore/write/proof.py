"""Proof that a new copy holds what it should, by reading it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantstore.core.segment import Copy
from quantstore.rows.fingerprint import column_proofs
from quantstore.write.order import is_in_store_order
from quantstore.write.partition import piece_stats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quantstore.catalog.records import ColumnProof
    from quantstore.core.segment import NewCopy, Partition, SegmentStats
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import SegmentStore


def find_difference(
    store: SegmentStore,
    form: TableForm,
    partition: Partition,
    copy: NewCopy,
    stats: SegmentStats,
    proofs: Mapping[str, ColumnProof],
) -> str | None:
    """Read a new copy back and compare rows, time span, symbols, order and every column with what it was made of.

    Args:
        store: Where it is.
        form: The form of its rows.
        partition: Their partition.
        copy: The copy.
        stats: What the catalog is to know of them.
        proofs: Fingerprints of the rows as they were read from their source.

    Returns:
        What is wrong with it, or None.

    Raises:
        IntegrityError: It cannot be read at all.
    """
    probe = Copy(
        copy_id=0,
        segment_id=0,
        tier=copy.tier,
        store=copy.store,
        location=copy.location,
        codec=copy.codec,
        size_bytes=copy.size_bytes,
        checksum=copy.checksum,
        seq_base=copy.seq_base,
        sharers=copy.sharers,
        file_bytes=copy.file_bytes,
    )
    back = store.read(form.layout, probe, partition)
    found = piece_stats(back, form.layout) if back.num_rows else None
    if found != stats:
        return f"statistics {found} instead of {stats}"
    if not is_in_store_order(back, form.layout, store.capabilities.order):
        return "rows out of order"
    back_proofs = column_proofs(back)
    differing = [name for name, proof in proofs.items() if back_proofs.get(name) != proof]
    if differing or set(back_proofs) != set(proofs):
        return f"other values in {', '.join(map(repr, differing)) or 'the set of columns'}"
    return None
