#!/usr/bin/env bash
# nextest's setup script: servers for the whole run, known to the tests by SKYHAUL_TEST_SERVERS:
# `test-servers.sh PART [arguments of testbench.py up]`, where PART is one of setup.sh's.
# They end with the nextest process, which is this script's parent.
set -euo pipefail
cd "$(dirname "$0")/.."
part=$1
shift
scripts/setup.sh "$part"
servers=$(.testbench/venv/bin/python scripts/testbench.py up --watch "$PPID" "$@")
printf 'SKYHAUL_TEST_SERVERS=%s\n' "$servers" >>"$NEXTEST_ENV"
