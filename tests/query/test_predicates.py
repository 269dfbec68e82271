"""What a Polars predicate says about segments: only what is certain, and nothing of what is not known."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from scan_tables import ENGINES, RESOLVES, assert_same, c, rows

import quantstore as qs
from quantstore.catalog.segments import EVERYTHING, SegmentFilter
from quantstore.core.timerange import TimeRange
from quantstore.query import predicates
from quantstore.query.narrowing import both, either
from quantstore.rows.form import known_form

NOON = dt.datetime(2026, 1, 7, 12)
NS = 1_767_787_200_000_000_000
HOUR = 3_600 * 10**9
DAY = dt.date(2026, 1, 7)
HOURLY = dt.timedelta(hours=1)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table with every column that prunes, and the scan's view of it."""
    with qs.open(tmp_path_factory.mktemp("predicates") / "store") as store:
        store.write(rows(0, 20, zone=None), "t", symbol="symbol")
        yield store


def wanted(store, predicate):
    """Return what a collect with this filter chose segments by."""
    columns = ["ts", "symbol", "price", "size", "venue", "asset_class", "trade_date"]
    store.scan("t", columns=columns).filter(predicate).collect()
    return store.last.plan.scans[0].wanted


def form_of(store):
    with store.metadata_catalog.view() as view:
        return known_form(view.table("t"))


def span(start=None, end=None):
    return SegmentFilter(time=TimeRange(start, end))


def days(*listed):
    return SegmentFilter(days=tuple(sorted(listed)), first_day=min(listed), last_day=max(listed))


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        (c("ts") >= NOON, span(NS)),
        (c("ts").is_between(NOON, NOON + HOURLY, closed="none"), span(NS, NS + HOUR)),
        ((c("ts") >= NOON) & (c("price") > 5) & (c("ts") < NOON + HOURLY), span(NS, NS + HOUR)),
        ((c("ts") < NOON) | (c("ts") < NOON + HOURLY), span(None, NS + HOUR)),
        (c("ts") > NOON.date(), span(NS - 12 * HOUR)),
    ],
    ids=["at least", "between", "and", "or", "day"],
)
def test_stamps_of_python_bound_the_segments(table, predicate, expected):
    found = wanted(table, predicate).time
    for bound, close in zip(
        (found.start_ns, found.end_ns), (expected.time.start_ns, expected.time.end_ns), strict=True
    ):
        assert bound == close or abs(bound - close) <= 1_000  # Polars before 2 compares in the literal's microseconds


@pytest.mark.parametrize("shown", [c("ts").dt.date(), c("ts").cast(pl.Date, strict=False)], ids=["date", "cast"])
def test_the_day_of_a_stamp_bounds_the_segments_with_room_for_every_zone(table, shown):
    assert wanted(table, shown == DAY) == span(NS - 60 * HOUR, NS + 36 * HOUR)
    assert wanted(table, shown >= DAY) == span(NS - 60 * HOUR)


