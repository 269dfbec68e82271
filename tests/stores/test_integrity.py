"""Files are compared with their checksums at first sight and whenever they change."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import xxhash

from quantstore.errors import AccessDeniedError, IntegrityError, QuantStoreError, UnavailableError
from quantstore.stores import integrity as integrity_module
from quantstore.stores.integrity import Signature, Verifier


def checksum(content: bytes) -> str:
    return f"xxh3_128:{xxhash.xxh3_128_hexdigest(content)}"


@pytest.fixture
def known(tmp_path: Path) -> tuple[Verifier, Path, bytes]:
    """A verifier and an old enough file, so that what it learns is remembered."""
    content = os.urandom(3 << 20)
    path = tmp_path / "known"
    path.write_bytes(content)
    time.sleep(0.03)
    return Verifier("hot"), path, content


class _Reads:
    """Counts how often a file's content is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real = Verifier._read

        def counting(verifier: Verifier, *arguments: Any) -> Signature:
            self.count += 1
            return real(verifier, *arguments)

        monkeypatch.setattr(Verifier, "_read", counting)


def test_a_file_is_read_once(known: tuple[Verifier, Path, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Later checks look at the status only, unless they are deep."""
    verifier, path, content = known
    reads = _Reads(monkeypatch)
    for _ in range(3):
        verifier.verify(str(path), len(content), checksum(content), location="x")
    assert reads.count == 1
    verifier.verify(str(path), len(content), checksum(content), deep=True, location="x")
    verifier.forget(str(path))
    verifier.verify(str(path), len(content), checksum(content), location="x")
    assert reads.count == 3


@pytest.mark.parametrize("change", ["touch", "touch back", "rewrite", "replace"])
def test_a_changed_file_is_read_again(
    known: tuple[Verifier, Path, bytes], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Any change of status leads to a new look at the content, also with the old modification time."""
    verifier, path, content = known
    before = path.stat()
    first = verifier.verify(str(path), len(content), checksum(content), location="x")
    reads = _Reads(monkeypatch)
    if change == "rewrite":
        path.write_bytes(content)
    elif change == "replace":
        path.unlink()
        path.write_bytes(content)
    os.utime(path, ns=(0, before.st_mtime_ns if change == "touch back" else before.st_mtime_ns + 1))
    second = verifier.verify(str(path), len(content), checksum(content), location="x")
    assert reads.count == 1
    assert second != first


def test_a_file_written_just_now_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a tick of the file system's clock a second change could leave no trace."""
    monkeypatch.setattr(integrity_module, "_CLOCK_TICK_NS", 10**12)
    path = tmp_path / "fresh"
    path.write_bytes(b"x")
    verifier = Verifier("hot")
    reads = _Reads(monkeypatch)
    for _ in range(2):
        verifier.verify(str(path), 1, checksum(b"x"), location="x")
    assert reads.count == 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("truncate", "truncated to 100 of 3145728 bytes"),
        ("grow", "grown from 3145728 to 3145729 bytes"),
        ("flip", "content differs"),
        ("delete", "missing"),
        ("directory", "cannot be read"),
    ],
)
def test_messages_say_what_is_wrong(known: tuple[Verifier, Path, bytes], damage: str, message: str) -> None:
    """The error tells missing, short, long and altered files apart and names store and location."""
    verifier, path, content = known
    altered = bytearray(content)
    altered[len(altered) // 2] ^= 0x80
    if damage in {"delete", "directory"}:
        path.unlink()
    else:
        path.write_bytes({"truncate": content[:100], "grow": content + b"\0", "flip": bytes(altered)}[damage])
    target = path.parent if damage == "directory" else path
    size = target.stat().st_size if damage == "directory" else len(content)
    with pytest.raises(IntegrityError, match=message) as caught:
        verifier.verify(str(target), size, checksum(content), location="a/b")
    assert caught.value.context == {"store": "hot", "location": "a/b"}


def test_a_file_that_changes_while_it_is_read_is_damage(
    known: tuple[Verifier, Path, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write between two reads of the buffer does not go unnoticed, and nothing is remembered."""
    verifier, path, content = known
    real = Verifier._buffer

    def interfering(self: Verifier) -> memoryview:
        with path.open("r+b") as file:
            file.seek(2 << 20)
            file.write(content[2 << 20 : (2 << 20) + 1])
        return real(self)

    monkeypatch.setattr(Verifier, "_buffer", interfering)
    with pytest.raises(IntegrityError, match="changes while it is read"):
        verifier.verify(str(path), len(content), checksum(content), location="x")
    assert verifier._known == {}


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EACCES, AccessDeniedError), (errno.EIO, IntegrityError), (errno.EMFILE, UnavailableError)],
)
def test_errors_while_reading_are_ours(
    known: tuple[Verifier, Path, bytes], monkeypatch: pytest.MonkeyPatch, number: int, kind: type[QuantStoreError]
) -> None:
    """A refusal, a broken device and a lack of descriptors ask for different things."""
    verifier, path, content = known

    def failing(self: Verifier) -> memoryview:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Verifier, "_buffer", failing)
    with pytest.raises(kind):
        verifier.verify(str(path), len(content), checksum(content), location="x")


def test_threads_share_a_verifier(known: tuple[Verifier, Path, bytes]) -> None:
    """Each thread has its own buffer."""
    verifier, path, content = known
    results: list[Signature] = []

    def work() -> None:
        results.append(verifier.verify(str(path), len(content), checksum(content), deep=True, location="x"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(set(results)) == 1
