"""The hot store: the contract, and what only maps can get wrong."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from local_contract import LocalStoreContract
from pyarrow import ipc

from quantstore.core.segment import SEQ
from quantstore.core.timerange import TimeRange
from quantstore.errors import IntegrityError
from quantstore.stores.arrow_ipc import ArrowStore, _encode
from quantstore.stores.base import Capabilities, Part, Selection
from quantstore.testing.store_contract import SECOND_NS
from quantstore.testing.tables import FIRST_NS, PARTITION, layout_of, ticks


class TestArrowStore(LocalStoreContract):
    """The contract, over Arrow files."""

    suffix = ".arrow"

    def open_store(self, root: Path) -> ArrowStore:
        return ArrowStore(root)

    def read_raw(self, path: Path) -> pa.Table:
        with path.open("rb") as file:
            return ipc.open_file(file).read_all()

    def sample(self, rows: int) -> pa.Table:
        return ticks(rows)

    def test_capabilities(self, store: ArrowStore) -> None:
        """The engine scans tables in time order, all asset classes of a day in one file."""
        assert store.capabilities == Capabilities("arrow", "time", "ipc", durable=True, mixes=True)

    def test_a_time_range_is_exact(self, store: ArrowStore) -> None:
        """Binary search gives the rows of the range and no others, over several batches."""
        table = ticks(600_000)
        layout = layout_of(table)
        copy = self.put(store, table, layout)
        for first, last in [(0, 600_000), (1, 2), (262_143, 262_145), (599_999, 700_000), (300_000, 300_000)]:
            wanted = TimeRange(FIRST_NS + first * SECOND_NS, FIRST_NS + last * SECOND_NS)
            got = store.read(layout, copy, PARTITION, Selection(("size", SEQ), wanted))
            assert got["size"].to_pylist() == list(range(first, min(last, 600_000)))
            assert got[SEQ].to_pylist() == got["size"].to_pylist()

    def test_equal_times_stay_together(self, store: ArrowStore) -> None:
        """A range takes all rows of a time or none."""
        stamps = pa.array([FIRST_NS + n // 5 * SECOND_NS for n in range(50)], pa.timestamp("ns", "UTC"))
        table = pa.table({"ts": stamps, "n": range(50)})
        layout = layout_of(table, symbol=None)
        copy = self.put(store, table, layout)
        wanted = TimeRange(FIRST_NS + 3 * SECOND_NS, FIRST_NS + 5 * SECOND_NS)
        got = store.read(layout, copy, PARTITION, Selection(("n",), wanted))
        assert got["n"].to_pylist() == list(range(15, 25))

    def test_reading_copies_nothing(self, store: ArrowStore) -> None:
        """Columns and time ranges of them point into one map of the file."""
        table = ticks(100_000)
        layout = layout_of(table)
        copy = self.put(store, table, layout)
        columns = Selection(("ts", "price", "size"))
        allocated = pa.total_allocated_bytes()
        whole = store.read(layout, copy, PARTITION, columns)
        sliced = store.read(
            layout, copy, PARTITION, Selection(columns.columns, TimeRange(FIRST_NS + 500 * SECOND_NS, None))
        )
        assert pa.total_allocated_bytes() == allocated
        for name in whole.column_names:
            assert sliced[name].chunk(0).buffers()[1].address == whole[name].chunk(0).buffers()[1].address

    def test_writing_copies_nothing(self, store: ArrowStore) -> None:
        """Fixed-width columns reach the file from where they are: the sink sees their own buffers."""
        table = ticks(100_000).select(["ts", "price", "size"]).combine_chunks()
        seen: list[int] = []
        _encode(table, _Recorder(seen))  # type: ignore[arg-type]
        assert {column.chunk(0).buffers()[1].address for column in table.columns} <= set(seen)

    def test_open_maps_hold_no_file_descriptors(self, store: ArrowStore) -> None:
        """Thousands of hot copies do not use up the process's descriptors."""
        layout = layout_of(ticks(10))
        written = store.write(layout, [self.part(ticks(10), number) for number in range(50)])
        before = len(list(Path("/proc/self/fd").iterdir()))
        tables = [store.read(layout, self.copy(store, w), PARTITION) for w in written]
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        assert len(tables) == 50

    def test_a_rewritten_file_is_mapped_anew(self, store: ArrowStore, tmp_path: Path) -> None:
        """After a file was put in place of another, its rows are read, not those of the old map."""
        old, new = ticks(100), ticks(100).set_column(3, "size", pa.array(range(1_000, 1_100)))
        layout = layout_of(old)
        copy = self.put(store, old, layout)
        assert store.read(layout, copy, PARTITION)["size"][0].as_py() == 0
        other = ArrowStore(tmp_path / "other")
        replacement = self.put(other, new, layout)
        (tmp_path / "other" / replacement.location).replace(tmp_path / "store" / copy.location)
        with pytest.raises(IntegrityError):
            store.read(layout, copy, PARTITION)
        assert store.read(layout, replacement, PARTITION)["size"][0].as_py() == 1_000

    def test_a_file_that_is_not_arrow_is_damage(self, store: ArrowStore, tmp_path: Path) -> None:
        """Bytes that hash as recorded but cannot be opened still raise IntegrityError."""
        layout = layout_of(ticks(1))
        written = store._files.write([("x/" + "0" * 32 + "-0.arrow", lambda file: file.write(b"not arrow"))])[0]
        with pytest.raises(IntegrityError, match="cannot be understood"):
            store.read(layout, self.copy(store, written), PARTITION)

    def test_a_file_without_a_column_is_damage(self, store: ArrowStore) -> None:
        """A file that lacks a column of the table is named with the column."""
        layout = layout_of(ticks(1).drop_columns(["price"]))
        copy = self.put(store, ticks(1).drop_columns(["price"]), layout)
        with pytest.raises(IntegrityError, match="'price'"):
            store.read(layout_of(ticks(1)), copy, PARTITION)

    def test_view_columns_of_a_slice_do_not_bring_the_rest(self, store: ArrowStore) -> None:
        """A few rows of a large string view make a small file."""
        views = pa.array([f"a string of some length {number}" for number in range(50_000)], pa.string_view())
        table = ticks(50_000).append_column("note", views)
        written = store.write(layout_of(table), [self.part(table.slice(100, 10))])[0]
        assert written.size_bytes < 20_000

    def test_unsorted_times_with_nulls_are_returned_whole(self, store: ArrowStore) -> None:
        """Without an order to rely on, no row is left out."""
        table = pa.table({"ts": pa.array([5, None, 1], pa.timestamp("ns")), "n": [0, 1, 2]})
        layout = layout_of(table, symbol=None)
        copy = self.put(store, table, layout)
        got = store.read(layout, copy, PARTITION, Selection(("n",), TimeRange(1, 2)))
        assert got["n"].to_pylist() == [0, 1, 2]

    def test_maps_of_deleted_files_are_let_go(self, store: ArrowStore, tmp_path: Path) -> None:
        """A map keeps the disk space of its file; those that others deleted do not pile up."""
        layout = layout_of(ticks(1))
        written = store.write(layout, [self.part(ticks(1), number) for number in range(130)])
        for w in written:
            store.read(layout, self.copy(store, w), PARTITION)
            (tmp_path / "store" / w.location).unlink()
        assert len(store._maps._maps) < 70

    def test_the_least_used_maps_are_let_go(self, store: ArrowStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """The number of maps is bounded, and copies beyond it still read."""
        monkeypatch.setattr("quantstore.stores.arrow_ipc._MAX_MAPS", 3)
        layout = layout_of(ticks(1))
        written = store.write(layout, [self.part(ticks(1), number) for number in range(6)])
        for w in [*written, *written]:
            assert store.read(layout, self.copy(store, w), PARTITION).num_rows == 1
        assert len(store._maps._maps) == 3


class _Recorder:
    """A sink that records where the buffers it is given lie."""

    closed = False

    def __init__(self, seen: list[int]) -> None:
        self._seen = seen
        self._size = 0

    def write(self, content: pa.Buffer | bytes) -> int:
        if isinstance(content, pa.Buffer):
            self._seen.append(content.address)
        self._size += memoryview(content).nbytes
        return memoryview(content).nbytes

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        pass


def test_name_defaults_to_the_format(tmp_path: Path) -> None:
    """A store made by hand needs no name."""
    store = ArrowStore(tmp_path)
    table = ticks(1)
    written = store.write(layout_of(table), [Part("a/" + "0" * 32 + "-0", table, PARTITION)])
    assert store.name == "arrow"
    assert written[0].location.endswith(".arrow")
