"""Which segments are merged: the planner alone, over made-up catalogs."""

from __future__ import annotations

import math
from collections import Counter
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from quantstore.core.segment import Copy, Partition, PlacedSegment, Segment, SegmentStats
from quantstore.core.tier import Tier
from quantstore.maintenance.merges import Merge, Shape, grown, plan_merges

ROW_BYTES = 100
FULL = 1_000
SEGMENT_BYTES = ROW_BYTES * FULL
DAY = date(2026, 1, 5)


def placed(number, rows, start=0, end=None, *, version=None, kind="FX", file=None, sharers=1, tier=Tier.HOT, schema=1):
    """Return a segment of some rows over a span of time."""
    stats = SegmentStats(rows, start, start + 1 if end is None else end)
    segment = Segment(number, 1, schema, Partition(DAY, kind), stats, version or number)
    copy = Copy(number, number, tier, "store", file or f"file-{number}", "ipc", rows * 10, "", 0, sharers=sharers)
    return PlacedSegment(segment, (copy,))


def plan(segments, *, mixes=False, by_time=True):
    return plan_merges(segments, lambda schema_id, tier: Shape(ROW_BYTES, mixes, by_time), SEGMENT_BYTES)


def carried_out(segments: list[PlacedSegment], merges: list[Merge], counted: Counter[int] | None = None):
    """Return the segments that are there once merges are made; in `counted` how many rows were written how often."""
    gone = {one.segment.segment_id for merge in merges for one in merge.sources}
    after = [one for one in segments if one.segment.segment_id not in gone]
    number = max((one.segment.segment_id for one in segments), default=0)
    for merge in merges:
        start, end = min(unit.min_ns for unit in merge.units), max(unit.max_ns for unit in merge.units)
        step = (end - start) // merge.pieces
        for piece in range(merge.pieces):
            number += 1
            rows = merge.rows // merge.pieces + (piece < merge.rows % merge.pieces)
            low = start + piece * step + (piece > 0)
            high = start + (piece + 1) * step if piece + 1 < merge.pieces else end
            after.append(placed(number, rows, low, max(low, high), version=merge.version))
            if counted is not None:
                counted["written"] += rows
    return after


def compacted(segments, counted=None, **options):
    """Plan and carry out until nothing is left to do; return the segments."""
    for _ in range(20):
        merges = plan(segments, **options)
        if not merges:
            return segments
        segments = carried_out(segments, merges, counted)
    raise AssertionError("compaction finds no end")


def rows_of(segments):
    return sorted(one.segment.stats.rows for one in segments)


def test_small_segments_of_one_day_become_one_and_the_reason_is_told():
    (merge,) = plan([placed(number, 5, number * 10) for number in range(1, 41)])
    assert (merge.rows, merge.pieces, merge.version) == (200, 1, 40)
    assert merge.why == "40 files of 5 rows, where a full one holds about 1,000"


def test_a_small_segment_beside_a_large_one_waits_until_it_is_worth_rewriting_it():
    assert plan([placed(1, 200), placed(2, 10, 500)]) == []
    assert rows_of(compacted([placed(1, 200), *(placed(at, 10, 500 + at) for at in range(2, 11))])) == [90, 200]
    assert rows_of(compacted([placed(1, 200), *(placed(at, 10, 500 + at) for at in range(2, 12))])) == [300]


def test_full_segments_that_do_not_overlap_are_left_alone():
    assert plan([placed(number, 1_000, number * 100, number * 100 + 99) for number in range(1, 9)]) == []
    assert plan([placed(number, 250, number * 100, number * 100 + 99) for number in range(1, 9)]) == []


def test_full_segments_that_overlap_are_laid_side_by_side_where_rows_are_in_time_order():
    layers = [placed(number, 900, 0, 10_000) for number in (1, 2, 3)]
    (merge,) = plan(layers)
    assert (merge.pieces, len(merge.units)) == (3, 3)
    assert merge.why == "3 files overlap in time, 3 deep; one layer is read without sorting"
    assert plan(layers, by_time=False) == []
    assert plan([placed(1, 900, 0, 99), placed(2, 900, 100, 199)]) == []


def test_late_rows_do_not_rewrite_a_long_day_that_is_much_larger():
    day = [placed(number, 1_000, number * 100, number * 100 + 99) for number in range(1, 11)]
    late = placed(11, 900, 0, 2_000)
    assert plan([*day, late]) == []


