"""The engine's errors in our words."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from quantstore.core.render import human_bytes
from quantstore.core.space import disk_full, free_bytes
from quantstore.errors import (
    AccessDeniedError,
    CapacityError,
    IntegrityError,
    InvalidInputError,
    QuantStoreError,
    UnsupportedError,
)
from quantstore.query.mistakes.complaints import is_engine_error, read_complaint, scrub

_FULL = re.compile(r"no space left|disk quota|file too large|max_temp_directory_size|failed to offload", re.IGNORECASE)
_ROOM = {"Out of Memory", "IO"}
_DENIED = re.compile(r"permission denied|operation not permitted", re.IGNORECASE)
_LIMIT = re.compile(r"\(([\d.]+ \w+)/([\d.]+ \w+) used\)")


@contextmanager
def explained() -> Iterator[None]:
    """Turn the engine's errors into ours; Ctrl-C stays KeyboardInterrupt.

    While a result is fetched they come as Arrow's, with the engine's text.
    """
    try:
        yield
    except QuantStoreError:
        raise
    except (duckdb.Error, OSError, pa.ArrowException) as error:
        if not is_engine_error(error):
            raise
        if isinstance(error, duckdb.InterruptException) or read_complaint(error).kind.upper() == "INTERRUPT":
            raise KeyboardInterrupt from None
        raise _explain(error) from error
    except RuntimeError as error:
        if "interrupted" in str(error).lower():
            raise KeyboardInterrupt from None
        raise


def spill_folder() -> Path:
    """Return where the engine puts what does not fit into memory."""
    return Path(tempfile.gettempdir())


def _explain(error: BaseException) -> QuantStoreError:
    complaint = read_complaint(error)
    kind, message = complaint.kind, scrub(complaint.message)
    if kind in _ROOM and _FULL.search(message):
        return disk_full("sort or group what does not fit into memory", spill_folder())
    if kind == "Out of Memory":
        return _out_of_memory(message)
    if kind in {"IO", "HTTP"}:
        if _DENIED.search(message):
            return AccessDeniedError(f"A file could not be read: {message}. Ask its owner for permission to read it.")
        return IntegrityError(f"A file could not be read: {message}")
    return UnsupportedError(message) if kind == "Not implemented" else InvalidInputError(message)


def _out_of_memory(message: str) -> CapacityError:
    limit, folder = _LIMIT.search(message), spill_folder()
    free = free_bytes(folder)
    used = f" ({limit[2]})" if limit else ""
    rest = "" if free is None else f"; {human_bytes(free)} are free at {folder} for what does not fit"
    return CapacityError(
        f"The query needs more memory than the engine may use{used}{rest}. Select fewer rows or columns, group by "
        "fewer values, or open the store with a larger memory_limit=.",
        path=str(folder),
        free_bytes=free,
    )
