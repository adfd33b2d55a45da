# Everything runs in .venv, made from .ci/constraints.txt (exact versions with hashes).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo install test check lint types imports wheel test-openclaw test-cron test-week test-slow bench constraints clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

$(INSTALLED): .ci/constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "heartbeat needs Python 3.11 or newer; set PYTHON=/path/to/it")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .ci/constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

install: $(INSTALLED) ## make .venv with everything pinned

demo: $(INSTALLED) ## the main job on a packaged sample team
	@$(BIN)/heartbeat demo

test: $(INSTALLED) ## all tests that need nothing but Python
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal

check: lint types imports wheel ## style, types, architecture, and the built wheel

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

imports: $(INSTALLED)
	$(BIN)/lint-imports

wheel: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .
	$(BIN)/python .ci/try_wheel.py dist

test-openclaw: $(INSTALLED) ## the same suite on a real OpenClaw Gateway (installed once into a cache)
	$(BIN)/python -m tests.real.install
	$(BIN)/python -m pytest -m "openclaw and not slow"

test-cron: $(INSTALLED) ## five minutes of a real cron (needs root and Debian's cron)
	$(BIN)/python -m pytest -m cron

test-week: $(INSTALLED) ## weeks of a daemon with every fault: all slots, memory and descriptors counted
	$(BIN)/python -m pytest -m week tests/stories

test-slow: $(INSTALLED) ## tests that take minutes; some need OpenClaw
	$(BIN)/python -m tests.real.install
	$(BIN)/python -m pytest -m "slow or week"

bench: $(INSTALLED) ## the numbers of docs/benchmarks.md
	$(BIN)/python benchmarks/run.py

constraints: $(INSTALLED) ## pin the newest versions that pyproject.toml allows
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade --extra dev --generate-hashes --allow-unsafe --no-emit-index-url \
	  --no-emit-find-links --no-emit-trusted-host --no-header --no-annotate --strip-extras -o .ci/constraints.txt pyproject.toml

clean: ## remove what make made
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
