"""The Parquet stores: the contract for every codec, and files that other engines can read."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from local_contract import LocalStoreContract

from quantstore.core.segment import ASSET_CLASS, SEQ, TRADE_DATE
from quantstore.core.timerange import TimeRange
from quantstore.errors import IntegrityError, InvalidInputError, QuantStoreError
from quantstore.stores import conversion
from quantstore.stores.base import Capabilities, Selection
from quantstore.stores.parquet import ParquetStore
from quantstore.testing.store_contract import SECOND_NS
from quantstore.testing.tables import FIRST_NS, PARTITION, dictionary, identical, layout_of, ticks, types_table


class ParquetContract(LocalStoreContract):
    """The contract, over Parquet files of one codec."""

    suffix = ".parquet"
    codec: Any

    def open_store(self, root: Path) -> ParquetStore:
        return ParquetStore(root, "warm", self.codec)

    def read_raw(self, path: Path) -> pa.Table:
        file = pq.ParquetFile(path)
        return file.read().replace_schema_metadata(file.metadata.metadata)

    def sample(self, rows: int) -> pa.Table:
        return ticks(rows, by_symbol=True)

    def test_capabilities(self, store: ParquetStore) -> None:
        """The engine reads paths, in symbol order."""
        assert store.capabilities == Capabilities("parquet", "symbol", self.codec, durable=True)


class TestLz4(ParquetContract):
    """The warm tier's codec."""

    codec = "lz4"


class TestSnappy(ParquetContract):
    """The warm tier's other codec."""

    codec = "snappy"


class TestGzip(ParquetContract):
    """The cold tier's other codec."""

    codec = "gzip"


