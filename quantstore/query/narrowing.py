"""Conditions on segments put together: both, or at least one of them."""

from __future__ import annotations

from typing import Any

from quantstore.catalog.segments import SegmentFilter
from quantstore.core.timerange import TimeRange


def both(one: SegmentFilter, other: SegmentFilter) -> SegmentFilter:
    """Return the conditions on a row that meets both."""
    firsts = [day for day in (one.first_day, other.first_day) if day is not None]
    lasts = [day for day in (one.last_day, other.last_day) if day is not None]
    return SegmentFilter(
        time=one.time.intersect(other.time),
        first_day=max(firsts, default=None),
        last_day=min(lasts, default=None),
        days=_common(one.days, other.days),
        asset_classes=_common(one.asset_classes, other.asset_classes),
        symbols=_common(one.symbols, other.symbols),
    )


def either(one: SegmentFilter, other: SegmentFilter) -> SegmentFilter:
    """Return what can be said of a row that meets at least one of two conditions."""
    starts, ends = (one.time.start_ns, other.time.start_ns), (one.time.end_ns, other.time.end_ns)
    firsts, lasts = (one.first_day, other.first_day), (one.last_day, other.last_day)
    return SegmentFilter(
        time=TimeRange(None if None in starts else min(starts), None if None in ends else max(ends)),  # type: ignore[type-var]
        first_day=None if None in firsts else min(firsts),  # type: ignore[type-var]
        last_day=None if None in lasts else max(lasts),  # type: ignore[type-var]
        days=_any_of(one.days, other.days),
        asset_classes=_any_of(one.asset_classes, other.asset_classes),
        symbols=_any_of(one.symbols, other.symbols),
    )


def _common(one: tuple[Any, ...] | None, other: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    if one is None or other is None:
        return other if one is None else one
    return tuple(sorted(set(one) & set(other)))


def _any_of(one: tuple[Any, ...] | None, other: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    return None if one is None or other is None else tuple(sorted({*one, *other}))
