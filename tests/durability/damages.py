"""Damage to any file of a store, at random: what comes of it for a store opened afresh.

`python tests/durability/damages.py [number] [seed]` does as many as wanted and prints what was found, by kind of file
and by kind of damage.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

BLOCK = 4096
BATCH = 25
"""Damages that one process deals with."""
CAUGHT = ("open", "read", "audit", "fsck")
OUTCOMES = (*CAUGHT, "harmless", "rolled back", "LOST", "RAW", "DIED")
BAD = ("LOST", "RAW", "DIED")
"""Refused at first open, refused by a read, told by audit, told by fsck; nothing wrong; the log of the catalog ends
before its last commit, where SQLite takes damage for the end, and the store is as it was then; a wrong answer without a
word; an error that is none of ours; the end of the process.
"""
QUESTIONS = (
    ("read", "trades"),
    ("read", "quotes"),
    ("sql", "SELECT symbol, count(*) AS n, sum(size) AS sizes FROM trades GROUP BY symbol ORDER BY symbol"),
    ("sql", "SELECT count(*) AS n, max(size) AS top FROM trades WHERE ts >= TIMESTAMPTZ '2026-03-03 00:05:00+00'"),
    ("sql", "SELECT count(*) AS n, sum(size) AS sizes FROM trades WHERE symbol = 'MSFT'"),
    ("sql", "SELECT trade_date, sum(size) AS sizes FROM quotes GROUP BY trade_date ORDER BY trade_date"),
    ("tag", "trades"),
)


def rows(day: int, first: int, count: int = 400) -> pa.Table:
    """Return rows of one day."""
    numbers = np.arange(first, first + count)
    start = np.datetime64("2026-03-02", "ns").astype(np.int64) + day * 86_400 * 10**9
    return pa.table(
        {
            "ts": pa.array(start + numbers * 10**9, pa.timestamp("ns", "UTC")),
            "symbol": pa.array(np.array(["AAPL", "MSFT", "NVDA"])[numbers % 3]),
            "price": numbers * 0.25,
            "size": numbers * 2_654_435_761 % 1_000,
        }
    )


def make(root: str) -> None:
    """Make a store that has every kind of file, closed, and beside it one that was open with a log when copied."""
    warnings.simplefilter("ignore")
    closed, opened = Path(root) / "closed", Path(root) / "opened"
    with _open(Path(root) / "store") as store:
        for day in range(3):
            store.write(rows(day, 0), "trades", "hot", asset_class="EQUITY")
            store.write(rows(day, 0), "quotes", "hot", asset_class="FX")
        store.migrate("trades", "hot", "cold", before="2026-03-03T00:00Z")
        store.migrate("trades", "hot", "warm", before="2026-03-04T00:00Z")
        store.migrate("quotes", "hot", "cold", before="2026-03-03T00:03Z")
        store.publish("trades")
        store.tag("before")
        store.delete("trades", "size > 900")
        store.write(rows(1, 400), "trades", "warm", asset_class="EQUITY")
        store.write(rows(1, 800), "trades", "warm", asset_class="EQUITY")
        store.compact("trades", tier="warm")
        store.pin("trades", "hot", symbols="AAPL")
        store.sweep(grace=0)
        ask(store)
    shutil.copytree(Path(root) / "store", closed)
    with _open(Path(root) / "store") as store:
        for number in range(4):
            store.write(rows(2, 1000 + 100 * number, 100), "trades", "hot", asset_class="EQUITY")
            store.write(rows(2, 1000 + 100 * number, 50), "quotes", "hot", asset_class="FX")
        ask(store)
        shutil.copytree(Path(root) / "store", opened)
    shutil.rmtree(Path(root) / "store")


def _open(root: Path) -> Any:
    import quantstore as qs

    store = qs.open(root, cache="64MB")
    store._cache.disk_after_seconds = 0.0
    return store


def ask(store: Any) -> list[pa.Table]:
    """Return the answers to all questions."""
    return [_ask(store, *question) for question in QUESTIONS]


def _ask(store: Any, kind: str, what: str) -> pa.Table:
    if kind == "sql":
        return store.read(what, to="arrow")
    as_of = "before" if kind == "tag" else None
    found = store.read(what, columns=["ts", "symbol", "price", "size", "_seq"], as_of=as_of, to="arrow")
    return found.combine_chunks()


def kind_of(name: str) -> str:
    """Return what kind of file a name belongs to."""
    top, _, rest = name.partition("/")
    if top in {"hot", "warm", "cold", "cache"}:
        return f"{top} {Path(name).suffix.lstrip('.')}" if top in {"hot", "warm", "cold"} else top
    if top.endswith(".journal"):
        return "journal " + ("base" if rest.endswith(".sqlite") else "log")
    if top == "iceberg":
        return "iceberg " + ("database" if rest == "catalog.sqlite" else Path(rest).suffix.lstrip("."))
    return name


def files_of(root: Path) -> list[str]:
    """Return every file of a store, by its name below the root; the index of the log is rebuilt at will."""
    found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(one for one in found if not one.endswith(("-shm", ".lock")))


Harm = Callable[[Path, random.Random, list[Path]], None]


def _flip(path: Path, chance: random.Random, _: list[Path]) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def _zero_block(path: Path, chance: random.Random, _: list[Path]) -> None:
    content = bytearray(path.read_bytes())
    start = chance.randrange(0, max(1, len(content)), 1) // BLOCK * BLOCK
    end = min(start + BLOCK, len(content))
    content[start:end] = bytes(end - start)
    path.write_bytes(content)


def _tear(path: Path, chance: random.Random, _: list[Path]) -> None:
    content = path.read_bytes()
    kept = max(0, len(content) - 1) // BLOCK * BLOCK + chance.randrange(0, BLOCK, 512)
    path.write_bytes(content[:kept] + bytes(max(0, len(content) - kept)))


def _replace(path: Path, chance: random.Random, others: list[Path]) -> None:
    same = [one for one in others if one.suffix == path.suffix] or others
    path.write_bytes(chance.choice(same).read_bytes())


def _swap(path: Path, chance: random.Random, others: list[Path]) -> None:
    same = [one for one in others if one.suffix == path.suffix] or others
    other = chance.choice(same)
    own = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(own)


HARMS: dict[str, Harm] = {
    "bit flipped": _flip,
    "cut short": lambda path, chance, _: os.truncate(path, chance.randrange(max(1, path.stat().st_size))),
    "cut to nothing": lambda path, *_: os.truncate(path, 0),
    "block zeroed": _zero_block,
    "last block torn": _tear,
    "grown": lambda path, chance, _: path.write_bytes(path.read_bytes() + chance.randbytes(chance.randint(1, 5000))),
    "removed": lambda path, *_: path.unlink(),
    "replaced by another file": _replace,
    "exchanged with another file": _swap,
}
_WEIGHTS = (5, 1, 1, 1, 1, 1, 1, 1, 1)


def assess(bases: str, seeds: list[int], progress: str, only: str = "") -> list[dict[str, str]]:
    """Do damages, one after the other, each to a fresh copy, and return what came of each."""
    warnings.simplefilter("ignore")
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    expected = {}
    found = []
    root = Path(bases) / "store"  # where it was made: what is published names files in full
    for base in ("closed", "opened"):
        _afresh(Path(bases) / base, root)
        with _open(root) as store:
            expected[base] = ask(store), store.metadata_catalog.snapshot().version
            assert store.fsck().ok
    for seed in seeds:
        Path(progress).write_text(str(seed))
        found.append(_one(Path(bases), root, seed, expected, only))
    return found


def _afresh(base: Path, root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(base, root)


def draw(bases: Path, seed: int, only: str = "") -> tuple[random.Random, str, str, str]:
    """Return what a seed stands for: chance, base, file and damage."""
    chance = random.Random(seed)
    base = chance.choice(("closed", "opened"))
    names = files_of(bases / base)
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(kind_of(name), []).append(name)
    wanted = [kind for kind in sorted(kinds) if only in kind] or sorted(kinds)
    weights = [4 if kind.startswith("catalog") else 1 for kind in wanted]
    name = chance.choice(kinds[chance.choices(wanted, weights)[0]])
    harm = chance.choices(list(HARMS), _WEIGHTS)[0]
    return chance, base, name, harm


def _one(
    bases: Path, root: Path, seed: int, expected: dict[str, tuple[list[pa.Table], int]], only: str
) -> dict[str, str]:
    chance, base, name, harm = draw(bases, seed, only)
    _afresh(bases / base, root)
    path = root / name
    others = [root / one for one in files_of(root) if one != name]
    for one in (path, *others):
        one.chmod(0o644)
    before = path.read_bytes()
    HARMS[harm](path, chance, others)
    outcome, told = "harmless", ""
    if not path.exists() or path.read_bytes() != before:
        outcome, told = look(root, *expected[base])
    kind = kind_of(name)
    return {"seed": str(seed), "file": kind, "name": name, "harm": harm, "outcome": outcome, "told": told}


def look(root: Path, expected: list[pa.Table], version: int) -> tuple[str, str]:
    """Open a store that was harmed, audit it and ask it; return what came of it, and in which words.

    An audit that finds nothing must be followed by right answers only. Whether reads would have given a wrong answer
    without an audit before them is told, too.
    """
    from quantstore.errors import QuantStoreError

    try:
        store = _open(root)
    except QuantStoreError as error:
        return "open", str(error)
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return "RAW", f"open: {error!r}"
    try:
        with store:
            answers, refused, raw = _answers(store, expected)
            if raw:
                return "RAW", raw
            try:
                audited, checked = store.audit(), store.fsck()
            except QuantStoreError as error:
                return "audit", str(error)
            if not audited.ok:
                return ("read" if refused and not answers else "audit"), f"{answers}{audited.problems[0].message}"
            if answers:
                newest = store.metadata_catalog.snapshot().version
                is_older = newest < version and not store.publications()[0].lag
                return "rolled back" if is_older else "LOST", f"{answers}at version {newest} of {version}"
            if refused:
                return "read", refused
            return ("harmless", "") if checked.ok else ("fsck", checked.problems[0].message)
    except QuantStoreError as error:
        return "read", f"close: {error}"
    except Exception as error:  # noqa: BLE001
        return "RAW", repr(error)


def _answers(store: Any, expected: list[pa.Table]) -> tuple[str, str, str]:
    """Return which answers are wrong, why one was refused, and what was raised that is no error of ours."""
    from quantstore.errors import QuantStoreError

    wrong, refused = [], ""
    for question, right in zip(QUESTIONS, expected, strict=True):
        try:
            if not _ask(store, *question).equals(right):
                wrong.append(" ".join(question))
        except QuantStoreError as error:
            refused = str(error)
        except Exception as error:  # noqa: BLE001
            return "", "", f"{' '.join(question)}: {error!r}"
    return (f"[wrong without an audit: {wrong[0]}] " if wrong else ""), refused, ""


def campaign(zygote: Any, folder: Path, number: int, seed: int, only: str = "") -> list[dict[str, str]]:
    """Do many damages in processes of their own; one that dies is counted, and the next goes on behind it."""
    bases = folder / "bases"
    if not bases.exists():
        bases.mkdir(parents=True)
        zygote.run("damages.make", root=str(bases))
    left = [seed * 1_000_000 + one for one in range(number)]
    found: list[dict[str, str]] = []
    progress = folder / "progress"
    while left:
        some = left[:BATCH]
        pid, result = zygote.start(
            "damages.assess", {"QUANTSTORE_CACHE": ""}, bases=str(bases), seeds=some, progress=str(progress), only=only
        )
        code = zygote.wait(pid)
        if code < 0:
            dead = int(progress.read_text())
            _, _, name, harm = draw(bases, dead, only)
            died = {"seed": str(dead), "file": kind_of(name), "name": name, "harm": harm, "outcome": "DIED"}
            found.append(died | {"told": f"signal {-code}"})
            left = [one for one in left if one > dead]
            continue
        import json

        answer = json.loads(result.read_text())
        assert code == 0, answer.get("error")
        result.unlink()
        found += answer["result"]
        left = left[len(some) :]
    return found


def table(found: list[dict[str, str]], by: str) -> str:
    """Return how many damages of each kind came to what."""
    kinds = sorted({one[by] for one in found})
    counts = Counter((one[by], one["outcome"]) for one in found)
    width = max(map(len, kinds))
    lines = [f"{by:<{width}}  " + " ".join(f"{one:>11}" for one in OUTCOMES)]
    for kind in kinds:
        lines.append(f"{kind:<{width}}  " + " ".join(f"{counts[kind, one]:>11}" for one in OUTCOMES))
    return "\n".join(lines)


def main(number: int, seed: int, only: str = "") -> int:
    """Run a campaign and print it; return how many damages were neither caught nor harmless."""
    from harness import Zygote

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, Zygote(Path(folder)) as zygote:
        found = campaign(zygote, Path(folder), number, seed, only)
    print(f"{len(found)} damages, seed {seed}, {time.perf_counter() - started:.0f} s")
    print(table(found, "file"), table(found, "harm"), sep="\n\n")
    late = sum("[wrong without an audit" in one["told"] for one in found if one["outcome"] == "audit")
    bad = [one for one in found if one["outcome"] in BAD]
    total = Counter(one["outcome"] for one in found)
    damaging = len(found) - total["harmless"]
    caught = sum(total[one] for one in CAUGHT)
    print(f"\ncaught {caught} of {damaging} that were not harmless; {late} of these by audit and not by reads")
    for one in bad:
        print(one)
    return len(bad)


if __name__ == "__main__":
    sys.exit(min(1, main(int((sys.argv[1:2] or ["300"])[0]), int((sys.argv[2:3] or ["1"])[0]), *sys.argv[3:4])))
