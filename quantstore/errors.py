"""Every error quantstore raises, grouped by what the caller does about it.

```
QuantStoreError                  .code, .context
├── ConflictError                refresh and retry: the catalog moved on
├── UnavailableError             retry with back-off: a store or a lock did not answer in time
├── IntegrityError               stop and run audit: bytes do not match what the catalog recorded
├── CapacityError                free space or ask for less
│   └── ResultTooLarge           select fewer rows or columns, or read through a reader
├── NotFoundError                (also LookupError) table, column, version, store
├── InvalidInputError            (also ValueError) data, query, parameter
├── UnsupportedError             choose another way: this store or engine cannot do it
├── AccessDeniedError            (also PermissionError)
└── MissingDependencyError       (also ImportError) names the extra to install
```

Codes are stable and append-only. `context` holds plain values for programs; the message is for people.
"""

from __future__ import annotations

from typing import Any


class QuantStoreError(Exception):
    """Base of all quantstore errors.

    Attributes:
        code: Stable machine-readable name of the kind of failure.
        context: Plain values that locate the failure (table, partition, tier, ...).
    """

    code = "error"

    def __init__(self, message: str, **context: Any) -> None:
        super().__init__(message)
        self.context = context

    def _render_traceback_(self) -> list[str]:
        """Keep notebook tracebacks to the one line a reader needs (IPython protocol)."""
        return [f"{type(self).__name__}: {self}"]


class ConflictError(QuantStoreError):
    """The catalog moved on since the caller looked; refresh and retry."""

    code = "conflict"


class UnavailableError(QuantStoreError):
    """A store or a lock did not answer in time; retry later."""

    code = "unavailable"


class IntegrityError(QuantStoreError):
    """Stored bytes are missing or are not the bytes that were written."""

    code = "integrity"


class CapacityError(QuantStoreError):
    """There is not enough room for what was asked."""

    code = "capacity"


class ResultTooLarge(CapacityError):  # noqa: N818 - the name callers rely on
    """The result would exceed `max_bytes`."""

    code = "result_too_large"


class NotFoundError(QuantStoreError, LookupError):
    """A table, column, version or store that does not exist."""

    code = "not_found"


class InvalidInputError(QuantStoreError, ValueError):
    """Data, a query or a parameter that cannot be accepted as given."""

    code = "invalid_input"


class UnsupportedError(QuantStoreError):
    """Something this store or engine cannot do, refused rather than guessed."""

    code = "unsupported"


class AccessDeniedError(QuantStoreError, PermissionError):
    """The operating system or a server refused access, or the store is read-only."""

    code = "access_denied"


class MissingDependencyError(QuantStoreError, ImportError):
    """An optional package is not installed; the message names the extra."""

    code = "missing_dependency"


class QuantStoreWarning(UserWarning):
    """Something the caller should know about an operation that succeeded."""


class PartialResultWarning(QuantStoreWarning):
    """A `tiers=` hint left segments out of an answer."""


class OtherCopyWarning(QuantStoreWarning):
    """A copy could not be read, and another one answered."""


class PublicationWarning(QuantStoreWarning):
    """What other engines read lags behind the store, or shows a column as several."""


class RepeatedWriteWarning(QuantStoreWarning):
    """A write was recognised as a repeat and added nothing."""
