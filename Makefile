# The verbs of this repository. `make` alone lists them.

CARGO ?= cargo
# Test data of the same form may stand in for what is shipped: make golden GOLDEN=DIR, make cases CASES=DIR.
GOLDEN ?=
CASES ?=
# Made-up clusters and the models to recommend: make clusters CLUSTERS=FILE.
CLUSTERS ?=
# make scheduler-agreement N=1000 SEED=7: how many pods, and which.
N ?= 200
SEED ?= 4
# make attack SHORT=1: each attack for three seconds. ROWS=idle: those of that name. BINARY=target/release/cpufit: that build.
SHORT ?=
ROWS ?=
BINARY ?=
# make test THOROUGH=1: every random case of the tests, instead of one in eight.
export THOROUGH ?=
# make e2e TESTS="stories::edits_are_answered": those alone.
TESTS ?=
# Where the control plane of the end-to-end tests is built; KUBEBUILDER_ASSETS, where it is set, is used instead.
CONTROLPLANE = $(CURDIR)/target/controlplane
E2E = AGREEMENT_PODS=$(N) AGREEMENT_SEED=$(SEED) $(CARGO) test --locked --test e2e --

.DEFAULT_GOAL := help
.PHONY: help build demo test lint fips golden cases clusters cost bench bench-against controlplane e2e chart scheduler-agreement attack image fmt certs clean cargo

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: cargo ## build cpufit (target/debug/cpufit)
	$(CARGO) build --locked

demo: cargo ## the webhook on a shipped cluster, asked over TLS: warnings and a denial as kubectl prints them
	@# Both at once: the same dependencies as for the tests, built once.
	$(CARGO) build --locked --bins --example demo
	$(CARGO) run --locked --quiet --example demo

test: cargo ## all tests (THOROUGH=1 for all their random cases, in five minutes)
	$(CARGO) test --locked

lint: cargo ## formatting, clippy and documentation, warnings denied
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

fips: cargo ## tests with the cryptography of AWS-LC's FIPS module (feature fips; Go, CMake and a C compiler are needed)
	$(CARGO) test --locked --no-default-features --features fips --lib --test it

golden: cargo ## agreement with KubeVirt and kube-scheduler, counted (GOLDEN=DIR for other vectors)
	GOLDEN=$(if $(GOLDEN),$(abspath $(GOLDEN))) $(CARGO) test --locked --test it golden:: -- --nocapture

cases: cargo ## the cases from the field (CASES=DIR for others)
	CASES=$(if $(CASES),$(abspath $(CASES))) $(CARGO) test --locked --test it cases:: -- --nocapture

clusters: cargo ## the models to recommend for made-up clusters (CLUSTERS=FILE for others)
	CLUSTERS=$(if $(CLUSTERS),$(abspath $(CLUSTERS))) $(CARGO) test --locked --test it every_cluster -- --nocapture

cost: cargo ## what one object of 3 MiB costs, whatever is large in it: processor time and memory, the worst of all shapes
	$(CARGO) test --locked --release --test cost -- --ignored --nocapture

bench: cargo ## benchmarks, and one table of what they showed (BENCH_ARGS=--test only tries them)
	@mkdir -p target && rm -f target/bench.txt
	BENCH_TABLE=$(CURDIR)/target/bench.txt $(CARGO) bench --locked --bench '*' -- $(BENCH_ARGS)
	@if [ -f target/bench.txt ]; then printf '\nMeasured, with the target where there is one:\n'; cat target/bench.txt; fi

bench-against: cargo ## the same benchmarks of COMMIT=… and of this tree, taking turns, and their ratios (BENCHES, ROUNDS; benches/against.sh)
	@CARGO="$(CARGO)" bash benches/against.sh

controlplane: ## etcd, kube-apiserver, kube-scheduler, kubectl, kwok and helm for the end-to-end tests, built once with Go
	@bash tests/controlplane.sh "$(CONTROLPLANE)"

e2e: cargo controlplane ## the end-to-end tests, on a real control plane (TESTS=… for some; docs/testing.md)
	$(E2E) --ignored --nocapture $(if $(TESTS),--exact $(TESTS))

chart: cargo controlplane ## the Helm chart and the overlays: linted, rendered, compared with deploy/base
	$(E2E) --ignored --nocapture chart::

scheduler-agreement: cargo controlplane ## N random pods (SEED=…): kube-scheduler, running, and cpufit agree, counted
	$(E2E) --ignored --nocapture --exact scheduler::scheduler_agreement

attack: cargo ## attacks on the running webhook, and what they cost others (SHORT=1 for a minute, ROWS=idle for some, BINARY=… for another build)
	@ulimit -n 8192 2>/dev/null; ROWS="$(ROWS)" ATTACK_BINARY="$(if $(BINARY),$(abspath $(BINARY)))" \
	  $(CARGO) test --locked $(if $(SHORT),,--release) --test attack -- --ignored --nocapture --exact $(if $(SHORT),short,long)

image: build ## the last stage of deploy/Dockerfile around target/debug/cpufit, built with buildah and run (BINARY=… for another one)
	@bash tests/image.sh "$(if $(BINARY),$(BINARY),target/debug/cpufit)"

fmt: cargo ## format the code
	$(CARGO) fmt

certs: build ## development certificates into certs/
	$(CARGO) run --locked --quiet -- certs

clean: cargo ## remove what was built, and the development certificates
	$(CARGO) clean
	find certs -type f ! -name README.md -delete

cargo:
	@command -v $(CARGO) >/dev/null 2>&1 || { \
	  echo "make: $(CARGO) is not there. cpufit is built with Rust 1.89 or newer: install it from https://rustup.rs"; \
	  echo "      (already installed? then open a new shell, or run: . \"\$$HOME/.cargo/env\")"; \
	  exit 1; }
