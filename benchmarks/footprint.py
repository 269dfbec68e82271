"""Memory and bytes of one run, from the kernel's own counts; see docs/benchmarks.md for what they leave out."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from job import Contender

_STATUS, _IO, _CLEAR = Path("/proc/self/status"), Path("/proc/self/io"), Path("/proc/self/clear_refs")


def of(contender: Contender) -> dict[str, int]:
    """Run a contender twice, made ready before, and return bytes.

    Returns:
        Of the first run, `memory`: growth of the resident set at its peak, mapped files included; and `mapped`: file
        pages mapped at its end that were not before. Of the second, which finds everything opened and checked as the
        timed runs do, `read` and `written`: what read and write calls moved, from page cache or disk alike. Empty
        where there is no /proc.
    """
    contender.ready()
    settle()
    if not _reset_peak():
        return {}
    with _around(contender):
        settle()
        _reset_peak()
        before = _status()
        result = contender.action()
        after = _status()
        del result
    with _around(contender):
        moved = _moved()
        contender.action()
        moved_after = _moved()
    return {
        "memory": max(after["VmHWM"] - before["VmRSS"], 0),
        "mapped": max(after["RssFile"] - before["RssFile"], 0),
        "read": moved_after["rchar"] - moved["rchar"],
        "written": moved_after["wchar"] - moved["wchar"],
    }


@contextmanager
def _around(contender: Contender) -> Iterator[None]:
    contender.before()
    try:
        yield
    finally:
        contender.after()


def settle() -> None:
    """Give memory that nobody uses back to the system, as far as allocators do that."""
    gc.collect()
    with suppress(ImportError):
        import pyarrow as pa

        pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _reset_peak() -> bool:
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _status() -> dict[str, int]:
    """Return the sizes of /proc/self/status in bytes."""
    sizes = re.findall(r"^(\w+):\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    return {name: int(size) * 1024 for name, size in sizes}


def _moved() -> dict[str, int]:
    return {name: int(size) for name, size in re.findall(r"^(\w+): (\d+)$", _IO.read_text(), re.MULTILINE)}
