"""Narrow what is read of one table by what is read of another, see `links`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from quantstore.catalog.segments import SegmentFilter
from quantstore.core.timerange import MAX_NS, MIN_NS, TimeRange
from quantstore.query.links import Offset, SymbolLink, TimeLink
from quantstore.query.parse import DIALECT
from quantstore.query.plan import Scan
from quantstore.query.prune import Evaluate

_ROUNDS = 3
"""Enough for a chain of as many tables; more would only narrow further."""
_BASES = ("2000-02-01", "2001-02-01", "2001-03-01")
_LONGEST_US = 1000 * 86_400 * 10**6
_SLACK_NS = 2000
"""Interval arithmetic may round to microseconds."""


def follow_links(
    links: Iterable[TimeLink | SymbolLink],
    filters: dict[int, SegmentFilter],
    scan: Callable[[int], Scan],
    evaluate: Evaluate,
) -> None:
    """Narrow `filters`, by number of reference, until they stay as they are or often enough.

    Args:
        links: What ties references to each other.
        filters: What is wanted of each reference; changed in place.
        scan: Plans the scan of a reference by its filter.
        evaluate: Evaluates column-free expressions.
    """
    known = [(link, _duration_ns(link.offset, evaluate) if isinstance(link, TimeLink) else 0) for link in links]
    for _ in range(_ROUNDS):
        before = dict(filters)
        spans: dict[int, TimeRange | None] = {}
        for link, offset in known:
            if isinstance(link, SymbolLink):
                filters[link.target] = _with_symbols(filters[link.target], filters[link.source].symbols)
            elif offset is not None:
                if link.source not in spans:
                    spans[link.source] = _span(scan(link.source))
                filters[link.target] = _within(filters[link.target], spans[link.source], link, offset)
        if filters == before:
            return


def _with_symbols(own: SegmentFilter, symbols: tuple[str, ...] | None) -> SegmentFilter:
    if symbols is None:
        return own
    kept = symbols if own.symbols is None else tuple(one for one in own.symbols if one in symbols)
    return replace(own, symbols=kept)


def _span(scan: Scan) -> TimeRange | None:
    """Return the times of the rows that a scan reads; None where it reads none."""
    stats = [choice.placed.segment.stats for choice in scan.choices]
    if not stats:
        return None
    first, last = min(one.min_ns for one in stats), max(one.max_ns for one in stats)
    if last >= MAX_NS:
        return TimeRange()
    return TimeRange(first, last + 1).intersect(scan.wanted.time)


def _within(own: SegmentFilter, span: TimeRange | None, link: TimeLink, offset: int) -> SegmentFilter:
    if span is None:
        return own
    start, end = None, None
    if link.is_lower and span.start_ns is not None:
        start = span.start_ns + offset - _SLACK_NS
    if not link.is_lower and span.end_ns is not None:
        end = span.end_ns + offset + _SLACK_NS
    if (start is not None and start <= MIN_NS) or (end is not None and end >= MAX_NS):
        return own
    return replace(own, time=own.time.intersect(TimeRange(start, end)))


def _duration_ns(offset: Offset, evaluate: Evaluate) -> int | None:
    """Return the length of a sum of intervals, or None where one depends on the calendar or is no interval."""
    total = 0
    for sign, node in offset:
        text = node.sql(DIALECT)
        values = evaluate(
            [f"epoch_us(TIMESTAMP '{base}' + ({text})) - epoch_us(TIMESTAMP '{base}')" for base in _BASES]
        )
        micros = values[0]
        if not isinstance(micros, int) or len(set(values)) > 1 or abs(micros) > _LONGEST_US:
            return None
        total += sign * micros * 1000
    return total
