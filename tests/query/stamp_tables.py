"""Tables whose stamps have every resolution, as the rewrite and the engine see them."""

from __future__ import annotations

import pyarrow as pa
from sqlglot import exp

from quantstore.query.parse import parse
from quantstore.query.rewriting.rewrite import Rewritten, rewrite

HIDDEN = [("trade_date", pa.date32()), ("asset_class", pa.string()), ("_seq", pa.int64())]

SCHEMAS = {
    "trades": pa.schema(
        [
            ("ts", pa.timestamp("ns", "America/New_York")),
            ("symbol", pa.string()),
            ("price", pa.float64()),
            ("wall", pa.timestamp("ns")),
            ("seen", pa.timestamp("us", "UTC")),
            ("note", pa.string()),
            *HIDDEN,
        ]
    ),
    "quotes": pa.schema(
        [
            ("ts", pa.timestamp("us", "UTC")),
            ("symbol", pa.string()),
            ("bid", pa.float64()),
            ("day", pa.date32()),
            *HIDDEN,
        ]
    ),
    "fills": pa.schema([("ts", pa.timestamp("ns", "UTC")), ("symbol", pa.string()), ("qty", pa.int64()), *HIDDEN]),
    "bars": pa.schema([("ts", pa.timestamp("us")), ("symbol", pa.string()), ("close", pa.float64()), *HIDDEN]),
    "own": pa.schema([("trade_date", pa.date32()), ("symbol", pa.string()), *HIDDEN[1:]]),
}
UNSEEN = {
    name: frozenset(column for column, _ in HIDDEN if name != "own" or column != "trade_date") for name in SCHEMAS
}
PARAMETERS = {
    "at": "zoned",
    "exact": "zoned_ns",
    "local": "naive",
    "day": "date",
    "text": "text",
    "other": "other",
}


def rewritten(sql: str, **parameters: str) -> Rewritten:
    """Rewrite a statement over the tables above, of which it is given those it names."""
    tree = parse(sql)
    assert tree is not None, sql
    before = tree.sql("duckdb")
    named = {table.name.lower() for table in tree.find_all(exp.Table)} & set(SCHEMAS)
    result = rewrite(
        tree,
        {name: SCHEMAS[name] for name in named},
        {name: UNSEEN[name] for name in named},
        parameters or PARAMETERS if "$" in sql else {},
    )
    assert tree.sql("duckdb") == before, "the tree given was changed"
    assert result.tree is not tree
    return result