def nanoseconds(number):
    return pl.lit(np.datetime64(number, "ns"))


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        (c("ts") >= nanoseconds(NS + 1), span(NS + 1)),
        (c("ts") > nanoseconds(NS), span(NS + 1)),
        (c("ts") < nanoseconds(NS), span(None, NS)),
        (c("ts") <= nanoseconds(NS), span(None, NS + 1)),
        (c("ts") == nanoseconds(NS), span(NS, NS + 1)),
        (c("ts").eq_missing(nanoseconds(NS)), span(NS, NS + 1)),
        (nanoseconds(NS) < c("ts"), span(NS + 1)),
        (nanoseconds(NS) >= c("ts"), span(None, NS + 1)),
        (c("ts") >= nanoseconds(NS) - pl.duration(hours=1, time_unit="ns"), span(NS - HOUR)),
        (c("ts").is_between(nanoseconds(NS), nanoseconds(NS + HOUR)), span(NS, NS + HOUR + 1)),
        (c("ts").is_between(nanoseconds(NS), nanoseconds(NS + HOUR), closed="left"), span(NS, NS + HOUR)),
        (c("ts").is_between(nanoseconds(NS), nanoseconds(NS + HOUR), closed="right"), span(NS + 1, NS + HOUR + 1)),
        (c("ts").is_between(nanoseconds(NS), nanoseconds(NS + HOUR), closed="none"), span(NS + 1, NS + HOUR)),
        (c("ts").is_in(pl.Series([NS, NS + 5]).cast(pl.Datetime("ns")).implode()), span(NS, NS + 6)),
        ((c("ts") > nanoseconds(NS)) & (c("ts") > nanoseconds(NS + 5)), span(NS + 6)),
        ((c("ts") == nanoseconds(NS)) | (c("ts") == nanoseconds(NS + 9)), span(NS, NS + 10)),
        ((c("ts") == nanoseconds(NS)) | (c("price") > 1), EVERYTHING),
        (c("trade_date") == DAY, days(DAY)),
        (c("trade_date").is_in([DAY, dt.date(2026, 1, 9)]), days(DAY, dt.date(2026, 1, 9))),
        (c("trade_date") >= DAY, SegmentFilter(first_day=DAY)),
        (c("trade_date") < DAY, SegmentFilter(last_day=DAY)),
        (pl.lit(DAY) >= c("trade_date"), SegmentFilter(last_day=DAY)),
        (c("symbol") == "IBM", SegmentFilter(symbols=("IBM",))),
        (c("symbol").is_in(["TSLA", "IBM"]), SegmentFilter(symbols=("IBM", "TSLA"))),
        (c("symbol").is_in(["IBM", None]), SegmentFilter(symbols=("IBM",))),
        ((c("symbol") == "IBM") | (c("symbol") == "ZM"), SegmentFilter(symbols=("IBM", "ZM"))),
        (c("symbol").is_in(["IBM", "ZM"]) & (c("symbol") == "ZM"), SegmentFilter(symbols=("ZM",))),
        (c("symbol").eq_missing("IBM"), SegmentFilter(symbols=("IBM",))),
        (c("asset_class") == "FX", SegmentFilter(asset_classes=("FX",))),
        ((c("symbol") == "IBM") & (c("asset_class") == "FX"), SegmentFilter(symbols=("IBM",), asset_classes=("FX",))),
        ((c("symbol") == "IBM") | (c("asset_class") == "FX"), EVERYTHING),
    ],
    ids=str,
)
def test_what_is_certain_is_exact(table, predicate, expected):
    assert wanted(table, predicate) == expected


@pytest.mark.parametrize(
    "predicate",
    [
        c("symbol") != "IBM",
        ~(c("symbol") == "IBM") | (c("size") > 3),
        c("symbol").is_in(["IBM", None], nulls_equal=True),
        c("symbol").eq_missing(pl.lit(None, pl.String)),
        c("symbol").is_null(),
        c("symbol").str.to_lowercase() == "ibm",
        c("symbol") == c("asset_class"),
        c("symbol") > "IBM",
        c("venue") == "X",
        c("ts").dt.hour() == 12,
        c("ts").dt.offset_by("1d") > NOON,
        c("ts").cast(pl.Int64) > NS,
        c("trade_date") < dt.datetime(2026, 1, 7, 5),
        c("size") == 1,
        pl.when(c("size") > 1).then(c("symbol") == "IBM").otherwise(c("symbol") == "ZM"),
        c("symbol").is_in([str(number) for number in range(2_000)]),
        (c("symbol") == "IBM") ^ (c("symbol") == "ZM"),
    ],
    ids=lambda predicate: str(predicate)[:60],
)
def test_what_is_not_certain_says_nothing(table, predicate):
    assert wanted(table, predicate) == EVERYTHING


