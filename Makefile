# Every target does all the set-up it needs on a machine with Python 3.11, git and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo docs test test-slow test-training lint check lock clean help

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

demo: $(VENV)/.core      ## a simulated site through the whole platform, to a map
	$(BIN)/groundshift demo --out demo

test: $(VENV)/.dev       ## every test that takes seconds
	$(BIN)/python -m pytest -q

test-slow: $(VENV)/.dev  ## the long ones too: 20 kill seeds, full-size memory (about 30 minutes)
	$(BIN)/python -m pytest -q -m slow

test-training: $(VENV)/.training  ## the tests that need torch
	$(BIN)/python -m pytest -q -m training

lint: $(VENV)/.dev       ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.core      ## renew the generated tables in README.md and docs/
	$(BIN)/python -m functions.docs

check: lint test         ## exactly what CI runs

lock: $(VENV)/.dev       ## renew the hashed lock files
	$(PIP) install uv
	$(BIN)/uv pip compile -q pyproject.toml --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --python-version 3.11 -o requirements.lock
	$(BIN)/uv pip compile -q pyproject.toml --extra dev --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --python-version 3.11 -c requirements.lock -o requirements-dev.lock
	$(BIN)/uv pip compile -q pyproject.toml --extra training --extra dev --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --python-version 3.11 -c requirements-dev.lock -o requirements-training.lock

clean:           ## remove what the other targets made
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# One environment; each level adds to the one below, always from hashes.
$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11) and "groundshift needs Python 3.11 or newer; name one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.core
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.training: requirements-training.lock $(VENV)/.dev
	$(PIP) install --require-hashes -r requirements-training.lock
	@touch $@
