"""Durable writing, listing, deleting and names of files."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from quantstore.core import failpoints
from quantstore.errors import (
    AccessDeniedError,
    CapacityError,
    ConflictError,
    InvalidInputError,
    QuantStoreError,
    UnavailableError,
)
from quantstore.stores import files as files_module
from quantstore.stores.files import HashingFile, LocalFiles, quote_component

UUID = "0123456789abcdef0123456789abcdef"


def checksum(content: bytes) -> str:
    return f"xxh3_128:{xxhash.xxh3_128_hexdigest(content)}"


def writing(content: bytes) -> Callable[[HashingFile], None]:
    def encode(file: HashingFile) -> None:
        file.write(content)

    return encode


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(tmp_path / "root", "hot")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Record every fsync and rename with the path it was about."""
    seen: list[tuple[str, str]] = []
    sync, rename = os.fsync, Path.rename

    def recording_sync(descriptor: int) -> None:
        seen.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        sync(descriptor)

    def recording_rename(self: Path, target: Path) -> Path:
        seen.append(("rename", str(target)))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", recording_sync)
    monkeypatch.setattr(Path, "rename", recording_rename)
    return seen


@pytest.fixture
def steps() -> Iterator[list[str]]:
    seen: list[str] = []
    failpoints.set_hook(seen.append)
    yield seen
    failpoints.set_hook(None)


# Durability


def test_one_sync_per_file_and_per_directory(files: LocalFiles, calls: list[tuple[str, str]], tmp_path: Path) -> None:
    """A batch syncs each file before its rename, and afterwards each directory and new parent once."""
    root = tmp_path / "root"
    (root / "old").mkdir(parents=True)
    names = [f"old/{UUID}-0", f"old/{UUID}-1", f"new/day=1/{UUID}-2", f"new/day=2/{UUID}-3"]
    files.write([(name, writing(b"x" * 10)) for name in names])
    expected = [step for name in names for step in (("fsync", f"{root / name}.tmp"), ("rename", str(root / name)))]
    assert calls[:8] == expected
    directories = [root / "old", root / "new/day=1", root / "new/day=2", root / "new", root]
    assert sorted(calls[8:]) == sorted(("fsync", str(directory)) for directory in directories)


def test_a_second_batch_syncs_no_parents(files: LocalFiles, calls: list[tuple[str, str]], tmp_path: Path) -> None:
    """Directories that exist are not synced into their parents again."""
    files.write([(f"a/b/{UUID}-0", writing(b"x"))])
    calls.clear()
    files.write([(f"a/b/{UUID}-1", writing(b"y"))])
    assert [path for what, path in calls if what == "fsync"] == [
        str(tmp_path / "root/a/b" / f"{UUID}-1.tmp"),
        str(tmp_path / "root/a/b"),
    ]


def test_failpoints_are_passed_in_order(files: LocalFiles, steps: list[str]) -> None:
    """Every file passes every step that tests may crash at."""
    files.write([(f"{UUID}-{number}", writing(b"x")) for number in range(2)])
    one = ["opened", "written", "synced", "renamed"]
    assert steps == [f"write.file.{step}" for step in one * 2]


@pytest.mark.parametrize("step", ["opened", "written", "synced", "renamed"])
def test_a_killed_writer_leaves_only_listed_files(tmp_path: Path, step: str) -> None:
    """After SIGKILL at any step, finished files are whole and the rest is listed for the sweep."""
    code = (
        "import sys; from quantstore.stores.files import LocalFiles\n"
        f"jobs = [('d/{UUID}-' + str(n), lambda f: f.write(b'x' * 100000)) for n in range(3)]\n"
        "LocalFiles(sys.argv[1], 'hot').write(jobs)"
    )
    environment = {**os.environ, "QUANTSTORE_FAILPOINT": f"write.file.{step}:2"}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    found = {stored.location: stored.size_bytes for stored in LocalFiles(tmp_path, "hot").scan()}
    assert found[f"d/{UUID}-0"] == 100_000
    second = f"d/{UUID}-1"
    assert found.get(second, 100_000) == 100_000
    assert (second in found) == (step == "renamed")
    assert (second + ".tmp" in found) == (step != "renamed")


@pytest.mark.parametrize("workers", [1, 4])
def test_written_bytes_are_hashed_as_they_pass(files: LocalFiles, workers: int) -> None:
    """Small writes, large ones and buffers of any shape count with all their bytes."""
    pieces = [b"a", memoryview(bytearray(b"b" * 10)).cast("B"), b"c" * (1 << 20), b"", memoryview(b"dddd").cast("I")]
    content = b"".join(bytes(piece) for piece in pieces)

    def encode(file: HashingFile) -> None:
        for number, piece in enumerate(pieces):
            assert file.tell() == sum(memoryview(piece).nbytes for piece in pieces[:number])
            file.write(piece)
            file.flush()

    for number, written in enumerate(files.write([(f"{UUID}-{n}", encode) for n in range(6)], workers)):
        assert (written.location, written.size_bytes) == (f"{UUID}-{number}", len(content))
        assert written.checksum == checksum(content)
        assert Path(files.path(written.location)).read_bytes() == content