class TestZstd(ParquetContract):
    """The cold tier's codec, and what all files have in common."""

    codec = "zstd"

    def path(self, store: ParquetStore, table: pa.Table) -> str:
        return store.verify(self.put(store, table, layout_of(table)))

    def test_hidden_columns_are_in_the_file(self, store: ParquetStore) -> None:
        """Other engines find partition columns and row numbers without the catalog."""
        raw = pq.read_table(self.path(store, ticks(3)))
        assert raw[TRADE_DATE].to_pylist() == [PARTITION.trade_date] * 3
        assert raw[ASSET_CLASS].to_pylist() == [PARTITION.asset_class] * 3
        assert raw[SEQ].to_pylist() == [0, 1, 2]

    def test_row_groups_outside_the_selection_are_skipped(self, store: ParquetStore) -> None:
        """Time and symbols prune by the statistics of the physical columns."""
        table = ticks(600_000, symbols=2, by_symbol=True)
        layout = layout_of(table)
        copy = self.put(store, table, layout)
        every = pq.ParquetFile(store.verify(copy)).metadata.num_row_groups
        assert every == 3
        rows = {
            name: store.read(layout, copy, PARTITION, selection).num_rows
            for name, selection in {
                "first symbol": Selection(("size",), symbols=("S00",)),
                "no symbol": Selection(("size",), symbols=("ZZ",)),
                "early": Selection(("size",), TimeRange(None, FIRST_NS + SECOND_NS)),
                "never": Selection(("size",), TimeRange(None, FIRST_NS)),
                "late": Selection(("size",), TimeRange(FIRST_NS + 599_999 * SECOND_NS)),
            }.items()
        }
        assert rows == {
            "first symbol": 2 << 18,
            "no symbol": 0,
            "early": 1 << 18,
            "never": 0,
            "late": 600_000 - (2 << 18),
        }

    def test_bounds_within_a_microsecond_lose_no_row(self, store: ParquetStore) -> None:
        """Statistics are in microseconds, rows in nanoseconds, before 1970 too."""
        stamps = [-1_001, -1_000, -999, -1, 0, 1, 999, 1_000, 1_001]
        table = pa.table({"ts": pa.array(stamps, pa.timestamp("ns"))})
        layout = layout_of(table, symbol=None)
        for row in range(len(stamps)):
            written = store.write(layout, [self.part(table.slice(row, 1), row)])[0]
            copy = self.copy(store, written)
            for start in range(-2_002, 2_002, 91):
                wanted = TimeRange(start, start + 1_000)
                got = store.read(layout, copy, PARTITION, Selection(("ts",), wanted)).num_rows
                assert got == 1 or not start <= stamps[row] < start + 1_000

    def test_a_column_name_with_a_dot_is_one_column(self, store: ParquetStore) -> None:
        """Names are names, not paths."""
        table = ticks(2).append_column("price.raw", pa.array([1, 2])).append_column("a", pa.array([3, 4]))
        table = table.append_column("a.b", pa.array([5, 6]))
        layout = layout_of(table)
        got = store.read(layout, self.put(store, table, layout), PARTITION, Selection(("a", "price.raw", "price")))
        assert got.to_pydict() == {"a": [3, 4], "price.raw": [1, 2], "price": [0.0, 0.25]}

    def test_large_unordered_categories_are_encoded_afresh(
        self, store: ParquetStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Beyond a limit the file does not list unordered categories; ordered ones it always does."""
        monkeypatch.setattr(conversion, "MAX_STORED_CATEGORIES", 2)
        letters = pa.array(["c", "b", "a"])
        table = ticks(2).append_column("plain", dictionary([2, 0], letters, pa.int8()))
        table = table.append_column("ordered", dictionary([2, 0], letters, pa.int8(), ordered=True))
        layout = layout_of(table)
        got = store.read(layout, self.put(store, table, layout), PARTITION)
        assert got["plain"].to_pylist() == got["ordered"].to_pylist() == ["a", "c"]
        assert got["plain"].chunk(0).dictionary.to_pylist() == ["a", "c"]
        assert got["ordered"].chunk(0).dictionary.to_pylist() == ["c", "b", "a"]

    def test_empty_and_unused_categories_survive(self, store: ParquetStore) -> None:
        """Also where no row uses any, and where the column has no categories at all."""
        table = ticks(2).append_column("none", dictionary([None, None], pa.array([], pa.string()), pa.int8()))
        table = table.append_column("unused", dictionary([None, None], pa.array(["x", "y"]), pa.int8()))
        layout = layout_of(table)
        got = store.read(layout, self.put(store, table, layout), PARTITION)
        assert identical(got.select(["none", "unused"]), table.select(["none", "unused"]))

    def test_a_parquet_file_of_others_is_damage(self, store: ParquetStore, tmp_path: Path) -> None:
        """A file without our metadata or columns is not taken for ours."""
        table = ticks(2).append_column("c", dictionary([0, 0], pa.array(["x"]), pa.int8()))
        layout = layout_of(table)
        for foreign, message in [(ticks(2), "does not hold"), (conversion.to_physical(table, table.schema), "say")]:
            pq.write_table(foreign, tmp_path / "foreign.parquet", store_schema=False)
            content = (tmp_path / "foreign.parquet").read_bytes()
            location = f"x/{len(content):032x}-0.parquet"
            written = store._files.write([(location, lambda file, content=content: file.write(content))])[0]
            with pytest.raises(IntegrityError, match=message):
                store.read(layout, self.copy(store, written), PARTITION, Selection(tuple(table.column_names)))

    def test_bytes_that_are_not_parquet_are_damage(self, store: ParquetStore) -> None:
        """Bytes that hash as recorded but cannot be opened still raise IntegrityError."""
        location = "x/" + "0" * 32 + "-0.parquet"
        written = store._files.write([(location, lambda file: file.write(b"not parquet" * 9))])[0]
        with pytest.raises(IntegrityError, match="cannot be understood"):
            store.read(layout_of(ticks(1)), self.copy(store, written), PARTITION)

    def test_wide_rows_make_smaller_row_groups(self, store: ParquetStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """A group is bounded in bytes as well as in rows."""
        monkeypatch.setattr("quantstore.stores.parquet._ROW_GROUP_BYTES", 1 << 20)
        path = self.path(store, ticks(100_000))
        assert pq.ParquetFile(path).metadata.num_row_groups > 3

    def test_pages_carry_checksums_and_an_index(self, store: ParquetStore) -> None:
        """Readers that look at them find damage and skip pages."""
        path = self.path(store, ticks(1_000))
        column = pq.ParquetFile(path).metadata.row_group(0).column(0)
        assert column.has_offset_index
        assert column.has_column_index
        content = bytearray(Path(path).read_bytes())
        content[column.data_page_offset + column.total_compressed_size - 5] ^= 1
        damaged = Path(path).with_name("damaged.parquet")
        damaged.write_bytes(content)
        with pytest.raises(OSError, match="CRC"):
            pq.ParquetFile(damaged, page_checksum_verification=True).read()

    def test_published_codecs_use_only_plain_and_dictionary_pages(self, tmp_path: Path) -> None:
        """Readers that know no other encodings can read cold files; warm ones pack integers."""
        used = {}
        for codec in ("lz4", "snappy", "zstd", "gzip"):
            store = ParquetStore(tmp_path / codec, codec, codec)
            group = pq.ParquetFile(self.path(store, ticks(20_000))).metadata.row_group(0)
            used[codec] = {name for i in range(group.num_columns) for name in group.column(i).encodings}
        assert "DELTA_BINARY_PACKED" in used["lz4"]
        assert "DELTA_BINARY_PACKED" in used["snappy"]
        assert used["zstd"] | used["gzip"] <= {"PLAIN", "RLE", "RLE_DICTIONARY"}

    @pytest.mark.parametrize("codec", ["lz4", "snappy", "zstd", "gzip"])
    def test_other_engines_read_every_codec(self, tmp_path: Path, codec: Any) -> None:
        """DuckDB and Polars give the same rows as pyarrow."""
        table = ticks(30_000, by_symbol=True)
        path = self.path(ParquetStore(tmp_path, codec, codec), table)
        raw = pq.read_table(path)
        assert pl.read_parquet(path)["size"].to_list() == raw["size"].to_pylist() == table["size"].to_pylist()
        with duckdb.connect() as connection:
            answer = connection.execute(f"SELECT sum(price), epoch_us(max(ts)) FROM '{path}'").fetchall()
        assert answer == [(sum(table["price"].to_pylist()), FIRST_NS // 1_000 + 29_999 * 1_000_000)]

    def test_compression_level_is_used(self, tmp_path: Path) -> None:
        """Another level makes another file of the same rows."""
        stores = [ParquetStore(tmp_path / str(level), "cold", "zstd", level) for level in (1, 15)]
        sizes = [store.write(layout_of(ticks(20_000)), [self.part(ticks(20_000))])[0].size_bytes for store in stores]
        assert sizes[0] != sizes[1]

    def test_an_unknown_codec_is_refused(self, tmp_path: Path) -> None:
        """The error lists the codecs there are."""
        with pytest.raises(InvalidInputError, match="lz4, snappy, zstd, gzip"):
            ParquetStore(tmp_path, "warm", "brotli")  # type: ignore[arg-type]

    def test_a_failing_part_leaves_nothing_of_the_batch(self, store: ParquetStore) -> None:
        """One part in four at a time fails: the others are removed with it."""
        good = ticks(10).append_column("at", pa.array([None] * 10, pa.timestamp("ns")))
        bad = ticks(1).append_column("at", pa.array([-(2**63)], pa.timestamp("ns")))
        parts = [self.part(bad if number == 5 else good, number) for number in range(8)]
        with pytest.raises(QuantStoreError, match="'at'"):
            store.write(layout_of(good), parts)
        assert list(store.list()) == []


def read_iceberg(catalog_root: Path, path: str, location: str) -> pa.Table:
    """Register a file in a new Iceberg v2 table whose schema is the file's own, and scan it."""
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.io.pyarrow import pyarrow_to_schema

    catalog_root.mkdir()
    catalog = SqlCatalog("c", uri=f"sqlite:///{catalog_root}/c.db", warehouse=f"file://{catalog_root}")
    try:
        catalog.create_namespace("n")
        schema = pyarrow_to_schema(pq.ParquetFile(path).schema_arrow, format_version=2)
        table = catalog.create_table(f"n.{location}", schema, properties={"format-version": "2"})
        assert table.schema() == schema, "fresh Iceberg ids differ from the file's"
        table.add_files([path])
        return table.scan().to_arrow()
    finally:
        catalog.close()


def test_iceberg_adopts_our_files(tmp_path: Path) -> None:
    """A v2 table takes a file with every type as it is, by field id, and gives back its values."""
    pytest.importorskip("pyiceberg")
    table = types_table()
    store = ParquetStore(tmp_path / "cold", "cold")
    layout = layout_of(table)
    copy = TestZstd().put(store, table, layout)
    path = store.verify(copy)
    got = read_iceberg(tmp_path / "iceberg", path, "every_type")
    raw = pq.read_table(path)
    assert got.column_names == raw.column_names
    for name in raw.column_names:
        if name == "deep":  # pyiceberg 0.12 reads a null list inside a struct as an empty one
            assert got[name].drop_null().to_pylist()[0] == raw[name].to_pylist()[0]
        elif pa.types.is_timestamp(raw[name].type):
            assert got[name].cast(pa.int64()).to_pylist() == raw[name].cast(pa.int64()).to_pylist()
        else:
            assert repr(got[name].to_pylist()) == repr(raw[name].to_pylist())
    assert got["uint64"].to_pylist()[1] == Decimal(2**64 - 1)
