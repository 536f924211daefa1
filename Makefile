# The tasks of this repository. `make` alone builds; `make test` runs every test.
#
# The end-to-end tests run against a real Kubernetes control plane, which `make control-plane` builds with Go when it
# is missing. `make test-unit` and `make test-embedded` need Rust only. KUBEBUILDER_ASSETS, where it is set, names a
# folder with the kube-apiserver and the etcd to test against.

CARGO ?= cargo

# Where `make figures` writes what the benchmarks found.
FIGURES = docs/architecture/figures.md

# A pinned tool of its own, so that the result does not depend on what is installed.
CARGO_DENY_VERSION = 0.20.2
CARGO_DENY = target/tools/bin/cargo-deny

CARGO_FUZZ_VERSION = 0.13.2
CARGO_FUZZ = target/tools/bin/cargo-fuzz

# How long `make fuzz` runs each target. What it finds is kept in fuzz/corpus, so that the next run goes on from there.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS = plan_text plan_cluster

# Each example is a test: it runs to its end, and fails by itself.
EXAMPLES = $(basename $(notdir $(wildcard examples/*.rs examples/examples/*.rs)))

.PHONY: build figures test test-unit test-embedded test-integration examples control-plane demo bench fuzz lint generate deny

build:
	$(CARGO) build --workspace --all-features

test: test-unit test-embedded test-oracle test-integration

test-unit:
	$(CARGO) test --workspace --exclude autoscaler-tests --all-features
	$(MAKE) examples

examples:
	$(foreach example,$(EXAMPLES),$(CARGO) run --quiet -p autoscaler-examples --example $(example) &&) true

# The end-to-end tests on the in-memory cluster.
test-embedded:
	$(CARGO) test -p autoscaler-tests --test embedded

# The planner against kube-scheduler's own Filter plugins. ORACLE_SEED and ORACLE_VERDICTS pick other random clusters.
test-oracle: oracle
	$(CARGO) test -p autoscaler-tests --test oracle -- --nocapture

# The end-to-end tests on the real control plane.
# The operator that is shipped is compared with the one of the tests; it is built before anything runs.
test-integration: control-plane
	$(CARGO) build --quiet -p autoscaler-operator --bin vpsie-autoscaler
	$(CARGO) test -p autoscaler-tests --test suite

# Takes about five minutes the first time, and nothing when it is there.
control-plane:
	@tests/control-plane/build.sh control-plane

# The program that holds the plugins; built as the control plane is.
oracle:
	@tests/control-plane/build.sh oracle

demo:
	$(CARGO) run --release -- demo

bench:
	$(CARGO) bench -p autoscaler-benches

# Runs the benchmarks and writes their tables to the documentation. Nothing else should run on the machine.
figures:
	@{ echo "# Figures"; echo; \
	   echo "Written by \`make figures\` on $$(date -u +%F): $$(nproc) cores of $$(uname -m)," \
	        "$$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $$($(CARGO) --version)."; \
	   echo "What the benchmarks are is in [performance.md](performance.md)."; } > $(FIGURES)
	FIGURES="$(CURDIR)/$(FIGURES)" $(CARGO) bench -p autoscaler-benches

# Without a sanitizer: there is no unsafe code to watch, and so the pinned toolchain can build it.
fuzz: $(CARGO_FUZZ)
	mkdir -p $(addprefix fuzz/corpus/,$(FUZZ_TARGETS))
	$(foreach target,$(FUZZ_TARGETS),$(CARGO_FUZZ) run --sanitizer none $(target) fuzz/corpus/$(target) $(wildcard fuzz/seeds/$(target)) -- -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -timeout=10 $(addprefix -dict=,$(wildcard fuzz/$(target).dict)) &&) true

$(CARGO_FUZZ):
	@echo "Building cargo-fuzz $(CARGO_FUZZ_VERSION), which takes a minute the first time."
	$(CARGO) install --quiet --locked --profile dev --root target/tools --version $(CARGO_FUZZ_VERSION) cargo-fuzz

lint: deny
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --manifest-path fuzz/Cargo.toml --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --all-features --no-deps

# Bans, licenses and sources of all dependencies. Advisories need a database from the network; see CONTRIBUTING.md.
deny: $(CARGO_DENY)
	$(CARGO_DENY) --all-features check bans licenses sources

$(CARGO_DENY):
	@echo "Building cargo-deny $(CARGO_DENY_VERSION), which takes a few minutes the first time."
	$(CARGO) install --quiet --locked --profile dev --root target/tools --version $(CARGO_DENY_VERSION) cargo-deny

# The CustomResourceDefinitions, from the Rust types.
generate:
	$(CARGO) run --quiet -p autoscaler-operator -- crds --output deploy/crds