def test_the_mode_respects_the_umask(files: LocalFiles) -> None:
    """Files are read-only, and private where the user's files are."""
    previous = os.umask(0o077)
    try:
        files.write([(f"{UUID}-0", writing(b"x"))])
    finally:
        os.umask(previous)
    assert stat.S_IMODE(Path(files.path(f"{UUID}-0")).stat().st_mode) == 0o400


def test_directories_are_made_by_many_at_once(tmp_path: Path) -> None:
    """Writers that make the same directories at the same moment do not disturb each other."""
    barrier = threading.Barrier(8)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        barrier.wait()
        try:
            LocalFiles(tmp_path / "r", "hot").write([(f"a/b/c/d/{UUID}-{number}", writing(b"x"))])
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(list(LocalFiles(tmp_path / "r", "hot").scan())) == 8


# Failures


def test_an_error_while_encoding_removes_the_batch(files: LocalFiles) -> None:
    """What the caller raises comes out unchanged, and no file of the batch stays."""

    def failing(file: HashingFile) -> None:
        file.write(b"half")
        raise KeyError("column")

    with pytest.raises(KeyError, match="column"):
        files.write([(f"a/{UUID}-0", writing(b"x")), (f"a/{UUID}-1", failing), (f"a/{UUID}-2", writing(b"x"))])
    assert list(files.scan()) == []


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ENOSPC, CapacityError, "capacity"),
        (errno.EDQUOT, CapacityError, "capacity"),
        (errno.EFBIG, CapacityError, "capacity"),
        (errno.EACCES, AccessDeniedError, "access_denied"),
        (errno.EPERM, AccessDeniedError, "access_denied"),
        (errno.EROFS, AccessDeniedError, "access_denied"),
        (errno.EIO, UnavailableError, "unavailable"),
        (errno.EMFILE, UnavailableError, "unavailable"),
    ],
)
@pytest.mark.parametrize("where", ["open", "fsync", "mkdir", "directory"])
def test_errors_of_the_system_are_ours(
    files: LocalFiles, monkeypatch: pytest.MonkeyPatch, where: str, number: int, kind: type[QuantStoreError], code: str
) -> None:
    """Whatever call fails, the error says what to do, names store and location, and nothing stays."""
    real = os.open

    def failing(*arguments: Any, **keywords: Any) -> Any:
        raise OSError(number, os.strerror(number))

    def failing_open(path: Any, flags: int, *arguments: Any, **keywords: Any) -> int:
        is_directory = bool(flags & os.O_DIRECTORY)
        return failing() if is_directory == (where == "directory") else real(path, flags, *arguments, **keywords)

    if where in {"open", "directory"}:
        monkeypatch.setattr(os, "open", failing_open)
    else:
        monkeypatch.setattr(*((os, "fsync") if where == "fsync" else (Path, "mkdir")), failing)
    with pytest.raises(kind) as caught:
        files.write([(f"a/{UUID}-0", writing(b"x"))])
    monkeypatch.undo()
    assert caught.value.code == code
    assert {"store": "hot", "location": f"a/{UUID}-0"}.items() <= caught.value.context.items()
    assert ("free_bytes" in caught.value.context) == (kind is CapacityError)
    assert f"a/{UUID}-0" in str(caught.value)
    assert "'hot'" in str(caught.value)
    assert list(files.scan()) == []


