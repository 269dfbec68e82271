"""The verbs of `.tier` that all frames share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from quantstore.frames.places import StoreLike, chosen_store
from quantstore.frames.provenance import FrameInfo, stamp
from quantstore.verbs.reading import ALL_TIER_NAMES

if TYPE_CHECKING:
    from quantstore.write.result import WriteResult

NAME = "tier"


class TierAccessor:
    """Writes a frame to a store and tells where it came from; on the class, reads one.

    Making it does nothing but hold the frame: pandas makes one for every TAB.
    """

    __slots__ = ("_frame",)

    _kind: ClassVar[str]
    _to: ClassVar[str]

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def write(
        self,
        table: str,
        tier: str = "hot",
        *,
        store: StoreLike | None = None,
        mode: str = "append",
        where: str | None = None,
        time: str | None = None,
        symbol: str | None = None,
        key: str | Iterable[str] | None = None,
        asset_class: str | None = None,
        tz: str | None = None,
        calendar: str | None = None,
        grain: str | None = None,
        wide: str | None = None,
        write_id: str | None = None,
        on_repeat: str = "skip",
        expected_version: int | None = None,
        dry_run: bool = False,
    ) -> WriteResult:
        """Write the frame's rows into a tier; on return they are durable and visible.

        Args:
            table: The table; made by its first write.
            tier: `hot`, `warm` or `cold`.
            store: A store or the place of one (made where it is missing); default `quantstore.default()`.
            mode: As for `HybridStorageManager.write`, and so are all other arguments.
            where: SQL condition on the rows that `replace` takes away.
            time: Time column.
            symbol: Symbol column.
            key: Columns that identify a row.
            asset_class: Asset class of rows that bring none.
            tz: Zone of a naive time column.
            calendar: Exchange calendar whose sessions are the trade dates.
            grain: Width of a partition: `auto`, `day`, `month` or `year`.
            wide: Of a frame with a column for each symbol, what its cells are.
            write_id: Name of this write; a name seen before adds nothing.
            on_repeat: `skip`, `append` or `raise` where the same rows are in the table already.
            expected_version: Refuse unless the table was last changed by this version.
            dry_run: Whether only to count what would be added and removed.

        Returns:
            Version, rows and segments; prints as one line.

        Raises:
            InvalidInputError: The data does not fit; nothing was changed.
            ConflictError: Another writer came first in a way that matters; nothing was changed.
        """
        _warn_again()
        return chosen_store(store, create=True).write(
            self._frame,
            table,
            tier,
            mode=mode,
            where=where,
            time=time,
            symbol=symbol,
            key=key,
            asset_class=asset_class,
            tz=tz,
            calendar=calendar,
            grain=grain,
            wide=wide,
            write_id=write_id,
            on_repeat=on_repeat,
            expected_version=expected_version,
            dry_run=dry_run,
        )

    def info(self) -> FrameInfo:
        """Return where the frame was read from: tables, version, tiers; says so where that is not known."""
        return FrameInfo.of(self._frame, self._kind, self._shape())

    @classmethod
    def read(
        cls,
        query: str,
        tiers: str | Iterable[str] = ALL_TIER_NAMES,
        *,
        store: StoreLike | None = None,
        start: Any = None,
        end: Any = None,
        dates: Any = None,
        symbols: str | Iterable[str] | None = None,
        columns: str | Iterable[str] | None = None,
        params: Mapping[str, Any] | None = None,
        frames: Mapping[str, Any] | None = None,
        as_of: Any = None,
        dtype_backend: str | None = None,
        cache: bool = True,
        missing: str = "warn",
        max_bytes: int | str | None = "auto",
    ) -> Any:
        """Read a table, or the answer to a SQL query, as a frame of this class.

        Args:
            query: A table's name, or SQL (DuckDB's).
            tiers: Tiers that may answer.
            store: A store or the place of one; default `quantstore.default()`.
            start: As for `HybridStorageManager.read`, and so are all other arguments.
            end: Event time to stop before.
            dates: Trade dates wanted.
            symbols: Symbols wanted.
            columns: Columns wanted.
            params: Values bound to `$name` in SQL.
            frames: Frames that SQL may name as tables, by name.
            as_of: What the store knew then: a version, a tag, or an instant with a time of day.
            dtype_backend: For pandas: None, `pyarrow` or `numpy_nullable`.
            cache: Whether an answer kept from before may be given, and this one be kept.
            missing: Where `tiers` leaves segments out: `warn`, `raise` or `ignore`.
            max_bytes: Largest result.

        Raises:
            NotFoundError: No such store, table or version.
            InvalidInputError: The query or an option makes no sense.
        """
        chosen = chosen_store(store)
        _warn_again()
        frame = chosen.read(
            query,
            tiers,
            start=start,
            end=end,
            dates=dates,
            symbols=symbols,
            columns=columns,
            params=params,
            frames=frames,
            as_of=as_of,
            to=cls._to,
            dtype_backend=dtype_backend,
            cache=cache,
            missing=missing,
            max_bytes=max_bytes,
        )
        return stamp(frame, chosen.last.summary()) if chosen.last is not None else frame

    def _shape(self) -> tuple[int, int] | None:
        rows, columns = self._frame.shape
        return rows, columns

    def __repr__(self) -> str:
        """Return the verbs."""
        return f"<{self._kind}.tier: write(table, tier='hot'), info(); read(query) on the class>"


class FreshAccessor:
    """Descriptor that makes the accessor anew for every use.

    The libraries' own (Polars, pandas before 3) keep it on the frame: a cycle that holds a large frame in memory after
    `del df` until the garbage collector comes by.
    """

    __slots__ = ("_accessor",)

    def __init__(self, accessor: type[TierAccessor]) -> None:
        self._accessor = accessor

    def __get__(self, frame: Any, owner: type | None = None) -> TierAccessor | type[TierAccessor]:
        return self._accessor if frame is None else self._accessor(frame)


def attach(owner: type, accessor: type[TierAccessor], register: Callable[[str], Callable[[Any], Any]]) -> None:
    """Give frames of class `owner` the accessor; doing so again changes nothing.

    Args:
        owner: Class of frames.
        accessor: What `.tier` gives.
        register: The library's own way of registering, which also makes TAB know the name.
    """
    if not isinstance(vars(owner).get(NAME), FreshAccessor):
        register(NAME)(accessor)
    setattr(owner, NAME, FreshAccessor(accessor))


def _warn_again() -> None:
    """Forget which warnings were shown for lines here: two calls in a notebook are two occasions."""
    globals().pop("__warningregistry__", None)
