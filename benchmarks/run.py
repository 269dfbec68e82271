"""Run the benchmark: make the data, run every job with all peers interleaved, print and save tables and pictures.

    python benchmarks/run.py [--rows 10000000] [--runs 7] [--only NAME ...] [--quick] [--output DIR]

`benchmarks/run.sh` does the same in an environment that it makes first. Peers that are not installed are named as such.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
import warnings
from pathlib import Path

import machine
import plot
from bench import Bench
from data import CATALOG, FOUR, ONE, Variant
from job import Job
from jobs import ALL
from measure import run_job
from peers.own import no_cache
from report import Report, table, title

SIZES, QUICK_SIZES = (100_000, 1_000_000), (1_000, 5_000)
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run what the command line asks for."""
    options = arguments()
    warnings.simplefilter("ignore")
    jobs = chosen(options.only)
    work = Path(tempfile.mkdtemp(prefix="quantstore-bench-", dir=options.work))
    report = Report(options.rows, options.runs, options.quick, machine.describe(work), machine.versions(), notes())
    try:
        for variant in (ONE, FOUR, CATALOG):
            run_variant(variant, [job for job in jobs if variant in job.variants], work, options, report)
            shutil.rmtree(work / variant.name, ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    report.machine["load after"] = machine.load()
    report.save(options.output)
    pictures(report, options.output)
    print("\n" + report.markdown().split("\n\n## ", 2)[1].removeprefix("## "))
    print(f"\nSaved in {options.output}: report.md, report.json and a picture per job.")


def arguments() -> argparse.Namespace:
    """Return the options, `--quick` filled in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=None, help="ticks; default 10,000,000, with --quick 200,000")
    parser.add_argument("--runs", type=int, default=None, help="runs of each contender; default 7, with --quick 3")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="jobs whose names begin with one of these"
    )
    parser.add_argument("--quick", action="store_true", help="few ticks, small catalogs, nothing judged")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where to save; default benchmarks/results")
    parser.add_argument(
        "--work", type=Path, default=None, help="where to keep data meanwhile; default the temporary folder"
    )
    parser.add_argument("--list", action="store_true", help="name the jobs and stop")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{job.name:20} {job.title}" for job in ALL))
        raise SystemExit
    options.rows = options.rows or (200_000 if options.quick else 10_000_000)
    options.runs = options.runs or (3 if options.quick else 7)
    return options


def chosen(only: list[str]) -> list[Job]:
    """Return the jobs whose names begin with one of `only`; all where it is empty."""
    jobs = [job for job in ALL if not only or job.name.startswith(tuple(only))]
    if not jobs:
        raise SystemExit(f"No job is called so. There are: {', '.join(job.name for job in ALL)}.")
    return jobs


def notes() -> list[str]:
    """Return what holds for all figures."""
    cache = "cache=False" if no_cache() else "no result cache exists yet, so cache=False is not needed"
    return [
        f"quantstore: {cache}.",
        "Files were in the page cache; writes are synced on all sides before they count as done.",
    ]


def run_variant(variant: Variant, jobs: list[Job], work: Path, options: argparse.Namespace, report: Report) -> None:
    """Make a variant's data and run its jobs, printing and saving each as it is done."""
    if not jobs:
        return
    bench = Bench(work, variant, options.rows, QUICK_SIZES if options.quick else SIZES)
    if variant is not CATALOG:
        begun = time.perf_counter()
        bench.make()
        print(f"data: {variant.title}, {options.rows:,} ticks, made in {time.perf_counter() - begun:.1f} s", flush=True)
    for job in jobs:
        figures = run_job(job, bench, options.runs, in_process=options.quick)
        outcome = report.add(job, variant, figures)
        print(f"\n## {title(outcome)}\n\n{table(outcome)}", flush=True)
        report.save(options.output)


def pictures(report: Report, folder: Path) -> None:
    """Draw a picture per job, or say why there is none."""
    try:
        plot.draw(report.outcomes, folder)
    except ImportError:
        print("matplotlib is not installed, so no pictures were drawn.")


if __name__ == "__main__":
    main()
