"""The layers of the cache by themselves: bounds, ages, several hands at once."""

from __future__ import annotations

import os
import threading

import pyarrow as pa
import pytest

from quantstore.cache.disk import DiskCache
from quantstore.cache.ipc import frozen, thawed
from quantstore.cache.memory import MemoryCache
from quantstore.cache.results import ResultCache, automatic_bytes


class Hands:
    """A clock that is set."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


def test_memory_is_bounded_by_bytes_and_lets_go_of_what_was_used_longest_ago():
    cache = MemoryCache(100, 60.0)
    for key in "abc":
        cache.put(key, key.upper(), 40)
    assert cache.get("a") is None
    assert cache.get("b") == "B"
    cache.put("d", "D", 40)
    assert cache.get("c") is None
    assert cache.get("b") == "B"
    assert cache.size() == (2, 80)
    cache.put("b", "new", 10)
    assert cache.size() == (2, 50)
    cache.put("huge", "x", 101)
    assert cache.get("huge") is None
    assert cache.size() == (2, 50)


def test_memory_is_bounded_by_age():
    clock = Hands()
    cache = MemoryCache(100, 60.0, clock)
    cache.put("a", 1, 10)
    clock.now += 59
    assert cache.get("a") == 1
    clock.now += 2
    assert cache.get("a") is None
    assert cache.size() == (0, 0)


def test_disk_is_bounded_by_bytes_in_the_order_of_use(tmp_path):
    clock = Hands()
    cache = DiskCache(tmp_path / "cache", 1000, 10_000.0, clock=clock)
    for number in range(30):
        cache.put(f"{number:040x}", b"x" * 90)
        os.utime(tmp_path / "cache" / f"{number:040x}.answer", (clock.now + number, clock.now + number))
    files, size = cache.size()
    assert size <= 1000 + 200
    assert files >= 6
    assert cache.get(f"{29:040x}") == b"x" * 90
    assert cache.get(f"{0:040x}") is None


def test_disk_forgets_what_is_old_and_what_a_killed_process_left(tmp_path):
    clock = Hands(10_000.0)
    cache = DiskCache(tmp_path, 10**6, 500.0, clock=clock)
    cache.put("a" * 40, b"one")
    for path in tmp_path.iterdir():
        os.utime(path, (clock.now, clock.now))
    left = tmp_path / f"{'b' * 40}-{'0' * 32}.tmp"
    left.write_bytes(b"half")
    os.utime(left, (clock.now - 4000, clock.now - 4000))
    stranger = tmp_path / "notes.txt"
    stranger.write_text("not of the cache")
    os.utime(stranger, (0, 0))
    clock.now += 501
    assert cache.get("a" * 40) is None
    DiskCache(tmp_path, 10**6, 500.0, clock=clock).put("c" * 40, b"two")
    assert {path.name for path in tmp_path.iterdir()} == {"c" * 40 + ".answer", "notes.txt"}


def test_files_of_others_in_the_folder_stay(tmp_path):
    """A folder that was called so before the store came keeps what it held, whatever that is called."""
    for name in ("notes.tmp", "life.answer", f"{'a' * 40}.tmp"):
        (tmp_path / name).write_text("not of the cache")
        os.utime(tmp_path / name, (0, 0))
    cache = DiskCache(tmp_path, 10**6, 500.0)
    cache.put("a" * 40, b"one")
    assert cache.size()[0] == 1
    cache.clear()
    assert {path.name for path in tmp_path.iterdir()} == {"notes.tmp", "life.answer", f"{'a' * 40}.tmp"}


def test_a_full_device_is_left_alone(tmp_path):
    cache = DiskCache(tmp_path / "cache", 2**60, 500.0)  # more than is free
    cache.put("a" * 40, b"one")
    assert cache.get("a" * 40) is None


def test_many_hands_on_one_folder_find_whole_answers_or_none(tmp_path):
    caches = [DiskCache(tmp_path, 20_000, 1e9) for _ in range(4)]
    wrong = []

    def work(cache, seed):
        for turn in range(150):
            key = f"{(turn * seed) % 17:040x}"
            found = cache.get(key)
            if found not in (None, key.encode() * 40):
                wrong.append(key)
            cache.put(key, key.encode() * 40)

    threads = [threading.Thread(target=work, args=(cache, seed)) for seed, cache in enumerate(caches, start=3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"x": [1, 2, 3]}),
        pa.table({"x": pa.chunked_array([[n] for n in range(20)])}),
        pa.table({"x": pa.chunked_array([pa.array(["a"]).dictionary_encode(), pa.array(["b"]).dictionary_encode()])}),
        pa.table({"x": pa.array([], pa.string())}),
        pa.table({"x": range(100)}).slice(10, 5),
        pa.table({"x": pa.array(["a", None]), "y": pa.array([None, None])}),
    ],
)
def test_a_table_comes_back_as_it_was_in_memory_that_cannot_be_written(table):
    content = frozen(table)
    back = thawed(content)
    assert back.equals(table, check_metadata=True)
    assert back.to_pydict() == table.to_pydict()
    assert not any(buffer.is_mutable for chunk in back.column(0).chunks for buffer in chunk.buffers() if buffer)


def test_a_table_without_columns_is_not_kept():
    assert frozen(pa.table({})) is None


def test_categories_of_no_rows_are_not_lost_by_being_kept():
    """The format writes categories with rows, so that a table without any is not kept."""
    column = pa.DictionaryArray.from_arrays(pa.array([], pa.int8()), pa.array(["low", "high"]), ordered=True)
    assert frozen(pa.table({"x": column})) is None
    assert frozen(pa.table({"x": pa.array([], pa.list_(column.type))})) is None


def test_what_is_large_and_was_quick_is_not_kept(tmp_path):
    cache = ResultCache(64 * 2**20, tmp_path / "cache")
    large = pa.table({"x": pa.array(range(500_000))})
    cache.keep("a" * 40, large, None, 0, 0.001)
    assert cache.find("a" * 40) is None
    cache.keep("a" * 40, large, None, 0, 1.0)
    assert cache.find("a" * 40).table.equals(large)
    huge = pa.table({"x": pa.array(range(2_000_000))})  # more than an eighth of all there is
    cache.keep("b" * 40, huge, None, 0, 60.0)
    assert cache.find("b" * 40) is None
    assert 0 < automatic_bytes() <= 256 * 2**20
