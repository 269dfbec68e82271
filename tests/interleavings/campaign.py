"""Run pairs of operations in every order of their steps, and print a table.

python tests/interleavings/campaign.py --all
python tests/interleavings/campaign.py --pair "compact" "upsert" --pair "drop" "reader"
python tests/interleavings/campaign.py --triples
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from itertools import combinations_with_replacement
from pathlib import Path

os.environ.setdefault("QUANTSTORE_CACHE", "off")

from operations import OPERATIONS
from worlds import Worlds

PAIRS = list(combinations_with_replacement(OPERATIONS, 2))
TRIPLES = [
    ("hot to warm", "compact", "sweep"),
    ("append", "compact", "late sweep"),
    ("delete", "hot to warm", "reader"),
    ("upsert", "compact", "expire"),
    ("named append", "named append", "compact"),
    ("drop", "hot to warm", "sweep"),
]


def main() -> int:
    """Run what the arguments ask for; return the number of groups that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every pair, and the chosen triples")
    parser.add_argument("--triples", action="store_true", help="the chosen triples")
    parser.add_argument("--pair", nargs="+", action="append", default=[], help="operations to run side by side")
    parser.add_argument("--with", dest="beside", help="only groups that hold this operation")
    parser.add_argument("--limit", type=int, help="at most so many schedules of a group")
    parser.add_argument("--part", default="0/1", help="of the groups only each m-th from the n-th on, as n/m")
    args = parser.parse_args()
    groups = [*map(tuple, args.pair), *(PAIRS if args.all else ()), *(TRIPLES if args.all or args.triples else ())]
    groups = [group for group in groups if args.beside in {None, *group}]
    number, count = map(int, args.part.split("/"))
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        return run(groups[number::count], Worlds(folder), args.limit)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(groups: list[tuple[str, ...]], worlds: Worlds, limit: int | None) -> int:
    """Run groups and print a line for each."""
    warnings.simplefilter("error")
    total, failed, begun = 0, 0, time.monotonic()
    for group in groups:
        started, found, schedules = time.monotonic(), Counter[str](), 0
        problem = ""
        try:
            for _execution, outcomes in worlds.run(group, limit=limit):
                schedules += 1
                found["/".join(kind for kind, _ in outcomes)] += 1
        except Exception as error:  # noqa: BLE001 - the table goes on
            failed += 1
            problem = f"  FAILED: {type(error).__name__}: {error}\n" + "\n".join(getattr(error, "__notes__", []))
        total += schedules
        bound = " (bounded)" if schedules == limit else ""
        shown = ", ".join(f"{kind} {times}" for kind, times in sorted(found.items()))
        print(
            f"{' x '.join(group)}: {schedules} schedules{bound}: {shown}: {time.monotonic() - started:.1f} s",
            flush=True,
        )
        if problem:
            print(problem, flush=True)
    seconds = time.monotonic() - begun
    print(f"{len(groups)} groups, {total} schedules, {failed} failed, {seconds:.0f} s")
    return failed


if __name__ == "__main__":
    sys.exit(main())
