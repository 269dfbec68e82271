"""From a path or URL to a store; drivers are imported on first use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from quantstore.core.tier import Tier
from quantstore.errors import InvalidInputError, UnsupportedError
from quantstore.stores.base import SegmentStore

_LOCAL_SCHEMES = ("file",)


def open_store(target: Any, tier: Tier) -> SegmentStore:
    """Return the store that keeps a tier's copies at `target`.

    Args:
        target: A directory (text, path or `file://` URL), or an object that is a store already.
        tier: What the store is for: hot is mapped Arrow, warm LZ4 Parquet, cold zstd Parquet.

    Raises:
        UnsupportedError: The URL's scheme is unknown.
        InvalidInputError: `target` is neither a path, a URL nor a store.
    """
    if hasattr(target, "capabilities") and hasattr(target, "write"):
        return target  # type: ignore[no-any-return]
    if not isinstance(target, str | os.PathLike):
        raise InvalidInputError(
            f"The {tier.value} store must be a path, a URL or a store, not {type(target).__name__}."
        )
    text = os.fspath(target)
    scheme, separator, rest = text.partition("://")
    if separator and scheme not in _LOCAL_SCHEMES:
        raise UnsupportedError(f"The {tier.value} store cannot be on {scheme}://; give a local directory.")
    root = Path(rest if separator else text).expanduser()
    if tier is Tier.HOT:
        from quantstore.stores.arrow_ipc import ArrowStore

        return ArrowStore(root, name="hot")
    from quantstore.stores.parquet import ParquetStore

    return ParquetStore(root, name=tier.value, codec="lz4" if tier is Tier.WARM else "zstd")
