# Skyhaul's commands. `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build test mutants dist demo lint bench bench-gateway fuzz soak docs

export CARGO_TARGET_DIR ?= $(HOME)/.cache/skyhaul-target
# Tools that `make setup` builds live in a directory of their own.
export PATH := $(PATH):$(or $(SKYHAUL_TOOLS),$(HOME)/.cache/skyhaul-tools)/bin
# Our own crates are compiled by clippy's driver where they are linted and where they are tested, so
# that both need one compilation. The arguments are as `cargo clippy -- -D warnings` gives them.
LINTED := RUSTC_WORKSPACE_WRAPPER=clippy-driver \
	CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: ## install the test servers and the checking tools (pinned, idempotent)
	@scripts/setup.sh servers dynamodb nextest deny

build: ## build the skyhaul command, optimised
	cargo build --release -p skyhaul -p skyhaul-gateway

test: ## install the test servers, run every test (as root also those with network namespaces)
	@scripts/setup.sh servers dynamodb nextest
	flags=$$(scripts/root-tests.sh) && $(LINTED) cargo nextest run --workspace $$flags
	$(LINTED) cargo test --quiet --workspace --doc
	@$(MAKE) --no-print-directory mutants

mutants: ## see that the simulation finds faults that are put into the code
	RUSTC_WORKSPACE_WRAPPER="$(CURDIR)/scripts/rustc-mutant.sh" \
		cargo nextest run --workspace --test simulation -E 'test(/^mutants::/)' --success-output final --no-fail-fast

dist: ## build what is deployed, into dist/: the functions and the gateway, optimised
	@scripts/setup.sh lambda
	PATH="$(CURDIR)/.testbench/venv/bin:$$PATH" cargo lambda build --release \
		--bin skyhaul-functions --bin skyhaul-gateway
	mkdir -p dist/functions
	cp $(CARGO_TARGET_DIR)/lambda/skyhaul-functions/bootstrap dist/functions/bootstrap
	cp $(CARGO_TARGET_DIR)/lambda/skyhaul-gateway/bootstrap dist/skyhaul-gateway

demo: ## copy, change, sync and verify between two S3 servers on this machine
	@scripts/setup.sh servers
	@if [ -z "$${SKYHAUL_BIN:-}" ]; then cargo build -p skyhaul -p skyhaul-gateway; fi
	@.testbench/venv/bin/python scripts/demo.py

lint: ## formatting, clippy, licences and bans, the house rules
	@scripts/setup.sh deny
	cargo fmt --all --check
	$(LINTED) cargo build --workspace --all-targets
	cargo deny --log-level error check bans licenses sources
	python3 scripts/check_sources.py
	python3 scripts/check_semantics.py
	scripts/lint-infra.sh

bench: ## measure against rclone, s5cmd, juicefs and aws; writes bench/RESULTS.md
	@scripts/setup.sh servers bench
	cargo build --release -p skyhaul -p skyhaul-gateway
	SKYHAUL_BIN="$${SKYHAUL_BIN:-$(CARGO_TARGET_DIR)/release/skyhaul}" bench/run.sh

bench-gateway: ## measure gateways beside their stages and over a long way; writes bench/GATEWAY.md
	cargo bench --workspace --bench gateway >bench/GATEWAY.new
	mv bench/GATEWAY.new bench/GATEWAY.md

FUZZ_SECONDS ?= 600
fuzz: ## feed the decoders of the wire with what a fuzzer makes up, for ten minutes
	@scripts/setup.sh fuzz
	cd gateway && RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none --target-dir $(CARGO_TARGET_DIR)/fuzz \
		decode -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096

soak: ## the long tests: 150 kills over 4 GiB each; as root also every fault of a deployment
	@scripts/setup.sh servers dynamodb nextest
	flags=$$(scripts/root-tests.sh) && cargo nextest run --workspace --release --profile soak $$flags

docs: ## build the API documentation, check that docs/SEMANTICS.md names living tests
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps
	python3 scripts/check_semantics.py
