"""What the engine's functions do with stamps that have nanoseconds, as data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from sqlglot import exp

from quantstore.query.rewriting.kinds import (
    DATE,
    INTERVAL,
    NAIVE,
    NAIVE_NS,
    OTHER,
    TEXT,
    TIME,
    TIMETZ,
    UNKNOWN,
    ZONED,
    Kind,
    Tag,
    list_of,
)


class Use(Enum):
    """How arguments with nanoseconds are passed."""

    KEEP = auto()
    """As they are; the function hands on values unchanged."""
    FLOOR = auto()
    """As TIMESTAMPTZ or TIMESTAMP, digits below a microsecond cut off."""
    TEXT = auto()
    """As the text the result would show."""


Result = Callable[[Sequence[Kind]], Kind]


@dataclass(frozen=True, slots=True)
class Rule:
    """How a function treats stamps.

    Attributes:
        use: How arguments with nanoseconds are passed.
        result: Kind of the result, from the kinds of the arguments after that.
    """

    use: Use
    result: Result


def constant(kind: Kind) -> Result:
    """Return a result kind that depends on nothing."""
    return lambda _kinds: kind


def first(kinds: Sequence[Kind]) -> Kind:
    """Return the kind of the first argument."""
    return kinds[0].as_value if kinds else UNKNOWN


def _first_time(kinds: Sequence[Kind]) -> Kind:
    """Return the kind of the first argument that has to do with time."""
    times = {Tag.ZONED, Tag.NAIVE, Tag.DATE, Tag.UNKNOWN, Tag.INTERVAL}
    found = [kind for kind in kinds if kind.tag in times]
    stamps = [kind for kind in found if kind.tag is not Tag.INTERVAL]
    return (stamps or found or [UNKNOWN])[0]


def _as_stamp(kinds: Sequence[Kind]) -> Kind:
    found = _first_time(kinds)
    return NAIVE if found == DATE else found


def _stamp_or_list(kinds: Sequence[Kind]) -> Kind:
    found = _as_stamp(kinds)
    return list_of(found) if any(kind.tag is Tag.LIST for kind in kinds[1:]) else found


def _first_or_list(kinds: Sequence[Kind]) -> Kind:
    return list_of(first(kinds)) if any(kind.tag is Tag.LIST for kind in kinds[1:]) else first(kinds)


def _many(kinds: Sequence[Kind], more_than: int) -> Kind:
    """Return the kind of an aggregate that gives a list when told how many values to keep."""
    return list_of(first(kinds)) if len(kinds) > more_than else first(kinds)


def _list_of_first(kinds: Sequence[Kind]) -> Kind:
    return list_of(first(kinds))


def _element(kinds: Sequence[Kind]) -> Kind:
    return kinds[0].parts[0] if kinds and kinds[0].tag is Tag.LIST else UNKNOWN


def _map_part(position: int) -> Result:
    def part(kinds: Sequence[Kind]) -> Kind:
        return list_of(kinds[0].parts[position]) if kinds and kinds[0].tag is Tag.MAP else UNKNOWN

    return part


# Names are the engine's, and the parser's own (without underscores) where it has a node of its own for a function.
_KEPT: tuple[tuple[Result, str], ...] = (
    (
        first,
        """first last any_value anyvalue arbitrary mode first_value firstvalue last_value lastvalue nth_value
        nthvalue try constant_or_null list_sort arraysort list_reverse array_reverse arrayreverse
        list_reverse_sort array_reverse_sort array_sort list_distinct array_distinct arraydistinct
        list_slice array_slice list_resize array_resize""",
    ),
    (lambda kinds: _many(kinds, 1), "min max"),
    (
        lambda kinds: _many(kinds, 2),
        """arg_min arg_max argmin argmax min_by max_by arg_min_null arg_max_null arg_min_nulls_last
        arg_max_nulls_last""",
    ),
    (_first_or_list, "quantile_disc percentiledisc percentile_disc quantile"),
    (_list_of_first, "list array_agg arrayagg arrayuniqueagg approx_top_k approxtopk"),
    (
        _element,
        """list_extract array_extract list_element list_first list_last list_min list_max arraymin arraymax
        list_any_value list_mode arrayfirst arraylast unnest explode flatten""",
    ),
    (_map_part(0), "map_keys mapkeys"),
    (_map_part(1), "map_values"),
    (lambda kinds: Kind(Tag.MAP, parts=(first(kinds), OTHER)), "histogram"),
    (
        constant(OTHER),
        """count approx_count_distinct approxdistinct hash epoch_ns nanosecond nanoseconds entropy len length
        array_length arraysize list_count list_unique cardinality list_approx_count_distinct grouping
        grouping_id struct_keys error""",
    ),
    (constant(TEXT), "alias"),
)
_FLOORED: tuple[tuple[Result, str], ...] = (
    (_as_stamp, "date_trunc datetrunc timestamptrunc avg mean median fill"),
    (_stamp_or_list, "quantile_cont percentilecont percentile_cont approx_quantile approxquantile"),
    (_first_time, "time_bucket datebin"),
    (lambda kinds: list_of(_as_stamp(kinds)), "range generate_series generateseries"),
    (
        constant(OTHER),
        """year month day hour minute second millisecond milliseconds microsecond microseconds quarter week
        weekofyear yearweek isoyear yearofweek yearofweekiso dayofweek dayofweekiso isodow dayofmonth
        dayofyear weekday era century decade millennium julian epoch timetounix epoch_us date_part datepart
        extract timezone_hour timezone_minute isfinite isinf date_diff datediff date_sub datesub""",
    ),
    (constant(DATE), "last_day lastday"),
    (constant(TEXT), "dayname monthname typeof"),
    (constant(INTERVAL), "age mad"),
    # Functions of other arguments whose results are times.
    (
        constant(ZONED),
        """now currenttimestamp currenttimestampltz get_current_timestamp transaction_timestamp
        make_timestamptz uuid_extract_timestamp""",
    ),
    (
        constant(NAIVE),
        "localtimestamp current_localtimestamp make_timestamp make_timestamp_ms timestampfromparts",
    ),
    (constant(NAIVE_NS), "make_timestamp_ns"),
    (constant(DATE), "currentdate today make_date datefromparts"),
    (constant(TIMETZ), "currenttime"),
    (constant(TIME), "localtime make_time timefromparts"),
    (
        constant(INTERVAL),
        """to_microseconds to_milliseconds to_seconds to_minutes to_hours to_days todays to_weeks to_months
        to_quarters to_years to_decades to_centuries to_millennia makeinterval justify_days justify_hours
        justify_interval""",
    ),
    # Functions whose results are no times; given stamps, the engine's own message is the best answer.
    (
        constant(OTHER),
        """row_number rownumber rank dense_rank denserank percent_rank percentrank cume_dist cumedist ntile sum
        abs round floor ceil rand random bool_and bool_or logicaland logicalor count_if countif stddev
        variance var_samp""",
    ),
    (constant(TEXT), "upper lower substring substr trim replace left right lpad rpad currentdatabase"),
)
_AS_TEXT: tuple[tuple[Result, str], ...] = (
    (
        constant(TEXT),
        """concat concat_ws concatws format printf string_agg group_concat groupconcat listagg to_json json_quote
        json_object jsonobject json_array jsonarray""",
    ),
)
RULES: dict[str, Rule] = {
    name: Rule(use, result)
    for use, table in ((Use.KEEP, _KEPT), (Use.FLOOR, _FLOORED), (Use.TEXT, _AS_TEXT))
    for result, names in table
    for name in names.split()
}

HANDED_ON: dict[str, int] = {
    **dict.fromkeys(("min", "max", "first", "last", "any_value", "anyvalue", "arbitrary", "mode"), 1),
    **dict.fromkeys(("first_value", "firstvalue", "last_value", "lastvalue"), 1),
    **dict.fromkeys(("nth_value", "nthvalue", "lag", "lead", "quantile_disc", "percentiledisc", "quantile"), 2),
    **dict.fromkeys(("arg_min", "arg_max", "argmin", "argmax", "min_by", "max_by"), 2),
    **dict.fromkeys(("arg_min_null", "arg_max_null", "arg_min_nulls_last", "arg_max_nulls_last"), 2),
}
"""Functions whose result is one of the values of their first argument, given no more arguments than this."""


def function_name(node: exp.Expression) -> str:
    """Return a function's name, lower-cased: the engine's, or the parser's where it has a node of its own."""
    if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc):
        return str(node.this if isinstance(node.this, str) else node.name).lower()
    return str(node.key)


def rule_for(node: exp.Expression) -> Rule | None:
    """Return how a function treats stamps, or None where nothing is known of it."""
    return RULES.get(function_name(node))
