#!/usr/bin/env bash
# Runs the side-by-side benchmark with the interpreter of the test bench, if it is there.
set -euo pipefail
cd "$(dirname "$0")"
python=../.testbench/venv/bin/python
[[ -x $python ]] || python=python3
exec "$python" run.py "$@"
