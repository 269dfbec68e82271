"""Tiers: places on the ladder."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum

from quantstore.errors import InvalidInputError


class Tier(StrEnum):
    """A place on the ladder, hottest first."""

    HOT = "hot"
    WARM = "warm"
    COLD = "cold"


ALL_TIERS: tuple[Tier, ...] = tuple(Tier)


def parse_tier(value: str) -> Tier:
    """Return the tier named `value`, in any case.

    Raises:
        InvalidInputError: No such tier; the message names the nearest one.
    """
    try:
        return Tier(str(value).strip().lower())
    except ValueError:
        near = get_close_matches(str(value).lower(), [t.value for t in Tier], n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InvalidInputError(f"{value!r} is not a tier; choose hot, warm or cold.{hint}", tier=str(value)) from None


def parse_tiers(values: str | Iterable[str]) -> tuple[Tier, ...]:
    """Return the tiers named by `values` (a list, or text separated by commas), hottest first.

    Raises:
        InvalidInputError: A name is not a tier, or none is given.
    """
    names = values.split(",") if isinstance(values, str) else list(values)
    wanted = {parse_tier(name) for name in names}
    if not wanted:
        raise InvalidInputError("tiers= is empty; name at least one of hot, warm, cold.")
    return tuple(tier for tier in ALL_TIERS if tier in wanted)
