"""What a caller asks to write, checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from quantstore.core.names import check_name, check_text
from quantstore.core.table import parse_grain
from quantstore.core.tier import Tier, parse_tier
from quantstore.errors import InvalidInputError
from quantstore.rows.form import Wishes

MODES = ("append", "overwrite", "replace", "upsert", "error")
REPEATS = ("skip", "append", "raise")


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """One write.

    Attributes:
        table: Name of the table.
        tier: Where the new rows go.
        mode: What becomes of rows that are there, see `HybridStorageManager.write`; `delete` adds none.
        wishes: What the caller says about the table's form.
        wide: Of a frame with a column for each symbol, the name of the column that its cells go to.
        where: SQL condition on the rows that a `replace` or `delete` takes away.
        write_id: Name of the write, or None.
        on_repeat: What to do with rows that are in the table already.
        expected_version: The table's version that the caller insists on, or None.
        dry_run: Whether only to say what would be done.
    """

    table: str
    tier: Tier
    mode: str = "append"
    wishes: Wishes = field(default_factory=Wishes)
    wide: str | None = None
    where: str | None = None
    write_id: str | None = None
    on_repeat: str = "skip"
    expected_version: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if self.mode not in (*MODES, "delete"):
            raise InvalidInputError(f"mode={self.mode!r} is not one of {', '.join(MODES)}.")
        if self.on_repeat not in REPEATS:
            raise InvalidInputError(f"on_repeat={self.on_repeat!r} is not one of {', '.join(REPEATS)}.")
        check_text(self.table)
        if self.wide is not None:
            check_name(self.wide, "column")
        if self.write_id is not None and not str(self.write_id).strip():
            raise InvalidInputError("write_id must not be empty; leave it out or give the write a name.")
        if self.where is not None and self.mode not in {"replace", "delete"}:
            raise InvalidInputError(f"where= says which rows mode='replace' takes away; mode={self.mode!r} takes none.")
        if self.where is not None and (not isinstance(self.where, str) or not self.where.strip()):
            raise InvalidInputError("where= must be a SQL condition, such as \"symbol = 'AAPL'\".")


def write_request(
    table: str,
    tier: str,
    *,
    time: str | None = None,
    symbol: str | None = None,
    key: str | Iterable[str] | None = None,
    asset_class: str | None = None,
    tz: str | None = None,
    calendar: str | None = None,
    grain: str | None = None,
    **options: Any,
) -> WriteRequest:
    """Return the request that the arguments of a `write` make."""
    keys = None if key is None else (key,) if isinstance(key, str) else tuple(key)
    wishes = Wishes(time, symbol, keys, asset_class, tz, calendar, None if grain is None else parse_grain(grain))
    return WriteRequest(table=table, tier=parse_tier(tier), wishes=wishes, **options)
