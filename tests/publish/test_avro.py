"""Damaged metadata is found before pyiceberg's compiled decoder reads it, which such a file can end the process of."""

from __future__ import annotations

import random

import pandas as pd
import pytest

import quantstore as qs

pytest.importorskip("pyiceberg")
from pyiceberg.io.pyarrow import PyArrowFileIO

from quantstore.publish.avro import require_whole

HARMS = {
    "garbage": lambda content, chance: chance.randbytes(len(content)),
    "garbage behind the magic number": lambda content, chance: content[:4] + chance.randbytes(len(content) - 4),
    "zeros": lambda content, chance: bytes(len(content)),
    "zeros at the end": lambda content, chance: content[: len(content) // 2] + bytes(len(content) // 2),
    "cut short": lambda content, chance: content[: chance.randrange(len(content))],
    "a block gone": lambda content, chance: content[:-40] + content[-16:],
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A store with a published table, and its Avro files."""
    root = tmp_path_factory.mktemp("published")
    with qs.open(root / "store") as store:
        stamps = pd.date_range("2026-03-02", periods=40, freq="D", tz="UTC")
        store.write(pd.DataFrame({"ts": stamps, "symbol": "A", "price": 1.0}), "quotes", "cold")
        store.publish("quotes")
    return root / "store", sorted((root / "store" / "iceberg").rglob("*.avro"))


def test_what_pyiceberg_wrote_is_whole(published):
    assert len(published[1]) == 2
    for path in published[1]:
        require_whole(PyArrowFileIO(), str(path), every_record=True)


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("number", range(2))
def test_what_a_power_cut_leaves_is_found(published, tmp_path, harm, number):
    content, path = published[1][number].read_bytes(), tmp_path / "damaged.avro"
    for seed in range(20):
        path.write_bytes(HARMS[harm](content, random.Random(seed)))
        with pytest.raises(ValueError, match="is damaged"):
            require_whole(PyArrowFileIO(), str(path))


@pytest.mark.parametrize("number", range(2))
def test_a_flipped_bit_is_found_or_harmless_to_the_decoder(published, tmp_path, number):
    """What passes is read by pyiceberg here, in this process, which goes on."""
    from pyiceberg.avro.file import AvroFile

    content, path, chance = published[1][number].read_bytes(), tmp_path / "flipped.avro", random.Random(number)
    found = 0
    for _ in range(600):
        flipped = bytearray(content)
        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        try:
            require_whole(PyArrowFileIO(), str(path), every_record=True)
        except ValueError:
            found += 1
            continue
        with AvroFile(PyArrowFileIO().new_input(str(path))) as records:
            assert list(records)
    assert found > 180


def test_fsck_publishes_anew_what_is_garbage(tmp_path):
    with qs.open(tmp_path / "store") as store:
        frame = pd.DataFrame({"ts": pd.to_datetime(["2026-03-02T10:00Z"]), "symbol": ["A"], "price": [1.0]})
        store.write(frame, "quotes", "cold")
        store.publish("quotes")
        for path in (tmp_path / "store" / "iceberg").rglob("*.avro"):
            path.write_bytes(random.Random(1).randbytes(path.stat().st_size))
        assert [one.kind for one in store.fsck().problems] == ["derived"]
        assert store.fsck(repair=True).repairs
        assert store.fsck().ok
