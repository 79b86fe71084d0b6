#!/bin/sh
# Compiles the workspace's own crates with faults in them, for the test that they are found:
# RUSTC_WORKSPACE_WRAPPER of `make mutants`. What it makes is kept apart from everything else.
exec "$@" --cfg mutant
