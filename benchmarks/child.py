"""Run one thing in a process of its own: `python child.py '{"what": ..., "work": ..., ...}'` prints a line of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench import Bench

RESULT = "result: "


def call(bench: Bench, what: str, *details: str) -> Any:
    """Run `what` in a new process and return its result.

    Raises:
        RuntimeError: The process failed; its last line is quoted.
    """
    request = {
        "what": what,
        "work": str(bench.work),
        "variant": bench.variant.name,
        "rows": bench.rows,
        "sizes": bench.sizes,
        "details": details,
    }
    command = [sys.executable, __file__, json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    answers = [line for line in done.stdout.splitlines() if line.startswith(RESULT)]
    if done.returncode or not answers:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RuntimeError(f"in a process of its own: {lines[-1]}")
    return json.loads(answers[-1].removeprefix(RESULT))


def main() -> None:
    """Do what the first argument asks for."""
    from bench import Bench
    from data import VARIANTS

    request = json.loads(sys.argv[1])
    bench = Bench(Path(request["work"]), VARIANTS[request["variant"]], request["rows"], tuple(request["sizes"]))
    if request["what"] == "opening":
        from jobs import opening

        result: Any = opening.measure(bench, *request["details"])
    else:
        import footprint
        from data import CATALOG
        from jobs import find_contender

        if bench.variant is not CATALOG:
            bench.own.load_code()

        result = footprint.of(find_contender(bench, *request["details"]))
    print(RESULT + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
