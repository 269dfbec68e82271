"""What is compared: jobs, contenders and targets, as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from bench import Bench
    from data import Variant

OWN = "quantstore"


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Timed:
    """The outcome of an action that timed a part of itself, in seconds, and in seconds of the processor."""

    seconds: float
    busy: float
    result: Any = None


@dataclass(frozen=True, slots=True)
class Phases:
    """The outcome of an action of several parts, each timed, in seconds; the first is what is compared."""

    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do a job.

    Attributes:
        name: How it is shown.
        action: What is timed; returns what it read, or what it wrote, so that rows and dtypes can be shown.
        needs: Package that must be installed.
        ready: Opens what the action needs; runs once and is not timed.
        before: Runs before each run, not timed.
        after: Runs after each run, not timed.
        size: Bytes that a run left on disk, asked between the run and `after`.
        note: What a reader should know.
    """

    name: str
    action: Callable[[], Any]
    needs: str = OWN
    ready: Callable[[], Any] = nothing
    before: Callable[[], Any] = nothing
    after: Callable[[], Any] = nothing
    size: Callable[[], int] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What a ratio, or a time, should be.

    Attributes:
        text: The target in words.
        kind: `speed` (the other's time over its own, at least `limit`), `time` (its own time over the other's, at most
            `limit`), `seconds` (its own time, below `limit`) or `added` (its own time less the other's, below `limit`).
        limit: The number.
        beside: The others it is compared with: the fastest of them counts.
        contender: Whose target it is.
        same_size: Whether only those others count whose files are at most a tenth larger.
    """

    text: str
    kind: Literal["speed", "time", "seconds", "added"]
    limit: float
    beside: tuple[str, ...] = ()
    contender: str = OWN
    same_size: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """A job with everybody who does it.

    Attributes:
        name: What `--only` takes.
        title: What is done.
        variants: Data it runs on.
        contenders: Makes the contenders; makes no data and opens nothing yet.
        targets: What should be reached.
        reads: Whether it is a query, whose result should have 1,000 rows or more.
        is_short: Whether to call the action several times in each run where it takes milliseconds.
        is_warmed: Whether each contender runs once before it is timed.
    """

    name: str
    title: str
    variants: tuple[Variant, ...]
    contenders: Callable[[Bench], list[Contender]]
    targets: tuple[Target, ...] = ()
    reads: bool = True
    is_short: bool = True
    is_warmed: bool = True
