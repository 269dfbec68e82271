"""Turn chosen copies into something the engine can scan: Arrow tables to register, or SQL over Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from quantstore.core.segment import ASSET_CLASS, SEQ, Role
from quantstore.errors import IntegrityError
from quantstore.query.plan import by_file, sure_rows
from quantstore.rows.evolution import adapted, own_columns
from quantstore.stores import physical
from quantstore.stores.base import Selection
from quantstore.stores.engine_types import quote
from quantstore.stores.integrity import require_rows

if TYPE_CHECKING:
    from quantstore.core.segment import Copy, PlacedSegment
    from quantstore.core.tier import Tier
    from quantstore.query.plan import Choice, Scan
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import SegmentStore

# DuckDB 1.x hands filters on Arrow tables to pyarrow, where stamps lose their nanoseconds and some comparisons fail; no
# filter passes a LIMIT, and filtering by itself is faster too.
_KEEPS_FILTERS_OUT = duckdb.__version__.startswith("1.")


def quote_text(text: str) -> str:
    """Return `text` as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


class Relations:
    """Builds one subquery per table reference and collects the Arrow tables it needs."""

    def __init__(self, stores: Mapping[Tier, SegmentStore]) -> None:
        self._stores = stores
        self.tables: dict[str, pa.Table] = {}

    def subquery(self, scan: Scan, form: TableForm, columns: Sequence[str]) -> str:
        """Return SQL that gives `columns` of a scan in the engine's types, whatever tiers its rows are in.

        Raises:
            IntegrityError: A copy is damaged or gone; table, partition and tier are named.
        """
        parts = []
        for tier, choices in groupby(sorted(scan.choices, key=_by_store), key=lambda choice: choice.copy.tier):
            store = self._stores[tier]
            build = self._arrow if store.capabilities.form == "arrow" else self._parquet
            parts += build(store, scan, form, list(choices), columns)
        return " UNION ALL ".join(parts) if parts else _empty(form, columns)

    def frame(self, rows: pa.Table, columns: Sequence[str]) -> str:
        """Return SQL that gives `columns` of a caller's frame in the engine's types."""
        return f"SELECT {', '.join(map(quote, columns))} FROM {self._source(rows.select(list(columns)))}"

    def _source(self, table: pa.Table) -> str:
        name = f"__quantstore_{len(self.tables)}"
        self.tables[name] = physical.to_engine(table)
        return f"(FROM {name} LIMIT {2**63 - 1})" if _KEEPS_FILTERS_OUT else name

    def _arrow(
        self, store: SegmentStore, scan: Scan, form: TableForm, choices: list[Choice], columns: Sequence[str]
    ) -> list[str]:
        whole: dict[tuple[str, ...], list[pa.Table]] = {}
        parts = []
        for group, is_whole in by_file(choices):
            own = scan.form_of(group[0], form)
            names = columns if is_whole else list(dict.fromkeys([*columns, ASSET_CLASS]))
            names = names if own is form else own_columns(own, names)
            selection = Selection(tuple(names), scan.wanted.time, scan.wanted.symbols, whole_file=True)
            with located(scan, group[0]):
                table = store.read(own.layout, group[0].copy, group[0].placed.segment.partition, selection)
                require_rows(table, sure_rows(group, selection), group[0].copy)
            table = table if own is form else adapted(table, form, names)
            if is_whole:
                whole.setdefault(tuple(names), []).append(table)
            else:
                parts.append(self._completed(table, form, columns) + _of_classes(group))
        return [*(self._completed(pa.concat_tables(tables), form, columns) for tables in whole.values()), *parts]

    def _completed(self, table: pa.Table, form: TableForm, columns: Sequence[str]) -> str:
        """Return SQL that gives `columns` of rows that may lack some, which the table got later."""
        present = set(table.column_names)
        shown = [quote(name) if name in present else _null(form, name) for name in columns]
        return f"SELECT {', '.join(shown)} FROM {self._source(table)}"

    def _parquet(
        self, store: SegmentStore, scan: Scan, form: TableForm, choices: list[Choice], columns: Sequence[str]
    ) -> list[str]:
        where = _physical_condition(scan, form)
        groups: dict[tuple[int, int | None], list[str]] = {}
        for choice in choices:
            schema_id = choice.placed.segment.schema_id
            with located(scan, choice):
                path = quote_text(store.verify(choice.copy))
            groups.setdefault((choice.copy.seq_base, schema_id if schema_id in scan.older else None), []).append(path)
        newest = _projection(form, form, columns)
        older = {number: _projection(own, form, columns) for number, own in scan.older.items()}
        parts = []
        for (base, number), paths in groups.items():
            shown = list(newest if number is None else older[number])
            if base and SEQ in columns:
                shown[list(columns).index(SEQ)] = f"{quote(SEQ)} + {base} AS {quote(SEQ)}"
            parts.append(
                f"SELECT {', '.join(shown)} FROM read_parquet([{', '.join(paths)}], hive_partitioning=false){where}"
            )
        return parts


