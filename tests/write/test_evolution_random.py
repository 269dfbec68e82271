"""Tables that grow at random, beside plain lists of rows: every version reads as it was, wherever its rows are."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass, field
from decimal import Decimal

import pyarrow as pa
import pytest

TIERS = ["hot", "warm", "cold"]
UTC = dt.UTC
STEPS = {
    "integer": [pa.int8(), pa.int16(), pa.int32(), pa.int64()],
    "natural": [pa.uint8(), pa.uint16(), pa.int32(), pa.int64()],
    "mixed": [pa.int8(), pa.int16(), pa.float32(), pa.float64()],
    "decimal": [pa.decimal128(6, 2), pa.decimal128(9, 3), pa.decimal128(20, 4)],
    "stamp": [pa.timestamp("s", "UTC"), pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC")],
    "text": [pa.string(), pa.large_string()],
    "code": [pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.large_string())],
    "empty": [pa.null(), pa.float64()],
}
"""Types that a column takes one after the other."""


def some(rng, kind):
    """A value of a type, or none."""
    t = pa.types
    if rng.random() < 0.2 or t.is_null(kind):
        return None
    if t.is_integer(kind):
        bits = kind.bit_width - (0 if t.is_unsigned_integer(kind) else 1)
        return rng.choice([0, 1, 2**bits - 1, rng.getrandbits(bits)])
    if t.is_floating(kind):
        return rng.choice([0.0, 0.5, 1.25, -3.0, float(rng.getrandbits(11))])
    if t.is_decimal(kind):
        return Decimal(rng.getrandbits(9)).scaleb(-kind.scale)
    if t.is_timestamp(kind):
        return dt.datetime(2020, 1, 1, tzinfo=UTC) + dt.timedelta(seconds=rng.getrandbits(20))
    return rng.choice(["", "a", "é", "long" * 5])


@dataclass
class Model:
    """What a table holds: the steps its columns have taken, and its rows as (time, number, values)."""

    rng: random.Random
    columns: dict[str, int] = field(default_factory=dict)
    rows: list[tuple[dt.datetime, int, dict]] = field(default_factory=list)
    count: int = 0

    def grow(self):
        """Change the form that the next frame has."""
        for name in list(self.columns):
            if self.rng.random() < 0.3:
                self.columns[name] = min(self.columns[name] + 1, len(STEPS[name.split("_")[0]]) - 1)
        if self.rng.random() < 0.5 or not self.columns:
            name = self.rng.choice(list(STEPS))
            self.columns[f"{name}_{len(self.columns)}"] = 0

    def frame(self, *, narrow):
        """Rows of the columns there are, in their types or, where `narrow`, in earlier ones."""
        size = self.rng.randint(1, 8)
        begin = dt.datetime(2026, 1, self.rng.randint(5, 8), 12, tzinfo=UTC)
        times = [begin + dt.timedelta(minutes=self.rng.randint(0, 30)) for _ in range(size)]
        columns = {}
        for name, step in self.columns.items():
            kinds = STEPS[name.split("_")[0]]
            kind = kinds[self.rng.randint(0, step) if narrow else step]
            plain = kind.value_type if pa.types.is_dictionary(kind) else kind
            values = pa.array([some(self.rng, kind) for _ in range(size)], plain)
            columns[name] = values.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else values
        order = [*columns]
        self.rng.shuffle(order)
        rows = {"ts": pa.array(times, pa.timestamp("us", "UTC")), "n": pa.array(range(self.count, self.count + size))}
        table = pa.table(rows | {name: columns[name] for name in order})
        for at, time in enumerate(times):
            self.rows.append((time, self.count + at, {name: columns[name][at].as_py() for name in columns}))
        self.count += size
        return table

    def wanted(self):
        """Rows in the order in which they read, as plain values."""
        ordered = sorted(self.rows, key=lambda row: (row[0], row[1]))
        return [(n, *(shown(values.get(name)) for name in self.columns)) for _, n, values in ordered]


def shown(value):
    """A value as it compares: numbers by what they are, whatever holds them."""
    if isinstance(value, float | Decimal):
        return str(Decimal(value).normalize() + 0)
    return str(Decimal(value).normalize() + 0) if isinstance(value, int) else repr(value)


def read(table, columns):
    found = [table.column(name).to_pylist() for name in columns]
    numbers = table.column("n").to_pylist()
    return [(n, *map(shown, row)) for n, *row in zip(numbers, *found, strict=True)]


@pytest.mark.parametrize("seed", range(12))
def test_tables_that_grow_at_random_read_as_all_their_rows(store, seed):
    rng = random.Random(seed)
    model = Model(rng)
    versions = {}
    for turn in range(10):
        if turn == 0 or rng.random() < 0.6:
            model.grow()
        done = rng.random()
        if done < 0.15 and model.rows:
            number = rng.choice(model.rows)[1]
            assert store.delete("t", f"n = {number}").deleted == 1
            model.rows = [row for row in model.rows if row[1] != number]
            columns = versions[max(versions)][0]
            model.columns = {name: step for name, step in model.columns.items() if name in columns}
        else:
            table = model.frame(narrow=rng.random() < 0.3 and turn > 0)
            store.write(table if rng.random() < 0.7 else table.to_reader(2), "t", rng.choice(TIERS), on_repeat="append")
        versions[store.metadata_catalog.snapshot().version] = ([*model.columns], model.wanted())
        if rng.random() < 0.3:
            store.migrate("t", "any", rng.choice(TIERS), where=rng.choice([None, "n % 2 = 0", "n < 5"]))
        if rng.random() < 0.2 and hasattr(store, "compact"):
            store.compact("t")
    for version, (columns, wanted) in versions.items():
        found = store.read("t", to="arrow", as_of=version)
        assert sorted(found.column_names) == sorted(["ts", "n", *columns])
        assert read(found, columns) == wanted
        assert read(store.read("SELECT * FROM t ORDER BY ts, _seq", to="arrow", as_of=version), columns) == wanted
        assert read(store.scan("t", as_of=version).collect().to_arrow(), columns) == wanted
    assert store.audit()
