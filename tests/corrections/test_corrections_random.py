"""Random writes of every mode, moved about, beside a plain list of rows per version."""

from __future__ import annotations

import random
import warnings
from typing import Any

import pyarrow as pa
import pytest

import quantstore as qs
from quantstore.errors import RepeatedWriteWarning

SYMBOLS = ["A", "B", "C", None]
TIERS = ["hot", "warm", "cold"]
DAY_US = 86_400_000_000
STEPS = 40

Row = tuple[int, str | None, int | None]


class Model:
    """The rows of every version, in arrival order."""

    def __init__(self) -> None:
        self.versions: dict[int, list[Row]] = {0: []}
        self.rows: list[Row] = []

    def commit(self, rows: list[Row], version: int) -> None:
        """Take `rows` as what the table holds from `version` on."""
        if version not in self.versions:
            self.versions[version] = rows
            self.rows = rows
        else:
            assert rows == self.rows, "nothing may change without a version"

    @staticmethod
    def after(mode: str, rows: list[Row], new: list[Row], condition: Any) -> list[Row]:
        """Return what a write leaves."""
        if mode == "append":
            return rows + new
        if mode == "overwrite":
            return new
        if mode == "delete":
            return [row for row in rows if not condition(row)]
        if mode == "replace" and condition is not None:
            gone = [row for row in rows if condition(row)]
            return rows if gone == new else [row for row in rows if not condition(row)] + new
        if mode == "replace":
            groups = {(row[0] // DAY_US, row[1]) for row in new}
            gone = [row for row in rows if (row[0] // DAY_US, row[1]) in groups]
            return rows if gone == new else [row for row in rows if row not in gone] + new
        keys = {row[:2]: row for row in new}
        found = [row for row in rows if row[:2] in keys]
        same = {row[:2] for row in found if keys[row[:2]] == row and [r[:2] for r in found].count(row[:2]) == 1}
        return [row for row in rows if row[:2] not in keys or row[:2] in same] + [
            row for row in new if row[:2] not in same
        ]


def some_rows(chance: random.Random, *, with_key: bool) -> list[Row]:
    rows = []
    for _ in range(chance.randint(1, 6)):
        stamp = chance.randint(0, 3) * DAY_US + chance.randint(0, 4)
        symbol = chance.choice(SYMBOLS[:3] if with_key else SYMBOLS)
        rows.append((stamp, symbol, chance.choice([None, 1, 2, 3])))
    return list({row[:2]: row for row in rows}.values()) if with_key else rows


def frame(rows: list[Row]) -> pa.Table:
    stamps, symbols, sizes = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "ts": pa.array(stamps, pa.timestamp("us", "UTC")),
            "symbol": pa.array(symbols, pa.string()),
            "size": pa.array(sizes, pa.int64()),
        }
    )


CONDITIONS: list[tuple[str, Any]] = [
    ("symbol = 'A'", lambda row: row[1] == "A"),
    ("size >= 2", lambda row: row[2] is not None and row[2] >= 2),
    ("symbol IS NULL OR size IS NULL", lambda row: row[1] is None or row[2] is None),
    ("trade_date = '1970-01-02' AND symbol <> 'B'", lambda row: row[0] // DAY_US == 1 and row[1] not in {None, "B"}),
    ("ts < '1970-01-02'", lambda row: row[0] < DAY_US),
]


def step(store: qs.HybridStorageManager, model: Model, chance: random.Random) -> None:
    mode = chance.choice(["append", "append", "replace", "replace", "where", "upsert", "upsert", "delete", "overwrite"])
    if mode == "overwrite" and chance.random() < 0.7:
        mode = "append"
    sql, condition = chance.choice(CONDITIONS) if mode in {"where", "delete"} else (None, None)
    new = [] if mode == "delete" else some_rows(chance, with_key=mode == "upsert")
    if mode == "where":
        mode, new = "replace", [row for row in new if condition(row)]
    tier = chance.choice(TIERS)
    wanted = model.after(mode, model.rows, new, condition)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepeatedWriteWarning)
        if mode == "delete":
            result = store.delete("t", sql)
        elif chance.random() < 0.1 and mode == "append":
            with store.transaction() as tx:
                tx.write(frame(new[:1]), "t", tier, on_repeat="append")
                tx.write(frame(new[1:]), "t", "hot", on_repeat="append")
            (result,) = tx.results
        else:
            result = store.write(frame(new), "t", tier, mode=mode, where=sql, on_repeat="append")
    model.commit(wanted, result.version)
    if chance.random() < 0.3:
        store.migrate("t", "any", chance.choice(TIERS), where=chance.choice([None, "symbol = 'A'", "size > 1"]))
    if chance.random() < 0.1:
        store.sweep(grace=0)


def found(store: qs.HybridStorageManager, version: int | None) -> list[Row]:
    """Return the rows of a version in arrival order, and check the order of a bare read."""
    bare = store.read("t", columns=["ts", "symbol", "size", "_seq"], as_of=version, to="arrow")
    rows = [(ts.value // 1000 if hasattr(ts, "value") else ts, *rest) for ts, *rest in zip(
        bare.column("ts").cast(pa.int64()).to_pylist(),
        bare.column("symbol").to_pylist(),
        bare.column("size").to_pylist(),
        bare.column("_seq").to_pylist(),
        strict=True,
    )]  # fmt: skip
    assert rows == sorted(rows, key=lambda row: (row[0], row[3]))
    assert len({row[3] for row in rows}) == len(rows)
    return [row[:3] for row in sorted(rows, key=lambda row: row[3])]


@pytest.mark.parametrize("seed", range(4))
def test_every_version_reads_as_a_plain_list_says(tmp_path, seed):
    chance, model = random.Random(seed), Model()
    with qs.open(tmp_path / "store") as store:
        store.create("t", frame([]).schema, key=["ts", "symbol"])
        model.versions[1] = []
        for _ in range(STEPS):
            step(store, model, chance)
            assert found(store, None) == model.rows
        for version, rows in model.versions.items():
            if version:
                assert found(store, version) == rows
        assert store.audit().ok
