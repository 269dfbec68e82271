"""DuckDB: a native table in memory, mapped Arrow, or the right Parquet files."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from data import Data

WINDOW = "SELECT {columns} FROM {source} WHERE ts >= $low AND ts < $high AND symbol IN ($one, $two)"
GROUPS = (
    "SELECT symbol, trade_date, count(*) AS n, sum(size) AS size, avg(price) AS price FROM ticks "
    "GROUP BY symbol, trade_date"
)
BARS = (
    "SELECT date_trunc('minute', make_timestamp(epoch_ns(ts) // 1000)) AS minute, arg_min(price, _seq) AS open, "
    "max(price) AS high, min(price) AS low, arg_max(price, _seq) AS close, sum(size) AS volume "
    "FROM ticks WHERE symbol = $one AND trade_date = $day GROUP BY 1 ORDER BY 1"
)
EXACT = "* REPLACE (make_timestamp_ns(epoch_us(ts) * 1000 + __ns_ts) AS ts)"


class DuckDB:
    """Answers the questions without a store."""

    def __init__(self, data: Data) -> None:
        self._data = data

    @cached_property
    def native(self) -> Any:
        """A database with the ticks in a table, in memory; the time column is TIMESTAMP_NS."""
        table = naive(self._data.arrow).append_column("_seq", pa.array(np.arange(self._data.rows)))
        connection = connect()
        connection.register("raw", table)
        connection.execute("CREATE TABLE ticks AS SELECT * FROM raw")
        connection.unregister("raw")
        return connection

    def window(self, connection: Any, source: str = "ticks") -> Any:
        """Read five minutes of two symbols from a table with a naive time column."""
        params = dict(self._data.facts.window)
        params |= {name: params[name].replace(tzinfo=None) for name in ("low", "high")}
        return run(connection, WINDOW.format(columns="*", source=source), params)

    def window_of_files(self, connection: Any, files: list[str]) -> Any:
        """Read five minutes of two symbols from the store's own cold files."""
        listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
        sql = WINDOW.format(columns=EXACT, source=f"read_parquet([{listed}], hive_partitioning=false)")
        return run(connection, sql, self._data.facts.window)

    def groups(self) -> Any:
        """Group all rows by symbol and day."""
        return run(self.native, GROUPS)

    def bars(self) -> Any:
        """Make minute bars of a symbol's day."""
        return run(self.native, BARS, self._data.facts.symbol_day)

    @cached_property
    def memory(self) -> Any:
        """An empty database in memory."""
        return connect()


def connect() -> Any:
    """Open a database in memory in UTC."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def run(connection: Any, sql: str, params: dict[str, Any] | None = None) -> pa.Table:
    """Run a statement and return its rows as Arrow."""
    return connection.execute(sql, params).to_arrow_table()


def naive(table: pa.Table) -> pa.Table:
    """Return the ticks with a time column that has no zone, on which DuckDB has all its functions."""
    return table.set_column(0, "ts", table["ts"].cast(pa.timestamp("ns")))