@pytest.mark.skipif(not RESOLVES, reason="this Polars needs cloudpickle for it")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_python_function_is_applied_by_polars_and_hides_no_other_condition(table, engine):
    odd = c("size").map_batches(lambda sizes: sizes % 2 == 1, return_dtype=pl.Boolean, is_elementwise=True)
    found = table.scan("t").filter(odd, c("ts") >= NOON).collect(engine=engine)
    assert table.last.plan.scans[0].wanted.time.start_ns == NS
    assert_same(found, table.read("t", to="polars").filter(c("size") % 2 == 1, c("ts") >= NOON))


def test_stamps_beyond_what_the_catalog_counts_bound_nothing_that_is_there(table):
    far, early = dt.datetime(9999, 1, 1), dt.datetime(1, 1, 1)
    stamp = c("ts").cast(pl.Datetime("us"))
    assert table.scan("t").filter(stamp < far).collect().height == 20
    assert table.scan("t").filter(stamp > far).collect().height == 0
    assert table.scan("t").filter(stamp >= early).collect().height == 20


@pytest.mark.parametrize(
    "tree",
    [
        {"Column": "symbol"},
        {"BinaryExpr": {"left": 1, "op": "Eq", "right": 2}},
        {"BinaryExpr": {"op": "And"}},
        {"Function": {"input": [], "function": {"Boolean": {"IsBetween": {"closed": "New"}}}}},
        {"Function": {"input": [{"Column": "ts"}], "function": "Unheard"}},
        {"Cast": []},
        {},
        [],
        None,
        "Wildcard",
    ],
    ids=str,
)
def test_a_form_of_another_release_is_no_error(table, tree):
    schema = dict(table.scan("t").collect_schema())
    assert predicates._Conditions(form_of(table), schema).of(tree) == EVERYTHING


def test_hints_that_cannot_be_evaluated_are_left_out():
    """Polars 1.37 to 1.43 gives them for `sort().head()`, beside real conditions."""
    hint = {"Display": {"inputs": [{"Column": "size"}], "fmt_str": "dynamic_pred: 18c9cf77"}}
    real = {"BinaryExpr": {"left": {"Column": "size"}, "op": "Gt", "right": {"Column": "price"}}}

    def joined(left, right):
        return {"BinaryExpr": {"left": left, "op": "And", "right": right}}

    assert predicates._without_hints(hint) is None
    assert predicates._without_hints(joined(hint, hint)) is None
    assert predicates._without_hints(joined(hint, real)) == real
    assert predicates._without_hints(joined(real, joined(real, hint))) == joined(real, real)
    assert predicates._without_hints(real) is real


def test_conditions_are_put_together_without_losing_a_row():
    one = SegmentFilter(TimeRange(5, 9), DAY, None, None, ("FX",), ("A", "B"))
    other = SegmentFilter(TimeRange(7, None), None, DAY, (DAY,), ("EQUITY",), ("B", "C"))
    assert both(one, other) == SegmentFilter(TimeRange(7, 9), DAY, DAY, (DAY,), (), ("B",))
    assert either(one, other) == SegmentFilter(TimeRange(5, None), None, None, None, ("EQUITY", "FX"), ("A", "B", "C"))
    assert both(one, EVERYTHING) == one
    assert either(one, EVERYTHING) == EVERYTHING


def test_very_long_predicates_filter_without_pruning(table):
    whole = table.read("t", to="polars")
    many = c("symbol").is_in(["IBM", *(f"S{number}" for number in range(50_000))])
    assert_same(table.scan("t").filter(many).collect(), whole.filter(c("symbol") == "IBM"))
    assert table.last.plan.scans[0].wanted == EVERYTHING
    deep = c("size") == 0
    for number in range(1, 1_500):
        deep = deep | (c("size") == number)
    read = predicates.read_predicate(deep, form_of(table), dict(whole.schema))
    assert (read.expression is deep, read.wanted) == (True, EVERYTHING)
