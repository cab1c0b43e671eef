# The commands of this project. `make` alone lists them.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
export CARGO_TERM_COLOR ?= auto

.PHONY: help demo test test-kubernetes lint build release image bench bench-kubernetes fuzz fixtures install fmt

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## See it work: a database, backups, proofs, and a hole found (installs what is missing)
	@scripts/install --demo
	@cargo build --locked --quiet
	@scripts/demo

test: ## Everything that must hold: lints, licences, all tests (installs what is missing)
	@scripts/install
	@$(MAKE) --no-print-directory lint
	@scripts/test

test-kubernetes: ## What needs a Kubernetes with CloudNativePG: KUBECONFIG, or a lab (see scripts/test-kubernetes)
	@scripts/test-kubernetes

lint: ## Formatting, clippy, dependency rules, documentation; warnings are errors
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	scripts/deny
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --locked --no-deps --document-private-items --quiet

build: ## Build for development
	cargo build --locked

release: ## Build for use: target/release/walproof
	cargo build --locked --release

image: ## Build the container image, and look for known holes in it (see scripts/image --help)
	@scripts/install --deploy
	@scripts/image
	@scripts/scan

bench-kubernetes: ## A drill beside the same by hand with kubectl (see scripts/bench-kubernetes --help)
	@scripts/bench-kubernetes

bench: release ## Time reading and copying beside the usual tools (see scripts/bench --help, scripts/bench-replicate --help)
	@scripts/install --bench
	@scripts/bench
	@scripts/bench-replicate

fixtures: ## Rebuild the repositories that the tests share, with the real tools
	rm -rf target/tmp/repositories
	cargo test --locked --test harness

fuzz: ## Run every fuzz target for 20 seconds (SECONDS_EACH=600 for longer; needs nightly Rust)
	scripts/fuzz $(or $(SECONDS_EACH),20)

install: ## Install what building, testing and the demo need
	@scripts/install

fmt: ## Format the code
	cargo fmt
