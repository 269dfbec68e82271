"""Many seeded lives of a store, without Hypothesis: `python tests/model/campaign.py --sequences 2000 --steps 50`."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]


def main() -> int:
    """Run the sequences; return how many failed, at most 1."""
    options = _options()
    if options.worker is not None:
        return _work(options)
    seed = random.SystemRandom().randrange(2**31) if options.seed is None else options.seed
    print(f"seed {seed}: {options.sequences} sequences of {options.steps} steps, {options.jobs} at a time", flush=True)
    started, counts, failed = time.monotonic(), Counter[str](), list[str]()
    base = [sys.executable, __file__, "--seed", str(seed), "--steps", str(options.steps), "--jobs", str(options.jobs)]
    base += ["--sequences", str(options.sequences), "--folder", options.folder]
    workers = [
        subprocess.Popen([*base, "--worker", str(number)], stdout=subprocess.PIPE, text=True)
        for number in range(options.jobs)
    ]
    for worker in workers:
        output, _ = worker.communicate()
        for line in output.splitlines():
            word, _, rest = line.partition("\t")
            if word == "count":
                name, number = rest.rsplit("\t", 1)
                counts[name] += int(number)
            elif word == "failed":
                failed.append(rest)
        if worker.returncode not in {0, 1}:
            failed.append(f"a worker ended with {worker.returncode}")
    _report(counts, failed, time.monotonic() - started, options.steps)
    return int(bool(failed))


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=200, help="how many lives")
    parser.add_argument("--steps", type=int, default=50, help="steps of each")
    parser.add_argument("--seed", type=int, help="of the first; each following has the next number")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--folder", default=_memory(), help="where stores are made; memory makes syncing cheap")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def _memory() -> str:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()


def _work(options: Any) -> int:
    """Run every n-th sequence and tell what happened, a line each."""
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    import pyarrow as pa
    from model_children import Zygote
    from model_life import run_sequence

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    counts: Counter[str] = Counter()
    failed = 0
    with Zygote() as zygote:
        for number in range(options.worker, options.sequences, options.jobs):
            seed = options.seed + number
            with tempfile.TemporaryDirectory(dir=options.folder, prefix="quantstore-model-") as folder:
                try:
                    counts.update(run_sequence(Path(folder), zygote, seed, options.steps))
                    counts["(sequences)"] += 1
                except Exception:  # noqa: BLE001 - told, and the others go on
                    failed += 1
                    print(f"failed\t{seed}", flush=True)
                    print(f"\n=== seed {seed} ===\n{traceback.format_exc()}", file=sys.stderr, flush=True)
    for name, number in counts.items():
        print(f"count\t{name}\t{number}")
    return int(failed > 0)


def _report(counts: Counter[str], failed: list[str], seconds: float, steps: int) -> None:
    for name, number in sorted(counts.items(), key=lambda one: (one[0].startswith("("), -one[1])):
        print(f"{number:>9,}  {name}")
    done = counts["(sequences)"]
    print(f"{done:,} sequences of {steps} steps held, {len(failed)} failed, {seconds:.0f} s")
    for seed in failed:
        print(f"FAILED seed {seed}; again: python tests/model/campaign.py --sequences 1 --seed {seed} --steps {steps}")


if __name__ == "__main__":
    sys.exit(main())
