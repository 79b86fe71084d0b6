#!/usr/bin/env bash
# Installs what building, testing and measuring need, with pinned versions: `setup.sh PART...`.
#   servers   .testbench/venv with the test servers and the independent S3 client
#   bench     the benchmark's peers, into the same venv
#   nextest   cargo-nextest, unless a recent enough one is there
#   deny      cargo-deny, unless the pinned one is there
# Idempotent, and quick when nothing is to be done. Rust itself (see rust-version in Cargo.toml)
# and Python >= 3.10 must be there.
set -euo pipefail
cd "$(dirname "$0")/.."

NEXTEST_VERSION=0.9.143
DENY_VERSION=0.20.2
TOOLS=${SKYHAUL_TOOLS:-$HOME/.cache/skyhaul-tools}
VENV=.testbench/venv

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

find_python() {
  local python
  for python in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10 python3.14; do
    if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' \
        >/dev/null 2>&1; then
      echo "$python"
      return
    fi
  done
  die "no Python >= 3.10 with venv on PATH; install one or name it: PYTHON=/path/to/python3"
}

# The stamp is the pin list itself; a venv whose interpreter was removed is made anew.
install_requirements() {
  local list=$1 stamp=.testbench/$2.stamp python
  mkdir -p .testbench
  exec 9>.testbench/setup.lock
  flock 9 2>/dev/null || true # no flock(1) on this machine: then one setup at a time, please
  if "$VENV/bin/python" -c '' 2>/dev/null; then
    if cmp -s "$list" "$stamp"; then return; fi
  else
    python=$(find_python)
    say "making $VENV with $("$python" --version)"
    rm -rf "$VENV" .testbench/*.stamp
    "$python" -m venv "$VENV"
  fi
  say "installing $list"
  "$VENV/bin/pip" install --quiet --disable-pip-version-check --requirement "$list"
  cp "$list" "$stamp"
}

# cargo_tool NAME VERSION [cargo install flags]: builds into $TOOLS, apart from our own target.
# --debug, for a quick build matters more than a fast tool: two cores take one minute over
# cargo-deny and two to four over cargo-nextest.
cargo_tool() {
  local name=$1 version=$2
  shift 2
  if "$TOOLS/bin/$name" --version 2>/dev/null | grep -qF " $version"; then return; fi
  say "building $name $version into $TOOLS (once, one to four minutes)"
  CARGO_TARGET_DIR=$TOOLS/target cargo install --quiet --locked --force --root "$TOOLS" "$@" \
    "$name@$version" || die "could not build $name $version; install it by hand and run again"
  rm -rf "$TOOLS/target"
}

for part in "$@"; do
  case $part in
    servers) install_requirements scripts/requirements.txt servers ;;
    bench) install_requirements scripts/requirements-bench.txt bench ;;
    nextest)
      if ! cargo nextest --version >/dev/null 2>&1; then
        cargo_tool cargo-nextest "$NEXTEST_VERSION" --debug
      fi
      ;;
    deny)
      if ! cargo deny --version 2>/dev/null | grep -qF " $DENY_VERSION"; then
        cargo_tool cargo-deny "$DENY_VERSION" --debug
      fi
      ;;
    *) die "unknown part: $part" ;;
  esac
done
