"""First rows of an order, where the engine's shortcut to them goes wrong."""

from __future__ import annotations

from sqlglot import exp


def sort_before_limit(tree: exp.Expression) -> exp.Expression:
    """Return `tree` with outer joins that are ordered NULLS FIRST sorted whole before LIMIT cuts the rows.

    DuckDB (1.5 and 2.0) skips input that cannot come first any more. Beside an outer join it skips rows of the side
    that may be missing, finds no partner for rows of the other side that have one, and puts them first, with nulls. Of
    a limit that is a query it makes no shortcut.

    Args:
        tree: A whole statement; changed.
    """
    if not any(join.args.get("side") for join in tree.find_all(exp.Join)):
        return tree
    holder = exp.Paren(this=tree)
    for limit in list(tree.find_all(exp.Limit, exp.Fetch)):
        query, options = limit.parent, limit.args.get("limit_options")
        order = query.args.get("order") if query is not None else None
        is_count = not (options and options.args.get("percent"))
        if order is not None and is_count and any(one.args.get("nulls_first") for one in order.expressions):
            count = limit.args["count"] if isinstance(limit, exp.Fetch) else limit.expression
            limit.replace(exp.Limit(expression=exp.select(count.copy()).subquery()))
            if isinstance(query, exp.SetOperation):
                _put_around(query)
    sorted_first: exp.Expression = holder.this
    return sorted_first.pop()


def _put_around(query: exp.SetOperation) -> None:
    """Give a set operation's order and limit to a query around it: it takes no query as its limit itself."""
    parts = {name: query.args[name].pop() for name in ("order", "limit", "offset") if query.args.get(name)}
    around = exp.select("*")
    query.replace(around)
    around.from_(query.subquery("q"), copy=False)
    for name, part in parts.items():
        around.set(name, part)
