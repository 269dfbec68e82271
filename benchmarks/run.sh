#!/usr/bin/env bash
# Make the environment (once) and run the benchmark in it; arguments go to benchmarks/run.py.
#   PYTHON: the interpreter the environment is made with, 3.11 or later; QUANTSTORE_BENCH_ENV: where the environment is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment=${QUANTSTORE_BENCH_ENV:-benchmarks/.venv}
if [ ! -e "$environment/.installed" ] || [ benchmarks/requirements.txt -nt "$environment/.installed" ]; then
  "${PYTHON:-python3}" -m venv "$environment"
  "$environment/bin/pip" install -q --disable-pip-version-check -r benchmarks/requirements.txt
  touch "$environment/.installed"
fi
exec "$environment/bin/python" benchmarks/run.py "$@"
