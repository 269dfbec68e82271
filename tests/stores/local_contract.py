"""What every store of local files must do beyond the contract of all stores."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import xxhash

from quantstore.errors import InvalidInputError
from quantstore.stores.base import Part
from quantstore.stores.facts import decode_facts
from quantstore.testing.store_contract import ATTEMPT, StoreContract
from quantstore.testing.tables import PARTITION, layout_of, ticks, types_table


class LocalStoreContract(StoreContract):
    """The contract; `read_raw` bypasses the store, so that errors in writing and reading cannot cancel out."""

    suffix: str

    def read_raw(self, path: Path) -> pa.Table:
        """Return a file's own columns and metadata, without the store."""
        raise NotImplementedError

    def test_result_describes_the_file(self, store: Any, tmp_path: Path) -> None:
        """Location, size and checksum are those of the bytes on disk."""
        table = ticks(1_000)
        written = store.write(layout_of(table), [self.part(table)])[0]
        content = (tmp_path / "store" / written.location).read_bytes()
        assert written.location == f"trades/trade_date=2024-03-15/{ATTEMPT}-0{self.suffix}"
        assert written.size_bytes == len(content)
        assert written.checksum == f"xxh3_128:{xxhash.xxh3_128_hexdigest(content)}"

    def test_files_are_read_only_and_nothing_else_is_left(self, store: Any, tmp_path: Path) -> None:
        """Final files cannot be written to, and no temporary file remains."""
        table = ticks(10)
        parts = [self.part(table, number) for number in range(3)]
        written = store.write(layout_of(table), parts)
        files = sorted(path for path in (tmp_path / "store").rglob("*") if path.is_file())
        assert files == [tmp_path / "store" / w.location for w in written]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o444}

    def test_no_parts_write_nothing(self, store: Any, tmp_path: Path) -> None:
        """An empty batch is no error."""
        assert store.write(layout_of(ticks(1)), []) == []
        assert not (tmp_path / "store").exists()

    def test_locations_cannot_leave_the_root(self, store: Any, tmp_path: Path) -> None:
        """Neither writing nor deleting follows a path out of the store."""
        table = ticks(1)
        (tmp_path / "victim").write_text("kept")
        for location in ("../victim", "/etc/victim", "a/../../victim", "a//b", "./a", "a\0b"):
            with pytest.raises(InvalidInputError):
                store.write(layout_of(table), [Part(location, table, PARTITION)])
            with pytest.raises(InvalidInputError):
                store.delete(location)
        assert (tmp_path / "victim").read_text() == "kept"

    def test_files_describe_themselves(self, store: Any, tmp_path: Path) -> None:
        """A file tells schema, time, symbol and partition without the catalog."""
        table = types_table()
        layout = layout_of(table)
        copy = self.put(store, table, layout)
        facts = decode_facts(self.read_raw(tmp_path / "store" / copy.location).schema.metadata, copy.location)
        assert facts.schema.equals(layout.schema)
        assert (facts.time, facts.symbol, facts.partition) == ("ts", "symbol", PARTITION)

    @pytest.mark.parametrize("deep", [False, True])
    def test_verify_returns_the_path(self, store: Any, tmp_path: Path, deep: bool) -> None:
        """A sound copy verifies, time and again."""
        copy = self.put(store, ticks(10), layout_of(ticks(10)))
        for _ in range(2):
            assert store.verify(copy, deep=deep) == str(tmp_path / "store" / copy.location)

    def test_list_yields_attempts_files_and_no_others(self, store: Any, tmp_path: Path) -> None:
        """Unfinished files are listed, files of others are not."""
        assert list(store.list()) == []
        copy = self.put(store, ticks(10), layout_of(ticks(10)))
        folder = (tmp_path / "store" / copy.location).parent
        (folder / f"{ATTEMPT}-7{self.suffix}.tmp").write_bytes(b"half")
        (folder / "notes.txt").write_text("mine")
        (folder / f"{ATTEMPT[:-1]}-7").write_text("too short")
        found = {stored.location: stored for stored in store.list()}
        unfinished = copy.location.replace(f"-0{self.suffix}", f"-7{self.suffix}.tmp")
        assert set(found) == {copy.location, unfinished}
        assert found[copy.location].size_bytes == copy.size_bytes
        assert found[unfinished].size_bytes == 4
        assert found[unfinished].modified_ns == (tmp_path / "store" / unfinished).stat().st_mtime_ns
