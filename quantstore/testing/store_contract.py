"""What every store must do, as tests that a store's own tests subclass; needs the extra `testing`."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from quantstore.core.segment import ASSET_CLASS, SEQ, TRADE_DATE, Copy, Partition
from quantstore.core.tier import Tier
from quantstore.core.timerange import TimeRange
from quantstore.errors import ConflictError, IntegrityError, InvalidInputError, NotFoundError
from quantstore.stores.base import Part, Selection, TableLayout, Written
from quantstore.testing.tables import (
    FIRST_NS,
    PARTITION,
    dictionary,
    identical,
    layout_of,
    ticks,
    types_table,
    with_hidden,
)

ATTEMPT = "0123456789abcdef0123456789abcdef"
SECOND_NS = 10**9


class StoreContract(ABC):
    """The contract of a store, as tests; a subclass says how its store is opened.

    ```python
    class TestMyStore(StoreContract):
        def open_store(self, root):
            return MyStore(root)
    ```

    What stays after `close` is looked at through a second store opened at the same place. `damage` has to be overridden
    by stores that keep no local files below an attribute `root`.
    """

    @abstractmethod
    def open_store(self, root: Path) -> Any:
        """Return the store under test, new where nothing is at `root`, else with all that was written there."""

    def sample(self, rows: int) -> pa.Table:
        """Return ticks in the order that the store's capabilities name; these are in order of time."""
        return ticks(rows)

    def damage(self, store: Any, copy: Copy, kind: str) -> None:
        """Change a copy's bytes behind the store's back.

        Args:
            store: The store.
            copy: The copy.
            kind: `flip`, `truncate`, `zero`, `empty`, `delete`, `grow` or `replace`.
        """
        damage_file(Path(store.root) / copy.location, kind)

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        return self.open_store(tmp_path / "store")

    @staticmethod
    def part(table: pa.Table, number: int = 0, partition: Partition = PARTITION) -> Part:
        return Part(f"trades/trade_date=2024-03-15/{ATTEMPT}-{number}", table, partition)

    def put(self, store: Any, table: pa.Table, layout: TableLayout, seq_base: int = 0) -> Copy:
        return self.copy(store, store.write(layout, [self.part(table)])[0], seq_base)

    @staticmethod
    def copy(store: Any, written: Written, seq_base: int = 0) -> Copy:
        codec = store.capabilities.codec
        return Copy(1, 1, Tier.HOT, store.name, written.location, codec, written.size_bytes, written.checksum, seq_base)

    # Writing

    def test_every_type_and_value_round_trips(self, store: Any) -> None:
        """What is read equals what was written in every type, category and bit."""
        table = types_table()
        layout = layout_of(table)
        copy = self.put(store, table, layout, seq_base=7 << 32)
        assert identical(store.read(layout, copy, PARTITION), with_hidden(table, layout, 7 << 32))

    @pytest.mark.parametrize("column", [name for name in types_table().column_names if name not in {"ts", "symbol"}])
    def test_each_type_round_trips_alone(self, store: Any, column: str) -> None:
        """A column does not lean on its neighbours."""
        table = types_table().select(["ts", column])
        layout = layout_of(table, symbol=None)
        got = store.read(layout, self.put(store, table, layout), PARTITION, Selection((column,)))
        assert identical(got, table.select([column]))

    def test_several_parts_keep_their_order(self, store: Any) -> None:
        """The n-th result belongs to the n-th part."""
        tables = [ticks(rows) for rows in (5, 1, 9, 3, 7)]
        layout = layout_of(tables[0])
        written = store.write(layout, [self.part(table, number) for number, table in enumerate(tables)])
        read = [store.read(layout, self.copy(store, w), PARTITION).num_rows for w in written]
        assert read == [5, 1, 9, 3, 7]

    def test_a_taken_location_is_refused_and_kept(self, store: Any) -> None:
        """A file is never replaced, not even by its like."""
        table = ticks(10)
        layout = layout_of(table)
        copy = self.put(store, table, layout)
        with pytest.raises(ConflictError, match="already stored"):
            store.write(layout, [self.part(ticks(20), 1), self.part(ticks(20), 0)])
        assert store.read(layout, copy, PARTITION).num_rows == 10
        assert [found.location for found in store.list()] == [copy.location]

    def test_a_missing_column_is_refused(self, store: Any) -> None:
        """Only hidden columns may be left out."""
        table = ticks(3)
        with pytest.raises(InvalidInputError, match="'price'"):
            store.write(layout_of(table), [self.part(table.drop_columns(["price"]))])

    def test_another_type_is_refused(self, store: Any) -> None:
        """A part must have the table's types; the error names column and types."""
        table = ticks(3)
        other = table.set_column(2, "price", table["price"].cast(pa.float32()))
        with pytest.raises(InvalidInputError, match="'price' is float"):
            store.write(layout_of(table), [self.part(other)])

    def test_values_no_tier_could_keep_are_refused(self, store: Any) -> None:
        """A timestamp that is not a time is refused by column name, and leaves no file."""
        table = ticks(2).append_column("at", pa.array([-(2**63), 5], pa.timestamp("ns")))
        with pytest.raises(InvalidInputError, match="'at'"):
            store.write(layout_of(table), [self.part(table)])
        assert list(store.list()) == []

    # Shapes of tables

    def test_an_empty_table_round_trips(self, store: Any) -> None:
        """No rows are rows too."""
        table = types_table().slice(0, 0)
        layout = layout_of(table)
        got = store.read(layout, self.put(store, table, layout), PARTITION)
        assert got.num_rows == 0
        assert got.schema.equals(layout.schema)

    def test_a_slice_round_trips(self, store: Any) -> None:
        """Rows cut out of a larger table, not on a byte of its bitmaps, arrive as they are."""
        whole = types_table()
        layout = layout_of(whole)
        table = whole.slice(3, 4)
        got = store.read(layout, self.put(store, table, layout), PARTITION)
        assert identical(got, with_hidden(table, layout))

    def test_many_small_chunks_round_trip(self, store: Any) -> None:
        """A table put together from single rows keeps rows and order."""
        table = types_table()
        layout = layout_of(table)
        shredded = pa.concat_tables([table.slice(row, 1) for row in range(table.num_rows)] * 40)
        got = store.read(layout, self.put(store, shredded, layout), PARTITION)
        assert identical(got, with_hidden(pa.concat_tables([table] * 40).combine_chunks(), layout))

    def test_chunks_with_different_categories_are_unified(self, store: Any) -> None:
        """A column has one set of categories, in order of appearance over its chunks."""
        first = ticks(2).append_column("c", dictionary([1, None], pa.array(["x", "y"]), pa.int8()))
        second = ticks(2).append_column("c", dictionary([0, 1], pa.array(["z", "x"]), pa.int8()))
        table = pa.concat_tables([first, second])
        layout = layout_of(table)
        got = store.read(layout, self.put(store, table, layout), PARTITION, Selection(("c",)))["c"]
        assert got.to_pylist() == ["y", None, "z", "x"]
        assert got.chunk(0).dictionary.to_pylist() == ["x", "y", "z"]

    def test_too_many_categories_for_the_codes_are_refused(self, store: Any) -> None:
        """Chunks whose categories together exceed the index type are refused, not cut."""
        chunks = [
            ticks(100).append_column("c", dictionary(list(range(100)), _names(100, prefix), pa.int8()))
            for prefix in "ab"
        ]
        table = pa.concat_tables(chunks)
        with pytest.raises(InvalidInputError, match="categories"):
            store.write(layout_of(table), [self.part(table)])

    def test_a_time_of_other_kind_round_trips(self, store: Any) -> None:
        """The time column may be a date."""
        table = pa.table({"day": pa.array([1, 2, 3], pa.date32()), "close": [1.0, 2.0, 3.0]})
        layout = layout_of(table, time="day", symbol=None)
        wanted = Selection(time=TimeRange(2 * 86_400 * SECOND_NS, None))
        got = store.read(layout, self.put(store, table, layout), PARTITION, wanted)
        assert set(got["close"].to_pylist()) >= {2.0, 3.0}

    # Hidden columns

    def test_constants_take_the_type_of_the_layout(self, store: Any) -> None:
        """A table may keep its partition columns as text or categories."""
        layout = replace(
            layout_of(ticks(3)),
            schema=pa.schema(
                [
                    *ticks(3).schema,
                    pa.field(TRADE_DATE, pa.timestamp("ms")),
                    pa.field(ASSET_CLASS, pa.dictionary(pa.int8(), pa.large_string(), ordered=True)),
                    pa.field(SEQ, pa.int64()),
                ]
            ),
        )
        got = store.read(layout, self.put(store, ticks(3), layout), PARTITION)
        assert got.schema.equals(layout.schema)
        assert got[ASSET_CLASS].to_pylist() == ["EQUITY"] * 3
        assert {stamp.date() for stamp in got[TRADE_DATE].to_pylist()} == {PARTITION.trade_date}

    @pytest.mark.parametrize("type_", [pa.string(), pa.dictionary(pa.int8(), pa.string())], ids=str)
    def test_no_asset_class_is_null(self, store: Any, type_: pa.DataType) -> None:
        """A partition without asset class gives null."""
        table = ticks(2)
        base = layout_of(table)
        index = base.schema.get_field_index(ASSET_CLASS)
        layout = replace(base, schema=base.schema.set(index, pa.field(ASSET_CLASS, type_)))
        partition = Partition(PARTITION.trade_date, None)
        written = store.write(layout, [self.part(table, partition=partition)])[0]
        got = store.read(layout, self.copy(store, written), partition)
        assert got[ASSET_CLASS].to_pylist() == [None, None]

    def test_stored_partition_columns_are_not_overwritten(self, store: Any) -> None:
        """Days inside a month's partition keep their own dates."""
        days = pa.array([0, 1, 2], pa.date32())
        table = ticks(3).append_column(TRADE_DATE, days).append_column(ASSET_CLASS, pa.array(["a", None, "b"]))
        layout = layout_of(table)
        got = store.read(layout, self.put(store, table, layout), PARTITION)
        assert got[TRADE_DATE].combine_chunks().equals(days)
        assert got[ASSET_CLASS].to_pylist() == ["a", None, "b"]

    @pytest.mark.parametrize("base", [0, 5 << 32, (2**31 - 1) << 32])
    def test_stored_seq_is_shifted_by_the_base(self, store: Any, base: int) -> None:
        """Rows written before their version was known get it on reading."""
        table = ticks(4).append_column(SEQ, pa.array([3, 1, 0, 2]))
        layout = layout_of(table)
        got = store.read(layout, self.put(store, table, layout, base), PARTITION, Selection((SEQ, "size")))
        assert got[SEQ].to_pylist() == [base + 3, base + 1, base, base + 2]

    @pytest.mark.parametrize("base", [0, 5 << 32])
    def test_missing_seq_is_the_row_number(self, store: Any, base: int) -> None:
        """Also within a time range, where the first row wanted is not the first of the file."""
        layout = layout_of(ticks(100))
        copy = self.put(store, ticks(100), layout, base)
        wanted = Selection((SEQ, "size"), TimeRange(FIRST_NS + 40 * SECOND_NS))
        got = store.read(layout, copy, PARTITION, wanted)
        assert got.num_rows >= 60
        assert got[SEQ].to_pylist() == [base + number for number in got["size"].to_pylist()]

    # Selections

    @pytest.mark.parametrize("columns", [("size",), ("size", "ts"), (SEQ,), (ASSET_CLASS, "price", TRADE_DATE)])
    def test_columns_come_in_the_order_asked_for(self, store: Any, columns: tuple[str, ...]) -> None:
        """Projection keeps order and rows."""
        layout = layout_of(ticks(5))
        got = store.read(layout, self.put(store, ticks(5), layout), PARTITION, Selection(columns))
        assert tuple(got.column_names) == columns
        assert got.num_rows == 5

    def test_no_columns_still_have_rows(self, store: Any) -> None:
        """Counting needs no column."""
        layout = layout_of(ticks(5))
        assert store.read(layout, self.put(store, ticks(5), layout), PARTITION, Selection(())).num_rows == 5

    def test_an_unknown_column_is_named(self, store: Any) -> None:
        """Asking for what is not there is the caller's error, not damage."""
        layout = layout_of(ticks(5))
        copy = self.put(store, ticks(5), layout)
        with pytest.raises(NotFoundError, match="'prize'"):
            store.read(layout, copy, PARTITION, Selection(("prize",)))

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_a_time_range_loses_no_row(self, store: Any, unit: str) -> None:
        """Every row in the range comes back, in stored order, wherever the range begins and ends."""
        table = ticks(50, unit=unit)
        layout = layout_of(table)
        copy = self.put(store, table, layout)
        edges = [None, *(FIRST_NS + n * SECOND_NS + shift for n in (-1, 0, 7, 49, 50) for shift in (-1, 0, 1))]
        for start in edges:
            for end in edges:
                got = store.read(layout, copy, PARTITION, Selection(("size",), TimeRange(start, end)))
                numbers = got["size"].to_pylist()
                assert numbers == sorted(numbers)
                assert _expected(50, start, end) <= set(numbers)

    def test_symbols_lose_no_row(self, store: Any) -> None:
        """Every row of the symbols wanted comes back."""
        table = self.sample(40)
        layout = layout_of(table)
        copy = self.put(store, table, layout)
        for symbols in [("S01",), ("S00", "S03"), ("absent",), ()]:
            got = store.read(layout, copy, PARTITION, Selection(symbols=symbols))
            wanted = pc.is_in(got["symbol"], pa.array(symbols, pa.string()))
            assert pc.sum(wanted).as_py() in {10 * len([s for s in symbols if s != "absent"]), None}

    def test_rows_keep_their_stored_order(self, store: Any) -> None:
        """The store neither sorts nor regroups."""
        table = self.sample(1_000)
        layout = layout_of(table)
        got = store.read(layout, self.put(store, table, layout), PARTITION)
        assert identical(got.select(table.column_names), table.combine_chunks())

    # Integrity

    @pytest.mark.parametrize("seen", [False, True], ids=["unseen", "read before"])
    @pytest.mark.parametrize("damage", ["flip", "truncate", "zero", "empty", "delete", "grow", "replace"])
    def test_damage_is_never_read(self, store: Any, damage: str, seen: bool) -> None:
        """A damaged file raises and names the location, also if it was read when it was sound."""
        table = ticks(5_000)
        layout = layout_of(table)
        copy = self.put(store, table, layout)
        if seen:
            store.read(layout, copy, PARTITION)
        self.damage(store, copy, damage)
        for action in (store.verify, lambda copy: store.read(layout, copy, PARTITION)):
            with pytest.raises(IntegrityError) as caught:
                action(copy)
            assert caught.value.context["location"] == copy.location

    def test_another_checksum_is_refused_after_a_good_read(self, store: Any) -> None:
        """What is remembered of a file is bound to the checksum it was compared with."""
        copy = self.put(store, ticks(10), layout_of(ticks(10)))
        store.verify(copy)
        with pytest.raises(IntegrityError, match="content differs"):
            store.verify(replace(copy, checksum="xxh3_128:" + "0" * 32))

    def test_tables_outlive_the_store_and_the_file(self, store: Any) -> None:
        """What was handed out stays valid after close and delete."""
        table = self.sample(1_000)
        layout = layout_of(table)
        copy = self.put(store, table, layout)
        got = store.read(layout, copy, PARTITION)
        store.close()
        store.delete(copy.location)
        assert identical(got.select(table.column_names), table.combine_chunks())

    # Housekeeping

    def test_delete_twice_is_no_error(self, store: Any) -> None:
        """Deleting is idempotent, and a deleted copy is damage to a reader."""
        layout = layout_of(ticks(10))
        copy = self.put(store, ticks(10), layout)
        store.read(layout, copy, PARTITION)
        for _ in range(2):
            store.delete(copy.location)
        store.delete(f"never/was/{ATTEMPT}-9")
        with pytest.raises(IntegrityError, match="missing"):
            store.read(layout, copy, PARTITION)

    def test_list_yields_what_was_written_and_not_what_was_deleted(self, store: Any) -> None:
        """A sweep and an audit see every copy, with its size."""
        assert list(store.list()) == []
        table = ticks(10)
        written = store.write(layout_of(table), [self.part(table, number) for number in range(3)])
        assert {(one.location, one.size_bytes) for one in store.list()} == {(w.location, w.size_bytes) for w in written}
        store.delete(written[1].location)
        assert {one.location for one in store.list()} == {written[0].location, written[2].location}

    def test_no_parts_are_no_error(self, store: Any) -> None:
        """An empty batch writes nothing."""
        assert store.write(layout_of(ticks(1)), []) == []
        assert list(store.list()) == []

    def test_a_refused_batch_leaves_nothing_that_is_not_listed(self, store: Any) -> None:
        """What a failed write leaves can be found and deleted, and the next write of the same rows works."""
        good, bad = ticks(5), ticks(5).drop_columns(["price"])
        with pytest.raises(InvalidInputError):
            store.write(layout_of(good), [self.part(good, 0), self.part(bad, 1)])
        for one in list(store.list()):
            store.delete(one.location)
        copy = self.put(store, good, layout_of(good))
        assert store.read(layout_of(good), copy, PARTITION).num_rows == 5

    def test_copies_are_there_for_another_store_at_the_same_place(self, store: Any, tmp_path: Path) -> None:
        """Another process, or this one after a restart, reads what a durable store has written."""
        if not store.capabilities.durable:
            pytest.skip("the store says that it keeps nothing")
        table = self.sample(100)
        layout = layout_of(table)
        copy = self.put(store, table, layout)
        other = self.open_store(tmp_path / "store")
        assert identical(other.read(layout, copy, PARTITION).select(table.column_names), table.combine_chunks())
        store.close()
        assert {one.location for one in other.list()} == {copy.location}
        other.delete(copy.location)
        other.close()

    def test_capabilities_are_of_known_kinds(self, store: Any) -> None:
        """What the rest of the program goes by."""
        able = store.capabilities
        assert able.form in {"arrow", "parquet"}
        assert able.order in {"time", "symbol"}
        assert able.codec
        assert store.name

    def test_everything_can_be_deleted_while_it_is_listed(self, store: Any) -> None:
        """A sweep deletes as it goes."""
        table = ticks(1)
        store.write(layout_of(table), [self.part(table, number) for number in range(20)])
        for stored in store.list():
            store.delete(stored.location)
        assert list(store.list()) == []

    def test_threads_share_a_store(self, store: Any) -> None:
        """Reads and writes from many threads at once do not mix."""
        layout = layout_of(ticks(1))

        def work(number: int) -> int:
            written = store.write(layout, [self.part(ticks(number + 1), number)])[0]
            copy = self.copy(store, written)
            return sum(int(store.read(layout, copy, PARTITION).num_rows) for _ in range(5)) // 5

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(40))) == [number + 1 for number in range(40)]


def _names(count: int, prefix: str) -> pa.Array:
    return pa.array([f"{prefix}{number}" for number in range(count)])


def _expected(rows: int, start: int | None, end: int | None) -> set[int]:
    return {
        number
        for number in range(rows)
        if (start is None or FIRST_NS + number * SECOND_NS >= start)
        and (end is None or FIRST_NS + number * SECOND_NS < end)
    }


def damage_file(path: Path, kind: str) -> None:
    """Change a file behind the store's back; the modification time is set back where the size stays."""
    if kind == "delete":
        path.unlink()
        return
    before = path.stat()
    content = bytearray(path.read_bytes())
    path.chmod(0o644)
    if kind == "replace":
        path.unlink()
        content.reverse()
    elif kind == "flip":
        content[len(content) // 2] ^= 1
    elif kind == "zero":
        content[1000:2000] = bytes(1000)
    elif kind == "grow":
        content += b"\0"
    else:
        del content[0 if kind == "empty" else -1 :]
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
