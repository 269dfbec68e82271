"""A bare-table read spelled out as SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from quantstore.core.segment import SEQ, TRADE_DATE
from quantstore.query.assemble import RowFilter
from quantstore.stores.engine_types import quote

if TYPE_CHECKING:
    from quantstore.rows.form import TableForm


def as_sql(form: TableForm, rows: RowFilter, columns: Sequence[str]) -> dict[str, Any]:
    """Return `query` and `params` of the SQL that reads `columns` of the rows that pass, in `(time, _seq)` order."""
    import pandas as pd

    spec = form.spec
    time = quote(spec.time)
    zone = getattr(form.schema.field(spec.time).type, "tz", None)
    conditions: list[str] = []
    params: dict[str, Any] = {}
    for name, bound, operator in (("start", rows.time.start_ns, ">="), ("end", rows.time.end_ns, "<")):
        if bound is not None:
            conditions.append(f"{time} {operator} ${name}")
            params[name] = pd.Timestamp(bound, tz="UTC" if zone else None)
    if rows.symbols is not None and spec.symbol is not None:
        conditions.append(f"{quote(spec.symbol)} IN $symbols")
        params["symbols"] = list(rows.symbols)
    if rows.days is not None:
        day = quote(TRADE_DATE)
        is_date = pa.types.is_date(form.schema.field(TRADE_DATE).type)
        conditions.append(f"{day if is_date else f'CAST({day} AS DATE)'} IN $days")
        params["days"] = list(rows.days)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    query = f"SELECT {', '.join(map(quote, columns))} FROM {quote(spec.name)}{where} ORDER BY {time}, {quote(SEQ)}"
    return {"query": query, "params": params}
