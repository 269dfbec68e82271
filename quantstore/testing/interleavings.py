"""Operations side by side, in every order of the steps that can matter to each other.

`explore` runs two or more operations in threads, each with a handle of its own on the same store, and lets only one
of them go on at a time. They stop before each step that touches what they share: every transaction of the catalog,
every call of a store, named steps of publishing. All orders are run in which steps that depend on each other come in
another order; orders that differ only in steps that touch different things, or only look, are the same execution and
run once (dynamic partial-order reduction with sleep sets). A transaction is one step: it holds the catalog's lock.

```python
for execution in explore(lambda pause: [watched(open_store(), pause, n).compact for n in (0, 1)]):
    assert execution.errors == (None, None)
```
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from quantstore.core import failpoints
from quantstore.stores.base import Selection

if TYPE_CHECKING:
    import pyarrow as pa

    from quantstore.core.segment import Copy, Partition
    from quantstore.manager import HybridStorageManager
    from quantstore.stores.base import Capabilities, Part, SegmentStore, Stored, TableLayout, Written

Pause = Callable[["Step"], None]
"""Called before a step; returns when it is the caller's turn."""
Act = Callable[[], Any]
PATIENCE_SECONDS = 30.0
"""How long the task whose turn it is may take for a step; after that it counts as waiting for another one."""
_EVERYTHING = Selection()
_PUBLISHING = frozenset({"publish.begun", "publish.staged", "publish.committed", "publish.pointed"})


