"""Segments read to be written again: moved, merged or corrected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from quantstore.catalog.conflicts import moved_away
from quantstore.errors import IntegrityError
from quantstore.query.relations import damaged

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.core.segment import PlacedSegment


@contextmanager
def reading(catalog: Catalog, table: str, placed: PlacedSegment) -> Iterator[None]:
    """Name a segment of `table` that cannot be read in the block, or say that another process has moved it.

    Raises:
        OutpacedError: It was moved.
        IntegrityError: It is damaged or gone.
    """
    try:
        yield
    except IntegrityError as error:
        if not catalog.is_live_copy(placed.primary.copy_id):
            raise moved_away(table, placed.segment.partition) from error
        if "copy_id" in error.context:
            raise
        raise damaged(table, placed, placed.primary, error) from error
