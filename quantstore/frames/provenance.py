"""Where a frame came from: noted when it is read, told by `df.tier.info()`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from quantstore.core.render import human_bytes, human_count

KEY = "quantstore"
_POLARS_ATTRIBUTE = "_quantstore_provenance"


def stamp(frame: Any, summary: Mapping[str, Any]) -> Any:
    """Note on a Polars frame what `ReadReport.summary` says of its read, and return the frame.

    pandas frames carry that in `df.attrs["quantstore"]`, put there by the read itself. A Polars frame has no such
    place; the note stays with this very object and is not passed on to frames derived from it.
    """
    if not hasattr(frame, "attrs"):
        setattr(frame, _POLARS_ATTRIBUTE, dict(summary))
    return frame


def provenance(frame: Any) -> Mapping[str, Any]:
    """Return the note that a read left on `frame`; empty where there is none."""
    attrs = getattr(frame, "attrs", None)
    noted = attrs.get(KEY) if isinstance(attrs, dict) else getattr(frame, _POLARS_ATTRIBUTE, None)
    return noted if isinstance(noted, dict) else {}


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """Where a frame came from; prints as one line, true in a condition where a store is known.

    Attributes:
        kind: Such as `pandas DataFrame`.
        shape: Rows and columns; None for a LazyFrame, which has not counted them.
        tables: Tables read.
        version: Store version read, or None.
        tiers: For every tier read: `segments`, `rows` and `bytes` looked at.
        left_out_segments: Segments that `tiers=` left out.
    """

    kind: str
    shape: tuple[int, int] | None
    tables: tuple[str, ...] = ()
    version: int | None = None
    tiers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    left_out_segments: int = 0

    @classmethod
    def of(cls, frame: Any, kind: str, shape: tuple[int, int] | None) -> FrameInfo:
        """Return what is known about `frame`."""
        noted = provenance(frame)
        return cls(
            kind,
            shape,
            tuple(noted.get("tables", ())),
            noted.get("version"),
            noted.get("tiers", {}),
            noted.get("left_out_segments", 0),
        )

    @property
    def from_store(self) -> bool:
        """Whether the frame is known to have been read from a store."""
        return self.version is not None

    def __bool__(self) -> bool:
        """Whether the frame is known to have been read from a store."""
        return self.from_store

    def __repr__(self) -> str:
        """Return kind, shape and origin in one line."""
        return f"{self._what()}: {self._origin()}"

    def _repr_html_(self) -> str:
        head = f"<b>{escape(self._what())}</b>: {escape(self._origin())}"
        if not self.tiers:
            return f"<div>{head}</div>"
        rows = "".join(
            f"<tr><td style='text-align:left'>{escape(tier)}</td><td>{human_count(use['rows'])}</td>"
            f"<td>{human_bytes(use['bytes'])}</td><td>{human_count(use['segments'])}</td></tr>"
            for tier, use in self.tiers.items()
        )
        header = "<tr><th style='text-align:left'>tier</th><th>rows</th><th>bytes</th><th>segments</th></tr>"
        return f"<div>{head}<table><thead>{header}</thead><tbody>{rows}</tbody></table></div>"

    def _what(self) -> str:
        if self.shape is None:
            return self.kind
        rows, columns = self.shape
        return f"{self.kind}, {human_count(rows)} rows x {columns} columns"

    def _origin(self) -> str:
        if not self.from_store:
            return "not known to come from a store; df.tier.write(table) puts it into one"
        tables = ", ".join(map(repr, self.tables)) or "no table"
        parts = [f"read from {tables} at version {self.version}"]
        parts += [f"{tier} {human_count(use['rows'])} rows" for tier, use in self.tiers.items()]
        if self.left_out_segments:
            parts.append(f"{self.left_out_segments} segments left out by tiers=")
        return " | ".join(parts)
