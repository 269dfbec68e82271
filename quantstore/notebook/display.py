"""What the magics show: plain text and small HTML that follows the notebook's theme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from quantstore.core.render import human_count

MAX_LINES = 60
_MAX_FOOTERS = 5
_SMALL = "font-size:85%;opacity:.75"


@dataclass(frozen=True, slots=True)
class Listing:
    """A small table to look at.

    Attributes:
        title: One line above it.
        columns: Headings.
        rows: Cells as text, row by row.
        value: What it was made from, for code.
        empty: What to say where there are no rows.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    value: Any = field(default=None, repr=False)
    empty: str = "nothing"

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __repr__(self) -> str:
        """Return title and rows, columns aligned."""
        if not self.rows:
            return f"{self.title}: {self.empty}"
        shown = self.rows[:MAX_LINES]
        columns = list(zip(self.columns, *shown, strict=True))
        numeric = [_is_numeric(cells[1:]) for cells in columns]
        widths = [max(map(len, cells)) for cells in columns]
        lines = [
            "  ".join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(row, widths, numeric, strict=True)
            ).rstrip()
            for row in (self.columns, *shown)
        ]
        return "\n".join([self.title, *("  " + line for line in lines), *self._rest()])

    def _repr_html_(self) -> str:
        title = f"<div>{escape(self.title)}</div>"
        if not self.rows:
            return f"<div>{escape(self.title)}: {escape(self.empty)}</div>"
        shown = self.rows[:MAX_LINES]
        styles = [
            "text-align:right" if _is_numeric([row[at] for row in shown]) else "text-align:left"
            for at in range(len(self.columns))
        ]
        head = "".join(
            f"<th style='{style}'>{escape(name)}</th>" for name, style in zip(self.columns, styles, strict=True)
        )
        body = "".join(
            "<tr>"
            + "".join(f"<td style='{style}'>{escape(cell)}</td>" for cell, style in zip(row, styles, strict=True))
            + "</tr>"
            for row in shown
        )
        rest = "".join(f"<div style='{_SMALL}'>{escape(line)}</div>" for line in self._rest())
        return f"{title}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"

    def _rest(self) -> list[str]:
        more = len(self.rows) - MAX_LINES
        return [f"... and {more:,} more, all in .value"] if more > 0 else []


@dataclass(frozen=True, slots=True)
class Text:
    """Lines to look at, shown as they are.

    Attributes:
        text: The lines.
        value: What they tell about, for code.
    """

    text: str
    value: Any = field(default=None, repr=False)

    def __repr__(self) -> str:
        """Return the lines."""
        return self.text

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.text)}</pre>"


class Footers:
    """Shows a line under the result of a cell: collected while it runs, shown when its result has been."""

    def __init__(self) -> None:
        self._pending: list[str] = []

    def add(self, line: str) -> None:
        """Show `line` when the cell is done."""
        self._pending.append(line)

    def flush(self) -> None:
        """Show what has been collected."""
        from IPython.display import display

        lines, self._pending = self._pending, []
        if len(lines) > _MAX_FOOTERS:
            lines = [f"{len(lines) - 1} queries, then one more:", lines[-1]]
        if lines:
            text = "\n".join(lines)
            html = "<br>".join(map(escape, lines))
            display({"text/plain": text, "text/html": f"<div style='{_SMALL}'>{html}</div>"}, raw=True)


def counted(count: int, what: str) -> str:
    """Return a count and its noun: `1 table`, `2,048 rows`."""
    return f"{human_count(count)} {what}{'' if count == 1 else 's'}"


def _is_numeric(cells: Sequence[str]) -> bool:
    return all(cell[:1].isdigit() or not cell for cell in cells) and not any("-" in cell for cell in cells)
