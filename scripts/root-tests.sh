#!/usr/bin/env bash
# Tests that make network namespaces need root, and are marked as ignored. This prints the flags with which
# nextest runs them too, if this user can; else it says so, or fails where SKYHAUL_ROOT_TESTS=required.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" = 0 ] && [ -c /dev/net/tun ]; then
  scripts/setup.sh network sam faketime >&2
  echo --run-ignored all
  exit
fi
say="tests that need root and /dev/net/tun are not run: nextest counts them as skipped"
if [ "${SKYHAUL_ROOT_TESTS:-}" = required ]; then
  echo "$say, and they are required" >&2
  exit 1
fi
echo "$say" >&2
