"""A picture per job: medians as bars, single runs as dots, the variants of the data side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from job import OWN

if TYPE_CHECKING:
    from report import Outcome

OWN_COLOUR, OTHER_COLOUR, DOT_COLOUR = "#1f5fa8", "#b8bec6", "#20242a"


def draw(outcomes: list[Outcome], folder: Path) -> list[Path]:
    """Draw the outcomes of each job into `folder` and return the pictures.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    jobs: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if any(one.seconds for one in outcome.figures):
            jobs.setdefault(outcome.job.name, []).append(outcome)
    return [_picture(name, some, folder) for name, some in jobs.items()]


def _picture(name: str, outcomes: list[Outcome], folder: Path) -> Path:
    import matplotlib.pyplot as plt

    most = max(len(one.figures) for one in outcomes)
    figure, axes = plt.subplots(len(outcomes), 1, figsize=(9, 1.1 + len(outcomes) * (0.6 + 0.42 * most)), squeeze=False)
    for axis, outcome in zip(axes[:, 0], outcomes, strict=True):
        _bars(axis, outcome)
    figure.suptitle(outcomes[0].job.title, x=0.01, ha="left", fontweight="bold")
    height = figure.get_size_inches()[1]
    figure.subplots_adjust(left=0.32, right=0.89, top=1 - 0.75 / height, bottom=0.55 / height, hspace=0.45)
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _bars(axis: object, outcome: Outcome) -> None:
    figures = outcome.figures[::-1]
    scale, unit = (1, "s") if max(one.median or 0 for one in figures) >= 1 else (1000, "ms")
    for place, one in enumerate(figures):
        if one.median is None:
            axis.text(0, place, f" {one.state.split(':')[0]}", va="center", color=DOT_COLOUR)  # type: ignore[attr-defined]
            continue
        colour = OWN_COLOUR if one.name.startswith(OWN) else OTHER_COLOUR
        axis.barh(place, one.median * scale, height=0.62, color=colour)  # type: ignore[attr-defined]
        axis.plot([value * scale for value in one.seconds], [place] * len(one.seconds), ".", color=DOT_COLOUR, ms=4)  # type: ignore[attr-defined]
        axis.annotate(  # type: ignore[attr-defined]
            f"{one.median * scale:,.3g} {unit}",
            (max(one.seconds) * scale, place),
            (6, 0),
            textcoords="offset points",
            va="center",
        )
    axis.set_yticks(range(len(figures)), [one.name for one in figures])  # type: ignore[attr-defined]
    axis.set_title(outcome.variant.title, loc="left", fontsize=10)  # type: ignore[attr-defined]
    axis.set_xlim(left=0)  # type: ignore[attr-defined]
    axis.margins(x=0.14)  # type: ignore[attr-defined]
    axis.set_xlabel(f"{unit}, less is better; bars are medians, dots single runs")  # type: ignore[attr-defined]
    axis.spines[["top", "right"]].set_visible(False)  # type: ignore[attr-defined]
