"""Acting as a user who owns nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any, Self

NOBODY = 65534
_CHILD = f"""
import json, os, sys, tempfile, traceback, warnings
import pandas as pd
import quantstore as qs
from quantstore.errors import QuantStoreError

def ticks(rows=6, price=0.5):
    stamps = pd.date_range("2026-01-05 14:30", periods=rows, freq="min", tz="UTC").as_unit("us")
    return pd.DataFrame({{"ts": stamps, "symbol": "AAPL", "price": price, "size": range(rows)}})

# Everything is loaded while the installation can still be read.
with tempfile.TemporaryDirectory() as folder:
    with qs.open(folder + "/s") as store:
        store.write(ticks(), "t")
        store.migrate("t", "hot", "cold")
        store.write(ticks(), "t", on_repeat="append")
        for query in ("t", "SELECT * FROM t", "SELECT prise FROM t", "u"):
            for to in ("pandas", "polars", "reader"):
                try:
                    getattr(store.read(query, to=to), "read_all", str)()
                except QuantStoreError:
                    pass
        store.sweep("0s"), store.audit(), store.table("t").placement()
    os.chmod(folder + "/s/catalog.sqlite", 0o400)
    with qs.open(folder + "/s", read_only=True) as store:
        store.read("t")
os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})
qs_version = qs.__version__
print("ready", flush=True)
for line in sys.stdin:
    names = {{"qs": qs, "ticks": ticks, "os": os}}
    try:
        exec(json.loads(line), names)
        answer = {{"result": names.get("result")}}
    except QuantStoreError as error:
        answer = {{"error": type(error).__name__, "message": str(error), "result": names.get("result")}}
    except BaseException:
        answer = {{"error": "other", "message": traceback.format_exc()}}
    print(json.dumps(answer, default=str), flush=True)
"""


class OtherUser:
    """A process of nobody's that runs code and answers with `result`, or with the error."""

    def __enter__(self) -> Self:
        """Start it."""
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD], stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise AssertionError(self._process.communicate()[1])
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._process.kill()
        self._process.communicate()

    def run(self, code: str) -> dict[str, Any]:
        """Run code as nobody; its `result`, or `error` and `message`, come back."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(textwrap.dedent(code)) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer
