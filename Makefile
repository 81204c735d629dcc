# Each target sets up what is missing first; none needs another to have been run before.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ALL_INSTALLED := $(VENV)/.all-installed

.PHONY: codesign test test-all soak rtl rtl-programs bench check docs release browser clean

# The main job: compress a trained network, simulate it over a grid of arrays, draw the result.
codesign: $(INSTALLED)
	$(BIN)/python -m designs
	$(BIN)/python -m designs experiment benchmark
	$(BIN)/python -m reports

test: $(ALL_INSTALLED) browser
	$(BIN)/python -m pytest -n auto --dist loadfile

test-all: $(ALL_INSTALLED) browser
	$(BIN)/python -m pytest -n auto --dist loadfile -m "slow or not slow"

# Damaged files, kills, full disks, clocks set back: hours. Results are in results/soak.
soak: $(ALL_INSTALLED)
	$(BIN)/python -m tests.soak readers
	$(BIN)/python -m tests.soak kills --rounds 110
	$(BIN)/python -m tests.soak full-disk --rounds 20
	$(BIN)/python -m tests.soak two-runs --rounds 16
	$(BIN)/python -m tests.soak clock --rounds 16

# The array in SystemVerilog: its tests, then lint, the bench in full, synthesis, cells and planted faults, as tables.
rtl: rtl-programs $(ALL_INSTALLED)
	$(BIN)/python -m pytest tests/sim/rtl
	$(BIN)/python -m designs experiment rtl
	$(BIN)/python -m reports rtl

rtl-programs:
	@if command -v verilator && command -v yosys && command -v g++; then exit 0; fi >/dev/null; \
	if ! command -v apt-get >/dev/null; then \
	  echo "make rtl needs verilator, yosys and g++; there is no apt-get to install them with: use your system's packages" >&2; \
	  exit 1; \
	fi; \
	if [ "$$(id -u)" = 0 ]; then root=; elif command -v sudo >/dev/null; then root=sudo; else \
	  echo "make rtl needs verilator, yosys and g++; installing them takes root or sudo: ask who has it" >&2; \
	  exit 1; \
	fi; \
	$$root apt-get update && $$root apt-get install --yes verilator yosys g++
	@command -v sta >/dev/null || { test "$$(id -u)" = 0 && apt-get install --yes opensta; } || \
	  echo "OpenSTA (sta) was not found: paths will be those of ABC alone" >&2

# What users wait for, as ratios taken in one run, beside the runs before (in results/bench); then how costs grow.
bench: $(ALL_INSTALLED)
	$(BIN)/python -m pytest tests/bench/bench_*.py -s --benchmark-only --benchmark-columns=median,min,rounds \
	  --benchmark-storage=results/bench --benchmark-autosave
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.bench_scaling
	$(BIN)/python -m tests.bench.bench_sweep
	$(BIN)/python -m tests.bench.bench_exhaustive

check: $(ALL_INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) docs

# The guide, and the reference of all public names, in build/guide; a warning is an error.
docs: $(ALL_INSTALLED)
	$(BIN)/python -m sphinx --builder html --quiet --fail-on-warning --keep-going --jobs auto guide build/guide

# The wheel, in a fresh environment of each Python found: its tests are `tests/release.py`.
release: $(ALL_INSTALLED)
	$(BIN)/python -m tests.release

# What the main job needs.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,onnx]'
	touch $@

# What tests, checks, benchmarks and the guide need, and all features: more than twice as many packages.
$(ALL_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,onnx,dev]'
	touch $@

# Chromium, in which tests open the report: installed where this is root on Debian or Ubuntu. Without it they are skipped.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null && export DEBIAN_FRONTEND=noninteractive && \
	  apt-get -o Acquire::Retries=0 update -qq && apt-get install -y -qq --no-install-recommends chromium; \
	} >/dev/null 2>&1 || true

clean:
	rm -rf $(VENV) results build dist guide/reference *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
