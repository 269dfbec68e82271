"""Functions of an instant that in UTC, the zone of every session, ask no calendar.

DuckDB gives instants to ICU, which takes seven times as long to cut a stamp to its minute as the same function of a
wall-clock time. The wall clock of UTC shows the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from quantstore.query.rewriting.functions import function_name
from quantstore.query.rewriting.kinds import Kind, Tag

CUTS = frozenset({"date_trunc", "datetrunc", "timestamptrunc", "time_bucket", "datebin"})
"""Functions whose result is an instant."""
_PARTS = frozenset(
    {
        *("year", "month", "day", "hour", "minute", "second", "quarter", "week", "weekofyear", "yearofweek", "isoyear"),
        *("weekday", "dayofweek", "dayofmonth", "dayofyear", "isodow", "date_part", "datepart", "extract"),
    }
)
"""Functions whose result is a number."""


def asks_only_the_clock(node: exp.Expression, kinds: Sequence[Kind]) -> bool:
    """Whether a function of these kinds of arguments can take the wall-clock time of UTC for its instant."""
    name = function_name(node)
    if name not in CUTS and name not in _PARTS:
        return False
    if sum(kind.tag is Tag.ZONED_NS for kind in kinds) != 1 or len(kinds) > 2 or node.args.get("zone"):
        return False
    if name == "datebin" and node.args.get("unit"):
        return False
    rest = {kind.tag for kind in kinds} - {Tag.ZONED_NS}
    texts = [one.name.lower() for one in node.find_all(exp.Literal, exp.Var)]
    return rest <= {Tag.LITERAL, Tag.INTERVAL, Tag.OTHER} and not any("timezone" in text for text in texts)
