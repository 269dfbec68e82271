"""What reading under a damaged catalog may raise."""

from __future__ import annotations

import pyarrow as pa
from sqlalchemy.exc import SQLAlchemyError

from quantstore.errors import QuantStoreError

UNREADABLE = (
    QuantStoreError,
    SQLAlchemyError,
    pa.ArrowException,
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
)
"""A value that makes no sense ends in any of these, wherever it is used first."""
