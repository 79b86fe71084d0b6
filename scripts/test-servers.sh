#!/usr/bin/env bash
# nextest's setup script: servers for the whole run, known to the tests by SKYHAUL_TEST_SERVERS.
# They end with the nextest process, which is this script's parent.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh servers
servers=$(.testbench/venv/bin/python scripts/testbench.py up --watch "$PPID" "$@")
printf 'SKYHAUL_TEST_SERVERS=%s\n' "$servers" >>"$NEXTEST_ENV"