def _projection(own: TableForm, form: TableForm, columns: Sequence[str]) -> list[str]:
    """Return what to select of Parquet files in one form of a table so that it reads as in another, newer one."""
    if own is form:
        return physical.engine_projection(form.schema, list(columns))
    return [
        _null(form, name)
        if own.schema.get_field_index(name) < 0
        else f"{physical.widened_projection(own.schema.field(name), form.schema.field(name))} AS {quote(name)}"
        for name in columns
    ]


def _null(form: TableForm, name: str) -> str:
    return f"CAST(NULL AS {physical.engine_type(form.schema.field(name))}) AS {quote(name)}"


def _of_classes(group: Sequence[Choice]) -> str:
    """Return a WHERE that keeps the rows of some of the segments that share a file."""
    classes = [choice.placed.segment.partition.asset_class for choice in group]
    texts = ", ".join(quote_text(one) for one in classes if one is not None)
    conditions = [f"{quote(ASSET_CLASS)} IN ({texts})"] if texts else []
    conditions += [f"{quote(ASSET_CLASS)} IS NULL"] if None in classes else []
    return f" WHERE {' OR '.join(conditions)}"


def _by_store(choice: Choice) -> tuple[str, int, int]:
    return choice.copy.tier.value, choice.copy.seq_base, choice.copy.copy_id


def _physical_condition(scan: Scan, form: TableForm) -> str:
    """Return a WHERE on the physical time column, so that Parquet statistics skip row groups."""
    time = scan.wanted.time
    if time.is_everything:
        return ""
    field = form.schema.field(form.spec.time)
    low, high = physical.physical_time_bounds(field, time.start_ns, time.end_ns)
    column = quote(form.spec.time)
    conditions = [f"{column} >= {low}"] if low else []
    conditions += [f"{column} < {high}"] if high else []
    return f" WHERE {' AND '.join(conditions)}"


def _empty(form: TableForm, columns: Sequence[str]) -> str:
    return f"SELECT {', '.join(_null(form, name) for name in columns)} WHERE false"


class located:  # noqa: N801 - used as a statement
    """Name table, partition and tier in an IntegrityError raised inside the block."""

    def __init__(self, scan: Scan, choice: Choice) -> None:
        self._scan = scan
        self._choice = choice

    def __enter__(self) -> None:
        """Enter the block."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        """Add the place to the error."""
        if isinstance(error, IntegrityError):
            choice = self._choice
            raise damaged(self._scan.record.name, choice.placed, choice.copy, error) from error


def check_shadows(scan: Scan, stores: Mapping[Tier, SegmentStore]) -> None:
    """Check shadows before rows of them are handed out one after the other: later no other copy could step in.

    Raises:
        IntegrityError: One is damaged or gone; table, partition and tier are named.
    """
    for choice in scan.choices:
        if choice.copy.role is Role.SHADOW:
            with located(scan, choice):
                stores[choice.copy.tier].verify(choice.copy)


def damaged(table: str, placed: PlacedSegment, copy: Copy, error: BaseException) -> IntegrityError:
    """Return an error that says which part of which table cannot be read from where."""
    partition = placed.segment.partition
    return IntegrityError(
        f"Table {table!r}, partition {partition}, tier {copy.tier.value}: {error} "
        "Other partitions can still be read; audit() lists all damage.",
        table=table,
        partition=str(partition),
        tier=copy.tier.value,
        copy_id=copy.copy_id,
        location=copy.location,
    )
