"""What a file says of how it came to be, so that a catalog can be made again from files alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantstore.catalog.records import Attempt
    from quantstore.core.segment import PlacedSegment
    from quantstore.rows.form import TableForm

Replaced = tuple[str, str, str | None]
"""Store, location and asset class of a copy of a segment that something else takes the place of."""


def origin(
    form: TableForm,
    attempt: Attempt | None,
    *,
    first: int | None = None,
    replaces: Iterable[Replaced] = (),
    overwrites: bool = False,
    role: str = "primary",
    is_live: bool = True,
) -> dict[str, Any] | None:
    """Return what a file written under an attempt says of itself; None for what is not written at all.

    Args:
        form: The table's.
        attempt: The attempt.
        first: Ordinal of the first row in the commit that adds the rows; None where rows keep the `_seq` they have.
        replaces: What the commit of the attempt takes away, as far as known by now.
        overwrites: Whether it takes away all that the table held.
        role: Of the copies in the file.
        is_live: Whether the newest version has the rows; else only older ones do.
    """
    if attempt is None:
        return None
    return {
        "table": asdict(form.spec),
        "hidden": list(form.hidden),
        "frame": json.dumps(form.frame),
        "kind": attempt.kind,
        "written_ns": time.time_ns(),
        "after_version": attempt.after_version,
        "first": first,
        "replaces": [list(one) for one in replaces],
        "overwrites": overwrites,
        "role": role,
        "live": is_live,
    }


def replaced(placed: PlacedSegment) -> list[Replaced]:
    """Return the copies that go where a segment does."""
    asset_class = placed.segment.partition.asset_class
    return [(copy.store, copy.location, asset_class) for copy in placed.copies]