def test_partitions_tiers_and_schemas_are_kept_apart():
    others = [placed(2, 5, kind="EQ"), placed(3, 5, tier=Tier.COLD), placed(4, 5, schema=2), placed(5, 5, kind=None)]
    segments = [placed(1, 5), *others]
    assert plan(segments) == []
    (merge,) = plan([*segments, placed(6, 5, kind=None)])
    assert [one.segment.segment_id for one in merge.sources] == [5, 6]


def test_classes_that_share_files_are_merged_together():
    segments = [
        placed(2 * at + number, 5, at, kind=kind, file=f"file-{at}", sharers=2)
        for at in range(1, 5)
        for number, kind in enumerate(("EQ", None))
    ]
    (merge,) = plan(segments, mixes=True)
    assert (len(merge.units), len(merge.sources), merge.is_mixed) == (4, 8, True)
    assert [str(one.asset_class) for one in merge.partitions] == ["EQ", "None"]
    assert all(unit.is_whole for unit in merge.units)
    (partly,) = plan(segments[1:], mixes=True)
    assert [unit.is_whole for unit in partly.units] == [False, True, True, True]


def test_segments_of_a_restored_version_may_lie_in_one_file_twice():
    twice = [placed(1, 5, file="a", sharers=2), placed(2, 5, file="a", sharers=2), placed(3, 5)]
    (merge,) = plan(twice, mixes=True)
    assert not merge.units[0].is_whole


def test_long_texts_make_full_segments_of_fewer_rows():
    """The files tell how long rows are where their types do not."""
    long = [
        PlacedSegment(one.segment, (Copy(1, 1, Tier.HOT, "store", f"f{at}", "ipc", 2_000_000, "", 0),))
        for at, one in enumerate(placed(number, 300, number * 10) for number in range(1, 5))
    ]
    assert plan(long) == []


@given(st.lists(st.integers(1, 400), max_size=40))
def test_what_is_left_are_sizes_each_more_than_twice_all_smaller_ones_together(sizes):
    left = sorted(compacted([placed(number, rows, number * 10) for number, rows in enumerate(sizes, start=1)]), key=id)
    assert sum(rows_of(left)) == sum(sizes)
    small = [rows for rows in rows_of(left) if rows * 4 < FULL]
    assert all(rows > 2 * sum(small[:at]) for at, rows in enumerate(small) if at)


@given(st.lists(st.tuples(st.integers(1, 3_000), st.integers(0, 50), st.integers(1, 60)), max_size=30), st.booleans())
def test_compacting_comes_to_an_end_whatever_overlaps(spans, by_time):
    segments = [
        placed(number, rows, start * 1_000, (start + length) * 1_000)
        for number, (rows, start, length) in enumerate(spans, start=1)
    ]
    left = compacted(segments, by_time=by_time)
    assert sum(rows_of(left)) == sum(rows for rows, *_ in spans)
    assert plan(left, by_time=by_time) == []


@given(st.lists(st.integers(1, 100), min_size=1, max_size=30))
def test_whatever_is_rewritten_grows_by_half(sizes):
    chosen = grown(sizes, lambda size: size)
    assert all(3 * size <= 2 * sum(chosen) for size in chosen)
    rest = sorted(sizes)[len(chosen) :]
    assert all(size > 2 * sum(sorted(sizes)[: len(chosen) + at]) for at, size in enumerate(rest) if len(chosen) + at)


def test_a_stream_compacted_after_every_append_rewrites_each_row_a_few_times_only():
    """An append a second for three hours: at most log3 segments at any time, and log1.5 rewrites of a row."""
    appends, rows = 3 * 3_600, 3
    segments: list[PlacedSegment] = []
    counted: Counter[str] = Counter()
    most = 0
    for number in range(appends):
        top = max((one.segment.segment_id for one in segments), default=0)
        segments = compacted([*segments, placed(top + 1, rows, number * 10)], counted)
        small = [one for one in segments if one.segment.stats.rows * 4 < FULL]
        most = max(most, len(small))
    assert sum(rows_of(segments)) == appends * rows
    assert most <= math.log(FULL, 3) + 1
    assert counted["written"] <= appends * rows * math.log(FULL, 1.5)
