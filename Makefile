# The house of Kiln. Everything here works in a fresh clone on Debian 12 with Rust installed.
SHELL := /bin/bash
ifneq ($(KILN_TARGET_DIR),)
# A build directory outside the tree, to keep it between clones. Only an optimisation.
export CARGO_TARGET_DIR := $(KILN_TARGET_DIR)
endif
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)/x86_64-unknown-linux-gnu
UNIKERNEL := $(abspath $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target))/unikernel-dns
export CARGO_TERM_COLOR ?= auto

.DEFAULT_GOAL := help
.PHONY: help unikernel setup emulators cosign kubernetes build release image lint test test-cluster rungs demo bench fmt

help: ## this text
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install the Debian packages of scripts/packages.txt, check the Rust toolchain
	@scripts/setup.sh

emulators: ## install the object stores and validators that tests ask, into the user's cache
	@scripts/emulators.sh

cosign: ## install cosign, which tests sign and verify with, into the user's cache
	@scripts/cosign.sh

kubernetes: ## compile Kubernetes 1.20 of Debian's source, in two versions, for test-cluster, into the user's cache
	@scripts/kubernetes.sh $(if $(KILN_K8S_BIN),$(if $(KILN_K8S_BIN_EARLIER),earlier),earlier docker) > /dev/null

build: ## debug build
	cargo build --workspace

release: ## the static binary, checked to be static
	cargo build --profile small --package kiln-doctor --bin kiln-doctor-host
	@gzip -9nc $(TARGET)/small/kiln-doctor-host > $(TARGET)/small/kiln-doctor-host.gz
	KILN_DOCTOR_HOST=$(abspath $(TARGET))/small/kiln-doctor-host.gz cargo build --release --package kiln
	@scripts/static.sh $(TARGET)/release/kiln

image: release ## Kiln's own image, built by Kiln (IMAGE="-t registry.example/kiln --push" for arguments)
	@KILN=$(TARGET)/release/kiln scripts/image.sh $(IMAGE)

unikernel: ## the example machine that answers DNS: lint, tests on this machine, the kernel itself
	cd examples/unikernel-dns && cargo fmt --all --check
	cd examples/unikernel-dns && cargo clippy --locked --quiet --release --all-targets --target-dir $(UNIKERNEL) -- -D warnings
	cd examples/unikernel-dns && cargo test --locked --quiet --target-dir $(UNIKERNEL) -p dns-server
	cd examples/unikernel-dns && cargo build --locked --quiet --release --target-dir $(UNIKERNEL)

lint: ## formatting and clippy, warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

test: setup emulators cosign lint unikernel ## everything CI runs: lint, unit and integration tests, doc tests
	@if cargo nextest --version >/dev/null 2>&1; \
	 then set -x; cargo nextest run --workspace --no-fail-fast; \
	 else echo 'make: cargo-nextest is not installed, using cargo test' >&2; set -x; cargo test --workspace --no-fail-fast --lib --bins --tests; fi
	cargo test --workspace --doc --quiet
	@$(MAKE) --no-print-directory rungs

test-cluster: setup kubernetes ## clusters of a real Kubernetes on hosts that are containers (as root; TESTS="bed::" for some)
	@scripts/cluster-hosts.sh > /dev/null
	cargo nextest run --workspace --profile cluster --run-ignored only \
	  -E 'binary_id(kiln::launch) + (binary_id(kiln-testkit) & test(/^fleet::/))' $(TESTS)

rungs: ## what RUN sees and leaves, on the rungs of users without rights (who can set no limits)
	@for rung in plain-userns userns1 plain-emulated; do echo "rung $$rung"; export KILN_TEST_RUNG=$$rung; \
	 if cargo nextest --version >/dev/null 2>&1; \
	 then cargo nextest run --workspace --no-fail-fast -E 'binary_id(kiln::build) & test(/^run::/) - test(limits_hold)' || exit 1; \
	 else cargo test --workspace --test build run:: -- --skip limits_hold || exit 1; fi; done

demo: ## from nothing to a web server in a registry, told step by step
	@scripts/demo.sh

bench: setup ## Kiln beside other builders on the same machine (BENCH="--runs 5 w1" for arguments)
	cargo xtask bench $(BENCH)

fmt: ## format the code
	cargo fmt --all
