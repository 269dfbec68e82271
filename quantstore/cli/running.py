"""What every command does around its work: open the store, print the result."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from quantstore.cli.output import print_json, print_text

if TYPE_CHECKING:
    from quantstore.manager import HybridStorageManager


@contextmanager
def opened(
    options: argparse.Namespace, *, create: bool = False, read_only: bool = False
) -> Iterator[HybridStorageManager]:
    """Open the store that the options name, and close it at the end."""
    from quantstore import api

    with api.open(options.store, create=create, read_only=read_only) as store:
        yield store


def show(options: argparse.Namespace, value: Any, page: Any) -> None:
    """Print a value as JSON, or as the text that `page` makes of it."""
    if options.json:
        print_json(value)
    else:
        print_text(page(value))
