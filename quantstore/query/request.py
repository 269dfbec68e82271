"""What a caller asks to read, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quantstore.core.tier import ALL_TIERS, Tier
from quantstore.errors import InvalidInputError
from quantstore.query.convert import check_kind
from quantstore.query.frames import NO_FRAMES, Frames

MISSING = ("warn", "raise", "ignore")


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """One read.

    Attributes:
        query: A table's name, or SQL.
        tiers: Tiers that may answer.
        start: First event time wanted (bare table only), as `end`, `dates`, `symbols` and `columns`.
        end: Event time to stop before.
        dates: Trade dates wanted.
        symbols: Symbols wanted.
        columns: Columns wanted.
        params: Values for `$name` in SQL.
        frames: The caller's frames that SQL may name as tables.
        as_of: Version, or instant with a time of day.
        to: Kind of result.
        dtype_backend: pandas dtypes, see `convert`.
        missing: What to do where `tiers` leaves segments out.
        max_bytes: Largest result.
        cache: Whether an answer that was kept may be given, and this one be kept.
    """

    query: str
    tiers: tuple[Tier, ...] = ALL_TIERS
    start: Any = None
    end: Any = None
    dates: Any = None
    symbols: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    frames: Frames = NO_FRAMES
    as_of: Any = None
    to: str = "pandas"
    dtype_backend: str | None = None
    missing: str = "warn"
    max_bytes: int | str | None = "auto"
    cache: bool = True

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        check_kind(self.to, self.dtype_backend)
        if self.missing not in MISSING:
            raise InvalidInputError(f"missing={self.missing!r} is not one of {', '.join(MISSING)}.")
        if not isinstance(self.query, str) or not self.query.strip():
            raise InvalidInputError("Give the name of a table or a SQL query.")

    @property
    def has_row_options(self) -> bool:
        """Whether options are set that only a bare-table read takes."""
        options = (self.start, self.end, self.dates, self.symbols, self.columns)
        return any(option is not None for option in options)