def test_an_error_wrapped_by_the_writer_keeps_its_number(files: LocalFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers that turn a full disk into another exception do not hide it."""

    def wrapping(file: HashingFile) -> None:
        monkeypatch.setattr(file, "_file", _Full(file._file))
        try:
            file.write(b"x")
        except OSError as error:
            raise ValueError("something else") from error

    with pytest.raises(CapacityError):
        files.write([(f"{UUID}-0", wrapping)])


class _Full:
    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        self._file.close()


def test_a_size_limit_is_a_capacity_error(files: LocalFiles) -> None:
    """The limit of the process on file sizes counts as no room; what was written is removed."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(CapacityError, match="No room"):
            files.write([(f"{UUID}-0", writing(b"x")), (f"{UUID}-1", writing(b"x" * (1 << 20)))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(files.scan()) == []


@pytest.fixture
def small_device(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of one megabyte."""
    device = tmp_path / "device"
    device.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(device)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting is not permitted")
    yield device
    subprocess.run(["umount", str(device)], check=True)


@pytest.mark.parametrize("size", [2_000_000, 1_040_000 // 2])
def test_a_full_device_is_a_capacity_error(small_device: Path, size: int) -> None:
    """A full disk removes the whole batch, so that its room can be used again."""
    files = LocalFiles(small_device, "hot")
    with pytest.raises(CapacityError, match="no space left") as caught:
        files.write([(f"{UUID}-{number}", writing(b"x" * size)) for number in range(3)])
    assert caught.value.context["store"] == "hot"
    assert list(files.scan()) == []
    files.write([(f"{UUID}-9", writing(b"x" * 900_000))])


def test_a_read_only_device_denies_access(small_device: Path) -> None:
    """Writing and deleting on a read-only file system say so."""
    files = LocalFiles(small_device, "hot")
    files.write([(f"{UUID}-0", writing(b"x"))])
    subprocess.run(["mount", "-o", "remount,ro", str(small_device)], check=True)
    for action in (lambda: files.write([(f"{UUID}-1", writing(b"x"))]), lambda: files.delete(f"{UUID}-0")):
        with pytest.raises(AccessDeniedError, match="refused"):
            action()


def test_a_taken_name_is_a_conflict(files: LocalFiles) -> None:
    """Final and temporary names of others are left as they are."""
    files.write([(f"{UUID}-0", writing(b"first"))])
    Path(files.path(f"{UUID}-1.tmp")).write_bytes(b"being written")
    for number in (0, 1):
        with pytest.raises(ConflictError):
            files.write([(f"{UUID}-{number}", writing(b"second"))])
    assert Path(files.path(f"{UUID}-0")).read_bytes() == b"first"
    assert Path(files.path(f"{UUID}-1.tmp")).read_bytes() == b"being written"


def test_a_file_in_place_of_a_directory_is_an_error(files: LocalFiles, tmp_path: Path) -> None:
    """A path through a file fails as ours, and the file stays."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a").write_text("file")
    with pytest.raises(QuantStoreError):
        files.write([(f"a/{UUID}-0", writing(b"x"))])
    assert (tmp_path / "root/a").read_text() == "file"


# Listing and deleting


def test_scan_finds_attempts_at_any_depth(files: LocalFiles, tmp_path: Path) -> None:
    """Only names that start with 32 hex digits and a dash count; links are not followed."""
    names = [f"{UUID}-0", f"a/{UUID}-1.arrow", f"a/b/c/{UUID}-2.arrow.tmp"]
    for name in [*names, "a/readme.txt", f"a/x{UUID}-3", f"a/{UUID.upper()}-4", f"a/{UUID}"]:
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / f"{UUID}-5").write_bytes(b"x")
    (tmp_path / "root/link").symlink_to(tmp_path / "outside")
    assert sorted(stored.location for stored in files.scan()) == sorted(names)
    assert {stored.size_bytes for stored in files.scan()} == {5}


def test_scan_tolerates_what_vanishes(files: LocalFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directories and files that others delete meanwhile are skipped."""
    files.write([(f"{folder}/{UUID}-{number}", writing(b"x")) for folder in "abc" for number in range(2)])
    found = []
    for stored in files.scan():
        found.append(stored.location)
        for folder in "abc":
            for number in range(2):
                files.delete(f"{folder}/{UUID}-{number}")
    assert len(found) == 1


def test_delete_of_what_is_not_there(files: LocalFiles) -> None:
    """Neither a missing file, a missing directory nor a file on the way is an error."""
    files.write([(f"{UUID}-0", writing(b"x"))])
    for location in (f"{UUID}-1", f"no/where/{UUID}-0", f"{UUID}-0/below", f"{UUID}-0", f"{UUID}-0"):
        files.delete(location)
    assert list(files.scan()) == []


# Names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("trades", "trades"),
        ("FX", "FX"),
        ("a.b-c_1", "a.b-c_1"),
        ("", "%"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("...", "%2E.%2E"),
        (".hidden", "%2Ehidden"),
        ("end.", "end%2E"),
        ("a/b", "a%2Fb"),
        ("../../etc", "%2E.%2F..%2Fetc"),
        ("a\0b", "a%00b"),
        ("50%", "50%25"),
        ("Größe", "Gr%C3%B6%C3%9Fe"),
        ("a b", "a%20b"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_names_are_quoted(text: str, name: str) -> None:
    """Ordinary names stay as they are, hostile ones become harmless."""
    assert quote_component(text) == name


@given(st.text(st.characters(), max_size=200))
def test_every_name_is_one_safe_component(text: str) -> None:
    """Any text gives one component that a store accepts and that no file system minds."""
    name = quote_component(text)
    assert 0 < len(name) <= 120
    assert name.isascii()
    assert name.isprintable()
    assert not set(name) & set('/\\:*?"<>| ')
    assert name[0] != "."
    assert name[-1] != "."
    LocalFiles("/root", "hot").path(f"{name}/{UUID}-0")


@given(st.text(max_size=60), st.text(max_size=60))
def test_different_texts_have_different_names(first: str, second: str) -> None:
    """Quoting is one to one."""
    assert (quote_component(first) == quote_component(second)) == (first == second)


def test_long_names_stay_different() -> None:
    """Names cut short carry a hash of the whole."""
    names = {quote_component("x" * 1_000 + tail) for tail in ("", "a", "b")}
    assert len(names) == 3
    assert {len(name) for name in names} == {files_module._LONGEST_NAME}


@pytest.mark.parametrize("location", ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "../a", "a/./b", "a\0"])
def test_locations_are_relative(files: LocalFiles, location: str) -> None:
    """Nothing outside the root, and one spelling for each file."""
    with pytest.raises(InvalidInputError, match="relative path"):
        files.path(location)
