# Everything a clone needs: Python 3.10 or newer, a Rust toolchain, make. `make help` lists the targets.
# Stamp files in the virtual environment say what is done, so a second call is quick.

PYTHON ?= python3
VENV ?= .venv
# Processes that run the Python tests: much of their time they wait.
TEST_WORKERS ?= 2
OVERHEARD_PROFILE ?= release
BIN := $(VENV)/bin
MATURIN := maturin>=1.16,<1.17
SOURCES := $(shell find src -type f) Cargo.toml Cargo.lock pyproject.toml
TIMES := target/test-times.txt
STEPS := setup check-rust deny lint-rust test-rust install-dev lint test-python

export PYO3_PYTHON := $(abspath $(BIN)/python)

.DEFAULT_GOAL := help
.PHONY: help setup install-dev install-release demo test $(filter-out setup install-dev,$(STEPS)) accuracy crash crash-postgres fuzz injections intervals simulation wheel bench fmt clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 20

setup: $(VENV)/.set-up ## Virtual environment with everything the tests use

$(VENV)/.set-up: pyproject.toml Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --disable-pip-version-check '$(MATURIN)' --group dev
	@touch $@

# One extension at a time lies in the package: building one profile forgets the other's stamp.
install-dev: $(VENV)/.installed-dev ## Build the extension quickly and install the package editable
$(VENV)/.installed-dev: $(VENV)/.set-up $(SOURCES)
	$(BIN)/maturin develop --quiet
	@rm -f $(VENV)/.installed-*; touch $@

install-release: $(VENV)/.installed-release
$(VENV)/.installed-release: $(VENV)/.set-up $(SOURCES)
	$(BIN)/maturin develop --quiet --release
	@rm -f $(VENV)/.installed-*; touch $@

demo: install-$(OVERHEARD_PROFILE) ## The main job against the simulator into demo.db, then verify
	$(BIN)/python trigger_org_evaluation_workflow.py demo --simulate --new --store sqlite:///demo.db
	$(BIN)/python -m overheard verify --store sqlite:///demo.db

test: ## Every check and test
	@mkdir -p target; : > $(TIMES)
	@for step in $(STEPS); do \
		echo "== $$step"; begin=$$(date +%s); \
		$(MAKE) --no-print-directory $$step || { echo "FAILED: $$step"; exit 1; }; \
		printf '%-14s %5d s\n' $$step $$(( $$(date +%s) - begin )) >> $(TIMES); \
	done
	@echo "== all passed"; cat $(TIMES)

# What a machine lacks is one line here and a failure in CI.
define needs
if ! $(1) >/dev/null 2>&1; then echo "SKIPPED $@: $(2) is not installed"; test -z "$$OVERHEARD_CI"; else $(3); fi
endef

check-rust:
	@$(call needs,cargo fmt --version,rustfmt,cargo fmt --check)

# Advisories, bans, licences and sources of what we build on: deny.toml. Never a need: it asks the network.
deny:
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --all-features check --hide-inclusion-graph; else echo "SKIPPED $@: cargo-deny is not installed"; fi

lint-rust: $(VENV)/.set-up
	@$(call needs,cargo clippy --version,clippy,cargo clippy --quiet --all-targets -- -D warnings)
	@$(call needs,cargo clippy --version,clippy,cargo clippy --quiet --all-targets --features simulator -- -D warnings)
	@$(call needs,cargo clippy --version,clippy,cargo clippy --quiet --features python$(comma)simulator -- -D warnings)

comma := ,

test-rust:
	cargo test --quiet --no-default-features
	cargo test --quiet --features simulator

lint: $(VENV)/.installed-dev ## ruff, mypy, stubtest
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest overheard._core --concise

test-python: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -rs -n $(TEST_WORKERS) --dist loadfile

crash: $(VENV)/.installed-dev ## 200 SIGKILLs at random instants, each batch started until complete (OVERHEARD_KILLS, OVERHEARD_SEED)
	$(BIN)/python tests/campaign/crash.py

crash-postgres: $(VENV)/.installed-dev ## The same on a private PostgreSQL cluster
	$(BIN)/python tests/campaign/crash.py --store postgresql

accuracy: $(VENV)/.installed-dev ## Extraction against the labelled set: precision, recall, F1 with intervals, and the misses
	$(BIN)/python tests/accuracy/measure.py --model

injections: ## What injections change, field by field, and how often the flag is right
	cargo test --quiet --features simulator --test all s16_the_corpus_of_injections -- --nocapture

# Seconds of fuzzing a target.
SECONDS ?= 60

fuzz: ## Both fuzz targets for SECONDS each, from fuzz/seeds; what fails lies in fuzz/artifacts
	@cargo fuzz --version >/dev/null 2>&1 || { echo "make fuzz: cargo-fuzz is not installed (cargo install --locked cargo-fuzz)"; exit 1; }
	@set -e; for target in provider_decoding text_analysis; do \
		mkdir -p target/fuzz/corpus/$$target; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none --target-dir target/fuzz $$target target/fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(SECONDS) -max_len=16384 -timeout=10 -rss_limit_mb=2048 -dict=fuzz/$$target.dict -verbosity=0 -print_final_stats=1; \
	done

intervals: install-release ## Coverage of the intervals of insights, by simulation; asserts nothing
	$(BIN)/python tests/campaign/coverage.py

wheel: $(VENV)/.set-up ## The wheel that a data-engine installs, into dist/
	$(BIN)/maturin build --quiet --release --out dist

bench: install-release ## Tables of speed and memory; asserts nothing
	$(BIN)/python benches/run.py
	$(BIN)/python benches/extract.py

simulation: ## One seed of the simulation again, with its history: make simulation SEED=123
	OVERHEARD_SEED=$(SEED) cargo test --quiet --test all simulation::one_seed -- --nocapture

fmt: $(VENV)/.set-up ## Format Rust and Python
	cargo fmt
	$(BIN)/ruff check --fix --quiet
	$(BIN)/ruff format --quiet

clean: ## Remove what was built
	rm -rf $(VENV) target dist
