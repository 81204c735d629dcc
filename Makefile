# Each target sets up what is missing first; none needs another to have been run before.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: codesign test test-all bench check clean browser

# The main job: compress a trained network, simulate it over a grid of arrays, draw the result.
codesign: $(INSTALLED)
	$(BIN)/python -m designs
	$(BIN)/python -m designs benchmark
	$(BIN)/python -m reports

test: $(INSTALLED) browser
	$(BIN)/python -m pytest -n auto --dist loadfile

test-all: $(INSTALLED) browser
	$(BIN)/python -m pytest -n auto --dist loadfile -m "slow or not slow"

# How fast the simulator is: ratios, taken in one run; then how its cost grows, and its memory.
bench: $(INSTALLED)
	$(BIN)/python -m pytest tests/bench_speed.py tests/bench_compress.py -s --benchmark-only --benchmark-columns=median,min,rounds
	$(BIN)/python -m tests.bench_scaling
	$(BIN)/python -m tests.bench_sweep

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	touch $@

# Chromium, in which tests open the report: installed where this is root on Debian or Ubuntu. Without it they are skipped.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null && export DEBIAN_FRONTEND=noninteractive && \
	  apt-get -o Acquire::Retries=0 update -qq && apt-get install -y -qq --no-install-recommends chromium; \
	} >/dev/null 2>&1 || true

clean:
	rm -rf $(VENV) results build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
