"""Warnings that point at the caller's line, however deep inside the package they arise."""

from __future__ import annotations

import contextlib
import sys
import warnings
from pathlib import Path

_SKIPPED = (str(Path(__file__).parents[1]), contextlib.__file__)
"""This package, and what its own `with` blocks end in."""


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn of `message` at the first line outside this package that led here."""
    frame = sys._getframe(1)  # noqa: SLF001 - what warnings itself does; skip_file_prefixes came with Python 3.12
    level = 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_SKIPPED):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)