@dataclass(frozen=True, slots=True)
class Step:
    """What a task is about to do, as far as others can notice it.

    Attributes:
        name: For people.
        reads: Things looked at; one that ends in `*` stands for all that begin so.
        writes: Things changed.
    """

    name: str
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()

    def depends_on(self, other: Step) -> bool:
        """Whether the order of two steps of different tasks can make a difference."""
        return _meet(self.writes, other.reads | other.writes) or _meet(self.reads, other.writes)


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of all operations to their ends.

    Attributes:
        order: The task that went on, step by step.
        steps: What it did then.
        results: What each operation returned.
        errors: What each raised, or None.
    """

    order: tuple[int, ...]
    steps: tuple[Step, ...]
    results: tuple[Any, ...]
    errors: tuple[BaseException | None, ...]

    def __str__(self) -> str:
        """Return one line per step, for a report."""
        return "\n".join(f"  task {task}: {step.name}" for task, step in zip(self.order, self.steps, strict=True))


def explore(make: Callable[[Pause], Sequence[Act]], *, limit: int | None = None) -> Iterator[Execution]:
    """Run operations in every order that can make a difference, and yield each execution.

    Args:
        make: Makes a fresh world and returns the operations, one per task; what it calls before that is not watched.
        limit: Stop after so many executions.
    """
    path: list[_Node] = []
    made = 0
    while True:
        run = _Run(make)
        execution = run.follow(path)
        _find_races(path, run.pending())
        run.finish()
        if execution is not None:
            made += 1
            yield execution
            if made == limit:
                return
        while path and not path[-1].turn():
            path.pop()
        if not path:
            return


def replay(make: Callable[[Pause], Sequence[Act]], order: Sequence[int]) -> Execution:
    """Run operations in one order, as an earlier execution tells it; what comes after goes task by task."""
    run = _Run(make)
    path: list[_Node] = []
    for task in order:
        pending = run.pending()
        path.append(_Node(pending, frozenset(), task if task in pending else min(pending)))
        run.step(path[-1].chosen)
    execution = run.follow(path, is_begun=True)
    assert execution is not None  # noqa: S101 - nothing sleeps
    return execution


@dataclass(slots=True)
class _Node:
    """A state of the search: what each task would do next, and which choices have been tried or are to be."""

    pending: Mapping[int, Step]
    sleep: frozenset[int]
    chosen: int
    tried: set[int] = field(default_factory=set)
    wanted: set[int] = field(default_factory=set)

    def turn(self) -> bool:
        """Choose what is still to be tried; False where nothing is."""
        self.tried.add(self.chosen)
        left = self.wanted - self.tried - self.sleep
        if left:
            self.chosen = min(left)
        return bool(left)

    def sleep_after(self) -> frozenset[int]:
        """Return the tasks whose next step has been tried before here, and does not depend on the one chosen."""
        step = self.pending[self.chosen]
        asleep = (self.sleep | self.tried) - {self.chosen}
        return frozenset(one for one in asleep if one in self.pending and not self.pending[one].depends_on(step))


class _Task:
    """An operation in a thread, which goes on only when told."""

    def __init__(self, number: int, act: Act, run: _Run) -> None:
        self.number = number
        self.next: Step | None = None
        self.is_over = False
        self.result: Any = None
        self.error: BaseException | None = None
        self._act, self._run = act, run
        self._go = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._work, name=f"task-{number}", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._wait()

    def go_on(self) -> None:
        self.next = None
        self._go.release()
        self._wait()

    def pause(self, step: Step) -> None:
        if self._run.is_free:
            return
        self.next = step
        self._stopped.release()
        self._go.acquire()

    def join(self) -> None:
        self._go.release()
        self._thread.join()

    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    def _wait(self) -> None:
        # Where this gives up, the task waits for one that is stopped; it shows up again once it has got on.
        self._stopped.acquire(timeout=PATIENCE_SECONDS)

    def _work(self) -> None:
        try:
            self.result = self._act()
        except BaseException as error:  # noqa: BLE001 - part of the outcome
            self.error = error
        self.is_over = True
        self._stopped.release()


class _Run:
    """One execution."""

    def __init__(self, make: Callable[[Pause], Sequence[Act]]) -> None:
        self.is_free = True
        self._tasks: list[_Task] = []
        acts = make(self._pause)
        self._tasks = [_Task(number, act, self) for number, act in enumerate(acts)]
        self.is_free = False
        for task in self._tasks:
            task.start()

    def _pause(self, step: Step) -> None:
        for task in self._tasks:
            if task.is_current():
                task.pause(step)

    def pending(self) -> dict[int, Step]:
        """Return what each task that is not over would do next."""
        return {task.number: task.next for task in self._tasks if task.next is not None}

    def step(self, number: int) -> None:
        """Let a task go on to its next pause."""
        self._tasks[number].go_on()

    def follow(self, path: list[_Node], *, is_begun: bool = False) -> Execution | None:
        """Run along a path and on to the end, which lengthens the path; None where all that is left was run before."""
        for node in () if is_begun else path:
            self.step(node.chosen)
        while pending := self.pending():
            sleep = path[-1].sleep_after() if path else frozenset()
            able = sorted(set(pending) - sleep)
            if not able:
                return None
            last = path[-1].chosen if path else -1
            path.append(_Node(pending, sleep, last if last in able else able[0]))
            self.step(path[-1].chosen)
        self.finish()
        return Execution(
            tuple(node.chosen for node in path),
            tuple(node.pending[node.chosen] for node in path),
            tuple(task.result for task in self._tasks),
            tuple(task.error for task in self._tasks),
        )

    def finish(self) -> None:
        """Let every task run to its end."""
        self.is_free = True
        for task in self._tasks:
            task.join()


def _find_races(path: Sequence[_Node], pending: Mapping[int, Step]) -> None:
    """Note where another task should have gone first: before the last step that depends on one of its own."""
    steps = [(node.chosen, node.pending[node.chosen]) for node in path]
    last: dict[int, dict[int, int]] = {}
    clocks: list[dict[int, int]] = []
    for at, (task, step) in enumerate([*steps, *pending.items()]):
        before = dict(last.get(task, {}))
        earlier = range(min(at, len(steps)))
        for one in reversed(earlier):
            other, its = steps[one]
            if other != task and its.depends_on(step) and before.get(other, -1) < one:
                path[one].wanted.add(task) if task in path[one].pending else path[one].wanted.update(path[one].pending)
                break
        if at >= len(steps):
            continue
        for one in earlier:
            other, its = steps[one]
            if other == task or its.depends_on(step):
                for number, when in clocks[one].items():
                    before[number] = max(before.get(number, -1), when)
        before[task] = at
        clocks.append(before)
        last[task] = before


def _meet(some: frozenset[str], others: frozenset[str]) -> bool:
    return any(_same(one, other) for one in some for other in others)


def _same(one: str, other: str) -> bool:
    if one.endswith("*"):
        return other.startswith(one[:-1])
    return one.startswith(other[:-1]) if other.endswith("*") else one == other


def watched(store: HybridStorageManager, pause: Pause, task: int) -> HybridStorageManager:
    """Make a handle stop before each step that others could notice; return it.

    Args:
        store: A handle that this task alone uses, opened on `WatchedStore`s where calls of stores are to be steps.
        pause: As `explore` gives it.
        task: Number of the task.
    """
    catalog = store.metadata_catalog
    parts = {name: part for name, part in vars(catalog).items() if hasattr(part, "_database")}
    for name, part in {"catalog": catalog, **parts}.items():
        if name == "access":
            continue
        part._database = _Transactions(part._database, name, pause, task)  # noqa: SLF001 - the seam of transactions
        for method in [] if name == "catalog" else _public(part):
            setattr(part, method, _named(part._database, method, getattr(part, method)))  # noqa: SLF001
    return store


@contextmanager
def published_steps(pause: Pause) -> Iterator[None]:
    """Stop where publishing is about to change a second catalog, too, and after it has."""

    def hook(step: str) -> None:
        if step in _PUBLISHING:
            pause(Step(step, frozenset(), frozenset({"lake"})))

    failpoints.set_hook(hook)
    try:
        yield
    finally:
        failpoints.set_hook(None)


class _Transactions:
    """A database that asks for its turn before each transaction."""

    def __init__(self, inner: Any, part: str, pause: Pause, task: int) -> None:
        self._inner, self._part, self._pause, self._task = inner, part, pause, task
        self.method = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @contextmanager
    def read(self) -> Iterator[Any]:
        self._stop(is_write=False)
        with self._inner.read() as connection:
            yield connection

    @contextmanager
    def write(self, **options: Any) -> Iterator[Any]:
        self._stop(is_write=True)
        with self._inner.write(**options) as connection:
            yield connection

    def _stop(self, *, is_write: bool) -> None:
        name = f"{self._part}.{self.method}" if self.method else self._part
        reads, writes = _shared(name, self._task, is_write=is_write)
        if reads or writes:
            self._pause(Step(name, reads, writes))


def _shared(name: str, task: int, *, is_write: bool) -> tuple[frozenset[str], frozenset[str]]:
    """Return what a transaction looks at and what it changes."""
    attempt, reader = f"attempt:{task}", f"reader:{task}"
    known: dict[str, tuple[set[str], set[str]]] = {
        "attempts.register": (set(), {attempt}),
        "attempts.renew": (set(), {attempt}),
        "attempts.abort": (set(), {attempt}),
        "attempts.conflict": ({attempt}, set()),
        "attempts.reap": (set(), {"attempt:*"}),
        "attempts.states": ({"attempt:*"}, set()),
        "attempts.forget": (set(), set()),  # of a day ago
        "garbage.condemned": ({"content", "reader:*", "published"}, set()),
        "garbage.open_reader": ({"content"}, {reader}),
        "garbage.renew_reader": (set(), {reader}),
        "garbage.close_reader": (set(), {reader}),
        "garbage.reap_readers": (set(), {"reader:*"}),
        "expiry.expire": (set(), {"content", "reader:*"}),
        "publications.begin": ({"content"}, {"published"}),
        "publications.record": ({"content"}, {"published"}),
        "publications.confirm": ({"content"}, {"published"}),
        "publications.listed": ({"content", "published"}, set()),
        "publications.state": ({"content", "published"}, set()),
    }
    reads, writes = known.get(name, (set(), {"content", attempt}) if is_write else ({"content"}, set()))
    return frozenset(reads), frozenset(writes)


def _public(part: Any) -> list[str]:
    return [name for name in dir(part) if not name.startswith("_") and callable(getattr(part, name))]


def _named(database: _Transactions, method: str, act: Callable[..., Any]) -> Callable[..., Any]:
    """Return `act`, during which transactions go by its name."""

    @wraps(act)
    def named(*args: Any, **options: Any) -> Any:
        before, database.method = database.method, method
        try:
            return act(*args, **options)
        finally:
            database.method = before

    return named


class WatchedStore:
    """A store that asks for its turn before each call.

    Args:
        inner: The store that keeps the bytes.
        pause: As `explore` gives it.
        task: Number of the task that uses it.
    """

    def __init__(self, inner: SegmentStore, pause: Pause, task: int) -> None:
        self.inner = inner
        self.name = inner.name
        self._stop = partial(_stop_before, pause)
        self._new = f"file:{self.name}/new by {task}"

    def __getattr__(self, name: str) -> Any:
        """Return what the inner store has beyond the protocol, such as `root`."""
        return getattr(self.inner, name)

    @property
    def capabilities(self) -> Capabilities:
        """What the inner store can do."""
        return self.inner.capabilities

    def write(self, layout: TableLayout, parts: Sequence[Part]) -> list[Written]:
        """Write parts; under names that nobody else knows yet."""
        self._stop(f"{self.name}.write", writes=self._new)
        return self.inner.write(layout, parts)

    def read(
        self, layout: TableLayout, copy: Copy, partition: Partition, selection: Selection = _EVERYTHING
    ) -> pa.Table:
        """Read a copy."""
        self._stop(f"{self.name}.read", reads=self._file(copy.location))
        return self.inner.read(layout, copy, partition, selection)

    def verify(self, copy: Copy, *, deep: bool = False) -> str:
        """Check a copy; whoever asked opens the file in a step of its own."""
        self._stop(f"{self.name}.verify", reads=self._file(copy.location))
        path = self.inner.verify(copy, deep=deep)
        self._stop(f"{self.name} opened", reads=self._file(copy.location))
        return path

    def delete(self, location: str) -> None:
        """Delete a copy's bytes."""
        self._stop(f"{self.name}.delete", writes=self._file(location))
        self.inner.delete(location)

    def list(self) -> Iterator[Stored]:
        """List everything, at once."""
        self._stop(f"{self.name}.list", reads=f"file:{self.name}/*")
        return iter(list(self.inner.list()))

    def close(self) -> None:
        """Close the inner store."""
        self.inner.close()

    def _file(self, location: str) -> str:
        return f"file:{self.name}/{location}"


def _stop_before(pause: Pause, name: str, reads: str | None = None, writes: str | None = None) -> None:
    pause(Step(name, frozenset([reads] if reads else ()), frozenset([writes] if writes else ())))
