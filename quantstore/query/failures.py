"""The engine's errors in our words."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from quantstore.core.space import disk_full
from quantstore.errors import (
    AccessDeniedError,
    CapacityError,
    IntegrityError,
    InvalidInputError,
    QuantStoreError,
    UnsupportedError,
)
from quantstore.query.mistakes.complaints import plain_message

_FULL = re.compile(r"no space left|disk quota|file too large|max_temp_directory_size|failed to offload", re.IGNORECASE)
_DENIED = re.compile(r"permission denied|operation not permitted", re.IGNORECASE)
_LIMIT = re.compile(r"\(([\d.]+ \w+)/([\d.]+ \w+) used\)")


@contextmanager
def explained() -> Iterator[None]:
    """Turn the engine's errors into ours; Ctrl-C stays KeyboardInterrupt."""
    try:
        yield
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except duckdb.Error as error:
        raise _explain(error) from error
    except RuntimeError as error:
        if "interrupted" in str(error).lower():
            raise KeyboardInterrupt from None
        raise


def spill_folder() -> Path:
    """Return where the engine puts what does not fit into memory."""
    return Path(tempfile.gettempdir())


def _explain(error: duckdb.Error) -> QuantStoreError:
    message = plain_message(error)
    if isinstance(error, duckdb.OutOfMemoryException | duckdb.IOException) and _FULL.search(str(error)):
        return disk_full("sort or group what does not fit into memory", spill_folder())
    if isinstance(error, duckdb.OutOfMemoryException):
        limit = _LIMIT.search(message)
        used = f" ({limit[2]})" if limit else ""
        return CapacityError(
            f"The query needs more memory than the engine may use{used}. Select fewer rows or columns, group by fewer "
            "values, or open the store with a larger memory_limit=.",
        )
    if isinstance(error, duckdb.IOException | duckdb.HTTPException):
        if _DENIED.search(message):
            return AccessDeniedError(f"A file could not be read: {message}. Ask its owner for permission to read it.")
        return IntegrityError(f"A file could not be read: {message}")
    if isinstance(error, duckdb.NotImplementedException):
        return UnsupportedError(message)
    return InvalidInputError(message)
