# Everything is installed into .venv, from this checkout. `make demo` and `make test` need Python 3.11
# or newer with venv and pip, and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow check e2e-engines bench format schemas clean help

help: ## Show what there is
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## Chat with the embedded demo engine about this folder
	@TAKOPI_DEMO_DELAY=0.8 PATH="$(abspath $(BIN)):$$PATH" $(BIN)/takopi chat demo "What is this project?"

test: $(VENV)/.installed-dev ## Run the tests, but for the slow ones
	$(BIN)/python -m pytest -q -m "not slow"

test-slow: $(VENV)/.installed-dev ## Run the slow tests: the whole bot against a fake Telegram; minutes
	$(BIN)/python -m pytest -q -m slow

check: $(VENV)/.installed-dev ## Everything a change must pass; ends with the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py
	$(BIN)/takopi adapters validate
	$(BIN)/takopi adapters test --min-coverage 100
	$(MAKE) test

e2e-engines: $(VENV)/.installed-dev ## Run real CLIs through takopi; ARGS='--only codex --keep'
	$(BIN)/python -m tests.e2e_engines $(ARGS)

bench: $(VENV)/.installed-dev ## Measure speed and memory against their targets; minutes. ARGS=--quick
	$(BIN)/python -m bench $(ARGS)

format: $(VENV)/.installed-dev ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schemas: $(VENV)/.installed-dev ## Regenerate schemas/ from the models, and the README's table of engines
	$(BIN)/python -m takopi.adapters.schema schemas/adapter.schema.json
	$(BIN)/python tests/update_readme.py

clean: ## Remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: takopi needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(VENV)/.installed $@
